"""Registered models, under the module that Azure ML has for them."""

from trainyard.remote.model import Model

__all__ = ["Model"]
