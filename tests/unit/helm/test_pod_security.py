from copy import deepcopy

import pytest

from tests.unit.helm.chart import VALUE_SETS, pods, render
from tests.unit.helm.pod_security import violations

GOOD = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "main",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def pod(**changes):
    """GOOD with values put at ``a__b`` paths; ``c__`` begins one inside the container."""
    spec = deepcopy(GOOD)
    for path, value in changes.items():
        *way, last = path.split("__")
        at = spec
        if way[:1] == ["c"]:
            at, way = spec["containers"][0], way[1:]
        for step in way:
            at = at.setdefault(step, {})
        at[last] = value
    return spec


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(pod(), [], id="good"),
        pytest.param(pod(hostNetwork=True), ["hostNetwork"], id="host network"),
        pytest.param(pod(hostPID=True), ["hostPID"], id="host processes"),
        pytest.param(pod(volumes=[{"name": "h", "hostPath": {"path": "/"}}]), ["volume h: hostPath"], id="host path"),
        pytest.param(pod(securityContext__runAsNonRoot=None), ["main: runAsNonRoot"], id="may be root"),
        pytest.param(pod(c__securityContext__runAsNonRoot=False), ["main: runAsNonRoot"], id="container may be root"),
        pytest.param(pod(securityContext__runAsUser=0), ["pod: runAsUser"], id="pod is root"),
        pytest.param(pod(c__securityContext__runAsUser=0), ["main: runAsUser"], id="container is root"),
        pytest.param(pod(securityContext__seccompProfile={}), ["main: seccompProfile"], id="no seccomp"),
        pytest.param(
            pod(c__securityContext__seccompProfile={"type": "Unconfined"}), ["main: seccompProfile"], id="unconfined"
        ),
        pytest.param(pod(securityContext__sysctls=[{"name": "vm.max"}]), ["sysctl vm.max"], id="sysctl"),
        pytest.param(
            pod(securityContext__appArmorProfile={"type": "Unconfined"}), ["pod: appArmorProfile"], id="app armor"
        ),
        pytest.param(pod(securityContext__seLinuxOptions={"user": "x"}), ["pod: seLinuxOptions"], id="SELinux"),
        pytest.param(pod(securityContext__windowsOptions={"hostProcess": True}), ["pod: hostProcess"], id="Windows"),
        pytest.param(pod(c__securityContext__privileged=True), ["main: privileged"], id="privileged"),
        pytest.param(
            pod(c__securityContext__allowPrivilegeEscalation=True), ["main: allowPrivilegeEscalation"], id="escalation"
        ),
        pytest.param(pod(c__securityContext__capabilities={}), ["main: capabilities.drop"], id="drops nothing"),
        pytest.param(
            pod(c__securityContext__capabilities__add=["SYS_ADMIN"]), ["main: capabilities.add"], id="adds capability"
        ),
        pytest.param(pod(c__securityContext__procMount="Unmasked"), ["main: procMount"], id="proc mount"),
        pytest.param(pod(c__ports=[{"hostPort": 80}]), ["main: hostPort"], id="host port"),
        pytest.param(pod(c__livenessProbe={"httpGet": {"host": "10.0.0.1"}}), ["main: probe host"], id="probe host"),
    ],
)
def test_the_checker_names_what_the_restricted_profile_forbids(spec, expected):
    assert violations(spec) == expected


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_every_pod_is_within_the_restricted_profile(values):
    templates = pods(render(values))

    assert templates
    assert [found for pod in templates.values() for found in violations(pod["spec"])] == []


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_every_container_has_a_read_only_root_a_memory_limit_and_requests(values):
    for found in pods(render(values)).values():
        for container in found["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "memory" in container["resources"]["limits"]
            assert container["resources"]["requests"]


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_only_the_operator_has_a_token_of_the_api_server(values):
    tokens = {name: found["spec"]["automountServiceAccountToken"] for name, found in pods(render(values)).items()}

    assert tokens.pop("trainyard-operator") is True
    assert not any(tokens.values())


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_no_pod_gets_variables_named_after_services(values):
    # A Service called trainyard-gateway would put TRAINYARD_GATEWAY_PORT=tcp://… beside the operator's own settings.
    assert all(found["spec"]["enableServiceLinks"] is False for found in pods(render(values)).values())
