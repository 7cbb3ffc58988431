"""The Job of a run: what a pod may do, and what reaches the script unchanged."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import SETTINGS, UID, training_job
from trainyard_operator.api.input_cache import InputCacheSpec
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.job import Berth, build_job
from trainyard_operator.providers.base import Placement


def build(*, where=None, shunned=(), **spec):
    parent = training_job(**spec)
    return build_job(
        parent=parent,
        spec=TrainingJobSpec.parse(parent["spec"]),
        attempt=1,
        berth=where,
        settings=SETTINGS,
        shunned=shunned,
    )


def pod_spec(**spec):
    return build(**spec)["spec"]["template"]["spec"]


def train(**spec):
    return pod_spec(**spec)["containers"][0]


def test_the_job_belongs_to_its_run_and_is_found_by_its_uid():
    job = build()
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("TrainingJob", UID, True)
    assert job["metadata"]["labels"]["trainyard.dev/run-uid"] == UID
    assert job["spec"]["template"]["metadata"]["labels"] == job["metadata"]["labels"]


def test_a_job_has_one_pod_and_ends_with_it_and_keeps_a_word_on_a_lost_node():
    spec = build()["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["podReplacementPolicy"] == "Failed"
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onPodConditions"][0]["type"] == "DisruptionTarget"


def test_an_attempt_would_rather_go_to_another_node_than_those_that_were_lost():
    assert "affinity" not in pod_spec()
    spec = build(shunned=["b", "a", "b"])["spec"]["template"]["spec"]
    (wish,) = spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["preference"]["matchExpressions"] == [
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["a", "b"]}
    ]


def test_an_attempt_knows_its_number_and_the_time_that_it_is_given_to_stop():
    job = build(terminationGracePeriodSeconds=90)
    assert job["metadata"]["labels"]["trainyard.dev/attempt"] == "1"
    pod = job["spec"]["template"]["spec"]
    assert {"name": "TRAINYARD_ATTEMPT", "value": "1"} in pod["containers"][0]["env"]
    assert pod["terminationGracePeriodSeconds"] == 90


def test_a_pod_holds_no_token_but_the_gateways():
    spec = pod_spec()
    assert spec["automountServiceAccountToken"] is False
    tokens = [
        source["serviceAccountToken"]
        for volume in spec["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    ]
    assert [token["audience"] for token in tokens] == ["trainyard"]


def test_inputs_are_read_only_for_the_script_and_writable_for_the_download():
    mounts = {
        c["name"]: {m["name"]: m.get("readOnly", False) for m in c["volumeMounts"]}
        for c in [*pod_spec()["initContainers"], *pod_spec()["containers"]]
    }
    assert mounts["train"]["inputs"] is True
    assert mounts["prepare"]["inputs"] is False


@pytest.mark.parametrize("value", ["plain", "$(HOME)", "$$(X)", "a$", "; rm -rf / #", "line\nbreak", "'\""])
def test_a_variable_reaches_the_container_as_written(value):
    variable = next(
        v for v in train(environment={"variables": [{"name": "A", "value": value}]})["env"] if v["name"] == "A"
    )
    # What the kubelet makes of it: $$ is one dollar, and $(NAME) is only expanded after a single one.
    assert variable["value"].replace("$$", "$") == value
    assert variable["value"].replace("$$", "").count("$") == 0


def test_the_runs_own_variables_win_over_a_users_of_the_same_name():
    names = [v["name"] for v in train(environment={"variables": [{"name": "A", "value": "1"}]})["env"]]
    assert names.index("A") < names.index("TRAINYARD_RUN_UID")


def test_the_preparation_always_runs_in_the_operators_image():
    spec = pod_spec(environment={"image": "python:3.13-slim"})
    assert spec["initContainers"][0]["image"] == "trainer:1"
    assert spec["containers"][0]["image"] == "python:3.13-slim"


@pytest.mark.parametrize(
    ("resources", "requests", "limits"),
    [
        pytest.param(None, {"cpu": "500m", "memory": "512Mi"}, {}, id="defaults"),
        pytest.param({"requests": {"cpu": "2"}}, {"cpu": "2"}, {}, id="own requests"),
        pytest.param({"limits": {"memory": "64Mi"}}, {"cpu": "500m"}, {"memory": "64Mi"}, id="a limit below the default request"),
    ],
)  # fmt: skip
def test_requests_default_only_where_nothing_was_asked_for(resources, requests, limits):
    assert train(resources=resources)["resources"] == {"requests": requests, "limits": limits}


def test_a_cluster_places_the_pod_on_its_nodes():
    tolerations = [{"key": "lab", "operator": "Exists"}]
    where = Berth(placement=Placement(node_selector={"pool": "a"}, tolerations=tuple(tolerations)))
    spec = build(where=where, computeClusterRef={"name": "lab"})["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"pool": "a"}
    assert spec["tolerations"] == tolerations
    assert "nodeSelector" not in pod_spec()


DOWNLOADED = {"name": "a", "datastore": {"path": ""}}
CLAIMED = {"name": "b", "pvc": {"claimName": "data"}}


def cached(cache, *inputs):
    where = Berth(placement=Placement(node_selector={}), cache=cache)
    return build(where=where, inputs=list(inputs))["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("cache", "volume"),
    [
        pytest.param(
            InputCacheSpec(host_path="/var/cache/trainyard", size_limit=7),
            {"hostPath": {"path": "/var/cache/trainyard", "type": "DirectoryOrCreate"}},
            id="of the node",
        ),
        pytest.param(
            InputCacheSpec(claim="inputs", size_limit=7),
            {"persistentVolumeClaim": {"claimName": "inputs"}},
            id="of a claim",
        ),
    ],
)
def test_the_clusters_cache_is_mounted_where_inputs_are_downloaded_and_nowhere_else(cache, volume):
    spec = cached(cache, DOWNLOADED, CLAIMED)
    assert {"name": "input-cache", **volume} in spec["volumes"]
    (prepare,), (script,) = spec["initContainers"], spec["containers"]
    assert {"name": "input-cache", "mountPath": "/input-cache"} in prepare["volumeMounts"]
    assert {"name": "TRAINYARD_INPUT_CACHE_BYTES", "value": "7"} in prepare["env"]
    assert "input-cache" not in {mount["name"] for mount in script["volumeMounts"]}
    assert "TRAINYARD_INPUT_CACHE_BYTES" not in {variable["name"] for variable in script["env"]}


@pytest.mark.parametrize(
    ("cache", "inputs"),
    [
        pytest.param(None, [DOWNLOADED], id="a cluster without a cache"),
        pytest.param(InputCacheSpec(host_path="/a", size_limit=7), [CLAIMED], id="nothing to download"),
        pytest.param(InputCacheSpec(host_path="/a", size_limit=7), [], id="no input"),
    ],
)
def test_a_pod_has_no_cache_that_it_does_not_need(cache, inputs):
    assert "input-cache" not in {volume["name"] for volume in cached(cache, *inputs)["volumes"]}
