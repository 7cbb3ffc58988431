"""Packages, under the module that Azure ML has for them."""

from trainyard.remote.conda import CondaDependencies

__all__ = ["CondaDependencies"]
