"""Widgets, under the module that Azure ML's first version had for them."""

from trainyard.widgets import RunDetails

__all__ = ["RunDetails"]
