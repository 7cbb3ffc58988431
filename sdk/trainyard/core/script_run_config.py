"""Scripts with what they need, under the module that Azure ML has for them."""

from trainyard.remote.estimator import ScriptRunConfig

__all__ = ["ScriptRunConfig"]
