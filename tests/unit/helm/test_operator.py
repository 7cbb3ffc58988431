import json
import tomllib
from dataclasses import fields

import pytest
import yaml

from tests.unit.helm.chart import (
    CHART,
    EVERYTHING,
    NAMESPACE,
    ROOT,
    VALUE_SETS,
    container,
    environment,
    named,
    pods,
    render,
)
from trainyard_operator.settings import Settings

OPERATOR = "trainyard-operator"


class Recording(dict):
    """An environment that remembers what it was asked for."""

    def __init__(self, variables):
        super().__init__(variables)
        self.asked = set()

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


def started_with(values):
    """What the operator's container finds in its environment."""
    found = environment(render(values))
    return Recording({name: value if isinstance(value, str) else f"value-of-{name}" for name, value in found.items()})


def version():
    return yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]


def test_the_charts_version_is_that_of_the_programs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert version() == project["version"]


def test_images_without_a_tag_are_of_the_charts_own_version():
    objects = render({})

    assert container(objects, OPERATOR)["image"] == f"ghcr.io/trainyard/operator:{version()}"
    assert environment(objects)["TRAINYARD_TRAINER_IMAGE"] == f"ghcr.io/trainyard/trainer:{version()}"


def test_images_are_taken_from_the_values():
    objects = render(EVERYTHING)

    assert container(objects, OPERATOR)["image"] == "registry.example.com:5000/operator:1.2.3"
    assert container(objects, OPERATOR)["imagePullPolicy"] == "Always"
    assert environment(objects)["TRAINYARD_TRAINER_IMAGE"] == "registry.example.com:5000/trainer:4.5.6"
    assert environment(objects)["TRAINYARD_TRAINER_PULL_POLICY"] == "Never"


def test_settings_are_taken_from_the_values():
    variables = environment(render(EVERYTHING))

    assert variables["TRAINYARD_WORKERS"] == "3"
    assert variables["TRAINYARD_RESYNC_SECONDS"] == "60"
    assert variables["TRAINYARD_LOG_LEVEL"] == "DEBUG"
    assert json.loads(variables["TRAINYARD_RUN_DEFAULT_REQUESTS"]) == {"cpu": 2, "memory": "1Gi"}


def test_the_operator_knows_where_it_is():
    variables = environment(render({}))

    assert variables["TRAINYARD_NAMESPACE"] == NAMESPACE
    assert variables["TRAINYARD_POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert variables["TRAINYARD_GATEWAY_URL"] == f"https://trainyard-gateway.{NAMESPACE}.svc:8443"


@pytest.mark.parametrize(
    ("values", "annotations"),
    [
        pytest.param({}, None, id="none"),
        pytest.param(
            EVERYTHING, {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/trainyard"}, id="a role in AWS"
        ),
    ],
)
def test_the_operators_service_account_has_the_annotations_of_the_values(values, annotations):
    assert named(render(values), "ServiceAccount", OPERATOR)["metadata"].get("annotations") == annotations


def test_the_gateways_service_leads_to_the_leader_only():
    service = named(render({}), "Service", "trainyard-gateway")

    assert service["spec"]["selector"]["trainyard.dev/leader"] == "true"
    assert [p["port"] for p in service["spec"]["ports"]] == [8443]


@pytest.mark.parametrize(
    ("probe", "path"),
    [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")],
)
def test_probes_ask_on_the_metrics_port(probe, path):
    operator = container(render({}), OPERATOR)
    ports = {p["name"]: p["containerPort"] for p in operator["ports"]}

    assert operator[probe]["httpGet"]["path"] == path
    assert str(ports[operator[probe]["httpGet"]["port"]]) == environment(render({}))["TRAINYARD_METRICS_PORT"]


def test_the_gateways_port_is_the_one_it_is_told():
    ports = {p["name"]: p["containerPort"] for p in container(render({}), OPERATOR)["ports"]}

    assert environment(render({}))["TRAINYARD_GATEWAY_PORT"] == str(ports["gateway"])


@pytest.mark.parametrize("replicas", [1, 3])
def test_replicas_are_taken_from_the_values(replicas):
    assert named(render({"replicas": replicas}), "Deployment", OPERATOR)["spec"]["replicas"] == replicas


def test_the_key_for_signing_is_in_the_signers_container_alone():
    spec = pods(render({"signing": {"secretName": "models-key"}}))[OPERATOR]["spec"]
    [volume] = [v["name"] for v in spec["volumes"] if v.get("secret", {}).get("secretName") == "models-key"]
    mounts = {c["name"]: {m["name"]: m["mountPath"] for m in c["volumeMounts"]} for c in spec["containers"]}

    assert [name for name, mounted in mounts.items() if volume in mounted] == ["signer"]
    assert mounts["operator"]["signer"] == mounts["signer"]["signer"] == "/run/trainyard"
    signer = next(c for c in spec["containers"] if c["name"] == "signer")
    assert {e["name"] for e in signer["env"]} == {"TRAINYARD_SIGNING_KEY", "TRAINYARD_SIGNER_SOCKET"}
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in [m["mountPath"] for m in signer["volumeMounts"]]


def test_nothing_is_signed_by_default():
    assert environment(render({}))["TRAINYARD_SIGNER_SOCKET"] == ""
    assert [c["name"] for c in pods(render({}))[OPERATOR]["spec"]["containers"]] == ["operator"]


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_the_operator_can_write_below_tmp_only(values):
    operator = container(render(values), OPERATOR)
    volumes = pods(render(values))[OPERATOR]["spec"]["volumes"]

    writable = [m["mountPath"] for m in operator["volumeMounts"] if not m.get("readOnly")]
    assert writable == ["/tmp"]
    assert [v["name"] for v in volumes if "secret" not in v and "signer" not in v["name"]] == ["tmp"]


@pytest.mark.parametrize(
    ("values", "secret"),
    [
        pytest.param({}, "trainyard-package-index", id="the chart's own"),
        pytest.param({"environments": {"index": {"existingSecret": "mine"}}}, "mine", id="one of one's own"),
    ],
)
def test_the_package_index_is_told_to_the_operator_alone(values, secret):
    (index,) = [v for v in pods(render(values))[OPERATOR]["spec"]["volumes"] if v["name"] == "index"]
    made = {o["metadata"]["name"]: o for o in render(values) if o["kind"] == "Secret"}

    assert index["secret"]["secretName"] == secret
    assert ("trainyard-package-index" in made) is (secret == "trainyard-package-index")
    assert {o["metadata"]["namespace"] for o in made.values()} == {NAMESPACE}


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_the_chart_sets_every_variable_that_the_operator_reads_and_no_other(values):
    variables = started_with(values)

    Settings.from_environment(variables)

    assert variables.asked == set(variables)


def test_the_charts_defaults_are_the_operators_own():
    settings = Settings.from_environment(started_with({}))
    chosen = {"run_default_requests", "gateway_url", "pod_name", "identity"}
    defaults = {f.name: f.default for f in fields(Settings) if isinstance(f.default, (str, int, float))}

    assert {name: getattr(settings, name) for name in defaults.keys() - chosen} == {
        name: default for name, default in defaults.items() if name not in chosen
    }
