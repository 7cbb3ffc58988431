"""Experiments, under the module that Azure ML has for them."""

from trainyard.remote.experiment import Experiment

__all__ = ["Experiment"]
