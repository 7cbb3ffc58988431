"""A node group of a cloud as values: where it is, what was seen of it, and what to ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from trainyard_operator.api.reasons import ComputeClusterReason

# What passes by itself: it says nothing about the group.
TRANSIENT = frozenset({ComputeClusterReason.CLOUD_THROTTLED, ComputeClusterReason.CLOUD_UNAVAILABLE})


@dataclass(frozen=True, kw_only=True)
class GroupAddress:
    """Where a group is; `region` None is that of the operator's own environment."""

    cluster: str
    name: str
    region: str | None = None


@dataclass(frozen=True, kw_only=True)
class Issue:
    """What the cloud says is wrong with a group."""

    code: str
    message: str
    resources: Sequence[str] = ()

    def __str__(self) -> str:
        about = f" ({', '.join(self.resources)})" if self.resources else ""
        return f"{self.code}: {self.message}{about}"


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """A group as the cloud describes it; `status` and the effects of `taints` are in the cloud's words."""

    status: str
    arn: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    least: int = 0
    most: int = 1
    desired: int = 0
    issues: Sequence[Issue] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a call came to nothing, in words to act on."""

    reason: ComputeClusterReason
    message: str


@dataclass(frozen=True, kw_only=True)
class GroupCall:
    """One call to the cloud; `arguments` are in the cloud's words and leave out the address.

    `adopt` writes the owner on a group that somebody else made.
    """

    address: GroupAddress
    verb: Literal["create", "adopt", "update", "delete"]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A call that came to nothing; while `pausing` it is too early to make the same one again."""

    call: GroupCall
    failure: Failure
    pausing: bool = True


@dataclass(frozen=True, kw_only=True)
class GroupSeen:
    """What the last look saw: a group, none, or nothing at all because of a failure; and the last call's refusal."""

    group: NodeGroup | None = None
    failure: Failure | None = None
    refusal: Refusal | None = None
