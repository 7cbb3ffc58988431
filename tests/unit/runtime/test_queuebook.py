"""Who waits for a cluster and who is on it, as objects come and go."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.unit.runtime.fakes import job, meta, training_job
from trainyard_operator.api.names import COMPUTE_CLUSTER, JOB, POD, TRAINING_JOB, TRAINING_JOB_LABEL
from trainyard_operator.domain.queueing import TOLD, estimates
from trainyard_operator.runtime import queuebook
from trainyard_operator.runtime.queuebook import CLAIM_SECONDS, ESTIMATE_SECONDS, QueueBook, clusters_of
from trainyard_operator.runtime.store import Store

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
KEY = ("ns", "pool")


class Yard:
    """A store and its book; every change of the one is told to the other."""

    def __init__(self):
        self.now = 1000.0
        self.version = 10
        self.store = Store()
        self.book = QueueBook(store=self.store, clock=lambda: self.now)

    def take(self, kind, obj):
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        change = self.store.put(kind, obj)
        self.book.heard(change)
        return change

    def drop(self, kind, obj):
        self.book.heard(self.store.remove(kind, obj))

    def run(
        self, name, *, suspended=None, finished=False, kueue=False, status=None, created="2026-11-23T11:00:00Z", **spec
    ):
        """Take in a run; with `suspended` its Job too."""
        whole = {"source": {"inline": {"train.py": ""}}, "computeClusterRef": {"name": "pool"}, **spec}
        self.take(TRAINING_JOB, training_job(name, spec=whole, status=status or {}, creationTimestamp=created))
        if suspended is not None:
            child = job(f"{name}-job", owner=name)
            child["spec"] = {"suspend": suspended}
            if kueue:
                child["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team"
            if finished:
                child["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
            self.take(JOB, child)

    @property
    def waiting(self):
        return [entry.name for entry in self.book.queue(KEY).waiting]

    @property
    def admitted(self):
        return sorted(entry.name for entry in self.book.queue(KEY).admitted.values())

    def gate(self, name):
        cluster = self.store.get(COMPUTE_CLUSTER, "ns", "pool")
        return self.book.gate(self.store.get(TRAINING_JOB, "ns", name), cluster, self.book.understand(cluster), now=NOW)


@pytest.fixture
def yard():
    found = Yard()
    provider = {"type": "Existing", "existing": {}}
    found.take(COMPUTE_CLUSTER, {"metadata": meta("pool"), "spec": {"provider": provider, "scale": {"maxNodes": 1}}})
    return found


def test_suspended_jobs_wait_in_order_and_others_are_on_the_cluster(yard):
    yard.run("b", suspended=True, created="2026-11-23T11:00:01Z")
    yard.run("a", suspended=True, created="2026-11-23T11:00:02Z")
    yard.run("c", suspended=True, priority=1, created="2026-11-23T11:00:03Z")
    yard.run("x", suspended=False)
    assert yard.waiting == ["c", "b", "a"]
    assert yard.admitted == ["x"]


@pytest.mark.parametrize(
    "over",
    [
        pytest.param({"suspended": None}, id="no Job yet"),
        pytest.param({"suspended": False, "finished": True}, id="Job has finished"),
        pytest.param({"suspended": True, "status": {"phase": "Canceled"}}, id="ended"),
        pytest.param({"suspended": True, "cancel": True}, id="to be canceled"),
        pytest.param({"suspended": True, "computeClusterRef": {"name": "other"}}, id="another cluster"),
        pytest.param({"suspended": True, "priority": "high"}, id="a spec that cannot work"),
    ],
)
def test_who_is_not_in_the_queue(yard, over):
    yard.run("a", **over)
    assert yard.waiting == []
    assert yard.admitted == []


def test_a_run_of_kueues_waits_in_no_queue_of_ours_and_takes_a_slot_once_it_is_let_in(yard):
    yard.run("a", suspended=True, kueue=True)
    yard.run("b")
    assert yard.waiting == []
    assert yard.gate("b").open
    yard.run("a", suspended=False, kueue=True)
    assert yard.admitted == ["a"]
    assert not yard.gate("b").open
    yard.run("a", suspended=True, kueue=True)
    assert (yard.waiting, yard.admitted) == ([], [])


def test_a_run_moves_from_waiting_to_admitted_to_gone(yard):
    yard.run("a", suspended=True)
    assert (yard.waiting, yard.admitted) == (["a"], [])
    yard.run("a", suspended=False)
    assert (yard.waiting, yard.admitted) == ([], ["a"])
    yard.drop(JOB, yard.store.get(JOB, "ns", "a-job"))
    assert (yard.waiting, yard.admitted) == ([], [])


def test_a_slot_that_was_given_away_is_taken_before_the_api_server_has_answered(yard):
    yard.run("a")
    yard.run("b")
    assert yard.gate("a").open
    yard.book.claim(KEY, [yard.book.entry(yard.store.get(TRAINING_JOB, "ns", "a"))])
    assert yard.admitted == ["a"]
    assert yard.gate("a") is None
    assert not yard.gate("b").open


def test_a_claim_of_which_nothing_came_is_void_after_a_while(yard):
    yard.run("a")
    yard.book.claim(KEY, [yard.book.entry(yard.store.get(TRAINING_JOB, "ns", "a"))])
    yard.now += CLAIM_SECONDS
    assert yard.admitted == []


def test_a_claim_on_a_waiting_run_takes_it_out_of_the_queue_and_ends_with_its_job(yard):
    yard.run("a", suspended=True)
    yard.book.claim(KEY, yard.book.queue(KEY).waiting)
    assert (yard.waiting, yard.admitted) == ([], ["a"])
    yard.run("a", suspended=False)
    yard.run("a", suspended=False, finished=True)
    assert (yard.waiting, yard.admitted) == ([], [])


def test_places_are_told_to_the_first_and_the_others_know_that_they_are_behind(yard):
    yard.run("x", suspended=False)
    for number in range(TOLD + 2):
        yard.run(f"r{number:03}", suspended=True, created="2026-11-23T11:00:01Z")
    second = yard.gate("r001")
    assert (second.place.position, second.place.pending) == (2, TOLD + 2)
    last = yard.gate(f"r{TOLD + 1:03}")
    assert last.place is None
    assert "behind the first 50" in last.message
    assert [name for _, name in yard.book.first(KEY)] == [f"r{n:03}" for n in range(TOLD)]


def test_estimates_come_from_how_long_the_clusters_runs_took(yard):
    yard.run("x", suspended=False)
    yard.run("a", suspended=True)
    assert yard.gate("a").estimate is None
    for number in range(3):
        times = {"startTime": "2026-11-23T11:00:00Z", "completionTime": "2026-11-23T11:02:00Z", "phase": "Completed"}
        yard.run(f"done{number}", status=times)
    yard.run("b", suspended=True)
    assert (yard.gate("a").estimate.likely - NOW).total_seconds() == 120


def shared(yard, *, ordering="Priority", **queue):
    """Share the cluster with the namespace `other`, and return its queue's order by names."""
    spec = {
        "provider": {"type": "Existing", "existing": {}},
        "scale": {"maxNodes": 1},
        "sharedWith": ["other"],
        "queue": {"ordering": ordering, **queue},
    }
    yard.take(COMPUTE_CLUSTER, {"metadata": meta("pool"), "spec": spec})
    machines = yard.book.understand(yard.store.get(COMPUTE_CLUSTER, "ns", "pool"))
    return lambda: [(e.namespace, e.name) for e in yard.book.queue(KEY, machines, now=NOW).waiting]


def from_elsewhere(yard, name, *, namespace="other", created="2026-11-23T11:30:00Z"):
    reference = {"name": "pool", "namespace": "ns"}
    spec = {"source": {"inline": {"train.py": ""}}, "computeClusterRef": reference}
    run = training_job(name, spec=spec, namespace=namespace, creationTimestamp=created)
    yard.take(TRAINING_JOB, run)
    child = job(f"{name}-job", owner=name, namespace=namespace)
    child["spec"] = {"suspend": True}
    yard.take(JOB, child)


def test_runs_of_namespaces_that_a_cluster_is_shared_with_wait_with_its_own_and_others_do_not(yard):
    order = shared(yard)
    yard.run("a", suspended=True, created="2026-11-23T11:40:00Z")
    from_elsewhere(yard, "b")
    from_elsewhere(yard, "c", namespace="stranger")
    assert order() == [("other", "b"), ("ns", "a")]


def test_fair_shares_take_turns_and_places_follow(yard):
    order = shared(yard, ordering="FairShare")
    yard.run("x", suspended=False)
    for number in range(4):
        yard.run(f"r{number}", suspended=True, created="2026-11-23T11:00:00Z")
    from_elsewhere(yard, "b")
    assert order() == [("other", "b"), ("ns", "r0"), ("ns", "r1"), ("ns", "r2"), ("ns", "r3")]
    assert yard.gate("r0").place.position == 2


def test_what_a_namespace_has_used_counts_against_it_by_weight(yard):
    done = {"startTime": "2026-11-23T11:00:00Z", "completionTime": "2026-11-23T11:30:00Z", "phase": "Completed"}
    yard.run("done", status=done)
    yard.run("a", suspended=True, created="2026-11-23T10:00:00Z")
    from_elsewhere(yard, "b")
    assert shared(yard, ordering="FairShare")() == [("other", "b"), ("ns", "a")]
    from_elsewhere(yard, "c")
    heavy = shared(yard, ordering="FairShare", weights={"ns": 1000})()
    assert heavy[0] == ("other", "b")
    assert heavy[1] == ("ns", "a")


def test_estimates_are_made_anew_only_once_in_a_while(yard, monkeypatch):
    made = []
    monkeypatch.setattr(queuebook, "estimates", lambda *a, **k: made.append(1) or estimates(*a, **k))
    times = {"startTime": "2026-11-23T11:00:00Z", "completionTime": "2026-11-23T11:02:00Z", "phase": "Completed"}
    for number in range(3):
        yard.run(f"done{number}", status=times)
    yard.run("x", suspended=False)
    for name in ("a", "b", "c"):
        yard.run(name, suspended=True)
    first = [yard.gate(name).estimate for name in ("a", "b", "c")]
    assert len(made) == 1
    yard.run("y", suspended=False)
    assert [yard.gate(name).estimate for name in ("a", "b", "c")] == first
    assert len(made) == 1
    yard.now += ESTIMATE_SECONDS
    assert all(yard.gate(name).estimate for name in ("a", "b", "c"))
    assert len(made) == 2


def test_a_status_that_moves_nobody_leaves_the_queue_as_it_is(yard, monkeypatch):
    made = []
    monkeypatch.setattr(queuebook, "estimates", lambda *a, **k: made.append(1) or ())
    yard.run("a", suspended=True)
    yard.gate("a")
    yard.run("a", suspended=True, status={"phase": "Queued"})
    yard.now += ESTIMATE_SECONDS
    yard.gate("a")
    assert len(made) == 1


def test_a_claim_that_is_void_puts_a_run_back_into_its_place(yard):
    for name in ("a", "b", "c"):
        yard.run(name, suspended=True)
    yard.book.claim(KEY, [entry for entry in yard.book.queue(KEY).waiting if entry.name == "b"])
    yard.run("b", suspended=True, status={"phase": "Queued"})
    assert (yard.waiting, yard.admitted) == (["a", "c"], ["b"])
    yard.now += CLAIM_SECONDS
    assert (yard.waiting, yard.admitted) == (["a", "b", "c"], [])


def test_a_run_that_ended_or_is_gone_has_no_claim(yard):
    for name in ("a", "b"):
        yard.run(name, suspended=True)
    yard.book.claim(KEY, yard.book.queue(KEY).waiting)
    yard.run("a", suspended=True, status={"phase": "Canceled"})
    yard.drop(TRAINING_JOB, yard.store.get(TRAINING_JOB, "ns", "b"))
    assert (yard.waiting, yard.admitted) == ([], [])


def test_the_runs_of_a_cluster_are_those_that_have_not_ended(yard):
    yard.run("a")
    yard.run("b", suspended=True)
    yard.run("c", status={"phase": "Completed"})
    yard.run("d", computeClusterRef={"name": "other"})
    yard.run("e")
    yard.drop(TRAINING_JOB, yard.store.get(TRAINING_JOB, "ns", "e"))
    assert [run["metadata"]["name"] for run in yard.book.going(KEY)] == ["a", "b"]
    yard.run("a", status={"phase": "Failed"})
    assert [run["metadata"]["name"] for run in yard.book.going(KEY)] == ["b"]


def test_nodes_have_the_runs_of_their_active_pods(yard):
    def pod(name, *, node=None, phase="Running"):
        labels = {TRAINING_JOB_LABEL: name}
        spec = {"nodeName": node} if node else {}
        yard.take(POD, {"metadata": meta(f"{name}-0", labels=labels), "spec": spec, "status": {"phase": phase}})

    for name in ("a", "b", "c"):
        pod(name)
    pod("a", node="n1")
    pod("b", node="n1")
    pod("c", node="n2")
    assert yard.book.runs_by_node(own="ns") == {"n1": ("a", "b"), "n2": ("c",)}
    assert yard.book.runs_by_node(own="other")["n2"] == ("ns/c",)
    pod("a", node="n1", phase="Succeeded")
    yard.drop(POD, yard.store.get(POD, "ns", "c-0"))
    assert yard.book.runs_by_node(own="ns") == {"n1": ("b",)}


def test_a_cluster_is_understood_anew_when_its_spec_changes(yard):
    assert yard.book.understand(yard.store.get(COMPUTE_CLUSTER, "ns", "pool")).spec.max_nodes == 1
    spec = {"provider": {"type": "Existing", "existing": {}}, "scale": {"maxNodes": 2}}
    yard.take(COMPUTE_CLUSTER, {"metadata": meta("pool"), "spec": spec})
    assert yard.book.understand(yard.store.get(COMPUTE_CLUSTER, "ns", "pool")).spec.max_nodes == 2


def test_a_cluster_that_cannot_be_understood_says_why(yard):
    assert "spec.provider.type" in yard.book.understand({"metadata": meta("bad"), "spec": {}})


def test_a_change_of_a_run_or_its_job_is_of_interest_to_the_cluster(yard):
    yard.run("a", suspended=True)
    change = yard.take(TRAINING_JOB, training_job("a", spec={"computeClusterRef": {"name": "pool"}}))
    assert list(clusters_of(change, store=yard.store)) == [KEY]
    change = yard.take(JOB, job("a-job", owner="a"))
    assert list(clusters_of(change, store=yard.store)) == [KEY]
    change = yard.take(JOB, job("z-job", owner="nobody"))
    assert list(clusters_of(change, store=yard.store)) == []


def attempt(yard, number, *, suspended=False, failed=False, stopped=None):
    child = job(f"a-job-{number}", owner="a", attempt=number)
    child["spec"] = {"suspend": suspended}
    if stopped:
        child["metadata"]["annotations"] = {"trainyard.dev/stopped": stopped}
    if failed:
        child["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    yard.take(JOB, child)


def test_a_slot_is_free_between_two_attempts_and_the_next_one_has_its_old_place_in_front(yard):
    yard.run("b", suspended=True, created="2026-11-23T11:00:02Z")
    yard.run("a", created="2026-11-23T11:00:01Z")
    attempt(yard, 1)
    assert (yard.admitted, yard.waiting) == (["a"], ["b"])
    attempt(yard, 1, failed=True)
    assert (yard.admitted, yard.waiting) == ([], ["b"])
    assert yard.gate("a").open
    attempt(yard, 2, suspended=True)
    assert (yard.admitted, yard.waiting) == ([], ["a", "b"])
    assert yard.book.queue(KEY).waiting[0].job_name == "a-job-2"
    attempt(yard, 2)
    assert (yard.admitted, yard.waiting) == (["a"], ["b"])


def test_a_job_that_was_stopped_for_good_waits_for_nothing_and_a_run_that_rests_neither(yard):
    yard.run("a")
    attempt(yard, 1, suspended=True, stopped="Suspended")
    assert (yard.admitted, yard.waiting) == ([], [])
    yard.run("c", suspended=True, suspend=True)
    assert yard.waiting == []
    yard.run("c", suspended=True, suspend=False)
    assert yard.waiting == ["c"]
