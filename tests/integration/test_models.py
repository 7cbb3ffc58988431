"""Aliases and metric conditions, with the operator as a process and a real API server and object store.

Only the nodes are played: the test itself ends the runs' Jobs and leaves their outputs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
from datetime import UTC, datetime

import pytest

from tests.perf.process import OperatorProcess
from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.api.names import JOB, REGISTERED_MODEL, RUN_UID_LABEL, TRAINING_JOB
from trainyard_operator.domain.conditions import find
from trainyard_operator.kube.client import KubeClient, find_one
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.storage import layout
from trainyard_operator.storage.store import S3Store

BODY = b"a model"
SHA256 = hashlib.sha256(BODY).hexdigest()
SECONDS = 60.0
WHEN = {"metric": "accuracy", "atLeast": 0.9}


class Lab:
    """A namespace, its runs and its models."""

    def __init__(self, control_plane, client, objects, namespace):
        self._control_plane, self._client, self._objects = control_plane, client, objects
        self.namespace = namespace
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
            await self._objects.put(layout.attempt_prefix(self.namespace, uid, 1) + "outputs/m.pkl", BODY)
        manifest = {
            "schema": RUN_MANIFEST_SCHEMA,
            "run": {"name": name, "namespace": self.namespace, "uid": uid, "experiment": "models"},
            "outputs": [{"path": "outputs/m.pkl", "bytes": len(BODY), "sha256": SHA256}],
            "sourceSha256": "5" * 64, "exitCode": 0, "startTime": "", "endTime": "", "metrics": metrics,
            "warnings": [], "environment": {},
        }  # fmt: skip
        await self._objects.put(layout.run_manifest_key(self.namespace, uid, 1), canonical_json(manifest))

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


@pytest.fixture
async def lab(control_plane, versitygw, request):
    store = await S3Store.open(
        endpoint=versitygw.endpoint, region=versitygw.region, bucket="trainyard",
        access_key=versitygw.keys.access, secret_key=versitygw.keys.secret,
    )  # fmt: skip
    await store.ensure_bucket()
    connection = from_kubeconfig(control_plane.kubeconfig)
    if not control_plane.kubectl("get", "namespace", "trainyard-system", "--ignore-not-found"):
        control_plane.kubectl("create", "namespace", "trainyard-system")
    async with connection.open_session() as session:
        client = KubeClient(connection=connection, session=session)
        yield Lab(control_plane, client, store, f"models-{abs(hash(request.node.name)) % 10**8}")
    store.close()
    # The next test's operator must not wait for a holder that is gone.
    control_plane.kubectl("-n", "trainyard-system", "delete", "lease", "trainyard-operator", "--ignore-not-found")


@pytest.fixture
def operator(control_plane, versitygw, tmp_path):
    def make():
        return OperatorProcess(kubeconfig=control_plane.kubeconfig, log=tmp_path / "log", objects=versitygw)

    return make


DIGITS = {"name": "digits", "path": "outputs/m.pkl"}


async def test_an_alias_moves_to_what_is_ready_is_refused_all_else_and_outlives_its_operator(lab, operator):
    async with operator() as first:
        await lab.train("one", DIGITS)
        await lab.promote("digits", {"champion": 1})
        status = await lab.aliases("digits", {"champion": 1}, "AliasesSet")
        entry = status["versions"][0]
        assert {name: status["aliases"]["champion"][name] for name in ("uri", "manifestSha256")} == {
            name: entry[name] for name in ("uri", "manifestSha256")
        }

        # A version that nobody has made yet: the old one stays, and the alias follows when it is Ready.
        await lab.promote("digits", {"champion": 2})
        status = await lab.aliases("digits", {"champion": 1}, "AliasRefused")
        words = "spec.aliases.champion: there is no version 2, so champion stays at version 1; Ready are 1"
        assert find(status, "AliasesSet")["message"] == words
        assert status["refusedAliases"] == {"champion": 2}
        await lab.train("two", DIGITS)
        await lab.aliases("digits", {"champion": 2}, "AliasesSet")

        # One that has failed for good.
        await lab.train("three", DIGITS, lost=True)
        await lab.promote("digits", {"champion": 3}, manager="kubectl-edit")
        before = await lab.until(
            REGISTERED_MODEL, "digits", lambda model: model["status"].get("refusedAliases") == {"champion": 3}
        )
        assert "version 3 is Failed, not Ready" in find(before["status"], "AliasesSet")["message"]
        await first.settled(quiet_seconds=1.0)
        before = await lab.until(REGISTERED_MODEL, "digits", lambda _: True)
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL

    async with operator() as second:
        await second.settled(quiet_seconds=1.0)
        after = await lab.until(REGISTERED_MODEL, "digits", lambda _: True)
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        await lab.promote("digits", {"challenger": 1}, manager="argocd-controller")
        await lab.promote("digits", {}, manager="kubectl-edit")
        status = await lab.aliases("digits", {"challenger": 1}, "AliasesSet")
    changes = [tuple(entry.get(name) for name in ("alias", "from", "to", "by")) for entry in status["aliasHistory"]]
    assert changes[:2] == [
        ("champion", None, 1, "argocd-controller"),
        ("champion", 1, 2, "argocd-controller"),
    ]
    assert sorted(changes[2:]) == [("challenger", None, 1, "argocd-controller"), ("champion", 2, None, None)]
    told = lab.events("digits", "AliasMoved", "AliasRefused", "AliasRemoved")
    assert sorted(told) == [
        *[("AliasMoved", 1)] * 3,
        *[("AliasRefused", 1)] * 2,
        ("AliasRemoved", 1),
    ]


async def test_a_model_that_is_not_good_enough_is_held_back_until_its_condition_is_eased(lab, operator):
    async with operator() as running:
        run = await lab.train("weak", {**DIGITS, "when": WHEN}, metrics={"accuracy": 0.85, "loss": "NaN"})
        assert run["status"]["phase"] == "Completed"
        condition = find(run["status"], "ModelRegistered")
        assert (condition["status"], condition["reason"]) == ("False", "ConditionNotMet")
        assert "asks for accuracy at least 0.9, and the run's is 0.85" in condition["message"]

        # Added after the end: NaN satisfies nothing.
        held = {"name": "later", "path": "outputs/m.pkl", "when": {"metric": "loss", "atMost": 1}}
        await lab.change("weak", [{**DIGITS, "when": WHEN}, held])
        run = await lab.until(TRAINING_JOB, "weak", lambda run: len(run["status"].get("heldModels", ())) == 2)
        assert "the run's is NaN" in find(run["status"], "ModelRegistered")["message"]
        assert await lab.find(REGISTERED_MODEL, "digits") is None
        await running.settled(quiet_seconds=1.0)
        assert lab.events("weak", "ConditionNotMet") == [("ConditionNotMet", 1)] * 2

        # Eased after the end: what the run saved becomes a version.
        await lab.change("weak", [DIGITS, held])
        run = await lab.until(TRAINING_JOB, "weak", lambda run: "models" in run["status"])
        assert [entry["id"] for entry in run["status"]["models"]] == ["digits:1"]
        assert [entry["name"] for entry in run["status"]["heldModels"]] == ["later"]

        # Good enough from the beginning.
        run = await lab.train("strong", {**DIGITS, "when": WHEN}, metrics={"accuracy": 0.95})
        assert [entry["id"] for entry in run["status"]["models"]] == ["digits:2"]
        assert find(run["status"], "ModelRegistered")["status"] == "True"
