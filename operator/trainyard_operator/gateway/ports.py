"""What the gateway needs to know, and from whom, without knowing how they know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from trainyard.contract import Ran, Report
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.rerun import Repeated


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a token speaks for; `pod_name` and `pod_uid` where it is bound to a pod."""

    namespace: str
    service_account: str
    pod_name: str | None = None
    pod_uid: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunRef:
    """The run that a pod belongs to, and the attempt that it is."""

    namespace: str
    name: str
    uid: str
    attempt: int
    spec: TrainingJobSpec
    repeated: Repeated | None = None  # what it repeats; `spec` has taken that over already
    environment: str | None = None  # hash of the one whose pack the pod gets


class TokenReviewer(Protocol):
    """Tells whose token it is."""

    async def review(self, token: str) -> Identity | None:
        """Return whom `token` speaks for, None where it is not valid for this gateway."""
        ...


class RunDirectory(Protocol):
    """Tells whose pod it is."""

    def run_of(self, identity: Identity) -> RunRef:
        """Return the run that the identity's pod works for; raises a `Refusal` where it works for none."""
        ...

    def reader_of(self, identity: Identity) -> RunRef | None:
        """Return the run whose source the identity's pod reads before its first attempt; None where it does not."""
        ...

    def ran(self, identity: Identity) -> Ran:
        """Return what the script in the identity's pod runs in; raises a `Refusal` where it works for no run."""
        ...


class AccessReviewer(Protocol):
    """Tells what the cluster's RBAC lets somebody read."""

    async def may_get_model(self, identity: Identity, *, namespace: str, name: str) -> bool:
        """Return whether the identity's service account may get the RegisteredModel object `name`."""
        ...


class ModelDirectory(Protocol):
    """Tells which models there are."""

    def find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Return the RegisteredModel object `name`, None where there is none."""
        ...


class Sources(Protocol):
    """Gives the code of a run, as its TrainingJob names it."""

    async def files(self, run: RunRef) -> dict[str, bytes]:
        """Return the files by path; raises a `Refusal` where they cannot be had."""
        ...


class QueueBoard(Protocol):
    """Tells who waits for a cluster."""

    def show(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the queue of a ComputeCluster, None where there is no such cluster."""
        ...


class LiveBoard(Protocol):
    """Takes what pods tell of themselves."""

    def publish(
        self,
        uid: str,
        *,
        attempt: int,
        report: Report | None = None,
        source_sha256: str | None = None,
        source_commit: str | None = None,
    ) -> None:
        """Merge what is new into what is known of an attempt of the run `uid`."""
        ...
