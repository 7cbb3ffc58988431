"""Environments, under the module that Azure ML has for them."""

from trainyard.remote.conda import CondaDependencies
from trainyard.remote.environment import Environment

__all__ = ["CondaDependencies", "Environment"]
