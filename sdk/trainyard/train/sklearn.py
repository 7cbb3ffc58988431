"""The estimator of scikit-learn, under the module that Azure ML has for it."""

from trainyard.remote.sklearn import SKLearn

__all__ = ["SKLearn"]
