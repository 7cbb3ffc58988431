"""Callers, runs and fakes of what the gateway knows."""

from __future__ import annotations

from typing import Any

from trainyard.contract import Ran
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.gateway.errors import Refusal, forbidden
from trainyard_operator.gateway.ports import Identity, RunRef
from trainyard_operator.kube.errors import AlreadyExists, NotFound

UID = "0b6f7d7e-6a54-4a6a-9a6c-0d3d3a7c1e11"
OTHER_UID = "1b6f7d7e-6a54-4a6a-9a6c-0d3d3a7c1e22"
POD_UID = "aaaaaaaa-6a54-4a6a-9a6c-0d3d3a7c1e33"
NAMESPACE = "team-a"


def spec(**over: Any) -> dict[str, Any]:
    return {
        "source": {"inline": {"train.py": "print(1)"}},
        "parameters": {"regularization": 0.8},
        "arguments": ["--data-folder", "$(inputs.data)"],
        "inputs": [{"name": "data", "datastore": {"path": "mnist"}}],
        **over,
    }


def run_ref(uid: str = UID, name: str = "mnist", **over: Any) -> RunRef:
    return RunRef(namespace=NAMESPACE, name=name, uid=uid, attempt=1, spec=TrainingJobSpec.parse(spec(**over)))


def pod_identity(pod_uid: str = POD_UID, **over: Any) -> Identity:
    fields = {"namespace": NAMESPACE, "service_account": "default", "pod_name": "mnist-0b6f7d7e-x", "pod_uid": pod_uid}
    return Identity(**fields | over)


def person(namespace: str = NAMESPACE) -> Identity:
    return Identity(namespace=namespace, service_account="alice")


class Reviewer:
    """Knows the tokens that it was given."""

    def __init__(self, tokens: dict[str, Identity]) -> None:
        self.tokens = tokens
        self.asked: list[str] = []

    async def review(self, token: str) -> Identity | None:
        self.asked.append(token)
        return self.tokens.get(token)


class Runs:
    """Knows the runs of pods by the pods' uids."""

    def __init__(self, runs: dict[str, RunRef]) -> None:
        self.runs = runs
        self.readers: dict[str, RunRef] = {}

    def reader_of(self, identity: Identity) -> RunRef | None:
        return self.readers.get(identity.pod_uid or "")

    def run_of(self, identity: Identity) -> RunRef:
        if identity.pod_uid not in self.runs:
            raise forbidden("this pod belongs to no run")
        return self.runs[identity.pod_uid]

    def ran(self, identity: Identity) -> Ran:
        self.run_of(identity)
        return Ran(imageDigest="sha256:" + "1" * 64)


class Sources:
    """Gives the same files to everybody, or a refusal."""

    def __init__(self, files: dict[str, bytes] | Refusal) -> None:
        self.given = files

    async def files(self, run: RunRef) -> dict[str, bytes]:
        if isinstance(self.given, Refusal):
            raise self.given
        return self.given


class Queues:
    """Knows the queue of one cluster of one namespace."""

    def show(self, namespace: str, name: str) -> dict[str, Any] | None:
        return {"cluster": name, "waiting": []} if (namespace, name) == (NAMESPACE, "lab") else None


class Board:
    """Keeps what was published."""

    def __init__(self) -> None:
        self.reports: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.commits: dict[str, str] = {}

    def publish(
        self,
        uid: str,
        *,
        attempt: int,
        report: Any = None,
        source_sha256: str | None = None,
        source_commit: str | None = None,
    ) -> None:
        if report is not None:
            self.reports[uid] = report
        if source_sha256 is not None:
            self.sources[uid] = source_sha256
        if source_commit is not None:
            self.commits[uid] = source_commit


class NoEnvironments:
    """What the gateway asks of environments where there are none."""

    def build_of(self, identity: Identity) -> None:
        return None

    async def pack(self, run: RunRef) -> None:
        return None

    async def document(self, build: None) -> None:
        raise AssertionError("there is no build")

    put = document


class Nobody:
    """Lets nobody read any model."""

    async def may_get_model(self, identity: Identity, *, namespace: str, name: str) -> bool:
        return False


class KubeObjects:
    """As much of a client as the gateway uses, over objects by kind, namespace and name."""

    def __init__(self, objects: dict[tuple[str, str | None, str], dict[str, Any]] | None = None) -> None:
        self.objects = dict(objects or {})
        self.created: list[dict[str, Any]] = []

    async def get(self, kind: Any, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        try:
            return self.objects[kind.kind, namespace, name]
        except KeyError:
            raise NotFound(f"get {name}", code=404) from None

    async def create(self, kind: Any, obj: dict[str, Any], *, namespace: str | None = None) -> dict[str, Any]:
        key = kind.kind, namespace or obj["metadata"].get("namespace"), obj["metadata"]["name"]
        if key in self.objects:
            raise AlreadyExists(f"create {key}", code=409)
        self.created.append(obj)
        self.objects[key] = obj
        return obj
