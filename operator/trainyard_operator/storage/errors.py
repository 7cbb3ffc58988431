"""What can go wrong with the object store, sorted by what a caller can do about it."""

# ruff: noqa: N818 - these names say what happened; a suffix would only repeat the base class
from __future__ import annotations


class StoreError(Exception):
    """The object store did not do what it was asked for."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, is overloaded or failed inside: the same request may work later."""


class StoreDenied(StoreError):
    """The store does not accept the operator's keys, or they may not do this: somebody must change a setting."""


class StoreRefused(StoreError):
    """The store will never do this: the request does not fit what it holds or supports."""


class BucketNotFound(StoreError):
    """The bucket does not exist and could not be created."""


class ObjectNotFound(StoreError):
    """There is no object at this key."""


class ObjectTooLarge(StoreError):
    """The object is larger than the reader is willing to hold in memory."""


class ManifestInvalid(Exception):
    """A manifest is too large, is no JSON, or has not the shape that its schema names: trying again cannot help."""


class CopyRefused(Exception):
    """A model version can never be made from what there is; the message says why."""


class NothingThere(CopyRefused):
    """Nothing is at the path of an import; the message says what there is instead."""
