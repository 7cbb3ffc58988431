"""What can go wrong for somebody who works with a cluster: each error says in one sentence what to do about it."""

from __future__ import annotations


class TrainyardError(Exception):
    """The base of all errors of this package that are meant for people."""

    @property
    def message(self) -> str:
        """The sentence, as Azure ML's exceptions have it."""
        return str(self)


class ConfigError(TrainyardError):
    """A kubeconfig, a ``config.json`` or an argument cannot be used as it is."""


class Forbidden(TrainyardError):  # noqa: N818 - reads as what happened, as all of these do
    """The cluster or the gateway does not let this user or service account do that."""


class NotFound(TrainyardError):  # noqa: N818
    """Something that was named is not there."""


class NotInstalled(NotFound):
    """The cluster has no Trainyard, or has it in another namespace."""


class Invalid(TrainyardError):  # noqa: N818
    """The API server or the gateway refused what was written, and says which field is wrong."""


class Conflict(TrainyardError):  # noqa: N818
    """Something stands in the way: a name that is taken, a version that is not Ready, a file that is there."""


class Unreachable(TrainyardError):  # noqa: N818
    """The API server or the gateway does not answer."""


class StoreUnavailable(TrainyardError):  # noqa: N818
    """The object store does not answer, or refuses what the gateway has signed."""


class Timeout(TrainyardError):  # noqa: N818
    """Something took longer than one was willing to wait; it goes on by itself."""


class SnapshotError(TrainyardError):
    """A source folder cannot be taken as it is."""


class RunFailed(TrainyardError):  # noqa: N818
    """A run that was waited for did not complete."""


class ModelPathNotFound(NotFound):
    """A run has no file or folder at the path that was to become a model."""


class DigestMismatch(TrainyardError):  # noqa: N818
    """What came is not what was registered; nothing of it was kept."""


class ComputeTargetException(TrainyardError):  # noqa: N818 - Azure ML's name
    """A compute target is not there, or did not become what was asked for."""
