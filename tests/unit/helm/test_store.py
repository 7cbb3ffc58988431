import base64

import pytest

from tests.unit.helm.chart import (
    EXTERNAL,
    NAMESPACE,
    VALUE_SETS,
    container,
    environment,
    named,
    pods,
    render,
    template,
)

STORE = "trainyard-store"
OPERATOR = "trainyard-operator"
EMBEDDED = [name for name in VALUE_SETS if name != "external store"]


def secret_ref(name, key):
    return {"secretKeyRef": {"name": name, "key": key}}


def store_values(**over):
    return {"store": {"embedded": over}}


def test_the_embedded_store_makes_its_own_keys():
    secret = named(render({}), "Secret", STORE)
    keys = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}

    assert {name: len(value) for name, value in keys.items()} == {"AWS_ACCESS_KEY_ID": 20, "AWS_SECRET_ACCESS_KEY": 40}
    assert all(value.isalnum() and value.isascii() for value in keys.values())


def test_two_renderings_away_from_a_cluster_have_different_keys():
    first, second = (named(render(values), "Secret", STORE)["data"] for values in ({}, {"replicas": 1}))

    assert first["AWS_SECRET_ACCESS_KEY"] != second["AWS_SECRET_ACCESS_KEY"]


def test_the_operator_and_the_store_read_the_same_keys():
    objects = render({})
    operator, store = environment(objects), environment(objects, STORE)

    assert operator["AWS_ACCESS_KEY_ID"] == store["ROOT_ACCESS_KEY_ID"] == secret_ref(STORE, "AWS_ACCESS_KEY_ID")
    assert (
        operator["AWS_SECRET_ACCESS_KEY"]
        == store["ROOT_SECRET_ACCESS_KEY"]
        == secret_ref(STORE, "AWS_SECRET_ACCESS_KEY")
    )


def test_pods_restart_when_generated_keys_change():
    one, other = render({}), render({"replicas": 1})

    def checksums(objects):
        return [found["metadata"]["annotations"]["checksum/store-keys"] for found in pods(objects).values()]

    assert len(set(checksums(one))) == 1
    assert set(checksums(one)).isdisjoint(checksums(other))


def test_keys_of_ones_own_are_used_and_no_other_are_made():
    objects = render(VALUE_SETS["store with keys of one's own"])

    assert [o["metadata"]["name"] for o in objects if o["kind"] == "Secret"] == ["trainyard-package-index"]
    assert environment(objects)["AWS_ACCESS_KEY_ID"] == secret_ref("mine", "AWS_ACCESS_KEY_ID")
    assert environment(objects, STORE)["ROOT_ACCESS_KEY_ID"] == secret_ref("mine", "AWS_ACCESS_KEY_ID")


def test_the_operator_finds_the_embedded_store():
    objects = render({})
    service = named(objects, "Service", STORE)
    (port,) = service["spec"]["ports"]
    variables = environment(objects)

    assert variables["TRAINYARD_S3_ENDPOINT"] == f"http://{STORE}.{NAMESPACE}.svc:{port['port']}"
    assert variables["TRAINYARD_S3_BUCKET"] == "trainyard"
    assert f"--region={variables['TRAINYARD_S3_REGION']}" in container(objects, STORE)["args"]
    assert f"--port=:{port['port']}" in container(objects, STORE)["args"]


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_the_store_is_asked_for_its_health_where_it_answers(probe):
    store = container(render({}), STORE)

    assert f"--health={store[probe]['httpGet']['path']}" in store["args"]
    assert store[probe]["httpGet"]["port"] == store["ports"][0]["name"]


def test_one_store_writes_at_a_time():
    spec = named(render({"replicas": 3}), "Deployment", STORE)["spec"]

    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_store_keeps_objects_below_its_volumes_root(name):
    objects = render(VALUE_SETS[name])
    store = container(objects, STORE)
    (volume,) = pods(objects)[STORE]["spec"]["volumes"]
    mounts = {m["mountPath"]: (m["name"], m["subPath"]) for m in store["volumeMounts"]}

    assert mounts[store["args"][-1]] == (volume["name"], "objects")


def test_sidecar_metadata_is_kept_on_the_volume_beside_the_objects():
    store = container(render(store_values(metadata="sidecar")), STORE)

    assert "--sidecar=/data/metadata" in store["args"]
    assert {m["mountPath"]: m["subPath"] for m in store["volumeMounts"]} == {
        "/data/objects": "objects",
        "/data/metadata": "metadata",
    }


@pytest.mark.parametrize(
    ("persistence", "volume", "claims"),
    [
        pytest.param({}, {"persistentVolumeClaim": {"claimName": STORE}}, [STORE], id="claim"),
        pytest.param({"enabled": False}, {"emptyDir": {}}, [], id="emptyDir"),
        pytest.param({"existingClaim": "mine"}, {"persistentVolumeClaim": {"claimName": "mine"}}, [], id="own claim"),
    ],
)
def test_where_the_data_is_follows_the_values(persistence, volume, claims):
    objects = render(store_values(persistence=persistence))

    assert pods(objects)[STORE]["spec"]["volumes"] == [{"name": "data"} | volume]
    assert [o["metadata"]["name"] for o in objects if o["kind"] == "PersistentVolumeClaim"] == claims


@pytest.mark.parametrize(("keep", "annotations"), [(True, {"helm.sh/resource-policy": "keep"}), (False, None)])
def test_the_claim_outlives_the_release_unless_told_otherwise(keep, annotations):
    claim = named(render(store_values(persistence={"keep": keep})), "PersistentVolumeClaim", STORE)

    assert claim["metadata"].get("annotations") == annotations


def test_size_and_class_of_the_claim_are_taken_from_the_values():
    values = store_values(persistence={"size": "1Ti", "storageClassName": "fast"})
    spec = named(render(values), "PersistentVolumeClaim", STORE)["spec"]

    assert (spec["resources"]["requests"]["storage"], spec["storageClassName"]) == ("1Ti", "fast")
    assert "storageClassName" not in named(render({}), "PersistentVolumeClaim", STORE)["spec"]


def test_an_external_store_brings_its_own_address_and_keys():
    external = EXTERNAL | {"region": "eu-central-1", "accessKeyKey": "id", "secretKeyKey": "key"}
    objects = render({"store": {"embedded": {"enabled": False}, "external": external}})
    variables = environment(objects)

    assert variables["TRAINYARD_S3_ENDPOINT"] == "https://s3.example.com"
    assert variables["TRAINYARD_S3_BUCKET"] == "runs"
    assert variables["TRAINYARD_S3_REGION"] == "eu-central-1"
    assert variables["AWS_ACCESS_KEY_ID"] == secret_ref("s3-keys", "id")
    assert variables["AWS_SECRET_ACCESS_KEY"] == secret_ref("s3-keys", "key")
    assert not [o for o in objects if o["metadata"]["name"] == STORE]


@pytest.mark.parametrize(
    ("embedded", "external", "message"),
    [
        pytest.param(True, EXTERNAL, "choose one; set store.embedded.enabled=false", id="both"),
        pytest.param(True, {"bucket": "runs"}, "choose one; set store.embedded.enabled=false", id="both, in part"),
        pytest.param(False, {}, "there is no object store: set store.embedded.enabled=true, or", id="neither"),
        *(
            pytest.param(False, EXTERNAL | {field: ""}, f"store.external.{field} is empty", id=f"no {field}")
            for field in EXTERNAL
        ),
    ],
)
def test_exactly_one_whole_store_must_be_described(embedded, external, message):
    result = template({"store": {"embedded": {"enabled": embedded}, "external": external}})

    assert result.code != 0
    assert message in result.err
