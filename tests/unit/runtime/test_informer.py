from __future__ import annotations

import pytest

from tests.unit.runtime.fakes import FakeClock, job, meta, training_job
from trainyard_operator.api.names import COMPUTE_CLUSTER, JOB, NODE, POD, REGISTERED_MODEL, TRAINING_JOB, WORKLOAD
from trainyard_operator.domain.run_status import NEAR
from trainyard_operator.runtime.informer import CLUSTER_SECONDS, FAR_PLACES_SECONDS, PLACES_SECONDS, Informer
from trainyard_operator.runtime.occupancy import occupied
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Key, Queues
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.watched import PLANNED

RUN = Key("trainingjobs", "ns", "one")
CLUSTER = Key("computeclusters", "ns", "pool")
MODEL = Key("registeredmodels", "ns", "m")
SPEC = {"source": {"inline": {"train.py": ""}}}
ON_POOL = {"computeClusterRef": {"name": "pool"}}


class Yard:
    """An informer with its store and queues; `said` drains what was enqueued."""

    def __init__(self):
        self.clock = FakeClock()
        self.store = Store()
        self.queues = Queues(kinds=PLANNED, clock=self.clock)
        self.unreadable = []
        self.informer = Informer(
            store=self.store, book=QueueBook(store=self.store), queues=self.queues, malformed=self.unreadable.append
        )

    async def said(self, after=0.0):
        if after:
            self.clock.advance(after)
        keys = []
        for kind in PLANNED:
            queue = self.queues[kind]
            while len(queue):
                key = await queue.get()
                keys.append(key)
                queue.done(key)
        return sorted(keys)

    async def settled(self):
        await self.said(after=10)


@pytest.fixture
def yard():
    return Yard()


def cluster(*, version=1, generation=1, ready=None):
    conditions = [] if ready is None else [{"type": "Ready", "status": ready}]
    return {
        "metadata": meta("pool", version=version, generation=generation),
        "spec": {},
        "status": {"conditions": conditions},
    }


def node(*, version=1, ready="True", heartbeat="t0"):
    return {
        "metadata": {"name": "n1", "uid": "n1", "resourceVersion": str(version), "labels": {}},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat}]},
    }


def pod(*, version=1, phase="Pending", node_name=None):
    labels = {"trainyard.dev/run-uid": "uid-one", "trainyard.dev/training-job": "one"}
    spec = {"nodeName": node_name} if node_name else {}
    return {"metadata": meta("pod", version=version, labels=labels), "spec": spec, "status": {"phase": phase}}


def model(*, version=1, states=()):
    versions = [{"version": n, "state": state, "run": {"name": f"run{n}"}} for n, state in enumerate(states, 1)]
    return {"metadata": meta("m", version=version), "spec": {"modelName": "m"}, "status": {"versions": versions}}


async def test_a_new_run_is_looked_at(yard):
    yard.informer.take(TRAINING_JOB, training_job())
    assert await yard.said() == [RUN]


async def test_a_relist_of_what_is_known_enqueues_nothing(yard):
    objects = [
        (TRAINING_JOB, training_job(spec=ON_POOL)),
        (JOB, job()),
        (POD, pod()),
        (NODE, node()),
        (COMPUTE_CLUSTER, cluster()),
        (REGISTERED_MODEL, model(states=["Ready"])),
    ]
    for kind, obj in objects:
        yard.informer.take(kind, obj)
    await yard.settled()
    for kind, obj in objects:
        yard.informer.take(kind, obj)
    assert await yard.said(after=10) == []


@pytest.mark.parametrize(("kind", "obj"), [pytest.param(JOB, job(), id="job"), pytest.param(POD, pod(), id="pod")])
async def test_a_child_wakes_its_run(yard, kind, obj):
    yard.informer.take(kind, obj)
    assert await yard.said() == [RUN]


def workload(*, version, said="waiting", owner="uid-one-job"):
    conditions = [{"type": "QuotaReserved", "status": "False", "message": said}]
    owners = [{"kind": "Job", "name": "one-job", "uid": owner}]
    return {"metadata": meta("wl", version=version, ownerReferences=owners), "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("second", "woken"),
    [
        pytest.param({"said": "no quota"}, [RUN], id="news"),
        pytest.param({}, [], id="nothing new"),
        pytest.param({"said": "no quota", "owner": "uid-of-no-run"}, [], id="somebody else's Job"),
    ],
)
async def test_what_kueue_says_of_a_job_wakes_its_run(yard, second, woken):
    yard.informer.take(TRAINING_JOB, training_job(spec=SPEC))
    yard.informer.take(JOB, job())
    yard.informer.take(WORKLOAD, workload(version=1))
    await yard.settled()
    yard.informer.take(WORKLOAD, workload(version=2, **second))
    assert await yard.said() == woken


async def test_a_deleted_job_wakes_its_run(yard):
    yard.informer.take(JOB, job(version=1))
    await yard.settled()
    yard.informer.drop(JOB, job(version=2))
    assert await yard.said() == [RUN]


async def test_the_answer_to_the_own_write_does_not_wake_the_writer(yard):
    yard.informer.take(TRAINING_JOB, training_job(version=1))
    await yard.settled()
    yard.informer.take(TRAINING_JOB, training_job(version=2, status={"phase": "Pending"}), origin=RUN)
    assert await yard.said() == []


@pytest.mark.parametrize(
    "change",
    [pytest.param({"generation": 2}, id="a new spec"), pytest.param({"deletionTimestamp": "t"}, id="a deletion")],
)
async def test_what_others_changed_before_the_own_write_is_not_missed(yard, change):
    """Its own watch event comes with an older version than the answer and is taken for known."""
    yard.informer.take(TRAINING_JOB, training_job(version=1))
    await yard.settled()
    yard.informer.take(TRAINING_JOB, training_job(version=3, **change), origin=RUN)
    assert await yard.said() == [RUN]


async def test_a_phase_wakes_the_cluster_once_in_a_while(yard):
    yard.informer.take(TRAINING_JOB, training_job(version=1, spec=ON_POOL))
    await yard.settled()
    for version, phase in enumerate(["Provisioning", "Running", "Completed"], 2):
        yard.informer.take(
            TRAINING_JOB, training_job(version=version, spec=ON_POOL, status={"phase": phase}), origin=RUN
        )
    assert await yard.said() == []
    assert await yard.said(after=CLUSTER_SECONDS) == [CLUSTER]


async def test_metrics_of_a_run_do_not_wake_the_cluster(yard):
    yard.informer.take(TRAINING_JOB, training_job(version=1, spec=ON_POOL, status={"phase": "Running"}))
    await yard.settled()
    yard.informer.take(
        TRAINING_JOB,
        training_job(version=2, spec=ON_POOL, status={"phase": "Running", "metrics": {"a": 1}}),
        origin=RUN,
    )
    assert await yard.said(after=10) == []


@pytest.mark.parametrize(
    ("second", "woken"),
    [
        pytest.param(node(version=2, ready="False"), [CLUSTER], id="not ready any more"),
        pytest.param(node(version=2, heartbeat="t1"), [], id="a heartbeat only"),
    ],
)
async def test_a_node_wakes_clusters_when_it_matters(yard, second, woken):
    yard.informer.take(COMPUTE_CLUSTER, cluster())
    yard.informer.take(NODE, node())
    await yard.settled()
    yard.informer.take(NODE, second)
    assert await yard.said(after=10) == woken


async def test_a_pod_that_takes_or_leaves_a_node_wakes_clusters(yard):
    yard.informer.take(COMPUTE_CLUSTER, cluster())
    yard.informer.take(POD, pod(version=1))
    await yard.settled()
    for version, phase in enumerate(["Running", "Succeeded"], 2):
        yard.informer.take(POD, pod(version=version, phase=phase, node_name="n1"))
        assert CLUSTER in await yard.said(after=10)


def selecting(name, **labels):
    spec = {"provider": {"type": "Existing", "existing": {"nodeSelector": labels}}}
    return {"metadata": meta(name), "spec": spec, "status": {}}


@pytest.mark.parametrize(
    ("node_name", "woken"),
    [
        pytest.param("n1", ["any", "blue"], id="of a node that is known"),
        pytest.param("n9", ["any", "blue", "red"], id="of a node that nobody has heard of"),
    ],
)
async def test_a_pod_wakes_only_clusters_that_its_node_may_belong_to(yard, node_name, woken):
    for found in (selecting("any"), selecting("blue", pool="blue"), selecting("red", pool="red")):
        yard.informer.take(COMPUTE_CLUSTER, found)
    blue = node()
    blue["metadata"]["labels"] = {"pool": "blue"}
    yard.informer.take(NODE, blue)
    await yard.settled()
    yard.informer.take(POD, pod(phase="Running", node_name=node_name))
    keys = await yard.said(after=CLUSTER_SECONDS)
    assert [key.name for key in keys if key.plural == CLUSTER.plural] == woken


async def test_the_next_in_a_queue_hear_of_their_places_before_those_behind(yard):
    yard.informer.take(COMPUTE_CLUSTER, selecting("pool"))
    for number in range(NEAR + 2):
        yard.informer.take(TRAINING_JOB, training_job(f"r{number}", spec={**SPEC, **ON_POOL}))
        queued = job(f"r{number}-job", owner=f"r{number}")
        queued["spec"] = {"suspend": True}
        yard.informer.take(JOB, queued)
    await yard.said(after=FAR_PLACES_SECONDS)
    yard.informer.drop(JOB, yard.store.get(JOB, "ns", "r0-job"))
    assert [key.name for key in await yard.said()] == ["pool", "r0"]
    assert [key.name for key in await yard.said(after=PLACES_SECONDS)] == ["r1", "r2", "r3"]
    assert [key.name for key in await yard.said(after=FAR_PLACES_SECONDS)] == ["r4"]


@pytest.mark.parametrize(
    ("second", "woken"),
    [
        pytest.param(cluster(version=2, ready="True"), [CLUSTER, RUN], id="ready"),
        pytest.param(cluster(version=2, generation=2), [CLUSTER, RUN], id="another spec"),
        pytest.param(cluster(version=2), [CLUSTER], id="counts only"),
    ],
)
async def test_a_cluster_wakes_the_runs_that_wait_for_it(yard, second, woken):
    yard.informer.take(COMPUTE_CLUSTER, cluster())
    yard.informer.take(TRAINING_JOB, training_job(spec=ON_POOL, status={"phase": "Pending"}))
    yard.informer.take(TRAINING_JOB, training_job("two", spec=ON_POOL, status={"phase": "Running"}))
    yard.informer.take(TRAINING_JOB, training_job("three", status={"phase": "Pending"}))
    await yard.settled()
    yard.informer.take(COMPUTE_CLUSTER, second)
    assert await yard.said() == woken


async def test_a_model_wakes_the_runs_whose_versions_changed(yard):
    yard.informer.take(REGISTERED_MODEL, model(version=1, states=["Ready", "Pending"]))
    await yard.settled()
    yard.informer.take(REGISTERED_MODEL, model(version=2, states=["Ready", "Ready", "Pending"]), origin=MODEL)
    assert await yard.said() == [Key("trainingjobs", "ns", "run2"), Key("trainingjobs", "ns", "run3")]


async def test_a_live_report_wakes_its_run(yard):
    yard.informer.take(TRAINING_JOB, training_job())
    await yard.settled()
    yard.informer.run_changed("uid-one")
    yard.informer.run_changed("unknown")
    assert await yard.said() == [RUN]


@pytest.mark.parametrize(
    "obj", [{}, {"metadata": None}, {"metadata": {}}, {"metadata": {"name": "x", "ownerReferences": [{}]}}], ids=str
)
async def test_an_object_that_nobody_can_read_is_counted_and_stops_nothing(yard, obj):
    yard.informer.take(TRAINING_JOB, obj)
    assert yard.unreadable == ["trainingjobs"]
    yard.informer.take(TRAINING_JOB, training_job())
    assert await yard.said() == [RUN]


HASH = "a" * 64
PREPARING = {"phase": "Preparing", "environment": {"hash": HASH, "state": "Building"}}


def of_build(name=f"env-{HASH[:12]}", **more):
    labels = {"trainyard.dev/run-uid": name, "trainyard.dev/environment": name}
    return {"metadata": meta(name, labels=labels, **more), "status": {}}


@pytest.mark.parametrize("kind", [JOB, POD], ids=lambda kind: kind.kind)
@pytest.mark.parametrize(
    ("change", "woken"),
    [
        pytest.param({}, [RUN], id="its own"),
        pytest.param({"name": "env-bbbbbbbbbbbb"}, [], id="another environment"),
        pytest.param({"namespace": "elsewhere"}, [], id="another namespace"),
    ],
)
async def test_a_build_wakes_the_runs_that_wait_for_it(yard, kind, change, woken):
    yard.informer.take(TRAINING_JOB, training_job(status=PREPARING))
    await yard.settled()
    yard.informer.take(kind, of_build(**change))
    assert await yard.said() == woken


async def test_the_words_of_a_build_wake_runs_that_wait_and_no_others(yard):
    yard.informer.take(TRAINING_JOB, training_job(status=PREPARING))
    yard.informer.take(TRAINING_JOB, training_job("two", status={**PREPARING, "phase": "Running"}))
    await yard.settled()
    yard.informer.environment_changed("ns", f"env-{HASH[:12]}")
    assert await yard.said() == [RUN]


async def test_the_pod_of_a_build_keeps_no_node_busy(yard):
    assert occupied({**of_build(), "spec": {"nodeName": "n1"}}) is None
    assert occupied(pod(node_name="n1")) == "n1"


PROMOTING = {"promoteFrom": {"namespace": "lab", "model": "iris", "version": 1, "sha256": "d" * 64}}


def offering(*, version=1, shared=("ns",), state="Ready", **status):
    """Return the RegisteredModel `iris` of another namespace."""
    return {
        "metadata": {**meta("iris", version=version), "namespace": "lab", "uid": "iris"},
        "spec": {"modelName": "iris", "sharedWith": shared if isinstance(shared, str) else list(shared)},
        "status": {"versions": [{"version": 1, "state": state}], **status},
    }


@pytest.mark.parametrize(
    ("before", "after", "woken"),
    [
        pytest.param({"shared": ()}, {}, True, id="it is shared"),
        pytest.param({}, {"shared": ()}, True, id="it is shared no more"),
        pytest.param({"state": "Pending"}, {}, True, id="its version is ready"),
        pytest.param({}, {"latestId": "iris:1"}, False, id="nothing that matters"),
        pytest.param({"shared": ()}, {"shared": ("other",)}, False, id="it is shared with others"),
        pytest.param({"shared": ()}, {"shared": "ns"}, False, id="what is shared is no list"),
    ],
)
async def test_a_model_that_promotes_is_woken_by_what_its_source_offers(yard, before, after, woken):
    yard.informer.take(REGISTERED_MODEL, {**model(), "spec": {"modelName": "m", **PROMOTING}})
    yard.informer.take(REGISTERED_MODEL, offering(**before))
    await yard.settled()
    yard.informer.take(REGISTERED_MODEL, offering(version=2, **after))
    assert (MODEL in await yard.said()) == woken


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="promotes-nothing"),
        pytest.param({"promoteFrom": {**PROMOTING["promoteFrom"], "model": "Iris"}}, id="another-model"),
        pytest.param({"promoteFrom": {**PROMOTING["promoteFrom"], "namespace": "ns"}}, id="another-namespace"),
        pytest.param({"promoteFrom": [7]}, id="no-object"),
        pytest.param("text", id="no-spec"),
    ],
)
async def test_a_model_that_promotes_something_else_is_left_alone(yard, spec):
    yard.informer.take(REGISTERED_MODEL, {**model(), "spec": spec})
    await yard.settled()
    yard.informer.take(REGISTERED_MODEL, offering())
    assert MODEL not in await yard.said()
