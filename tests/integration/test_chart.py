"""The chart against a real API server and Kubernetes' own controllers; no nodes, so no pod ever starts."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from devcluster import programs
from devcluster.controlplane import ControlPlane
from devcluster.waiting import wait_for
from tests.unit.helm import chart, kube_schemas
from tests.unit.helm.test_rbac import AT_HOME, EVERYWHERE

NAMESPACE = chart.NAMESPACE
OPERATOR = f"system:serviceaccount:{NAMESPACE}:trainyard-operator"
CRDS = {"trainingjobs.trainyard.dev", "computeclusters.trainyard.dev", "registeredmodels.trainyard.dev"}
DEPLOYMENTS = ("trainyard-operator", "trainyard-store")
# Its kind is known only where the Prometheus operator is.
WITHOUT_MONITOR = {"metrics": {"serviceMonitor": {"enabled": False}}}


class Cluster:
    """A control plane with a namespace that takes restricted pods only."""

    def __init__(self, control_plane):
        self.control_plane = control_plane
        self.kubectl = control_plane.kubectl
        self.kubectl("create", "namespace", NAMESPACE)
        self.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")

    def helm(self, *arguments, values=None):
        return chart.helm(*arguments, "--kubeconfig", self.control_plane.kubeconfig, values=values)

    def release(self, *, verb="upgrade", name=chart.RELEASE, namespace=NAMESPACE, values=None):
        arguments = ["--install"] if verb == "upgrade" else []
        return self.helm(verb, name, chart.CHART, "--namespace", namespace, "--values=-", *arguments, values=values)

    def installed(self, values=None):
        result = self.release(values=values)
        assert result.code == 0, result.err
        return result

    def get(self, *what):
        return json.loads(self.kubectl("get", "--namespace", NAMESPACE, "--output=json", *what))

    def names(self, kind):
        return {found["metadata"]["name"] for found in self.get(kind)["items"]}

    def may(self, user, *wishes):
        """Ask for each (verb, resource, namespace) whether `user` may."""
        answers = self.kubectl(
            *("create", "--filename=-", "--output=jsonpath={.status.allowed}{' '}"),
            text="\n---\n".join(json.dumps(review(user, *wish)) for wish in wishes),
        )
        return [answer == "true" for answer in answers.split()]


def review(user, verb, resource, namespace):
    """A question to the API server: may this user do that?"""
    path, _, name = resource.partition(" ")
    group, _, resource = path.partition("/")
    resource, _, subresource = resource.partition("/")
    attributes = {"group": group, "resource": resource, "subresource": subresource, "name": name, "verb": verb}
    groups = ["system:serviceaccounts", "system:authenticated"] if user == OPERATOR else ["system:authenticated"]
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": attributes | {"namespace": namespace}},
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    home = tmp_path_factory.mktemp("chart") / "control-plane"
    with ControlPlane(home=home, controller_manager=True) as running:
        found = Cluster(running)
        found.installed()
        yield found


@pytest.fixture(scope="module")
def conform(cluster, tmp_path_factory):
    """Run kubeconform over objects, with the schemas that this API server publishes."""
    folder = tmp_path_factory.mktemp("schemas")
    objects = [found for values in chart.VALUE_SETS.values() for found in chart.render(values | WITHOUT_MONITOR)]
    kinds = {kube_schemas.kind_of(found) for found in objects}
    location = kube_schemas.write(kinds, folder=folder, get=lambda path: cluster.kubectl("get", "--raw", path))

    def run(text):
        return subprocess.run(
            [programs.ensure(["kubeconform"])["kubeconform"], "-strict", "-summary", "-schema-location", location],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("values", chart.VALUE_SETS.values(), ids=chart.VALUE_SETS)
def test_kubeconform_finds_nothing_against_the_servers_own_schemas(conform, values):
    rendered = chart.template(values | WITHOUT_MONITOR)
    found = conform(rendered.out)

    assert (found.returncode, found.stderr) == (0, ""), found.stdout
    assert re.search(r"Valid: [1-9]\d*, Invalid: 0, Errors: 0, Skipped: 0", found.stdout)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("revisionHistoryLimit", "revisionHistoryLimits"), ("maxSurge: 1", "maxSurge: []"), ("port: 8443", "port: x")],
)
def test_kubeconform_would_find_a_mistake(conform, right, wrong):
    rendered = chart.template({}).out
    assert right in rendered

    found = conform(rendered.replace(right, wrong))

    assert found.returncode == 1
    assert re.search(r"Invalid: [1-9]", found.stdout)


def test_the_controllers_get_every_pod_past_pod_security(cluster):
    def pods():
        found = {p["metadata"]["labels"]["app.kubernetes.io/component"] for p in cluster.get("pods")["items"]}
        return found == {"operator", "store"}

    wait_for(pods, what="a pod of each Deployment", timeout=60, hint=lambda: cluster.kubectl("get", "events", "-A"))


def test_keys_and_pods_stay_as_they_are_over_an_upgrade(cluster):
    cluster.installed()
    keys = cluster.get("secret", "trainyard-store")["data"]
    pods = {name: cluster.get("deployment", name)["spec"]["template"] for name in DEPLOYMENTS}

    cluster.installed()

    assert cluster.get("secret", "trainyard-store")["data"] == keys
    assert {name: cluster.get("deployment", name)["spec"]["template"] for name in DEPLOYMENTS} == pods


def test_an_upgrade_that_changes_a_setting_keeps_the_keys(cluster):
    cluster.installed()
    keys = cluster.get("secret", "trainyard-store")["data"]

    cluster.installed({"operator": {"workers": 3}})

    assert cluster.get("secret", "trainyard-store")["data"] == keys
    (operator,) = cluster.get("deployment", "trainyard-operator")["spec"]["template"]["spec"]["containers"]
    assert {"name": "TRAINYARD_WORKERS", "value": "3"} in operator["env"]


def test_definitions_are_established_and_take_the_training_job_of_the_notes(cluster):
    result = cluster.installed()
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in CRDS))
    (manifest,) = re.findall(r"<<'EOF'\n(.*?)\nEOF$", result.out, flags=re.DOTALL | re.MULTILINE)

    said = cluster.kubectl("create", "--dry-run=server", "--filename=-", text=manifest)

    assert said.startswith("trainingjob.trainyard.dev/hello created")


def test_data_and_definitions_outlive_the_release_and_are_taken_up_again(cluster):
    cluster.installed()

    assert cluster.helm("uninstall", chart.RELEASE, "--namespace", NAMESPACE).code == 0
    assert cluster.names("deployments") == set()
    assert cluster.names("persistentvolumeclaims") == {"trainyard-store"}
    assert cluster.names("crds") >= CRDS

    cluster.installed()
    assert cluster.names("deployments") == set(DEPLOYMENTS)


def test_a_second_release_is_refused(cluster):
    result = cluster.release(verb="install", name="another", namespace="default")

    assert result.code != 0
    assert "exists and cannot be imported into the current release" in result.err


def test_the_server_grants_the_operator_what_the_list_says(cluster):
    listed = [(verb, what, "default") for what, verbs in EVERYWHERE.items() for verb in verbs.split()]
    listed += [(verb, what, NAMESPACE) for what, verbs in AT_HOME.items() for verb in verbs.split()]
    answers = cluster.may(OPERATOR, *listed)

    assert [wish for wish, allowed in zip(listed, answers, strict=True) if not allowed] == []


def test_the_server_refuses_the_operator_what_it_does_not_need(cluster):
    unneeded = [
        ("get", "/secrets s3-keys", NAMESPACE),
        ("list", "/secrets", NAMESPACE),
        ("get", "/secrets trainyard-gateway-tls", "default"),
        ("create", "/secrets", "default"),
        ("deletecollection", "batch/jobs", "default"),
        ("patch", "/pods", "default"),
        ("create", "/pods", NAMESPACE),
        ("update", "trainyard.dev/trainingjobs", "default"),
        ("update", "coordination.k8s.io/leases other", NAMESPACE),
        ("create", "/serviceaccounts/token", NAMESPACE),
    ]
    answers = cluster.may(OPERATOR, *unneeded)

    assert [wish for wish, allowed in zip(unneeded, answers, strict=True) if allowed] == []


@pytest.mark.parametrize(
    ("role", "verb", "expected"),
    [("view", "list", True), ("view", "create", False), ("edit", "create", True), ("admin", "delete", True)],
)
def test_the_clusters_own_roles_reach_trainyards_kinds(cluster, role, verb, expected):
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{role}-of-jane", "namespace": "default"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": f"jane-{role}"}],
    }
    cluster.kubectl("apply", "--filename=-", text=json.dumps(binding))

    wishes = [(wish, "trainyard.dev/trainingjobs", "default") for wish in ("get", verb)]

    def reached():
        return cluster.may(f"jane-{role}", *wishes) == [True, expected]

    # Roles are joined by a controller, some moments after the chart is installed, and not all of them at once.
    wait_for(reached, what=f"trainingjobs in role {role}", timeout=60)
