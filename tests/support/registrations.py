"""Runs that end and register a model, with nobody but the operator real: Jobs and saved outputs are played."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.api.names import (
    EVENT,
    JOB,
    REGISTERED_MODEL,
    RUN_UID_LABEL,
    TRAINING_JOB,
    Kind,
    object_name,
)
from trainyard_operator.kube.client import KubeClient, find_one
from trainyard_operator.storage import layout
from trainyard_operator.storage.store import S3Store

SPACES = Kind(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
# Long enough for a machine that does other things as well.
SECONDS = 120.0

Object = dict[str, Any]


class Registrations:
    """A namespace in which runs register models."""

    def __init__(self, client: KubeClient, objects: S3Store, *, namespace: str) -> None:
        self.client, self.objects, self.namespace = client, objects, namespace

    async def start(self) -> None:
        await self.client.create(SPACES, {"metadata": {"name": self.namespace}})

    async def run(self, name: str, model: str) -> Object:
        """Create a run that registers `model`, and play it to its end; return it as it was created."""
        return (await self.runs([name], model))[0]

    async def runs(self, names: list[str], model: str) -> list[Object]:
        """Create runs that register `model`, and have all of them end at once."""
        created = await asyncio.gather(*(self._create(name, model) for name in names))
        uids = {run["metadata"]["uid"] for run in created}
        jobs = await self.until(
            self._jobs, lambda jobs: uids <= {job["metadata"]["labels"][RUN_UID_LABEL] for job in jobs}
        )
        await asyncio.gather(*(self._save(run) for run in created))
        mine = [job for job in jobs if job["metadata"]["labels"][RUN_UID_LABEL] in uids]
        await asyncio.gather(*(self._finish(job) for job in mine))
        return created

    async def _create(self, name: str, model: str) -> Object:
        spec = {"source": {"inline": {"train.py": "pass"}}, "models": [{"name": model, "path": "outputs/m.pkl"}]}
        meta = {"name": name, "namespace": self.namespace}
        wish = {"apiVersion": TRAINING_JOB.api_version, "kind": TRAINING_JOB.kind, "metadata": meta, "spec": spec}
        return await self.client.create(TRAINING_JOB, wish)

    async def _jobs(self) -> list[Object]:
        pages = self.client.pages(JOB, namespace=self.namespace, label_selector=RUN_UID_LABEL)
        return [job async for page in pages for job in page.items]

    async def all_runs(self) -> list[Object]:
        return [run async for page in self.client.pages(TRAINING_JOB, namespace=self.namespace) for run in page.items]

    async def _save(self, run: Object) -> None:
        meta, body = run["metadata"], body_of(run)
        await self.objects.put(layout.attempt_prefix(self.namespace, meta["uid"], 1) + "outputs/m.pkl", body)
        output = {"path": "outputs/m.pkl", "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        manifest = {
            "schema": RUN_MANIFEST_SCHEMA,
            "run": {"name": meta["name"], "namespace": self.namespace, "uid": meta["uid"], "experiment": "x"},
            "sourceSha256": "5" * 64, "exitCode": 0, "startTime": "", "endTime": "", "metrics": {"accuracy": 0.5},
            "outputs": [output], "warnings": [], "environment": {},
        }  # fmt: skip
        await self.objects.put(layout.run_manifest_key(self.namespace, meta["uid"], 1), canonical_json(manifest))

    async def _finish(self, job: Object) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = {"status": "True", "lastTransitionTime": now, "reason": "Played", "message": ""}
        status = {
            "startTime": now, "completionTime": now, "succeeded": 1, "uncountedTerminatedPods": {},
            "conditions": [{"type": kind, **said} for kind in ("SuccessCriteriaMet", "Complete")],
        }  # fmt: skip
        await self.client.patch_status(JOB, job["metadata"]["name"], status, namespace=self.namespace)

    async def find(self, run: Object) -> Object:
        found = await find_one(self.client, TRAINING_JOB, run["metadata"]["name"], namespace=self.namespace)
        assert found
        return found

    async def model(self, name: str) -> Object | None:
        return await find_one(self.client, REGISTERED_MODEL, object_name(name), namespace=self.namespace)

    async def until(self, look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
        """Look again and again until what is seen `holds`; return it."""
        found = None
        try:
            async with asyncio.timeout(SECONDS):
                while not holds(found := await look()):  # noqa: ASYNC110 - the operator brings it about
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"it did not come, last seen: {found}") from None
        return found

    async def completed(self, run: Object) -> Object:
        """Wait until a run has ended well; return it."""
        return await self.until(lambda: self.find(run), lambda found: phase(found) == "Completed")

    async def settled(self, name: str, *, versions: int) -> Object:
        """Wait until a model has so many versions, all Ready, and says so; return it."""

        def holds(model: Object | None) -> bool:
            entries = entries_of(model)
            return (
                len(entries) == versions and all(e["state"] == "Ready" for e in entries) and ready(model)[0] == "True"
            )

        return await self.until(lambda: self.model(name), holds)

    async def has_told(self, obj: Object, reason: str) -> None:
        """Wait for an Event of an object, which follows its status."""
        await self.until(lambda: self.events(obj), lambda reasons: reason in reasons)

    async def digests(self, name: str) -> dict[int, str]:
        """Return the digests of a model's manifests as they are in the store, after comparing all files with them."""
        found = {}
        for entry in entries_of(await self.model(name)):
            number = entry["version"]
            key = layout.model_manifest_key(self.namespace, name, number)
            body = await self.objects.get(key, limit=1 << 20)
            assert body is not None, key
            found[number] = hashlib.sha256(body).hexdigest()
            file = await self.objects.digest(layout.version_prefix(self.namespace, name, number) + "m.pkl")
            assert file.sha256 == hashlib.sha256(entry["run"]["name"].encode()).hexdigest()
        return found

    async def events(self, obj: Object) -> list[str]:
        """Return the reasons of an object's Events."""
        uid = obj["metadata"]["uid"]
        return [
            event["reason"]
            async for page in self.client.pages(EVENT, namespace=self.namespace)
            for event in page.items
            if event["involvedObject"].get("uid") == uid
        ]


def body_of(run: Object) -> bytes:
    """What a run saves: its own name."""
    return str(run["metadata"]["name"]).encode()


def entries_of(model: Object | None) -> list[Object]:
    return ((model or {}).get("status") or {}).get("versions") or []


def phase(run: Object) -> str | None:
    return (run.get("status") or {}).get("phase")


def ready(obj: Object | None, kind: str = "Ready") -> tuple[str, str, str]:
    """Return status, reason and message of a condition, empty where there is none."""
    for condition in ((obj or {}).get("status") or {}).get("conditions") or ():
        if condition["type"] == kind:
            return condition["status"], condition["reason"], condition["message"]
    return "", "", ""
