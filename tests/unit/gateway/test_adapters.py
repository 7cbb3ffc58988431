import base64
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.gateway.builders import NAMESPACE, OTHER_UID, POD_UID, UID, KubeObjects, pod_identity, run_ref, spec
from trainyard_operator.api.names import COMPUTE_CLUSTER, JOB, POD, TRAINING_JOB
from trainyard_operator.gateway.adapters import GRACE_SECONDS, BookQueues, KubeSources, StoreRunDirectory
from trainyard_operator.gateway.errors import Refusal
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.store import Store

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
JOB_UID = "22222222-6a54-4a6a-9a6c-0d3d3a7c1e44"


def metadata(name, uid, *, owner=None, namespace=NAMESPACE, **over):
    owners = [{"apiVersion": owner[0].api_version, "kind": owner[0].kind, "uid": owner[1]}] if owner else []
    fields = {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": "1", "ownerReferences": owners}
    return fields | over


def training_job(phase="Running", *, status=None, **over):
    return {"metadata": metadata("mnist", UID, **over), "spec": spec(), "status": {"phase": phase, **(status or {})}}


def job(attempt=1, uid=JOB_UID, **over):
    labels = {"trainyard.dev/attempt": str(attempt)}
    fields = {"owner": (TRAINING_JOB, UID), "labels": labels, **over}
    return {"metadata": metadata(f"mnist-0b6f7d7e-{attempt}", uid, **fields), "status": {}}


def pod(phase="Running", **over):
    fields = {"owner": (JOB, JOB_UID), **over}
    return {"metadata": metadata("mnist-0b6f7d7e-x", POD_UID, **fields), "status": {"phase": phase}}


class World:
    def __init__(self, *objects):
        self.store, self.seconds = Store(), 0.0
        for kind, obj in objects:
            self.store.put(kind, obj)
        self.runs = StoreRunDirectory(self.store, clock=lambda: self.seconds, now=lambda: NOW)

    def refusal(self, identity=None):
        with pytest.raises(Refusal) as refusal:
            self.runs.run_of(identity or pod_identity())
        return refusal.value


def known(*, tj=None, a_job=None, a_pod=None):
    return World((TRAINING_JOB, tj or training_job()), (JOB, a_job or job()), (POD, a_pod or pod()))


def time(seconds):
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_pod_is_led_to_its_run():
    assert known().runs.run_of(pod_identity()) == run_ref()


def test_the_pod_of_an_attempt_that_is_over_gets_nothing_more():
    world = known()
    world.store.put(JOB, job(2, "another-uid"))
    assert "attempt 1 of the run mnist is over" in world.refusal().message
    ended = [{"number": 1, "jobName": "j", "endTime": "2026-11-23T12:00:00Z"}]
    assert "is over" in known(tj=training_job(status={"attempt": 1, "attempts": ended})).refusal().message
    assert "is over" in known(a_job=job(labels={})).refusal().message


def test_an_attempt_is_known_by_its_job():
    attempts = [{"number": 1, "jobName": "j", "endTime": "2026-11-23T12:00:00Z"}, {"number": 2, "jobName": "k"}]
    world = known(a_job=job(2), tj=training_job(status={"attempt": 2, "attempts": attempts}))
    assert world.runs.run_of(pod_identity()).attempt == 2


DIGEST = "sha256:" + "1" * 64


def started(image_id):
    found = pod()
    found["status"]["containerStatuses"] = [{"name": "train", "imageID": image_id, "state": {"running": {}}}]
    return found


@pytest.mark.parametrize(
    ("a_pod", "status", "said"),
    [
        pytest.param(
            started(f"r.example/i@{DIGEST}"), {}, {"imageDigest": DIGEST, "image": f"r.example/i@{DIGEST}"}, id="known"
        ),
        pytest.param(started(DIGEST), {}, {"imageDigest": DIGEST}, id="an-image-without-registry"),
        pytest.param(started(""), {}, {}, id="the-node-has-not-said-it-yet"),
        pytest.param(pod(), {"environment": {"hash": "ab" * 32}}, {"environmentHash": "ab" * 32}, id="packages"),
    ],
)
def test_a_pod_is_told_what_its_script_runs_in(a_pod, status, said):
    assert known(a_pod=a_pod, tj=training_job(status=status)).runs.ran(pod_identity()) == said


def test_the_pod_of_an_attempt_that_is_over_is_not_told_what_it_ran_in():
    world = known(a_pod=started(DIGEST))
    world.store.put(JOB, job(2, "another-uid"))
    with pytest.raises(Refusal, match="is over"):
        world.runs.ran(pod_identity())


def reading(name=f"mnist-{UID[:8]}-0", **over):
    found = job(labels={}, annotations={"trainyard.dev/reads": "r.txt"}, **over)
    found["metadata"]["name"] = name
    return found


def test_a_pod_that_reads_a_source_is_led_to_the_run_that_has_no_attempt_yet():
    world = known(a_job=reading(), tj=training_job("Preparing"))
    found = world.runs.reader_of(pod_identity())
    assert (found.uid, found.attempt, found.environment) == (UID, 0, None)
    assert "is over" in world.refusal().message


def test_the_pod_of_an_attempt_reads_no_source():
    assert known().runs.reader_of(pod_identity()) is None


@pytest.mark.parametrize(
    ("world", "said"),
    [
        pytest.param(known(a_job=reading(), tj=training_job(status={"attempt": 1})), "read already", id="begun"),
        pytest.param(known(a_job=reading("mnist-x"), tj=training_job("Preparing")), "read already", id="another job"),
        pytest.param(known(a_job=reading(), tj=training_job("Canceled")), "it is Canceled", id="ended"),
        pytest.param(
            known(a_job=reading(), tj=training_job("Preparing", deletionTimestamp=time(0))), "deleted", id="deleted"
        ),
    ],
)
def test_a_pod_that_reads_too_late_is_forbidden(world, said):
    with pytest.raises(Refusal, match=said):
        world.runs.reader_of(pod_identity())


def test_a_pod_that_is_told_to_stop_may_still_save_what_it_has():
    assert known(a_pod=pod(deletionTimestamp=time(30))).runs.run_of(pod_identity()).uid == UID


@pytest.mark.parametrize(
    ("world", "identity", "said"),
    [
        pytest.param(known(), pod_identity(pod_name="other"), "not the one", id="another-name"),
        pytest.param(known(), pod_identity(namespace="team-b"), "not the one", id="another-namespace"),
        pytest.param(known(a_pod=pod(deletionTimestamp=time(-1))), pod_identity(), "is deleted", id="deleted"),
        pytest.param(known(a_pod=pod(phase="Succeeded")), pod_identity(), "has ended", id="succeeded"),
        pytest.param(known(a_pod=pod(phase="Failed")), pod_identity(), "has ended", id="failed"),
        pytest.param(known(tj=training_job("Completed")), pod_identity(), "it is Completed", id="run-completed"),
        pytest.param(known(tj=training_job("Failed")), pod_identity(), "it is Failed", id="run-failed"),
        pytest.param(World((JOB, job()), (POD, pod())), pod_identity(), "belongs to no TrainingJob", id="no-run"),
        pytest.param(known(tj=training_job(namespace="team-b")), pod_identity(), "belongs to no", id="foreign-owner"),
    ],
)
def test_a_pod_that_works_for_no_run_is_forbidden(world, identity, said):
    refusal = world.refusal(identity)
    assert (refusal.status, refusal.reason) == (403, "Forbidden")
    assert said in refusal.message


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(World(), id="no-pod"),
        pytest.param(World((TRAINING_JOB, training_job()), (POD, pod())), id="no-job"),
        pytest.param(known(a_pod=pod(owner=None)), id="a-pod-without-owner"),
        pytest.param(known(a_pod=pod(owner=(JOB, OTHER_UID))), id="the-pod-of-another-job"),
        pytest.param(known(a_pod=pod(owner=(TRAINING_JOB, UID))), id="a-pod-that-claims-the-run-itself"),
        pytest.param(known(a_job=job(namespace="team-b")), id="a-job-of-another-namespace"),
    ],
)
def test_what_the_watch_has_not_told_is_waited_for_and_then_forbidden(world):
    assert world.refusal().status == 503
    world.seconds = GRACE_SECONDS - 1
    assert world.refusal().status == 503
    world.seconds = GRACE_SECONDS
    assert world.refusal().status == 403


def test_a_pod_that_the_watch_tells_late_is_served():
    world = World()
    assert world.refusal().status == 503
    for kind, obj in ((TRAINING_JOB, training_job()), (JOB, job()), (POD, pod())):
        world.store.put(kind, obj)
    assert world.runs.run_of(pod_identity()).uid == UID


def test_the_token_of_a_pod_that_is_gone_is_not_served():
    world = known()
    world.store.remove(POD, pod())
    assert world.refusal().status == 503
    world.seconds = GRACE_SECONDS
    assert world.refusal().status == 403


def kube(source, uid=UID, config_map=None):
    objects = {("TrainingJob", NAMESPACE, "mnist"): {"metadata": {"uid": uid}, "spec": spec(source=source)}}
    if config_map is not None:
        objects["ConfigMap", NAMESPACE, "code"] = config_map
    return KubeSources(KubeObjects(objects))


CONFIG_MAP = {"configMapRef": {"name": "code"}}


async def test_an_inline_source_is_read_from_the_training_job():
    assert await kube({"inline": {"train.py": "ü"}}).files(run_ref()) == {"train.py": "ü".encode()}


async def test_a_config_maps_text_and_bytes_are_read():
    config_map = {"data": {"train.py": "x"}, "binaryData": {"a.bin": base64.b64encode(b"\xff\x00").decode()}}
    assert await kube(CONFIG_MAP, config_map=config_map).files(run_ref()) == {"train.py": b"x", "a.bin": b"\xff\x00"}


async def test_an_empty_config_map_has_no_files():
    assert await kube(CONFIG_MAP, config_map={}).files(run_ref()) == {}


@pytest.mark.parametrize(
    ("sources", "status", "said"),
    [
        pytest.param(KubeSources(KubeObjects()), 403, "does not exist any more", id="no-training-job"),
        pytest.param(kube({"inline": {}}, uid=OTHER_UID), 403, "not the one", id="a-namesake"),
        pytest.param(kube(CONFIG_MAP), 404, "the ConfigMap code in namespace team-a was deleted", id="no-config-map"),
    ],
)
async def test_a_source_that_is_gone_is_refused(sources, status, said):
    with pytest.raises(Refusal) as refusal:
        await sources.files(run_ref())
    assert refusal.value.status == status
    assert said in refusal.value.message


def test_a_clusters_queue_is_shown_whole_and_in_order():
    store = Store()
    book = QueueBook(store=store)
    spec = {"provider": {"type": "Existing", "existing": {}}, "scale": {"maxNodes": 1}}
    meta = {"name": "lab", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": 1}
    store.put(COMPUTE_CLUSTER, {"metadata": meta, "spec": spec})
    for number, suspended in enumerate([False, True, True]):
        about = {"namespace": "team", "resourceVersion": "1", "uid": f"u{number}", "name": f"r{number}"}
        run_spec = {"source": {"inline": {"train.py": ""}}, "computeClusterRef": {"name": "lab"}, "priority": number}
        store.put(TRAINING_JOB, {"metadata": about | {"creationTimestamp": "2026-11-23T11:00:00Z"}, "spec": run_spec})
        owner = {"kind": "TrainingJob", "name": f"r{number}", "uid": f"u{number}"}
        labels = {"trainyard.dev/attempt": "1"}
        about |= {"uid": f"j{number}", "ownerReferences": [owner], "labels": labels}
        child = {"metadata": about, "spec": {"suspend": suspended}}
        book.heard(store.put(JOB, child))
    shown = BookQueues(book, store).show("team", "lab")
    assert shown["slots"] == {"total": 1, "used": 1}
    assert shown["running"] == [{"namespace": "team", "name": "r0"}]
    assert [(w["position"], w["name"], w["priority"]) for w in shown["waiting"]] == [(1, "r2", 2), (2, "r1", 1)]
    assert BookQueues(book, store).show("other", "lab") is None
