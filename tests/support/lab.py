"""A namespace whose runs are played: the test itself ends their Jobs and leaves their outputs."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.api.names import EVENT, JOB, REGISTERED_MODEL, RUN_UID_LABEL, TRAINING_JOB
from trainyard_operator.domain.conditions import find
from trainyard_operator.kube.client import find_one
from trainyard_operator.storage import layout

BODY = b"a model"
# Long enough for a machine that does other things as well.
SECONDS = 180.0


def sweep(control_plane, namespace):
    """Leave no runs behind: every operator that starts after many of them would have to go through them all."""
    path = f"/apis/{TRAINING_JOB.api_version}/namespaces/{namespace}/{TRAINING_JOB.plural}"
    # All of them by one call, and not one by one.
    control_plane.kubectl("delete", "--raw", path)


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
        await self._client.create(TRAINING_JOB, whole)
        return await self.play(name, metrics=metrics, lost=lost)

    async def play(self, name, *, metrics=None, lost=False, files=None):
        """Play a run that somebody has created to its end, with what it saves as `files` by path."""
        run = await self.until(TRAINING_JOB, name, lambda run: "jobName" in run["status"])
        uid = run["metadata"]["uid"]
        await self._save(name, uid, metrics or {}, lost=lost, files=files or {})
        pages = self._client.pages(JOB, namespace=self.namespace, label_selector=f"{RUN_UID_LABEL}={uid}")
        (job,) = [job async for page in pages for job in page.items]
        await self.end_job(job["metadata"]["name"])
        return await self.until(TRAINING_JOB, name, lambda run: "completionTime" in run["status"])

    async def end_job(self, name):
        """Say of a Job that it has succeeded."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"status": "True", "lastTransitionTime": now, "reason": "Played", "message": ""}
        kinds = [{"type": kind, **about} for kind in ("SuccessCriteriaMet", "Complete")]
        done = {"startTime": now, "completionTime": now, "succeeded": 1, "uncountedTerminatedPods": {}}
        await self._client.patch_status(JOB, name, {**done, "conditions": kinds}, namespace=self.namespace)

    async def _save(self, name, uid, metrics, *, lost, files):
        folder = layout.attempt_prefix(self.namespace, uid, 1)
        for path, body in {**({} if lost else {"outputs/m.pkl": BODY}), **files}.items():
            await self.objects.put(folder + path, body)
        outputs = {"outputs/m.pkl": BODY, **{path: body for path, body in files.items() if path.startswith("outputs/")}}
        manifest = {
            "schema": RUN_MANIFEST_SCHEMA,
            "run": {"name": name, "namespace": self.namespace, "uid": uid, "experiment": "models"},
            "outputs": [
                {"path": path, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
                for path, body in outputs.items()
            ],
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

    async def has_told(self, name, told):
        """Wait for the Events of an object, which follow its status: each of these reasons so many times, and no more."""
        found = {}
        try:
            async with asyncio.timeout(SECONDS):
                while (found := await self._told(name, told)) != told:
                    assert all(count <= told[reason] for reason, count in found.items()), found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"{name} has told {found}, not {told}")

    async def _told(self, name, reasons):
        pages = [page async for page in self._client.pages(EVENT, namespace=self.namespace)]
        events = [event for page in pages for event in page.items if event["involvedObject"]["name"] == name]
        told = Counter()
        for event in events:
            told[event["reason"]] += event.get("count", 1)
        return {reason: told[reason] for reason in told if reason in reasons}
