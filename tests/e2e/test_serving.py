"""A registered model served by the example's Deployment, in a restricted namespace, and those who may not have it."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest
import yaml

from devcluster.layout import REPOSITORY
from tests.e2e.yard import SYSTEM, Json, Yard, training_job
from trainyard_operator.api.names import object_name

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

MODEL = "serving_digits"
SCRIPT = """
import numpy as np, skops.io
from pathlib import Path
from sklearn.linear_model import LogisticRegression
Path("outputs").mkdir()
skops.io.dump(LogisticRegression().fit(np.eye(3, 4), np.arange(3)), "outputs/digits.skops")
"""


def labelled(name: str) -> Json:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def copy_gateway(yard: Yard, namespace: str) -> None:
    """Do what the documentation says: copy the ConfigMap into the namespace."""
    data = yard.get("configmap", "trainyard-gateway", "-n", SYSTEM)["data"]
    meta = {"name": "trainyard-gateway", "namespace": namespace}
    yard.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})


def rendered(yard: Yard) -> list[Json]:
    """Return the example's objects, for this cluster's image and this test's model."""
    output = subprocess.run(
        [yard.kubectl_program, "kustomize", REPOSITORY / "examples" / "serving" / "deployment"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for old, new in (
        ("registry.example.com/trainyard/trainer:0.1.0", yard.trainer_image()),
        ("sklearn_mnist@champion", f"{MODEL}@champion"),
        (object_name("sklearn_mnist"), object_name(MODEL)),
    ):
        assert old in output
        output = output.replace(old, new)
    return list(yaml.safe_load_all(output))


@pytest.fixture(scope="module")
def namespaces(yard: Yard) -> Iterator[tuple[str, str]]:
    """One namespace with a model, and one without; both gone in the end."""
    name = f"serving-{uuid.uuid4().hex[:6]}"
    made = (name, f"{name}-other")
    for namespace in made:
        yard.apply(labelled(namespace))
        copy_gateway(yard, namespace)
    try:
        wish = [{"name": MODEL, "path": "outputs/digits.skops"}]
        run = yard.apply(training_job(SCRIPT, namespace=name, models=wish))
        yard.wait_for_end(run, namespace=name)

        def champion() -> Json | None:
            return yard.get("rmodel", object_name(MODEL), "-n", name)["status"].get("aliases", {}).get("champion")

        wish = {"spec": {"aliases": {"champion": 1}}}
        yard.kubectl("patch", "rmodel", object_name(MODEL), "-n", name, "--type=merge", "-p", json.dumps(wish))
        yard.wait("the alias", champion)
        yield made
    finally:
        for namespace in made:
            yard.kubectl("delete", "namespace", namespace, "--wait=false")


def refused(yard: Yard, deployment: Json, *, namespace: str, account: str, model: str) -> Json:
    """Return how the example's init container ends as the only container of a pod of `account`."""
    pod = json.loads(json.dumps(deployment["spec"]["template"]["spec"]))
    (fetch,) = pod.pop("initContainers")
    fetch["command"][5:6] = [model]
    fetch["command"] += ["--namespace", namespace.removesuffix("-other")]
    volumes = [volume for volume in pod["volumes"] if volume["name"] != "app"]
    spec = {**pod, "containers": [fetch], "volumes": volumes, "restartPolicy": "Never", "serviceAccountName": account}
    name = f"refused-{uuid.uuid4().hex[:6]}"
    yard.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec})

    def ended() -> Json | None:
        statuses = yard.get("pod", name, "-n", namespace)["status"].get("containerStatuses") or [{}]
        return statuses[0].get("state", {}).get("terminated")

    return yard.wait(f"the end of {name}", ended)


def test_the_example_serves_a_registered_model_and_nobody_without_the_role_gets_it(yard: Yard, namespaces):
    here, other = namespaces
    objects = rendered(yard)
    deployment = next(found for found in objects if found["kind"] == "Deployment")
    for found in objects:
        yard.kubectl("apply", "-n", here, "-f", "-", stdin=json.dumps(found))

    # While that starts: another account of the namespace, another namespace, and a model that nobody ever made.
    said = {}
    for case, namespace, model in (
        ("account", here, MODEL),
        ("namespace", other, MODEL),
        ("nothing", other, "nothing_of_this_name"),
    ):
        ended = refused(yard, deployment, namespace=namespace, account="default", model=model)
        assert ended["exitCode"] == 3
        said[case] = ended["message"]
    for words in said.values():
        assert "may not read a model" in words
    assert said["namespace"].replace(MODEL, "M").replace(object_name(MODEL), "O") == said["nothing"].replace(
        "nothing_of_this_name", "M"
    ).replace(object_name("nothing_of_this_name"), "O")

    yard.kubectl("rollout", "status", "deployment/digits", "-n", here, "--timeout=420s")
    fetched = yard.kubectl("logs", "deployment/digits", "-n", here, "-c", "fetch")
    (version,) = yard.get("rmodel", object_name(MODEL), "-n", here)["status"]["versions"]
    assert f"{MODEL}:1 of namespace {here} is in /models/current: 1 file" in fetched
    assert version["manifestSha256"] in fetched
    asks = (
        "import json, urllib.request as r; "
        "body = json.dumps({'instances': [[0, 1, 0, 0], [0, 0, 1, 0]]}).encode(); "
        "print(r.urlopen(r.Request('http://digits/predict', data=body), timeout=30).read().decode())"
    )
    command = ("exec", "deployment/digits", "-n", here, "-c", "server", "--", "python3", "-I", "-S", "-c", asks)

    def answer() -> Json | None:
        said = yard.kubectl(*command, check=False)
        return json.loads(said) if said.startswith("{") else None

    # A moment after the Deployment is available every node knows where its Service leads.
    assert yard.wait("the Service to answer", answer) == {"model": f"{MODEL}:1", "predictions": [1, 2]}
    beside = yard.kubectl("exec", "deployment/digits", "-n", here, "-c", "server", "--", "ls", "/models")
    assert beside.split() == ["current", "current.manifest.json", "current.sig"]
