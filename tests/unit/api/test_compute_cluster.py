"""Parsing the spec of a ComputeCluster."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.support.schemas import specs
from trainyard_operator.api.compute_cluster import (
    ComputeClusterSpec,
    DeletionPolicy,
    EksSettings,
    NodeClassRef,
    Ordering,
    ProviderType,
    Toleration,
    VmPriority,
)
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.input_cache import InputCacheSpec
from trainyard_operator.api.names import COMPUTE_CLUSTER


def spec(**existing):
    return {"provider": {"type": "Existing", "existing": existing}}


def toleration(**over):
    fields = {"key": None, "operator": "Equal", "value": None, "effect": None, "toleration_seconds": None}
    return Toleration(**{**fields, **over})


NODE_CLASS = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}


def pool(**over):
    """Return the spec of a cluster of Karpenter's; None removes a field."""
    whole = {
        "vmSize": "SMALL",
        "scale": {"maxNodes": 4},
        "provider": {"type": "Karpenter", "karpenter": {"nodeClassRef": NODE_CLASS}},
        **over,
    }
    return {name: value for name, value in whole.items() if value is not None}


def test_every_field_of_a_pool_is_read():
    parsed = ComputeClusterSpec.parse(
        pool(
            vmPriority="LowPriority",
            provider={
                "type": "Karpenter",
                "karpenter": {"nodeClassRef": NODE_CLASS, "fallbackToDedicatedAfterSeconds": 60},
                "adopt": True,
            },
            scale={"minNodes": 1, "maxNodes": 7, "idleSecondsBeforeScaleDown": 0},
            jobsPerNode=3,
            provisioningTimeoutSeconds=60,
            deletionPolicy="Retain",
            cancelRunsOnDelete=True,
            queue={"paused": True, "ordering": "FairShare", "weights": {"team-a": 2}},
            sharedWith=["team-a"],
            inputCache={"hostPath": {"path": "/var/cache/a"}, "sizeLimit": "1Ki"},
        )
    )
    assert parsed == ComputeClusterSpec(
        provider=ProviderType.KARPENTER,
        node_selector={},
        tolerations=(),
        node_class=NodeClassRef(**NODE_CLASS),
        autoscaler=None,
        fallback_seconds=60,
        adopt=True,
        eks=None,
        vm_size="SMALL",
        vm_priority=VmPriority.LOW_PRIORITY,
        min_nodes=1,
        max_nodes=7,
        idle_seconds=0,
        jobs_per_node=3,
        provisioning_seconds=60,
        deletion_policy=DeletionPolicy.RETAIN,
        cancel_runs=True,
        paused=True,
        shared_with=("team-a",),
        ordering=Ordering.FAIR_SHARE,
        weights={"team-a": 2},
        input_cache=InputCacheSpec(host_path="/var/cache/a", size_limit=1024),
    )


def test_every_field_of_existing_nodes_is_read():
    tolerations = [
        {"key": "pool", "operator": "Equal", "value": "train", "effect": "NoSchedule"},
        {"operator": "Exists"},
        {"key": "a.b/c", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
    ]
    parsed = ComputeClusterSpec.parse(spec(nodeSelector={"example.com/pool": "train"}, tolerations=tolerations))
    assert parsed == ComputeClusterSpec(
        provider=ProviderType.EXISTING,
        node_selector={"example.com/pool": "train"},
        tolerations=(
            toleration(key="pool", value="train", effect="NoSchedule"),
            toleration(operator="Exists"),
            toleration(key="a.b/c", operator="Exists", effect="NoExecute", toleration_seconds=0),
        ),
        node_class=None,
        autoscaler=None,
        fallback_seconds=None,
        adopt=False,
        eks=None,
        vm_size=None,
        vm_priority=VmPriority.DEDICATED,
        min_nodes=0,
        max_nodes=None,
        idle_seconds=120,
        jobs_per_node=1,
        provisioning_seconds=900,
        deletion_policy=DeletionPolicy.DELETE,
        cancel_runs=False,
        paused=False,
        shared_with=(),
        ordering=Ordering.PRIORITY,
        weights={},
        input_cache=None,
    )
    assert [item.to_json() for item in parsed.tolerations] == tolerations


def eks(**over):
    """Return the spec of a cluster of a node group; None removes a setting of it."""
    settings = {
        "clusterName": "lab",
        "region": "eu-central-1",
        "nodeRoleArn": "arn:aws:iam::111122223333:role/path/nodes",
        "subnets": ["subnet-0a1b2c3d", "subnet-0a1b2c3d4e5f60718"],
        **over,
    }
    return pool(provider={"type": "EKS", "eks": {name: value for name, value in settings.items() if value is not None}})


@pytest.mark.parametrize("region", [pytest.param("eu-central-1", id="named"), pytest.param(None, id="the operator's")])
def test_every_field_of_a_node_group_is_read(region):
    assert ComputeClusterSpec.parse(eks(region=region)).eks == EksSettings(
        cluster_name="lab",
        region=region,
        node_role_arn="arn:aws:iam::111122223333:role/path/nodes",
        subnets=("subnet-0a1b2c3d", "subnet-0a1b2c3d4e5f60718"),
    )


def test_a_cache_in_a_claim_has_the_default_size():
    cache = ComputeClusterSpec.parse(pool(inputCache={"persistentVolumeClaim": {"claimName": "inputs"}})).input_cache
    assert cache == InputCacheSpec(claim="inputs", size_limit=50 * 2**30)


def test_an_empty_provider_has_every_node():
    assert ComputeClusterSpec.parse(spec()).node_selector == {}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param(None, "spec.provider.type is None: it must be one of Existing, Karpenter, EKS", id="nothing"),
        pytest.param({"provider": {"type": "GKE"}}, "spec.provider.type is 'GKE'", id="another provider"),
        pytest.param({"provider": {"type": "Existing"}}, "spec.provider.existing is missing", id="no settings"),
        pytest.param(spec(nodeSelector={"a b": "c"}), "nodeSelector has the key 'a b'", id="key that is no label's"),
        pytest.param(spec(nodeSelector={"a": "b c"}), "nodeSelector.a is 'b c'", id="value that is no label's"),
        pytest.param(spec(nodeSelector={"a": 1}), "nodeSelector.a must be text: it is a number", id="number as value"),
        pytest.param(spec(tolerations=[{"operator": "In"}]), "[0].operator is 'In'", id="operator"),
        pytest.param(spec(tolerations=[{"operator": []}]), "must be Exists where key is absent", id="operator as list"),
        pytest.param(spec(tolerations=[{"operator": [1]}]), "[0].operator is [1]", id="operator as full list"),
        pytest.param(spec(tolerations=[{}]), "[0].operator must be Exists where key is absent", id="no key"),
        pytest.param(
            spec(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
            "[0].value must be absent where operator is Exists",
            id="value that is not looked at",
        ),
        pytest.param(spec(tolerations=[{"key": "a", "effect": {}}]), "[0].effect is {}", id="effect"),
        pytest.param(
            spec(tolerations=[{"key": "a", "tolerationSeconds": 3}]), "needs effect NoExecute", id="seconds alone"
        ),
        pytest.param(
            spec(tolerations=[{"key": "a", "effect": "NoExecute", "tolerationSeconds": -1}]),
            "[0].tolerationSeconds is -1",
            id="negative seconds",
        ),
        pytest.param(
            spec(tolerations=[{"key": "a", "effect": "NoExecute", "tolerationSeconds": "3"}]),
            "[0].tolerationSeconds must be a whole number",
            id="seconds as text",
        ),
        pytest.param(
            {"provider": {"type": "Existing", "existing": {}, "adopt": True}},
            "spec.provider.adopt is set: the provider Existing has no pool of its own",
            id="nothing to adopt",
        ),
        pytest.param(spec(clusterAutoscaler={}), "clusterAutoscaler.nodeGroups is empty", id="no node group"),
        pytest.param(
            spec(clusterAutoscaler={"nodeGroups": ["a b"]}), "nodeGroups[0] is 'a b'", id="node group that is none"
        ),
        pytest.param(
            spec(clusterAutoscaler={"nodeGroups": ["a"], "statusConfigMap": {"name": "../secrets/x"}}),
            "statusConfigMap.name is '../secrets/x'",
            id="ConfigMap that is none",
        ),
        pytest.param(pool(vmSize=None), "spec.vmSize is missing", id="pool of no size"),
        pytest.param(pool(scale={}), "spec.scale.maxNodes is missing", id="pool without a limit"),
        pytest.param(pool(scale={"maxNodes": -1}), "spec.scale.maxNodes is -1", id="negative limit"),
        pytest.param(pool(scale={"maxNodes": True}), "must be a whole number: it is a boolean", id="limit as boolean"),
        pytest.param(pool(scale={"maxNodes": 1, "minNodes": 2}), "spec.scale.minNodes is 2, more than", id="crossed"),
        pytest.param(
            {**spec(), "scale": {"maxNodes": 1, "minNodes": 1}},
            "Existing makes no nodes",
            id="nodes that stay, of others",
        ),
        pytest.param(
            pool(
                provider={
                    "type": "Karpenter",
                    "karpenter": {"nodeClassRef": NODE_CLASS, "fallbackToDedicatedAfterSeconds": 60},
                }
            ),
            "is given, but spec.vmPriority is Dedicated",
            id="fallback of dedicated machines",
        ),
        pytest.param(pool(inputCache={}), "spec.inputCache must have exactly one of hostPath and", id="cache nowhere"),
        pytest.param(
            pool(inputCache={"hostPath": {"path": "/a"}, "persistentVolumeClaim": {"claimName": "a"}}),
            "persistentVolumeClaim: remove one",
            id="cache in two places",
        ),
        *(
            pytest.param(
                pool(inputCache={"hostPath": {"path": path}}),
                f"inputCache.hostPath.path is {path!r}",
                id=f"cache at {path}",
            )
            for path in ("/", "a", "/a/../b", "/a/", "/a:b", "/.a")
        ),
        pytest.param(
            pool(inputCache={"hostPath": {"path": "/a"}, "sizeLimit": "much"}),
            "sizeLimit is 'much'",
            id="cache of no size",
        ),
        pytest.param(pool(vmPriority="Spot"), "it must be one of Dedicated, LowPriority", id="priority"),
        pytest.param(pool(queue={"paused": "yes"}), "spec.queue.paused must be true or false", id="paused as text"),
        pytest.param(pool(provider={"type": "Karpenter"}), "nodeClassRef.group must be text", id="no node class"),
        pytest.param({**eks(), "vmSize": None}, "spec.vmSize is missing: the provider EKS", id="node group of no size"),
        pytest.param(eks(clusterName=None), "eks.clusterName must be text", id="no EKS cluster"),
        pytest.param(eks(region="Frankfurt"), "eks.region is 'Frankfurt'", id="region that is none"),
        pytest.param(eks(nodeRoleArn="nodes"), "eks.nodeRoleArn is 'nodes'", id="role by its name"),
        pytest.param(eks(subnets=[]), "eks.subnets is empty", id="no subnet"),
        pytest.param(eks(subnets=["vpc-1"]), "eks.subnets[0] is 'vpc-1'", id="subnet that is none"),
        pytest.param(
            pool(provider={"type": "Karpenter", "existing": {}}), "spec.provider.existing is given, but", id="both"
        ),
    ],
)
def test_a_spec_that_cannot_work_is_refused_in_words_that_help(broken, message):
    with pytest.raises(SpecError) as caught:
        ComputeClusterSpec.parse(broken)
    assert message in str(caught.value)


@settings(deadline=None)
@given(specs(COMPUTE_CLUSTER))
def test_what_the_schema_admits_is_understood(admitted):
    parsed = ComputeClusterSpec.parse(admitted)
    assert parsed.provider == admitted["provider"]["type"]
    assert parsed.node_selector == admitted["provider"].get("existing", {}).get("nodeSelector", {})
