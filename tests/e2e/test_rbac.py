"""The operator's rights are exactly what it uses: the API server's audit log against the chart's roles."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.e2e import scripts
from tests.e2e.yard import SYSTEM, Yard, compute_cluster, training_job

pytestmark = pytest.mark.e2e

OPERATOR = f"system:serviceaccount:{SYSTEM}:trainyard-operator"
# What every service account may ask by Kubernetes' own default roles: its own access.
DEFAULT_RESOURCES = {"selfsubjectaccessreviews", "selfsubjectrulesreviews"}
# Granted by a value of the chart that is off here: what it is used for is asked of it in test_kueue.
KUEUE = "kueue.x-k8s.io"


def used(log: Path, *, user: str = OPERATOR) -> set[tuple[str, str, str]]:
    """Return the (group, resource, verb) triples of a user's requests, whatever was answered."""
    triples = set()
    for line in log.read_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the last line may be half written
        reference = event.get("objectRef")
        if event["user"]["username"] != user or not reference or "resource" not in reference:
            continue
        resource = "/".join(filter(None, [reference["resource"], reference.get("subresource")]))
        triples.add((reference.get("apiGroup", ""), resource, event["verb"]))
    return {triple for triple in triples if triple[1] not in DEFAULT_RESOURCES}


def granted(yard: Yard) -> set[tuple[str, str, str]]:
    """Return the triples that the chart's roles grant the operator."""
    bindings = yard.items("clusterrolebindings") + yard.items("rolebindings", "-n", SYSTEM)
    triples = set()
    for binding in bindings:
        if not any(s.get("name") == "trainyard-operator" for s in binding.get("subjects", [])):
            continue
        role = binding["roleRef"]
        where = ("-n", SYSTEM) if role["kind"] == "Role" else ()
        for rule in yard.get(role["kind"].lower(), role["name"], *where)["rules"]:
            triples |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    return triples


def test_the_operator_uses_every_right_it_has_and_asks_for_no_other(yard: Yard, audit_log, a_whole_run):
    asked, may = used(audit_log), granted(yard)
    assert may, "no role is bound to the operator"
    assert {triple for triple in asked - may if triple[0] != KUEUE} == set(), "asked for without a right"
    assert may - asked == set(), "granted and never used"


@pytest.fixture
def a_whole_run(yard: Yard, configure):
    """Have every part of the operator at work once: a pool that grows and goes, a ConfigMap's source, model, events.

    The second run whose packages cannot be had has the build that failed for the first one removed.
    """
    for _ in range(2):
        failed = yard.apply(training_job(scripts.FINE, environment={"pip": ["tabulate==0.0.0"]}))
        assert yard.wait_for_end(failed)["status"]["phase"] == "Failed"
    # A machine that never comes up is given back; until then the operator asks what the provider says.
    configure(boot="fail")
    for obj in (
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "rights-code", "namespace": "default"},
            "data": {"train.py": scripts.CURIOUS},
        },
        compute_cluster(
            "rights", queue={"paused": True}, scale={"minNodes": 1, "maxNodes": 2}, provisioningTimeoutSeconds=30
        ),
    ):
        yard.apply(obj)
    job = training_job(
        None,
        source={"configMapRef": {"name": "rights-code"}},
        computeClusterRef={"name": "rights"},
        models=[{"name": f"rights-{uuid.uuid4().hex[:8]}", "path": "outputs/model.bin"}],
    )
    name = yard.apply(job)
    yard.wait_for_reason(name, "QueuePaused")
    wider = {"queue": {"paused": False}, "scale": {"minNodes": 0, "maxNodes": 3}}
    yard.kubectl("patch", "cc", "rights", "--type=merge", "-p", json.dumps({"spec": wider}))
    yard.wait("a machine to be given back", lambda: "ProvisioningTimeout" in json.dumps(yard.events("rights")))
    configure()
    assert yard.wait_for_end(name)["status"]["phase"] == "Completed"
    gone = json.dumps({"spec": {"deletionPolicy": "Delete", "ttlSecondsAfterFinished": 0}})
    yard.kubectl("patch", "tj", name, "--type=merge", "-p", gone)
    yard.wait("the run to go", lambda: name not in yard.kubectl("get", "tj", "-o", "name"))
    yard.kubectl("delete", "cc", "rights", "--timeout=420s")
