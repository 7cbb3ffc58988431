"""Compute targets in Azure ML's words, and what is printed while one is waited for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from trainyard.errors import ComputeTargetException, ConfigError, NotFound, Timeout, Unreachable
from trainyard.remote.compute import AmlCompute, BatchAiCompute, ComputeTarget
from trainyard.remote.compute_status import AmlComputeStatus

PROVIDER = {"type": "Karpenter", "karpenter": {"nodeClassRef": {"group": "g", "kind": "K", "name": "default"}}}


def cluster(state=None, nodes=0, *, message="", min_nodes=0):
    ready = {"type": "Ready", "reason": "Because", "message": message, "lastTransitionTime": "2026-11-26T00:00:01Z"}
    return {
        "metadata": {"name": "pool", "creationTimestamp": "2026-11-26T00:00:00Z"},
        "spec": {"vmSize": "S", "scale": {"minNodes": min_nodes, "maxNodes": 4, "idleSecondsBeforeScaleDown": 1800}},
        **({"status": {"provisioningState": state, "currentNodeCount": nodes, "conditions": [ready]}} if state else {}),
    }


class Objects:
    def __init__(self, *answers):
        self.answers, self.created = list(answers), []

    def get(self, _plural, _name):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def watch(self, _plural, _name, *, timeout):
        for answer in self.answers:
            if isinstance(answer, Exception):
                raise answer
            yield answer
        raise Timeout(f"{timeout} s are over")

    def create(self, _plural, document):
        self.created.append(document)
        return document


class Workspace:
    name, location, compute_provider = "team", "here", None

    def __init__(self, *answers, published=None):
        self.objects = Objects(*answers)
        self.gateway = SimpleNamespace(default_provider=lambda: published)


def test_a_status_has_the_keys_that_azure_ml_gives_it():
    found = cluster("Succeeded", 2)
    found["status"] |= {
        "targetNodeCount": 3,
        "allocationState": "Resizing",
        "nodeStateCounts": {"idle": 1, "running": 1},
    }
    assert AmlComputeStatus.of_object(found).serialize() == {
        "allocationState": "Resizing",
        "allocationStateTransitionTime": None,
        "creationTime": "2026-11-26T00:00:00Z",
        "currentNodeCount": 2,
        "errors": None,
        "modifiedTime": None,
        "nodeStateCounts": {
            "idleNodeCount": 1, "leavingNodeCount": 0, "preemptedNodeCount": 0,
            "preparingNodeCount": 0, "runningNodeCount": 1, "unusableNodeCount": 0,
        },
        "provisioningState": "Succeeded",
        "provisioningStateTransitionTime": "2026-11-26T00:00:01Z",
        "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT1800S"},
        "targetNodeCount": 3,
        "vmPriority": "Dedicated",
        "vmSize": "S",
    }  # fmt: skip


def test_a_cluster_that_nobody_has_looked_at_is_creating():
    assert AmlComputeStatus.of_object(cluster()).provisioning_state == "Creating"


ENOUGH = "Minimum number of nodes requested have been provisioned\n"


@pytest.mark.parametrize(
    ("states", "wanted", "expected"),
    [
        pytest.param(
            [cluster(), cluster("Creating"), cluster("Succeeded")], {},
            f"Creating.\nSucceeded\nAmlCompute wait for completion finished\n\n{ENOUGH}", id="empty and ready",
        ),
        pytest.param(
            [cluster("Succeeded", 0), cluster("Succeeded", 1)], {"min_node_count": 1},
            f"Succeeded.\nAmlCompute wait for completion finished\n\n{ENOUGH}", id="one node was waited for",
        ),
        pytest.param(
            [cluster("Succeeded", 0, min_nodes=1), cluster("Succeeded", 1, min_nodes=1)], {},
            f"Succeeded.\nAmlCompute wait for completion finished\n\n{ENOUGH}", id="the least that it keeps",
        ),
        pytest.param(
            [cluster("Succeeded", 0, message="no node now")], {"min_node_count": 1, "timeout_in_minutes": 0},
            "Succeeded\nAmlCompute wait for completion finished\n\nWait timeout has been reached\n"
            'Current provisioning state of AmlCompute is "Succeeded" and current node count is "0"\nno node now\n',
            id="none came",
        ),
    ],
)  # fmt: skip
def test_waiting_prints_what_azure_ml_prints(states, wanted, expected, capsys):
    ComputeTarget(Workspace(states[0], *states), "pool").wait_for_completion(show_output=True, **wanted)
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(cluster("Failed", message="spec.vmSize is odd"), "is Failed: spec.vmSize is odd", id="failed"),
        pytest.param(NotFound("gone"), "pool was deleted", id="deleted"),
        pytest.param(Unreachable("away"), "cannot be looked at: away", id="no answer"),
    ],
)
def test_what_cannot_become_anything_is_an_error(answer, said, capsys):
    with pytest.raises(ComputeTargetException, match=said):
        ComputeTarget(Workspace(cluster(), answer), "pool").wait_for_completion()
    assert capsys.readouterr().out == ""


def test_deleting_is_waited_for(capsys):
    target = ComputeTarget(Workspace(cluster(), cluster("Deleting"), NotFound("gone")), "pool")
    target.wait_for_completion(show_output=True, is_delete_operation=True)
    assert capsys.readouterr().out == "Deleting.\nSucceeded\n"


def test_a_target_is_of_both_kinds_and_is_not_there_in_azure_ml_s_words():
    target = ComputeTarget(workspace=Workspace(cluster()), name="pool")
    assert type(target) is AmlCompute
    assert isinstance(target, BatchAiCompute)
    with pytest.raises(ComputeTargetException) as caught:
        ComputeTarget(Workspace(NotFound("x")), "pool")
    assert (
        caught.value.message == "ComputeTargetNotFound: Compute Target with name pool not found in provided workspace"
    )


SCALE = {"minNodes": 0, "maxNodes": 4}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(AmlCompute.provisioning_configuration(), {"scale": SCALE, "vmPriority": "Dedicated"}, id="defaults"),
        pytest.param(
            AmlCompute.provisioning_configuration("S", "lowpriority", 1, 2, 600, provider=PROVIDER),
            {
                "vmSize": "S", "vmPriority": "LowPriority", "provider": PROVIDER,
                "scale": {"minNodes": 1, "maxNodes": 2, "idleSecondsBeforeScaleDown": 600},
            },
            id="all",
        ),
        pytest.param(
            BatchAiCompute.provisioning_configuration(cluster_min_nodes="0", cluster_max_nodes="4"),
            {"scale": SCALE, "vmPriority": "Dedicated"}, id="texts of environment variables",
        ),
        pytest.param(
            BatchAiCompute.provisioning_configuration(autoscale_enabled=False, cluster_max_nodes=2),
            {"scale": {"minNodes": 2, "maxNodes": 2}, "vmPriority": "Dedicated"}, id="of a fixed size",
        ),
    ],
)  # fmt: skip
def test_configurations_become_specs(made, expected):
    assert made.spec == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"vm_priority": "cheap"}, "use dedicated or lowpriority", id="priority"),
        pytest.param({"max_nodes": "many"}, "max_nodes is 'many'", id="no number"),
        pytest.param({"min_nodes": 5}, "raise max_nodes", id="more at least than at most"),
        pytest.param({"vnet_name": "x"}, "vnet_name: compute targets have no such setting", id="unknown"),
    ],
)
def test_configurations_that_cannot_be_are_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        AmlCompute.provisioning_configuration(**given)


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        pytest.param(None, AmlCompute.provisioning_configuration(), "name is None", id="no name"),
        pytest.param("Pool", AmlCompute.provisioning_configuration(), "lower-case", id="capitals"),
        pytest.param("local", AmlCompute.provisioning_configuration(), "local is a reserved name", id="reserved"),
        pytest.param("pool", (AmlCompute.provisioning_configuration(),), "mind commas", id="a comma made it a tuple"),
        pytest.param(
            "pool", AmlCompute.provisioning_configuration(), "where do its machines come from", id="no provider"
        ),
    ],
)
def test_what_cannot_be_created_is_said_before_anything_is_asked(name, config, said):
    workspace = Workspace()
    with pytest.raises(ConfigError, match=said):
        ComputeTarget.create(workspace, name, config)
    assert workspace.objects.created == []


@pytest.mark.parametrize(
    ("provider", "size"),
    [
        pytest.param(PROVIDER, "STANDARD_D2_V2", id="machines are made"),
        pytest.param({"type": "Existing", "existing": {"nodeSelector": {}}}, None, id="machines are there"),
    ],
)
def test_the_provider_may_come_from_the_config(provider, size):
    workspace = Workspace()
    workspace.compute_provider = provider
    ComputeTarget.create(workspace, "pool", AmlCompute.provisioning_configuration())
    (document,) = workspace.objects.created
    assert (document["spec"]["provider"], document["spec"].get("vmSize")) == (provider, size)


@pytest.mark.parametrize(
    ("written", "published", "used"),
    [
        pytest.param(None, PROVIDER, PROVIDER, id="the chart's"),
        pytest.param(PROVIDER, {"type": "Existing"}, PROVIDER, id="one's own before the chart's"),
    ],
)
def test_the_provider_may_be_the_charts(written, published, used):
    workspace = Workspace(published=published)
    workspace.compute_provider = written
    ComputeTarget.create(workspace, "pool", AmlCompute.provisioning_configuration())
    assert workspace.objects.created[0]["spec"]["provider"] == used
