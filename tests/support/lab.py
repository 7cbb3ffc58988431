"""A namespace whose runs are played: the test itself ends their Jobs and leaves their outputs."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime

import pytest

from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.api.names import JOB, REGISTERED_MODEL, RUN_UID_LABEL, TRAINING_JOB
from trainyard_operator.domain.conditions import find
from trainyard_operator.kube.client import find_one
from trainyard_operator.storage import layout

BODY = b"a model"
SHA256 = hashlib.sha256(BODY).hexdigest()
SECONDS = 60.0


class Lab:
    """A namespace, its runs and its models."""

    def __init__(self, control_plane, client, objects, namespace):
        self._control_plane, self._client, self.objects = control_plane, client, objects
        self.namespace = namespace
        if not control_plane.kubectl("get", "namespace", namespace, "--ignore-not-found"):
            control_plane.kubectl("create", "namespace", namespace)

    async def train(self, name, *models, metrics=None, lost=False):
        """Play a run to its end; where its output is `lost`, the object store has the manifest only."""
        meta = {"name": name, "namespace": self.namespace}
        spec = {"source": {"inline": {"train.py": "pass"}}, "models": list(models)}
        whole = {"apiVersion": TRAINING_JOB.api_version, "kind": TRAINING_JOB.kind, "metadata": meta, "spec": spec}
        uid = (await self._client.create(TRAINING_JOB, whole))["metadata"]["uid"]
        await self.until(TRAINING_JOB, name, lambda run: "jobName" in run["status"])
        await self._save(name, uid, metrics or {}, lost=lost)
        pages = self._client.pages(JOB, namespace=self.namespace, label_selector=f"{RUN_UID_LABEL}={uid}")
        (job,) = [job async for page in pages for job in page.items]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"status": "True", "lastTransitionTime": now, "reason": "Played", "message": ""}
        kinds = [{"type": kind, **about} for kind in ("SuccessCriteriaMet", "Complete")]
        done = {"startTime": now, "completionTime": now, "succeeded": 1, "uncountedTerminatedPods": {}}
        await self._client.patch_status(
            JOB, job["metadata"]["name"], {**done, "conditions": kinds}, namespace=self.namespace
        )
        return await self.until(TRAINING_JOB, name, lambda run: "completionTime" in run["status"])

    async def _save(self, name, uid, metrics, *, lost):
        if not lost:
            await self.objects.put(layout.attempt_prefix(self.namespace, uid, 1) + "outputs/m.pkl", BODY)
        manifest = {
            "schema": RUN_MANIFEST_SCHEMA,
            "run": {"name": name, "namespace": self.namespace, "uid": uid, "experiment": "models"},
            "outputs": [{"path": "outputs/m.pkl", "bytes": len(BODY), "sha256": SHA256}],
            "sourceSha256": "5" * 64, "exitCode": 0, "startTime": "", "endTime": "", "metrics": metrics,
            "warnings": [], "environment": {},
        }  # fmt: skip
        await self.objects.put(layout.run_manifest_key(self.namespace, uid, 1), canonical_json(manifest))

    async def change(self, name, models):
        """Give a run's spec other models."""
        await self._client.patch(TRAINING_JOB, name, {"spec": {"models": models}}, namespace=self.namespace)

    async def find(self, kind, name):
        """Return an object, or None."""
        return await find_one(self._client, kind, name, namespace=self.namespace)

    async def until(self, kind, name, condition):
        """Wait until an object with a status is as `condition` says; return it."""
        found = None
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    found = await self.find(kind, name)
                    if found is not None and found.get("status") and condition(found):
                        return found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"{kind.kind} {name} is {json.dumps((found or {}).get('status'), indent=1)}")

    async def promote(self, name, aliases, *, manager="argocd-controller"):
        """Apply what a repository has of a model, as a GitOps controller does."""
        document = {
            "apiVersion": REGISTERED_MODEL.api_version,
            "kind": REGISTERED_MODEL.kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"modelName": name, **({"aliases": aliases} if aliases else {})},
        }
        arguments = ("apply", "--server-side", f"--field-manager={manager}", "--force-conflicts", "-f", "-")
        await asyncio.to_thread(self._control_plane.kubectl, *arguments, text=json.dumps(document))

    async def aliases(self, name, expected, reason):
        """Wait until a model's aliases are as expected, and their condition has its reason; return the status."""

        def there(model):
            aliases = {alias: fact["version"] for alias, fact in model["status"].get("aliases", {}).items()}
            return aliases == expected and (find(model["status"], "AliasesSet") or {}).get("reason") == reason

        return (await self.until(REGISTERED_MODEL, name, there))["status"]

    def events(self, name, *reasons):
        """Return the reasons of the Events of an object that are among `reasons`, each with its count."""
        text = self._control_plane.kubectl("-n", self.namespace, "get", "events", "-o", "json")
        found = [e for e in json.loads(text)["items"] if e["involvedObject"]["name"] == name and e["reason"] in reasons]
        return [(event["reason"], event.get("count", 1)) for event in found]
