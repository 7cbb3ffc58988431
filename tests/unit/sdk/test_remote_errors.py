"""What goes wrong, in sentences; and what an import costs."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from trainyard import errors
from trainyard.patience import TransferError, Unavailable
from trainyard.remote.api import IN_CLUSTER, connect, refusal
from trainyard.remote.gateway import Gateway, translated
from trainyard.transfer import FileChanged, GatewayRefused, StoreRefused

URL = "https://trainyard-gateway.yard.svc:8443"


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        pytest.param(401, errors.Forbidden, "log in to the cluster again", id="unknown"),
        pytest.param(403, errors.Forbidden, "not allowed: no. Ask whoever runs the cluster", id="forbidden"),
        pytest.param(404, errors.NotFound, "no", id="not there"),
        pytest.param(409, errors.Conflict, "no", id="in the way"),
        pytest.param(422, errors.Invalid, "no", id="wrong"),
        pytest.param(503, errors.Unreachable, "answered GET /x with 503: no; try again", id="away"),
        pytest.param(0, errors.Unreachable, "no", id="TLS"),
    ],
)
def test_refusals_of_the_api_server_have_kinds(status, kind, said):
    error = refusal("GET /x", status, "no")
    assert type(error) is kind
    assert said in error.message


def refused(status):
    return GatewayRefused(reason="R", message="words", field=None, status=status)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        pytest.param(refused(403), errors.Forbidden, "words", id="may not"),
        pytest.param(refused(404), errors.NotFound, "words", id="is not there"),
        pytest.param(refused(409), errors.Conflict, "words", id="is not Ready"),
        pytest.param(refused(400), errors.Invalid, "words", id="is wrong"),
        pytest.param(refused(418), errors.Invalid, "words", id="is odd"),
        pytest.param(Unavailable(f"{URL}: refused"), errors.Unreachable, "is the operator running", id="gateway away"),
        pytest.param(
            Unavailable("the gateway answered 503: the object store did not do what was needed"),
            errors.StoreUnavailable,
            "operator's log",
            id="the gateway's store is away",
        ),
        pytest.param(Unavailable("the gateway answered 500: x"), errors.Unreachable, "500", id="gateway fails"),
        pytest.param(Unavailable("http://s3: timed out"), errors.StoreUnavailable, "does not answer", id="store away"),
        pytest.param(StoreRefused(status=403, message="no"), errors.StoreUnavailable, "clock", id="store refuses"),
        pytest.param(FileChanged("replaced"), errors.DigestMismatch, "replaced meanwhile", id="changed"),
        pytest.param(TransferError("odd"), errors.TrainyardError, "odd", id="anything else"),
    ],
)
def test_failed_transfers_have_kinds(error, kind, said):
    with pytest.raises(kind, match=said) as caught, translated(URL):
        raise error
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        pytest.param(errors.NotFound("x"), errors.NotInstalled, "Name its namespace as resource_group", id="elsewhere"),
        pytest.param({"TRAINYARD_GATEWAY": URL}, errors.Unreachable, "has no TRAINYARD_CA yet", id="never started"),
    ],
)
def test_a_gateway_that_is_not_there_is_explained(data, kind, said):
    def request(_method, path):
        assert path == "/api/v1/namespaces/yard/configmaps/trainyard-gateway"
        if isinstance(data, Exception):
            raise data
        return {"data": data}

    gateway = Gateway(SimpleNamespace(request=request), namespace="team", system="yard", environ={})
    with pytest.raises(kind, match=said):
        gateway.files(area="data", prefix="")


def test_a_pod_without_a_token_is_explained():
    with pytest.raises(errors.ConfigError, match="this pod has no token"):
        connect(context=IN_CLUSTER, environ={"KUBECONFIG": "/nothing", "KUBERNETES_SERVICE_HOST": "10.0.0.1"})


def python(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_script_pays_for_the_run_alone():
    heavy = "('kubernetes', 'tqdm', 'yaml', 'trainyard.remote', 'concurrent.futures')"
    assert python(f"import sys, trainyard; print([m for m in {heavy} if m in sys.modules])") == "[]\n"


def test_names_are_imported_when_they_are_asked_for():
    script = "import sys; from trainyard import *; print(Workspace, 'kubernetes' in sys.modules)"
    assert python(script) == "<class 'trainyard.remote.workspace.Workspace'> False\n"
    assert "module 'trainyard' has no attribute 'Nothing'" in python("import trainyard; trainyard.Nothing")


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param("kubernetes", id="the extra was not asked for"),
        pytest.param("trainyard.remote", id="in a pod"),
    ],
)
def test_what_is_missing_is_said_with_what_to_install(missing):
    said = python(f"import sys; sys.modules[{missing!r}] = None; from trainyard import Datastore")
    assert f"ImportError: trainyard.remote is for people who start runs; not installed here: {missing}" in said
    assert "pip install 'trainyard[sdk]'" in said
