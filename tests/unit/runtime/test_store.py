from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runtime.fakes import job, meta, training_job
from trainyard_operator.api.names import JOB, NODE, NODE_CLAIM, POD, REGISTERED_MODEL, TRAINING_JOB, WORKLOAD
from trainyard_operator.runtime.live import LiveRun, LiveRuns
from trainyard_operator.runtime.slim import slim
from trainyard_operator.runtime.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        pytest.param(5, 6, 6, id="a newer one replaces"),
        pytest.param(6, 5, 6, id="an older one does not"),
        pytest.param(9, 10, 10, id="versions are numbers, not text"),
        pytest.param("abc", "abb", "abb", id="of opaque versions the last one wins"),
    ],
)
def test_the_newest_version_wins(first, second, kept):
    store = Store()
    store.put(TRAINING_JOB, training_job(version=first))
    store.put(TRAINING_JOB, training_job(version=second))
    assert store.get(TRAINING_JOB, "ns", "one")["metadata"]["resourceVersion"] == str(kept)


def test_the_same_version_again_is_no_change():
    store = Store()
    assert store.put(TRAINING_JOB, training_job(version=5)) is not None
    assert store.put(TRAINING_JOB, training_job(version=5)) is None


def test_what_was_deleted_does_not_come_back_with_a_late_answer():
    store = Store()
    store.put(TRAINING_JOB, training_job(version=5))
    store.remove(TRAINING_JOB, training_job(version=7))
    assert store.put(TRAINING_JOB, training_job(version=6)) is None
    assert store.get(TRAINING_JOB, "ns", "one") is None


def test_a_name_may_be_used_again_after_a_deletion():
    store = Store()
    store.put(TRAINING_JOB, training_job(version=5))
    store.remove(TRAINING_JOB, training_job(version=7))
    assert store.put(TRAINING_JOB, training_job(version=8, uid="second")) is not None


def test_a_late_deletion_leaves_the_next_object_of_that_name_alone():
    store = Store()
    store.put(TRAINING_JOB, training_job(version=8, uid="second"))
    assert store.remove(TRAINING_JOB, training_job(version=7, uid="first")) is None
    assert store.get(TRAINING_JOB, "ns", "one") is not None


def test_children_are_found_by_their_owner_until_they_go():
    store = Store()
    store.put(JOB, job("a", version=1))
    store.put(JOB, job("b", version=2))
    store.put(JOB, job("c", owner="other", version=3))
    assert [child["metadata"]["name"] for child in store.children(JOB, "uid-one")] == ["a", "b"]
    store.remove(JOB, job("a", version=4))
    assert [child["metadata"]["name"] for child in store.children(JOB, "uid-one")] == ["b"]
    assert store.children(JOB, "nobody") == ()


def test_an_object_is_found_by_its_uid_and_by_that_of_its_kind_only():
    store = Store()
    store.put(JOB, job("a"))
    assert store.by_uid(JOB, "uid-a")["metadata"]["name"] == "a"
    assert store.by_uid(POD, "uid-a") is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "remove"]), st.sampled_from("ab"), st.integers(1, 30)),
        unique_by=lambda step: step[2],
        max_size=20,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_does_not_matter(history, random):
    """A uid's events in their true order and in any other order leave the same objects."""
    history.sort(key=lambda step: step[2])
    # After its deletion a uid never comes back, so what the API server says ends there.
    said, gone = [], set()
    for action, name, version in history:
        if name not in gone:
            said.append((action, name, version))
            if action == "remove":
                gone.add(name)

    def play(steps):
        store = Store()
        for action, name, version in steps:
            getattr(store, action)(TRAINING_JOB, training_job(name, version=version))
        return sorted((o["metadata"]["name"], o["metadata"]["resourceVersion"]) for o in store.list(TRAINING_JOB))

    mixed = list(said)
    random.shuffle(mixed)
    assert play(mixed) == play(said)


def test_scripts_are_kept_as_lengths_and_managed_fields_not_at_all():
    kept = slim(
        TRAINING_JOB,
        training_job(spec={"source": {"inline": {"train.py": "äb"}}, "models": [{"name": "m"}]}, managedFields=[{}]),
    )
    assert kept["spec"] == {"source": {"inline": {"train.py": 3}}, "models": [{"name": "m"}]}
    assert "managedFields" not in kept["metadata"]


def test_of_the_managed_fields_of_a_model_those_stay_that_say_who_has_set_its_aliases():
    owners = [
        {
            "manager": "argocd",
            "operation": "Apply",
            "time": "t",
            "fieldsV1": {"f:spec": {"f:aliases": {"f:champion": {}}, "f:description": {}}},
        },
        {"manager": "operator", "subresource": "status", "time": "t", "fieldsV1": {"f:status": {"f:aliases": {}}}},
        {"manager": "kubectl", "time": "t", "fieldsV1": {"f:metadata": {}}},
    ]
    model = {"spec": {"aliases": {"champion": 1}}, "status": {}}
    kept = {"manager": "argocd", "time": "t", "fieldsV1": {"f:spec": {"f:aliases": {"f:champion": {}}}}}
    assert slim(REGISTERED_MODEL, {"metadata": meta(managedFields=owners), **model}) == {
        "metadata": meta(managedFields=[kept]),
        **model,
    }
    assert slim(REGISTERED_MODEL, {"metadata": meta(managedFields=owners[1:]), **model}) == {
        "metadata": meta(),
        **model,
    }


def test_who_wrote_a_number_into_a_models_spec_is_kept_of_its_managed_fields():
    fields = {"f:delete": {".": {}, "v:3": {}}}
    managed = [{"manager": "argocd", "fieldsV1": {"f:spec": {**fields, "f:archive": {"v:9": {}}}}}, {}]
    kept = slim(REGISTERED_MODEL, {"metadata": meta(managedFields=managed), "spec": {"modelName": "m"}})
    assert kept["metadata"]["managedFields"] == [{"manager": "argocd", "fieldsV1": {"f:spec": fields}}]


def test_slimming_leaves_the_object_that_it_is_given_alone():
    whole = training_job()
    slim(TRAINING_JOB, whole)
    assert whole == training_job()


@pytest.mark.parametrize(
    ("kind", "whole", "kept"),
    [
        pytest.param(JOB, {"spec": {"template": {}}, "status": {"active": 1}}, {"status": {"active": 1}}, id="job"),
        pytest.param(
            POD,
            {"spec": {"nodeName": "n", "containers": [{}]}, "status": {"phase": "Running", "podIP": "1.2.3.4"}},
            {"spec": {"nodeName": "n"}, "status": {"phase": "Running"}},
            id="pod",
        ),
        pytest.param(POD, {"spec": {"containers": []}}, {"spec": {}, "status": {}}, id="pod without a node"),
        pytest.param(
            NODE,
            {
                "spec": {"unschedulable": True, "podCIDR": "x"},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "t"}],
                    "images": [{}],
                },
            },
            {"spec": {"unschedulable": True}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            id="node without its heartbeat",
        ),
        pytest.param(
            NODE_CLAIM,
            {
                "spec": {"requirements": []},
                "status": {
                    "nodeName": "n",
                    "conditions": [
                        {"type": "Initialized", "status": "True", "lastTransitionTime": "t"},
                        {"type": "Consolidatable", "status": "True"},
                    ],
                },
            },
            {"status": {"nodeName": "n", "conditions": [{"type": "Initialized", "status": "True"}]}},
            id="machine and whether it came up",
        ),
        pytest.param(
            WORKLOAD,
            {"spec": {"active": True, "podSets": [{}]}, "status": {"conditions": [], "admission": {}}},
            {"spec": {"active": True}, "status": {"conditions": []}},
            id="workload",
        ),
    ],
)
def test_each_kind_keeps_what_planning_reads(kind, whole, kept):
    assert slim(kind, {"metadata": meta(), **whole}) == {"metadata": meta(), **kept}


@pytest.mark.parametrize(
    ("annotations", "kept"),
    [
        pytest.param({"kubectl.kubernetes.io/last-applied-configuration": "{}"}, None, id="only kubectl's copy"),
        pytest.param({"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}, {"a": "b"}, id="others too"),
    ],
)
def test_the_copy_that_kubectl_leaves_in_an_annotation_goes(annotations, kept):
    assert slim(TRAINING_JOB, training_job(annotations=annotations))["metadata"].get("annotations") == kept


class TestLiveRuns:
    def publish(self, store, *steps):
        changed = []
        runs = LiveRuns(store=store, changed=changed.append, now=lambda: NOW)
        for step in steps:
            runs.publish("uid-one", **{"attempt": 1, **step})
        return changed

    def test_a_report_and_a_digest_are_merged(self):
        store = Store()
        report = {"state": "Running", "metrics": {}}
        self.publish(store, {"source_sha256": "abc"}, {"report": report})
        assert store.live["uid-one"] == LiveRun(updated=NOW, attempt=1, report=report, source_sha256="abc")

    def test_saying_the_same_again_is_no_reason_to_look(self):
        report = {"state": "Running", "metrics": {"a": 1}}
        assert self.publish(Store(), {"report": report}, {"report": dict(report)}) == ["uid-one"]

    def test_what_an_earlier_attempt_said_is_not_taken_for_the_next_ones(self):
        store = Store()
        report = {"state": "Finalizing", "metrics": {"a": 1}}
        self.publish(store, {"report": report}, {"attempt": 2, "source_sha256": "abc"})
        assert store.live["uid-one"] == LiveRun(updated=NOW, attempt=2, source_sha256="abc")

    def test_what_a_run_said_is_forgotten_when_its_job_is_let_in_again(self):
        store = Store()
        store.put(JOB, {**job(version=1), "spec": {"suspend": True}})
        self.publish(store, {"report": {"state": "Finalizing"}})
        store.put(JOB, {**job(version=2), "spec": {"suspend": True}})
        assert "uid-one" in store.live
        store.put(JOB, {**job(version=3), "spec": {"suspend": False}})
        assert store.live == {}

    @pytest.mark.parametrize("end", ["finished", "deleted"])
    def test_what_a_run_said_is_forgotten_once_it_is_over(self, end):
        store = Store()
        store.put(TRAINING_JOB, training_job(version=1))
        self.publish(store, {"source_sha256": "abc"})
        if end == "finished":
            store.put(TRAINING_JOB, training_job(version=2, status={"completionTime": "2026-01-01T00:00:00Z"}))
        else:
            store.remove(TRAINING_JOB, training_job(version=2))
        assert store.live == {}


@pytest.mark.parametrize(
    ("environment", "status", "kept"),
    [
        pytest.param({"requirements": "r.txt"}, {}, "tabulate\n", id="while it decides what is built"),
        pytest.param({"requirements": "r.txt"}, {"jobName": "one-job"}, 9, id="once the run has its Job"),
        pytest.param({}, {}, 9, id="a file like any other"),
        pytest.param({"requirements": "long.txt"}, {}, 9, id="another file"),
    ],
)
def test_the_text_of_the_requirements_is_kept_while_it_is_needed(environment, status, kept):
    inline = {"train.py": "print(1)", "r.txt": "tabulate\n", "long.txt": "#" * 65537}
    run = training_job(spec={"source": {"inline": inline}, "environment": environment}, status=status)
    assert slim(TRAINING_JOB, run)["spec"]["source"]["inline"] == {"train.py": 8, "r.txt": kept, "long.txt": 65537}
