"""Parts of a datastore, under the module that Azure ML has for them."""

from trainyard.remote.reference import DataReference

__all__ = ["DataReference"]
