"""What doctor finds, against a cluster that answers as the test wishes."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from email.utils import formatdate
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from trainyard.cli import checks
from trainyard.cli.checks import Check, Patient
from trainyard.cli.doctor import lines_of
from trainyard.cli.rights import REVIEWS, missing_rights
from trainyard.errors import Forbidden, NotFound, StoreUnavailable, Unreachable
from trainyard.remote.config import WorkspaceConfig

GROUP = "/apis/trainyard.dev/v1alpha1"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/trainyard-system/leases/trainyard-operator"
CONFIG_MAP = "/api/v1/namespaces/trainyard-system/configmaps/trainyard-gateway"
KINDS = {"resources": [{"name": name} for name in ("trainingjobs", "computeclusters", "registeredmodels")]}


class Api:
    """An API server with one answer, or error, for each path."""

    address = "https://cluster"

    def __init__(self, answers, *, refused=()):
        self.answers, self.refused, self.asked = answers, refused, []

    def request(self, method, path, *, body=None, query=None):
        self.asked.append((method, path))
        if path == REVIEWS:
            wish = body["spec"]["resourceAttributes"]
            return {"status": {"allowed": (wish["resource"], wish["verb"]) not in self.refused}}
        found = self.answers.get(path, NotFound("not found"))
        if isinstance(found, Exception):
            raise found
        return found

    @contextmanager
    def stream(self, method, path):
        found = self.request(method, path)
        data, ahead = json.dumps(found).encode(), found.get("ahead", 0)
        yield SimpleNamespace(data=data, headers={"Date": formatdate(time.time() + ahead, usegmt=True)})


def patient(answers=None, *, refused=(), **facts):
    settings = WorkspaceConfig(workspace_name="team")
    return Patient(api=Api(answers or {}, refused=refused), settings=settings, **facts)


def kubernetes(minor, **over):
    return {"/version": {"major": "1", "minor": minor, "gitVersion": f"v1.{minor}.0", **over}}


# The tables are made long before the tests that read them.
NOW = time.time()


def renewed(seconds, holder="operator-0"):
    when = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(NOW - seconds))
    return {LEASE: {"spec": {"renewTime": when, "holderIdentity": holder, "leaseDurationSeconds": 15}}}


def labelled(text):
    return {GROUP: KINDS, CONFIG_MAP: {"metadata": {"labels": {"app.kubernetes.io/version": text}}}}


@pytest.mark.parametrize(
    ("check", "who", "level", "said"),
    [
        pytest.param("server", patient(kubernetes("36")), "ok", "is Kubernetes v1.36.0", id="server"),
        pytest.param("server", patient(kubernetes("36+")), "ok", "is Kubernetes", id="a cloud's server"),
        pytest.param("server", patient(kubernetes("30")), "FAIL", "v1.30.0", id="old server"),
        pytest.param("server", patient({"/version": Unreachable("gone")}), "FAIL", "gone", id="no server"),
        pytest.param("namespace", patient({"/api/v1/namespaces/team": {}}), "ok", "team is there", id="namespace"),
        pytest.param("namespace", patient(), "FAIL", "there is no namespace team", id="no namespace"),
        pytest.param(
            "namespace", patient({"/api/v1/namespaces/team": Forbidden("no")}), "ok", "may not be looked at", id="shy namespace"
        ),
        pytest.param("kinds", patient({GROUP: KINDS}), "ok", "trainyard.dev/v1alpha1", id="kinds"),
        pytest.param("kinds", patient(labelled(version("trainyard"))), "ok", "of Trainyard", id="kinds of this version"),
        pytest.param("kinds", patient(labelled("9.9.9")), "warn", "of Trainyard 9.9.9, and this", id="another version"),
        pytest.param("kinds", patient(), "FAIL", "knows no trainyard.dev", id="no kinds"),
        pytest.param(
            "kinds", patient({GROUP: {"resources": KINDS["resources"][:1]}}), "FAIL", "lacks computeclusters, reg", id="few kinds"
        ),
        pytest.param("rights", patient(), "ok", "all that are needed in team and trainyard-system", id="rights"),
        pytest.param(
            "rights", patient(refused={("trainingjobs", "patch")}), "FAIL", "patch trainingjobs in team", id="no right"
        ),
        pytest.param(
            "rights", patient(refused={("pods", "get")}), "warn", "get pods/log in team (the log", id="no log"
        ),
        pytest.param("operator", patient(renewed(3)), "ok", "operator-0 renewed its Lease", id="operator"),
        pytest.param("operator", patient(renewed(500)), "FAIL", "renewed its Lease 8m", id="operator that is gone"),
        pytest.param("operator", patient(renewed(1, "")), "FAIL", "no operator holds", id="no leader"),
        pytest.param("operator", patient(), "FAIL", "no operator runs", id="no operator"),
        pytest.param("operator", patient({LEASE: Forbidden("no")}), "warn", "not for you", id="shy operator"),
        pytest.param(
            "operator", patient({LEASE: Forbidden("no")}, gateway_answers=True), "ok", "its gateway answers", id="shy but there"
        ),
        pytest.param("time", patient(ahead={"it": 1.0}), "ok", "it is +1 s", id="time"),
        pytest.param("time", patient(ahead={"it": -90.0}), "warn", "it is -90 s", id="a minute"),
        pytest.param("time", patient(ahead={"it": 200.0, "that": -200.0}), "FAIL", "that is -200 s", id="clocks apart"),
        pytest.param("time", patient(), "warn", "nothing says", id="no time"),
    ],
)  # fmt: skip
def test_a_check_finds_what_is_so(check, who, level, said, monkeypatch):
    monkeypatch.setattr(checks, "time", SimpleNamespace(time=lambda: NOW))
    found = getattr(checks, f"check_{check}")(who)
    assert found.level == level
    assert said in found.message
    assert found.level == "ok" or found.fix or check == "time"


def test_the_clock_of_the_api_server_is_compared():
    who = patient(kubernetes("36", ahead=100))
    checks.check_server(who)
    assert who.ahead["the API server"] == pytest.approx(100, abs=2)


def gateway(monkeypatch, answer=None, error=None):
    def grants(request):
        if error:
            raise error
        return {"files": answer if request["op"] == "list" else [{"url": "http://store/put"}]}

    made = SimpleNamespace(grants=grants, close=lambda: None)
    monkeypatch.setattr(checks, "Gateway", lambda *_, **__: made)
    return made


def test_a_gateway_whose_store_is_away_answers_all_the_same(monkeypatch):
    gateway(monkeypatch, error=StoreUnavailable("no store"))
    who = patient()
    assert checks.guarded(checks.check_gateway, who) == Check(level="FAIL", name="gateway", message="no store")
    assert who.gateway_answers


@pytest.mark.parametrize(
    ("files", "status", "level"),
    [
        pytest.param([{"url": "http://store/a", "bytes": 3}], 206, "ok", id="a file"),
        pytest.param([{"url": "http://store/a", "bytes": 3}], 403, "FAIL", id="a file that is refused"),
        pytest.param([], 403, "ok", id="no file"),
        pytest.param([], 502, "FAIL", id="no store"),
    ],
)
def test_the_store_is_asked_by_a_signed_address(monkeypatch, files, status, level):
    gateway(monkeypatch, answer=files)
    asked = []
    monkeypatch.setattr(checks, "_ask_store", lambda _api, url: (asked.append(url) or status, formatdate(usegmt=True)))
    who = patient()
    assert checks.check_gateway(who).level == "ok"
    assert checks.check_store(who).level == level
    assert asked == [files[0]["url"] if files else "http://store/put"]
    assert "the object store" in who.ahead


def test_rights_that_are_missing_are_named_with_their_verbs():
    api = Api({}, refused={("serviceaccounts", "create"), ("trainingjobs", "delete"), ("trainingjobs", "list")})
    missing = missing_rights(api, namespace="team", system="yard", account="people")
    assert [(right.verbs, right.what) for right in missing] == [
        (("list", "delete"), "trainingjobs"),
        (("create",), "serviceaccounts/token people"),
    ]


def test_a_finding_is_a_line_with_what_to_do_below():
    check = Check(level="warn", name="time", message="late", fix="set it")
    assert lines_of(check) == ["warn  time        late", "                  -> set it"]
