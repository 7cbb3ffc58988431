import re
import subprocess

import pytest
import yaml

from tests.unit.helm.chart import CHART, EVERYTHING, NAMESPACE, RELEASE, VALUE_SETS, helm, pods, render

CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}

every_value_set = pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)


@every_value_set
def test_lint_is_strict_and_silent(values):
    result = helm("lint", CHART, "--strict", "--quiet", "--values=-", "--namespace", NAMESPACE, values=values)

    assert (result.code, result.out.strip()) == (0, "")


@every_value_set
def test_every_object_is_named_once_and_labelled(values):
    objects = render(values)
    names = [(o["kind"], o["metadata"]["name"]) for o in objects]

    assert len(names) == len(set(names))
    for found in objects:
        labels = found["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "trainyard"
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


@every_value_set
def test_every_object_that_lives_in_a_namespace_says_so(values):
    for found in render(values):
        expected = None if found["kind"] in CLUSTER_WIDE else NAMESPACE
        assert found["metadata"].get("namespace") == expected, found["metadata"]["name"]


@every_value_set
def test_every_workload_and_service_selects_the_pods_it_means(values):
    objects = render(values)
    labels = {name: found["metadata"]["labels"] for name, found in pods(objects).items()}
    leader = {"trainyard.dev/leader": "true"}

    for found in objects:
        if found["kind"] == "Deployment":
            selector = found["spec"]["selector"]["matchLabels"]
            assert [n for n, own in labels.items() if selector.items() <= own.items()] == [found["metadata"]["name"]]
        if found["kind"] == "Service":
            selector = found["spec"]["selector"].items()
            assert len([n for n, own in labels.items() if selector <= (own | leader).items()]) == 1


@every_value_set
def test_every_service_port_is_a_port_of_its_container(values):
    objects = render(values)
    ports = {p["name"]: p["containerPort"] for t in pods(objects).values() for p in t["spec"]["containers"][0]["ports"]}

    for found in objects:
        if found["kind"] == "Service":
            for port in found["spec"]["ports"]:
                assert ports[port["targetPort"]] == port["port"]


def test_settings_of_pods_reach_every_pod():
    for found in pods(render(EVERYTHING)).values():
        spec = found["spec"]
        assert found["metadata"]["annotations"]["example.com/team"] == "ml"
        assert spec["nodeSelector"] == EVERYTHING["nodeSelector"]
        assert spec["tolerations"] == EVERYTHING["tolerations"]
        assert spec["affinity"] == EVERYTHING["affinity"]
        assert spec["imagePullSecrets"] == EVERYTHING["imagePullSecrets"]
        assert spec["priorityClassName"] == EVERYTHING["priorityClassName"]


def test_a_service_monitor_is_made_on_request_only():
    assert not [o for o in render({}) if o["kind"] == "ServiceMonitor"]
    objects = render(EVERYTHING)
    (monitor,) = [o for o in objects if o["kind"] == "ServiceMonitor"]
    selector = monitor["spec"]["selector"]["matchLabels"].items()

    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"] == [{"port": "metrics", "interval": "15s"}]
    services = [o["metadata"] for o in objects if o["kind"] == "Service"]
    assert [s["name"] for s in services if selector <= s["labels"].items()] == ["trainyard-metrics"]


def notes(values):
    result = helm("install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client", "--values=-", values=values)
    assert result.code == 0, result.err
    return result.out.partition("NOTES:\n")[2]


@every_value_set
def test_the_notes_read_well(values):
    text = notes(values)

    assert f"is installed in {NAMESPACE}." in text
    assert "\n\n\n" not in text
    assert max(map(len, text.splitlines())) <= 120
    assert f"kubectl --namespace {NAMESPACE} port-forward service/trainyard-metrics 9090" in text


def test_the_notes_say_where_things_are_kept():
    assert "on the PersistentVolumeClaim trainyard-store" in notes({})
    assert "PersistentVolumeClaim mine" in notes(VALUE_SETS["store on a claim of one's own"])
    assert "they are gone when the pod is" in notes(VALUE_SETS["store without a volume"])
    assert "https://s3.example.com, in bucket runs" in notes(VALUE_SETS["external store"])


def test_the_training_job_of_the_notes_survives_copy_and_paste():
    (command,) = re.findall(r"^kubectl apply .*?^EOF$", notes({}), flags=re.DOTALL | re.MULTILINE)
    # A shell with a kubectl that prints what it is given.
    done = subprocess.run(
        ["sh", "-euc", f"kubectl() {{ cat; }}\n{command}"], capture_output=True, text=True, check=True
    )
    job = yaml.safe_load(done.stdout)

    assert (done.stderr, job["kind"]) == ("", "TrainingJob")
    compile(job["spec"]["source"]["inline"]["train.py"], "train.py", "exec")
