"""The example for Argo CD and Flux: its folder is applied as they do, and real objects are judged by their rules."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import uuid

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from devcluster.errors import DevclusterError
from tests.support.kstatus import kstatus
from trainyard_operator.api.names import COMPUTE_CLUSTER, REGISTERED_MODEL, TRAINING_JOB

KINDS = {kind.kind: kind for kind in (TRAINING_JOB, COMPUTE_CLUSTER, REGISTERED_MODEL)}
MANAGER = "kustomize-controller"
SECONDS = 60


@pytest.fixture(scope="module")
def example(repository):
    """The folder of the example."""
    return repository / "examples" / "gitops"


@pytest.fixture(scope="module")
def argo(example):
    """Argo CD's health of an object, by the script that the example gives it."""
    customizations = yaml.safe_load((example / "argocd" / "argocd-cm.yaml").read_text())["data"]
    (script,) = yaml.safe_load(customizations["resource.customizations"]).values()
    lua = LuaRuntime()
    judge = lua.execute(f"return function(obj) {script['health.lua']} end")

    def health(found):
        answer = judge(lua.table_from(found, recursive=True))
        assert answer.message
        return answer.status

    return health


@pytest.fixture
def flux(control_plane, example, lab):
    """Flux' health of an object, by the example's expressions, which an API server evaluates as it does its own."""
    name = f"health-{uuid.uuid4().hex[:8]}"
    documents = yaml.safe_load_all((example / "flux" / "team-a.yaml").read_text())
    (checks,) = [found["spec"]["healthCheckExprs"] for found in documents if found["kind"] == "Kustomization"]
    assert {check["kind"] for check in checks} == set(KINDS)
    wishes = [(check["kind"], word, check[word]) for check in checks for word in ("current", "failed")]
    rule = {"apiGroups": ["trainyard.dev"], "apiVersions": ["v1alpha1"], "operations": ["UPDATE"], "resources": ["*"]}
    said = [
        {"expression": f"object.kind != '{kind}' || !({re.sub(r'^status', 'object.status', text)})", "message": word}
        for kind, word, text in wishes
    ]
    policy = {
        "kind": "ValidatingAdmissionPolicy",
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [*said, {"expression": "false", "message": "inProgress"}],
        },
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": lab.namespace}}}
    binding = {
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": name, "validationActions": ["Warn"], "matchResources": here},
    }
    for document in (policy, binding):
        whole = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}, **document}
        control_plane.kubectl("create", "-f", "-", text=json.dumps(whole))

    def health(found):
        arguments = ("annotate", found["kind"].lower(), found["metadata"]["name"], "looked=at", "--dry-run=server")
        done = subprocess.run(
            [control_plane._programs["kubectl"], f"--kubeconfig={control_plane.kubeconfig}", *arguments,
             f"--namespace={lab.namespace}"], capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [line.rpartition(": ")[2] for line in done.stderr.splitlines() if name in line]

    yield health
    control_plane.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


@pytest.fixture
def sync(control_plane, example, lab, tmp_path):
    """Apply the example's folder to the lab's namespace, as a GitOps controller does."""
    where = os.path.relpath(example / "team", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(json.dumps({"namespace": lab.namespace, "resources": [where]}))

    def run(change=lambda text: text):
        text = change(control_plane.kubectl("kustomize", str(tmp_path)))
        arguments = ("apply", "--server-side", f"--field-manager={MANAGER}", "--force-conflicts", "-f", "-")
        return control_plane.kubectl(*arguments, text=text)

    return run


@pytest.fixture
def node(control_plane):
    """A node that can take runs."""
    name = f"node-{uuid.uuid4().hex[:8]}"
    document = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}}}
    control_plane.kubectl("create", "-f", "-", text=json.dumps(document))
    about = {"capacity": {"cpu": "2", "memory": "8Gi", "pods": "10"}, "allocatable": {"cpu": "2", "memory": "8Gi"}}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": None}
    patch = json.dumps({"status": {**about, "conditions": [ready]}})
    control_plane.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)
    # What the API server gives each new node, and a controller of nodes takes away.
    control_plane.kubectl("patch", "node", name, "--type=merge", "-p", json.dumps({"spec": {"taints": None}}))
    yield name
    control_plane.kubectl("delete", "node", name)


async def test_the_folder_trains_and_is_healthy_and_nobody_quarrels_about_it(  # noqa: PLR0917
    served, control_plane, lab, sync, node, argo, flux
):
    async def judged(kind, name, expected, condition=lambda found: True):
        """Wait until an object is judged as expected by kstatus, Argo CD and Flux."""
        seen = None
        for _ in range(SECONDS * 5):
            found = await lab.until(kind, name, condition)
            seen = kstatus(found), argo(found), (await asyncio.to_thread(flux, found) or [None])[0]
            if seen == expected:
                return found
            await asyncio.sleep(0.2)
        pytest.fail(f"{name} is {seen} and not {expected}: {json.dumps(found['status'], indent=1)}")

    sync()
    await judged(COMPUTE_CLUSTER, "anywhere", ("Current", "Healthy", "current"))
    # The one difference between kstatus and the example's checks: a model may be in git before there is a version.
    await judged(REGISTERED_MODEL, "digits", ("InProgress", "Healthy", "current"))
    await judged(TRAINING_JOB, "digits-1", ("InProgress", "Progressing", "inProgress"))
    await lab.play("digits-1", metrics={"accuracy": 0.96}, files={"outputs/digits.skops": b"a model"})
    done = await judged(TRAINING_JOB, "digits-1", ("Current", "Healthy", "current"))
    await judged(REGISTERED_MODEL, "digits", ("Current", "Healthy", "current"))
    await lab.aliases("digits", {"champion": 1}, "AliasesSet")

    await lab.change("digits-1", [*done["spec"]["models"], {"name": "by-hand", "path": "outputs/m.pkl"}])
    await lab.until(REGISTERED_MODEL, "by-hand", lambda model: model["status"].get("latestVersion") == 1)
    before = [await lab.find(kind, name) for kind, name in named()]
    sync()
    after = [await lab.find(kind, name) for kind, name in named()]
    assert [found["metadata"]["generation"] for found in after] == [found["metadata"]["generation"] for found in before]
    assert [model["name"] for model in after[0]["spec"]["models"]] == ["digits", "by-hand"]
    with pytest.raises(DevclusterError, match="cannot be changed"):
        sync(lambda text: text.replace("regularization: 0.8", "regularization: 0.5"))

    def another(name, **spec):
        """Create a run like the one of the folder."""
        whole = {**done["spec"], "models": [], **spec}
        document = {"apiVersion": TRAINING_JOB.api_version, "kind": TRAINING_JOB.kind, "spec": whole}
        document["metadata"] = {"name": name, "namespace": lab.namespace}
        control_plane.kubectl("create", "-f", "-", text=json.dumps(document))

    another("canceled", cancel=True)
    another("suspended", suspend=True)
    another("failed")
    await judged(TRAINING_JOB, "canceled", ("Failed", "Degraded", "failed"))
    await judged(TRAINING_JOB, "suspended", ("InProgress", "Suspended", "inProgress"))
    running = await lab.until(TRAINING_JOB, "failed", lambda run: "jobName" in run["status"])
    control_plane.kubectl("delete", "job", running["status"]["jobName"], f"-n={lab.namespace}")
    await judged(TRAINING_JOB, "failed", ("Failed", "Degraded", "failed"))
    broken = {"vmSize": "no-such-size", "provider": {"type": "Existing", "existing": {"nodeSelector": {"a": "b"}}}}
    document = {"apiVersion": COMPUTE_CLUSTER.api_version, "kind": COMPUTE_CLUSTER.kind, "spec": broken}
    document["metadata"] = {"name": "broken", "namespace": lab.namespace}
    control_plane.kubectl("create", "-f", "-", text=json.dumps(document))
    await judged(COMPUTE_CLUSTER, "broken", ("Failed", "Degraded", "failed"))


def named():
    return [(TRAINING_JOB, "digits-1"), (COMPUTE_CLUSTER, "anywhere"), (REGISTERED_MODEL, "digits")]


def test_an_object_that_the_operator_has_not_seen_is_under_way_for_argo_cd(argo):
    assert argo({"metadata": {"generation": 1}, "spec": {}}) == "Progressing"
    stale = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True", "reason": "", "message": ""}]}
    assert argo({"metadata": {"generation": 2}, "status": stale}) == "Progressing"


def test_the_folder_has_nothing_that_would_run_again_and_again(example):
    runs = [yaml.safe_load(path.read_text()) for path in (example / "team" / "runs").glob("*/run.yaml")]
    assert runs
    assert [run["metadata"]["name"] for run in runs if "ttlSecondsAfterFinished" in run["spec"]] == []


@pytest.mark.parametrize("path", ["argocd/applications.yaml", "flux/trainyard.yaml"])
def test_the_values_that_the_example_gives_the_chart_are_the_charts(example, program, repository, path, tmp_path):
    documents = list(yaml.safe_load_all((example / path).read_text()))
    values = [found["spec"].get("values") or found["spec"].get("source", {}).get("helm", {}).get("valuesObject")
              for found in documents]  # fmt: skip
    (given,) = [found for found in values if found]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(given))
    arguments = ["template", "trainyard", repository / "helm" / "trainyard", "--values", tmp_path / "values.yaml"]
    done = subprocess.run([program("helm"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "registry.example.com/trainyard/operator" in done.stdout
