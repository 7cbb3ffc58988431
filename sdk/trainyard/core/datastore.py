"""Datastores, under the module that Azure ML has for them."""

from trainyard.remote.datastore import Datastore

__all__ = ["Datastore"]
