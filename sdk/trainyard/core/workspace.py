"""Workspaces, under the module that Azure ML has for them."""

from trainyard.remote.workspace import Workspace

__all__ = ["Workspace"]
