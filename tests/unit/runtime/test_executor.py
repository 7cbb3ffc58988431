from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tests.unit.domain.builders import version
from tests.unit.runtime.fakes import FakeClient, FakeClock, FakeGroups, job, meta, training_job
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.api.environment import Environment
from trainyard_operator.api.names import EVENT, JOB, NODE_CLAIM, REGISTERED_MODEL, TRAINING_JOB
from trainyard_operator.domain.environment_build import BuildSettings, build_environment_job
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.domain.plan import (
    Deletion,
    Event,
    Patch,
    Plan,
    Seal,
    VersionClearing,
    VersionCopy,
    VersionFiling,
    VersionRequest,
)
from trainyard_operator.domain.registry import MAX_ENTRIES, Beyond
from trainyard_operator.kube.errors import AlreadyExists, Conflict, Forbidden, Unavailable
from trainyard_operator.providers.node_group import GroupAddress, GroupCall
from trainyard_operator.runtime.background import Background
from trainyard_operator.runtime.events import build_event
from trainyard_operator.runtime.executor import Executor, ForeignObjectError
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.model_keeper import ModelKeeper
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Queues
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.watched import PLANNED
from trainyard_operator.storage.errors import CopyRefused, StoreDenied, StoreUnavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class FakeEnvironments:
    """Keeps what was to be sealed."""

    def __init__(self):
        self.sealed = []

    async def seal(self, wish):
        self.sealed.append(wish)


class Bench:
    """An executor over a fake cluster that holds one TrainingJob and one RegisteredModel."""

    def __init__(self):
        self.client = FakeClient()
        self.store = Store()
        self.memory = Memory()
        self.copies = []
        self.copy_error = None
        self.there = Beyond()
        self.looks = []
        self.look_error = None
        self.erased = []
        self.erase_error = None
        self.groups = FakeGroups()
        self.environments = FakeEnvironments()
        self.objects = MemoryStore()
        self.keeper = ModelKeeper(self.objects, now=lambda: NOW)
        self.executor = self.another()
        self.parent = self.client.seed(TRAINING_JOB, training_job(status={"phase": "Pending", "metrics": {"a": 1}}))
        self.store.put(TRAINING_JOB, self.parent)
        self.client.calls.clear()

    def another(self):
        informer = Informer(
            store=self.store, book=QueueBook(store=self.store), queues=Queues(kinds=PLANNED, clock=FakeClock())
        )
        return Executor(
            client=self.client, store=self.store, informer=informer, memory=self.memory, copy=self.copy,
            beyond=self.beyond, erase=self.erase, groups=self.groups, environments=self.environments,
            keeper=self.keeper,
            background=Background(at_once=4, wake=lambda _key: None), now=lambda: NOW,
        )  # fmt: skip

    async def copy(self, namespace, model, version, entry):
        if self.copy_error:
            raise self.copy_error
        self.copies.append((namespace, model, version, entry))

    async def beyond(self, namespace, model, known):
        self.looks.append((namespace, model, known))
        if self.look_error:
            raise self.look_error
        return self.there

    async def erase(self, namespace, uid):
        if self.erase_error:
            raise self.erase_error
        self.erased.append((namespace, uid))

    async def run(self, plan, *, kind=TRAINING_JOB, parent=None):
        return await self.executor.execute(kind, parent or self.parent, plan)

    def seed_model(self, versions=(), **status):
        model = {"metadata": meta("m"), "spec": {"modelName": "m"}, "status": {"versions": list(versions), **status}}
        return self.client.seed(REGISTERED_MODEL, model)


@pytest.fixture
def bench():
    return Bench()


def child(owner="one"):
    made = job(owner=owner)
    made["metadata"] = {k: v for k, v in made["metadata"].items() if k not in {"uid", "resourceVersion"}}
    return made


def request(key="run/m/outputs"):
    return VersionRequest(model="m", key=key, entry={"run": {"name": "one", "uid": "uid-one"}})


async def test_an_empty_plan_costs_no_call(bench):
    await bench.run(Plan())
    assert bench.client.calls == {}


async def test_an_equal_status_costs_no_call(bench):
    await bench.run(Plan(status=dict(bench.parent["status"])))
    assert bench.client.calls == {}


async def test_a_status_is_one_patch_that_also_removes_keys(bench):
    await bench.run(Plan(status={"phase": "Running", "metrics": {"b": 2}}))
    assert bench.client.calls == {"patch_status trainingjobs": 1}
    assert bench.client.of(TRAINING_JOB)[0]["status"] == {"phase": "Running", "metrics": {"b": 2}}


async def test_answers_are_in_the_store_before_any_watch_says_them(bench):
    await bench.run(Plan(create=(child(),), status={"phase": "Running"}))
    assert bench.store.children(JOB, "uid-one")
    assert bench.store.get(TRAINING_JOB, "ns", "one")["status"] == {"phase": "Running"}


async def test_the_steps_come_in_the_order_of_the_plan_and_events_last(bench):
    order = []
    bench.client.before = lambda verb, kind, _: order.append(f"{verb} {kind.kind}")
    bench.seed_model()
    events = (Event(type="Normal", reason="Started", message="x"),)
    await bench.run(Plan(create=(child(),), register=(request(),), status={"phase": "Running"}, events=events))
    assert order == [
        "create Job",
        "list RegisteredModel",
        "patch_status RegisteredModel",
        "patch_status TrainingJob",
        "create Event",
    ]


async def test_an_object_that_refuses_its_patch_keeps_no_other_from_its_own(bench):
    for name in ("a", "b", "c"):
        bench.client.seed(JOB, job(name))

    def fail(verb, kind, name):
        if verb == "patch" and name == "a":
            raise Unavailable("down")

    bench.client.before = fail
    patches = [
        Patch(kind=JOB, namespace="ns", name=name, body={"spec": {"suspend": False}}) for name in ("a", "b", "c")
    ]
    with pytest.raises(Unavailable):
        await bench.run(Plan(patch=tuple(patches), status={"phase": "Running"}))
    assert [bench.store.get(JOB, "ns", name) is not None for name in ("a", "b", "c")] == [False, True, True]
    assert bench.client.calls["patch_status trainingjobs"] == 0


async def test_events_of_a_write_that_failed_are_not_posted(bench):
    def fail(verb, kind, _):
        if verb == "patch_status":
            raise Unavailable("down")

    bench.client.before = fail
    with pytest.raises(Unavailable):
        await bench.run(Plan(status={"phase": "Running"}, events=(Event(type="Normal", reason="r", message="m"),)))
    assert bench.client.of(EVENT) == []


async def test_a_child_that_is_there_already_and_ours_is_taken_in(bench):
    bench.client.seed(JOB, child())
    await bench.run(Plan(create=(child(),)))
    assert len(bench.client.of(JOB)) == 1
    assert bench.store.children(JOB, "uid-one")


async def test_a_child_of_somebody_else_is_named_and_left_alone(bench):
    bench.client.seed(JOB, child(owner="other"))
    with pytest.raises(ForeignObjectError, match="ns/one-job belongs to something else"):
        await bench.run(Plan(create=(child(),)))


BUILT = Environment(image="trainer:1", platform="amd64", requirements=("tabulate",), index="a" * 64)


def build(**metadata):
    pods = PodSettings(trainer_image="trainer:1", gateway_url="https://gateway:8443", gateway_ca="PEM")
    job = build_environment_job(environment=BUILT, namespace="ns", pods=pods, builds=BuildSettings())
    return {**job, "metadata": {**job["metadata"], **metadata}}


async def test_a_build_that_another_run_began_is_taken_in(bench):
    bench.client.seed(JOB, build(uid="first"))
    await bench.run(Plan(create=(build(),)))
    assert bench.store.get(JOB, "ns", BUILT.name)["metadata"]["uid"] == "first"


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        pytest.param({"annotations": {}}, ForeignObjectError, id="somebody else's"),
        pytest.param({"deletionTimestamp": "2026-01-01T00:00:00Z"}, AlreadyExists, id="one that is going"),
    ],
)
async def test_a_job_in_the_place_of_a_build_is_not_taken_for_it(bench, metadata, error):
    bench.client.seed(JOB, build(uid="first", **metadata))
    with pytest.raises(error):
        await bench.run(Plan(create=(build(),), status={"phase": "Preparing"}))
    assert bench.store.get(JOB, "ns", BUILT.name) is None
    assert bench.client.of(TRAINING_JOB)[0]["status"]["phase"] == "Pending"


async def test_what_a_build_left_is_sealed_before_the_status_speaks_of_it(bench):
    wish = Seal(namespace="ns", hash=BUILT.hash, job="first")
    await bench.run(Plan(seal=wish))
    assert bench.environments.sealed == [wish]


async def test_a_model_that_is_there_already_may_belong_to_anybody(bench):
    bench.seed_model()
    wish = {"kind": "RegisteredModel", "metadata": {"name": "m", "namespace": "ns"}, "spec": {"modelName": "m"}}
    await bench.run(Plan(create=(wish,), register=(request(),)))
    assert [v["version"] for v in bench.client.of(REGISTERED_MODEL)[0]["status"]["versions"]] == [1]


async def test_a_create_whose_answer_was_lost_is_not_done_twice(bench):
    lost = iter([True])

    def lose(verb, kind, _):
        if kind == JOB and verb == "create" and next(lost, False):
            raise Unavailable("connection reset")

    bench.client.after = lose
    with pytest.raises(Unavailable):
        await bench.run(Plan(create=(child(),)))
    await bench.run(Plan(create=(child(),)))
    assert len(bench.client.of(JOB)) == 1


@pytest.mark.parametrize("executors", [1, 4], ids=["one process", "four processes at once"])
async def test_twenty_registrations_take_twenty_numbers(bench, executors):
    bench.seed_model()
    crew = [bench.another() for _ in range(executors)]
    for number, executor in enumerate(crew):  # all but the first begin with a store that is behind
        executor._store = bench.store if number == 0 else Store()
    plans = [Plan(register=(request(f"run{n}/m/x"),)) for n in range(20)]
    await asyncio.gather(
        *(crew[n % executors].execute(TRAINING_JOB, bench.parent, plan) for n, plan in enumerate(plans))
    )
    versions = bench.client.of(REGISTERED_MODEL)[0]["status"]["versions"]
    assert sorted(v["version"] for v in versions) == list(range(1, 21))
    assert len({v["key"] for v in versions}) == 20


async def test_registering_a_key_again_changes_nothing(bench):
    bench.seed_model()
    await bench.run(Plan(register=(request(),)))
    await bench.run(Plan(register=(request(),)))
    assert bench.client.calls["patch_status registeredmodels"] == 1


async def test_a_registration_that_meets_a_storm_of_conflicts_gives_up_for_now(bench):
    bench.seed_model()

    def storm(verb, kind, _):
        if verb == "patch_status":
            raise Conflict("the object has been modified")

    bench.client.before = storm
    with pytest.raises(Conflict, match="keeps changing"):
        await bench.run(Plan(register=(request(),)))


async def test_a_key_that_only_the_archive_knows_gets_its_version_again(bench):
    entry = version(7, key="run/m/x", name="m")
    await bench.keeper.file("ns", VersionFiling(model_name="m", entries=(entry,)))
    bench.seed_model(archivedEntries={"count": 1, "uri": "s3://b/"}, latestVersion=300)
    bench.objects.calls.clear()
    await bench.run(Plan(register=(request("run/m/x"),)))
    await bench.run(Plan(register=(request("run/m/x"),)))
    status = bench.client.of(REGISTERED_MODEL)[0]["status"]
    assert status["versions"] == [entry]
    assert (status["latestVersion"], status["archivedEntries"]["count"]) == (300, 0)
    assert len(bench.objects.calls) == 2  # the key's own object, and one page


async def test_a_new_key_costs_one_look_into_the_archive_and_gets_the_next_number(bench):
    bench.seed_model(archivedEntries={"count": 9000, "uri": "s3://b/"}, latestVersion=9300)
    await bench.run(Plan(register=(request(),)))
    assert bench.client.of(REGISTERED_MODEL)[0]["status"]["versions"][0]["version"] == 9301
    assert len(bench.objects.calls) == 1


async def test_a_registration_waits_where_the_status_has_no_room(bench):
    bench.seed_model([version(n, key=str(n), state="Pending") for n in range(1, MAX_ENTRIES + 1)])
    with pytest.raises(Conflict, match="no room now"):
        await bench.run(Plan(register=(request(),)))


async def test_entries_are_in_the_archive_before_the_status_forgets_them(bench):
    model = bench.seed_model([version(1)])
    told = []
    bench.client.before = lambda verb, *_: told.append((verb, len(bench.objects.objects)))
    plan = Plan(file=(VersionFiling(model_name="m", entries=(version(1),)),), status={"versions": []})
    await bench.run(plan, kind=REGISTERED_MODEL, parent=model)
    assert told == [("patch_status", 2)]


async def test_files_go_after_the_status_says_so_and_why_they_do_not_is_remembered(bench):
    model = bench.seed_model([version(1)])
    bench.objects.objects["models/ns/m/1/a"] = b"a"
    wish = Plan(
        clear=(VersionClearing(model_name="m", version=1, tombstone={}),),
        status={"versions": [version(1, state="Deleting")]},
    )
    bench.objects.breaks_at = lambda call, _key: call == "delete"
    with pytest.raises(StoreUnavailable):
        await bench.run(wish, kind=REGISTERED_MODEL, parent=model)
    assert bench.client.of(REGISTERED_MODEL)[0]["status"]["versions"][0]["state"] == "Deleting"
    assert "broke at delete" in bench.memory.kept_files[model["metadata"]["uid"], 1]
    bench.objects.breaks_at = lambda *_: False
    (model,) = bench.client.of(REGISTERED_MODEL)
    await bench.run(wish, kind=REGISTERED_MODEL, parent=model)
    assert list(bench.objects.objects) == ["models/ns/m/1.deleted.json"]
    assert bench.memory.kept_files == {}


async def test_a_models_own_status_is_never_written_over_an_allocation(bench):
    """The model's controller read the status before a run took a version of it."""
    before = bench.seed_model()
    await bench.run(Plan(register=(request(),)))
    with pytest.raises(Conflict):
        await bench.run(Plan(status={"versions": [], "observedGeneration": 1}), kind=REGISTERED_MODEL, parent=before)
    assert len(bench.client.of(REGISTERED_MODEL)[0]["status"]["versions"]) == 1


async def test_a_call_to_the_cloud_is_made_before_the_status_speaks_of_it(bench):
    call = GroupCall(address=GroupAddress(cluster="lab", name="pool"), verb="delete")
    told = []
    bench.client.before = lambda verb, *_: told.append((verb, list(bench.groups.calls)))
    await bench.run(Plan(call=call, status={"phase": "Running"}))
    assert told == [("patch_status", [call])]


async def test_what_a_finalizer_holds_is_known_to_be_going_at_once_and_what_is_gone_is_no_error(bench):
    held = {"metadata": {"name": "held", "uid": "uid-held", "finalizers": ["karpenter.sh/termination"]}}
    bench.store.put(NODE_CLAIM, bench.client.seed(NODE_CLAIM, held))
    wishes = [Deletion(kind=NODE_CLAIM, namespace="", name=name, uid=f"uid-{name}") for name in ("held", "gone")]
    await bench.run(Plan(delete=tuple(wishes)))
    assert bench.store.get(NODE_CLAIM, "", "held")["metadata"]["deletionTimestamp"]


async def test_versions_are_copied(bench):
    model = bench.seed_model()
    wish = VersionCopy(model_name="m", version=3, entry={"path": "outputs"})
    assert await bench.run(Plan(copy=(wish,)), kind=REGISTERED_MODEL, parent=model)
    assert bench.copies == [("ns", "m", 3, {"path": "outputs"})]


async def test_a_copy_that_can_never_work_is_remembered(bench):
    model = bench.seed_model()
    bench.copy_error = CopyRefused("no such file")
    await bench.run(Plan(copy=(VersionCopy(model_name="m", version=3, entry={}),)), kind=REGISTERED_MODEL, parent=model)
    assert bench.memory.refusals == {(model["metadata"]["uid"], 3): "no such file"}


async def test_why_a_runs_data_was_not_deleted_is_remembered_until_it_is(bench):
    uid = bench.parent["metadata"]["uid"]
    bench.erase_error = StoreUnavailable("no route")
    with pytest.raises(StoreUnavailable):
        await bench.run(Plan(erase=True, status={"phase": "Failed"}))
    assert bench.memory.kept_data == {uid: "no route"}
    assert bench.client.of(TRAINING_JOB)[0]["status"] == {"phase": "Failed"}
    bench.erase_error = None
    await bench.run(Plan(erase=True))
    assert (bench.erased, bench.memory.kept_data) == ([("ns", uid)], {})


async def test_an_event_is_posted_once_by_one_process_and_by_the_next(bench):
    plan = Plan(events=(Event(type="Normal", reason="Started", message="began"),))
    await bench.run(plan)
    await bench.run(plan)
    assert bench.client.calls["create events"] == 1
    bench.executor = bench.another()
    await bench.run(plan)
    assert len(bench.client.of(EVENT)) == 1


async def test_an_event_that_cannot_be_posted_does_not_undo_the_work(bench):
    def forbid(_verb, kind, _):
        if kind == EVENT:
            raise Forbidden("no")

    bench.client.before = forbid
    await bench.run(Plan(status={"phase": "Running"}, events=(Event(type="Normal", reason="r", message="m"),)))
    assert bench.client.of(TRAINING_JOB)[0]["status"] == {"phase": "Running"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param({}, {}, True, id="the same"),
        pytest.param({}, {"message": "other"}, False, id="another message"),
        pytest.param({}, {"reason": "Other"}, False, id="another reason"),
        pytest.param({}, {"occasion": "later"}, False, id="the same once more"),
        pytest.param({}, {"uid": "other"}, False, id="another object of that name"),
    ],
)
def test_the_name_of_an_event_is_what_it_says(one, other, same):
    def name(*, uid="u", reason="Reason", message="m", occasion=""):
        event = Event(type="Normal", reason=reason, message=message, occasion=occasion)
        return build_event(TRAINING_JOB, training_job(uid=uid), event, now=NOW)["metadata"]["name"]

    assert (name(**one) == name(**other)) is same


def test_an_event_of_a_long_name_and_message_fits():
    event = build_event(
        TRAINING_JOB, training_job("n" * 253), Event(type="Warning", reason="R", message="x" * 5000), now=NOW
    )
    assert len(event["metadata"]["name"]) <= 253
    assert len(event["message"]) <= 1024


class TestRegistering:
    async def test_the_store_is_asked_what_it_holds_beyond_the_status_that_is_written(self, bench):
        bench.seed_model([{"version": 4, "key": "other", "id": "m:4"}])
        bench.there = Beyond(used=6, entries=({"version": 6, "key": "lost", "id": "m:6"},))
        await bench.run(Plan(register=(request(),)))
        assert bench.looks == [("ns", "m", 4)]
        (model,) = bench.client.of(REGISTERED_MODEL)
        assert [v["version"] for v in model["status"]["versions"]] == [4, 6, 7]

    async def test_a_version_that_is_known_costs_no_look(self, bench):
        bench.seed_model([{"version": 1, "key": request().key, "id": "m:1"}])
        await bench.run(Plan(register=(request(),)))
        assert bench.looks == []

    @pytest.mark.parametrize("step", ["copy", "look"])
    async def test_a_store_that_refuses_is_remembered_and_the_status_is_written_all_the_same(self, bench, step):
        bench.seed_model()
        setattr(bench, f"{step}_error", StoreDenied("no"))
        copies = (VersionCopy(model_name="m", version=1, entry={}),)
        plan = Plan(register=(request(),), copy=copies, status={"phase": "Running"})
        with pytest.raises(StoreDenied):
            await bench.run(plan)
        assert bench.memory.store_trouble == {"uid-one": "no"}
        assert bench.client.of(TRAINING_JOB)[0]["status"] == {"phase": "Running"}
        setattr(bench, f"{step}_error", None)
        await bench.run(plan)
        assert bench.memory.store_trouble == {}
