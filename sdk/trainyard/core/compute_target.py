"""What is said where there is no such compute target, under the module that Azure ML has for it."""

from trainyard.errors import ComputeTargetException
from trainyard.remote.compute import ComputeTarget

__all__ = ["ComputeTarget", "ComputeTargetException"]
