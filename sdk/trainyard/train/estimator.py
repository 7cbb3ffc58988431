"""Estimators, under the module that Azure ML has for them."""

from trainyard.remote.estimator import Estimator

__all__ = ["Estimator"]
