"""Widgets for notebooks: ``from trainyard.widgets import RunDetails``."""

from trainyard.widgets.details import RunDetails

__all__ = ["RunDetails"]
