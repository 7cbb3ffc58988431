"""Reaching a cluster: which kubeconfig and kubectl, and what they say."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from demo.cluster import Cluster, find_kubeconfig, find_kubectl
from demo.errors import DemoError
from trainyard.errors import Forbidden, NotFound


class Api:
    """Answers what it was told to."""

    answer = None

    def request(self, _method, path):
        assert path == "/apis/g.example/v1/things/one"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def cluster(tmp_path):
    workspace = SimpleNamespace(name="team", objects=SimpleNamespace(api=Api()))
    return Cluster(kubectl=str(tmp_path / "kubectl"), kubeconfig="a-kubeconfig", workspace=workspace)


@pytest.fixture
def kubectl(cluster, tmp_path):
    """Return a function that makes a few lines of Python the cluster's kubectl."""

    def write(*lines):
        (tmp_path / "kubectl").write_text("\n".join([f"#!{sys.executable}", "import os, sys, time", *lines]))
        (tmp_path / "kubectl").chmod(0o755)

    return write


def test_the_user_s_kubeconfig_comes_before_the_embedded_cluster_s(tmp_path):
    (tmp_path / "kubeconfig").touch()
    assert find_kubeconfig({"KUBECONFIG": "/mine"}, yard=tmp_path) == "/mine"
    assert find_kubeconfig({"KUBECONFIG": ""}, yard=tmp_path) == str(tmp_path / "kubeconfig")


def test_no_kubeconfig_at_all_is_explained(tmp_path):
    with pytest.raises(DemoError, match="run `make up`, or set KUBECONFIG"):
        find_kubeconfig({}, yard=tmp_path)


def test_the_embedded_cluster_s_kubectl_comes_first(tmp_path, monkeypatch):
    for name in ("path", "bin"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kubectl").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_kubectl(yard=tmp_path) == str(tmp_path / "bin" / "kubectl")
    assert find_kubectl(yard=tmp_path / "absent") == str(tmp_path / "path" / "kubectl")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DemoError, match="there is no kubectl"):
        find_kubectl(yard=tmp_path / "absent")


def test_kubectl_gets_kubeconfig_and_namespace(cluster, kubectl):
    kubectl("print(os.environ['KUBECONFIG'], *sys.argv[1:])")
    assert cluster.run_kubectl("apply", "-k", "x") == "a-kubeconfig --namespace team apply -k x\n"


def test_kubectl_s_own_words_explain_its_failure(cluster, kubectl):
    kubectl("sys.exit('error: the server is away')")
    with pytest.raises(DemoError, match="kubectl apply failed: error: the server is away"):
        cluster.run_kubectl("apply")


@pytest.mark.parametrize(
    ("answer", "there"),
    [({}, True), (NotFound("none"), False), (Forbidden("no"), False)],
    ids=["there", "absent", "forbidden"],
)
def test_an_object_of_the_whole_cluster_is_there_or_not(cluster, answer, there):
    cluster.workspace.objects.api.answer = answer
    assert cluster.has_object("g.example", "v1", "things", "one") is there
