"""What a reconcile wants done: the only way in which pure code reaches the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from trainyard_operator.api.names import Kind
from trainyard_operator.domain.queueing import Entry
from trainyard_operator.providers.node_group import GroupCall

JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Event:
    """A Kubernetes Event about the planned object, posted after the status write that it speaks of.

    The same words are told once; with another `occasion`, such as the time of what happened again, they are told again.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    occasion: str = ""


@dataclass(frozen=True, kw_only=True)
class VersionRequest:
    """A wish for one version of a model, identified for ever by `key`: asking twice gives the same version.

    `entry` is the version's status entry but for what the allocation fills in: number, id, key, state and time.
    """

    model: str  # object name of the RegisteredModel
    key: str
    entry: JsonObject


@dataclass(frozen=True, kw_only=True)
class VersionCopy:
    """Bytes to copy into a version's folder from what its entry names; doing it twice changes nothing."""

    model_name: str
    version: int
    entry: JsonObject  # the version's status entry


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Versions of a model whose files are to be compared with their manifests, one after the other.

    It goes on in the background; what it finds is seen at a later look. Of two with the same `sweep` and `after` the
    second changes nothing.

    Attributes
    ----------
    sweep
        The verification that this is a part of.
    after
        The version that was looked at before these.
    versions
        Numbers, in their order, each with the SHA-256 that its manifest must have.
    thorough
        Whether every byte is read, also where the server keeps checksums of its own.
    """

    sweep: str
    after: int
    model_name: str
    versions: tuple[tuple[int, str], ...]
    thorough: bool


@dataclass(frozen=True, kw_only=True)
class VersionClearing:
    """A version whose files are to be deleted, after the status says so; doing it twice changes nothing more."""

    model_name: str
    version: int
    tombstone: JsonObject  # its status entry once the files are gone


@dataclass(frozen=True, kw_only=True)
class VersionFiling:
    """Status entries to write into the archive of a model, before the status forgets them."""

    model_name: str
    entries: tuple[JsonObject, ...]


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A merge patch (RFC 7386) of another object, or of the planned one beside its status."""

    kind: Kind
    namespace: str
    name: str
    body: JsonObject


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """An object to delete, if it still is the one with this uid."""

    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, kw_only=True)
class Seal:
    """What the build of an environment left is to be looked at, and written down as what runs get from now on."""

    namespace: str
    hash: str
    job: str  # uid of the build's Job


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The outcome of planning one object. The empty plan is what a converged object gets.

    `status` is the whole new status, or None where nothing changes. Executed in field order; Events last. `admitted`
    are the runs that the patches let into a cluster: their slots are taken from the moment of planning on. `call` is
    for the cloud: what comes of it is seen at the next look.
    """

    admitted: tuple[Entry, ...] = ()
    patch: tuple[Patch, ...] = ()
    delete: tuple[Deletion, ...] = ()
    create: tuple[JsonObject, ...] = ()
    seal: Seal | None = None
    call: GroupCall | None = None
    register: tuple[VersionRequest, ...] = ()
    copy: tuple[VersionCopy, ...] = ()
    file: tuple[VersionFiling, ...] = ()
    status: JsonObject | None = None
    inspect: Inspection | None = None  # after the status, which says how far the ones before it came
    clear: tuple[VersionClearing, ...] = ()
    erase: bool = False  # all that the planned run has in the object store, after the status was written
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None


def soonest(*seconds: float | None) -> float | None:
    """Return the least of some `requeue_after`, None where nothing is to be looked at again."""
    return min((value for value in seconds if value is not None), default=None)
