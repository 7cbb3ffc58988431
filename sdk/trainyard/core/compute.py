"""Compute targets, under the module that Azure ML has for them."""

from trainyard.errors import ComputeTargetException
from trainyard.remote.compute import AmlCompute, BatchAiCompute, ComputeTarget

__all__ = ["AmlCompute", "BatchAiCompute", "ComputeTarget", "ComputeTargetException"]
