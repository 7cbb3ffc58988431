"""The serving example: its server loads what it says and nothing else, its manifests fit together."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import joblib
import numpy as np
import pytest
import skops.io
import yaml
from sklearn.linear_model import LogisticRegression

from tests.unit.helm.pod_security import violations
from trainyard.contract import ENV_CA, ENV_GATEWAY, TOKEN_AUDIENCE, TOKEN_FILE
from trainyard_operator.api.names import object_name
from trainyard_runner.fetch import read_wish

SECONDS = 400


@pytest.fixture(scope="module")
def example(repository):
    return repository / "examples" / "serving"


class Harmful:
    """A pickle of this makes a file where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Own(LogisticRegression):
    """A model of a type that nobody has vouched for."""


@pytest.fixture(scope="module")
def model():
    return LogisticRegression().fit(np.eye(3, 4), np.arange(3))


@pytest.fixture
def folder(tmp_path):
    """Where `fetch` would have left a model, with the manifest beside it."""
    (tmp_path / "current").mkdir()
    (tmp_path / "current.manifest.json").write_text(json.dumps({"id": "digits:3"}))
    return tmp_path / "current"


def command(example):
    return [sys.executable, str(example / "base" / "app.py")]


def environment(folder, **more):
    return {**os.environ, "MODEL_FOLDER": str(folder), "PORT": "0", "PYTHONUNBUFFERED": "1", **more}


@contextlib.contextmanager
def serving(example, folder, **more):
    """Run the server and give its address."""
    process = subprocess.Popen(
        command(example), env=environment(folder, **more), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("serving digits:3 from "), line
        yield f"http://127.0.0.1:{line.rsplit(' ', 1)[1].strip()}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def refused(example, folder, **more):
    done = subprocess.run(
        command(example), env=environment(folder, **more), capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode != 0
    return done.stderr


def ask(url, document=None):
    body = document if document is None or isinstance(document, bytes) else json.dumps(document).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_skops_file_is_served(example, folder, model):
    skops.io.dump(model, folder / "model.skops")
    with serving(example, folder) as url:
        for path in ("/predict", "/v1/models/digits:predict"):
            answer = ask(url + path, {"instances": np.eye(3, 4).tolist()})
            assert answer == (200, {"model": "digits:3", "predictions": [0, 1, 2]})
        for path in ("/healthz", "/v1/models/digits"):
            assert ask(url + path) == (200, {"name": "digits", "model": "digits:3", "ready": True})
        for body in (b"no json", {"rows": []}, {"instances": [[1]]}, [], {"instances": ["x"]}):
            status, answer = ask(url + "/predict", body)
            assert (status, "send " in answer["error"]) == (400, True)
        assert ask(url + "/v1/models/other:predict", {})[0] == 404
        assert ask(url + "/")[0] == 404


def test_a_pickle_is_served_where_somebody_said_so(example, folder, model):
    joblib.dump(model, folder / "model.pkl")
    with serving(example, folder, MODEL_FORMAT="joblib") as url:
        assert ask(url + "/predict", {"instances": [[0, 1, 0, 0]]})[1]["predictions"] == [1]


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.skops"])
def test_a_pickle_runs_nothing_where_nobody_said_so(example, folder, tmp_path, name):
    harm = tmp_path / "harm"
    (folder / name).write_bytes(pickle.dumps(Harmful(harm)))
    said = refused(example, folder)
    assert not harm.exists()
    assert "set MODEL_FORMAT=joblib" in said or name.endswith(".skops")


def test_types_that_nobody_vouched_for_are_refused_by_name(example, folder):
    skops.io.dump(Own().fit(np.eye(2), [0, 1]), folder / "model.skops")
    said = refused(example, folder)
    assert "UntrustedTypesFoundException" in said
    assert "Own" in said


@pytest.mark.parametrize("names", [[], ["a.skops", "b.skops"]])
def test_a_model_of_no_file_or_of_several_is_not_guessed_at(example, folder, names):
    for name in names:
        (folder / name).write_bytes(b"")
    assert f"has {len(names)} files" in refused(example, folder)


@pytest.fixture(scope="module", params=["deployment", "kserve"])
def rendered(request, example, program):
    """What kustomize makes of one of the two ways, by kind."""
    output = subprocess.run(
        [str(program("kubectl")), "kustomize", str(example / request.param)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout
    return {document["kind"]: document for document in yaml.safe_load_all(output)}


def pod_of(rendered):
    if "Deployment" in rendered:
        return rendered["Deployment"]["spec"]["template"]["spec"]
    return rendered["InferenceService"]["spec"]["predictor"]


def test_the_pod_is_restricted_and_has_no_token_of_the_api_server(rendered):
    pod = pod_of(rendered)
    assert violations(pod) == []
    assert pod["automountServiceAccountToken"] is False


def test_the_role_is_for_the_model_that_is_fetched_and_nothing_else(rendered):
    (init,) = pod_of(rendered)["initContainers"]
    wish = read_wish(init["command"][5:])
    assert (wish.model, wish.version) == ("sklearn_mnist", "@champion")
    rule = {"apiGroups": ["trainyard.dev"], "resources": ["registeredmodels"], "verbs": ["get"]}
    assert rendered["Role"]["rules"] == [{**rule, "resourceNames": [object_name(wish.model)]}]
    assert rendered["RoleBinding"]["roleRef"]["name"] == rendered["Role"]["metadata"]["name"]
    (subject,) = rendered["RoleBinding"]["subjects"]
    assert subject["name"] == rendered["ServiceAccount"]["metadata"]["name"] == pod_of(rendered)["serviceAccountName"]


def test_the_init_container_has_what_fetch_asks_for(rendered):
    pod = pod_of(rendered)
    (init,) = pod["initContainers"]
    assert init["command"][:5] == ["python3", "-I", "-S", "/opt/trainyard/runner.pyz", "fetch"]
    assert init["envFrom"] == [{"configMapRef": {"name": "trainyard-gateway"}}]
    (token,) = [volume for volume in pod["volumes"] if volume["name"] == "token"]
    (source,) = token["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == TOKEN_AUDIENCE
    mounts = {mount["name"]: mount["mountPath"] for mount in init["volumeMounts"]}
    assert f"{mounts['token']}/{source['serviceAccountToken']['path']}" == TOKEN_FILE
    assert init["command"][-1].startswith(mounts["models"] + "/")


def test_the_server_reads_what_was_fetched_and_cannot_write_it_nor_ask_for_more(rendered):
    pod = pod_of(rendered)
    (server,) = pod["containers"]
    mounts = {mount["name"]: mount for mount in server["volumeMounts"]}
    assert set(mounts) == {"models", "app"}
    assert mounts["models"]["readOnly"] is True
    assert {"name": "MODEL_FORMAT", "value": "skops"} in server["env"]
    (app,) = [volume for volume in pod["volumes"] if volume["name"] == "app"]
    assert app["configMap"]["name"] == rendered["ConfigMap"]["metadata"]["name"]
    assert rendered["ConfigMap"]["metadata"]["name"].startswith("digits-server-")


def test_both_containers_run_the_same_image(rendered):
    pod = pod_of(rendered)
    assert {c["image"] for c in [*pod["initContainers"], *pod["containers"]]} == {
        "registry.example.com/trainyard/trainer:0.1.0"
    }


def test_the_inference_service_is_one(rendered):
    if "InferenceService" not in rendered:
        assert rendered["Service"]["spec"]["selector"] == rendered["Deployment"]["spec"]["selector"]["matchLabels"]
        return
    service = rendered["InferenceService"]
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    assert service["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "RawDeployment"}
    assert set(service["spec"]) == {"predictor"}
    (server,) = service["spec"]["predictor"]["containers"]
    assert server["name"] == "kserve-container"
    assert server["ports"] == [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}]


def test_the_chart_publishes_what_the_example_takes(repository):
    text = (repository / "helm" / "trainyard" / "templates" / "gateway-config.yaml").read_text()
    assert "name: trainyard-gateway\n" in text
    assert f"  {ENV_GATEWAY}: https://" in text
    assert ENV_CA in text
