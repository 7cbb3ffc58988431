"""What a run's controller looks for before the run has its Job: its archive, and the run that it repeats."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest
from packaging.version import Version

from tests.unit.domain.builders import SETTINGS
from tests.unit.runtime.fakes import job, meta, training_job
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.api.names import COMPUTE_CLUSTER, JOB, TRAINING_JOB
from trainyard_operator.domain.environment import Reading
from trainyard_operator.domain.environment_build import BuildSettings
from trainyard_operator.domain.rerun import NotYet, read_note
from trainyard_operator.domain.run_view import ArchiveSource
from trainyard_operator.runtime.controllers.training_job import TrainingJobController
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.runtime.index import Index
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.store import Store

DIGEST = "e" * 64
LOGS = f"s3://bucket/envs/ns/{DIGEST}/logs/"
PACK = {"path": "pack.tar.zst", "sha256": "b" * 64, "bytes": 9}
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
SHA = "ab" * 32
STARTED = {"phase": "Running", "source": {"sha256": SHA}, "environment": {"imageDigest": "sha256:" + "a" * 64}}


class Yard:
    """A controller over a store of objects and a store of files."""

    def __init__(self, files=None):
        self.store, self.files, self.version = Store(), MemoryStore(files), 10
        self.book = QueueBook(store=self.store)
        self.controller = TrainingJobController(
            store=self.store,
            book=self.book,
            client=None,
            objects=self.files,
            memory=Memory(),
            environments=EnvironmentBook(
                store=self.store,
                objects=self.files,
                settings=BuildSettings(packages={"joblib": (Version("1.6.0"),)}),
                trainer_image=SETTINGS.trainer_image,
                bucket="bucket",
                index=Index,
            ),
            settings=SETTINGS,
            bucket="bucket",
            no_kueue="",
        )

    def take(self, kind, obj):
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.book.heard(self.store.put(kind, obj))
        return obj

    def run(self, name, *, status=None, **spec):
        created = "2026-11-23T11:00:00Z"
        return self.take(TRAINING_JOB, training_job(name, spec=spec, status=status or {}, creationTimestamp=created))

    async def plan(self, run):
        view = await self.controller.observe(run)
        return view, self.controller.plan(run, view, NOW)


def archived(path="code.zip"):
    return {"source": {"archive": {"path": path, "sha256": SHA}}}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        pytest.param("code.zip", "data/ns/code.zip", id="datastore"),
        pytest.param("snapshots/a.zip", "snapshots/ns/a.zip", id="snapshot"),
    ],
)
async def test_an_archive_is_looked_for_where_it_belongs(path, key):
    yard = Yard({key: b"x"})
    view, _ = await yard.plan(yard.run("a", **archived(path)))
    assert (view.source.uri, view.source.bytes) == (f"s3://bucket/{key}", 1)


async def test_an_archive_of_another_namespace_is_not_seen():
    yard = Yard({"data/other/code.zip": b"x"})
    view, plan = await yard.plan(yard.run("a", **archived()))
    assert view.source == ArchiveSource(uri="s3://bucket/data/ns/code.zip")
    assert plan.create == ()


async def test_a_spec_that_cannot_work_costs_no_look_into_the_store():
    yard = Yard()
    view, plan = await yard.plan(yard.run("a", **archived("../other/code.zip")))
    assert view.source is None
    assert plan.status["failure"]["reason"] == "InvalidSpec"
    assert yard.files.calls == []


async def test_a_run_that_has_its_job_asks_no_more_for_its_archive():
    yard = Yard()
    run = yard.run("a", **archived())
    yard.take(JOB, job("a-job", owner="a"))
    await yard.plan(run)
    assert yard.files.calls == []


async def test_a_rerun_finds_the_other_run_and_asks_for_as_much_of_the_cluster():
    yard = Yard()
    provider = {"type": "Existing", "existing": {}}
    yard.take(COMPUTE_CLUSTER, {"metadata": meta("pool"), "spec": {"provider": provider, "scale": {"maxNodes": 1}}})
    yard.run("first", status=STARTED, source={"inline": {"train.py": ""}}, resources={"requests": {"cpu": "2"}})
    run = yard.run("again", rerunOf="first", computeClusterRef={"name": "pool"})
    _, plan = await yard.plan(run)
    (made,) = plan.create
    assert read_note(made).name == "first"
    # Claimed at once, and seen the same once the Job is there.
    assert yard.book.entry(run).demand.cpu == 2000
    child = job("again-job", owner="again")
    child["metadata"]["annotations"] = made["metadata"]["annotations"]
    yard.take(JOB, {**child, "spec": {"suspend": True}})
    assert yard.book.entry(run).demand.cpu == 2000


async def test_a_rerun_looks_in_its_own_namespace_only():
    yard = Yard()
    other = training_job("first", spec={"source": {"inline": {"train.py": ""}}}, status=STARTED)
    other["metadata"]["namespace"] = "other"
    yard.take(TRAINING_JOB, other)
    view, plan = await yard.plan(yard.run("again", rerunOf="first"))
    assert isinstance(view.repeated, NotYet)
    assert plan.requeue_after is not None


async def test_a_rerun_with_its_job_goes_by_what_the_job_says():
    yard = Yard()
    yard.run("first", status=STARTED, source={"inline": {"train.py": ""}}, parameters={"rate": 1})
    run = yard.run("again", rerunOf="first")
    _, plan = await yard.plan(run)
    child = job("again-job", owner="again")
    child["metadata"]["annotations"] = plan.create[0]["metadata"]["annotations"]
    yard.take(JOB, child)
    yard.store.remove(TRAINING_JOB, yard.store.get(TRAINING_JOB, "ns", "first"))
    view, plan = await yard.plan(run)
    assert view.repeated.spec["parameters"] == {"rate": 1}
    assert plan.status is None or "failure" not in plan.status


async def plan_rerun_of(*, environment, hash_=DIGEST, logs=LOGS, files=None):
    yard = Yard(files)
    known = {"hash": hash_, "state": "Ready", "logUri": logs}
    status = {
        **STARTED,
        "environment": STARTED["environment"] | {name: value for name, value in known.items() if value},
    }
    source = {"inline": {"train.py": "", "r.txt": "tabulate"}}
    yard.run("first", status=status, source=source, environment=environment)
    _, plan = await yard.plan(yard.run("again", rerunOf="first"))
    return plan


@pytest.mark.parametrize("environment", [{"requirements": "r.txt"}, {"pip": ["tabulate"]}], ids=["file", "pip"])
async def test_a_rerun_gets_the_packages_of_the_other_run_while_they_are_kept(environment):
    record = json.dumps({"hash": DIGEST, "pack": PACK}).encode()
    plan = await plan_rerun_of(environment=environment, files={f"envs/ns/{DIGEST}.json": record})
    (made,) = plan.create
    assert made["metadata"]["annotations"]["trainyard.dev/environment-hash"] == DIGEST
    assert plan.status["environment"] == {"hash": DIGEST, "state": "Ready", "logUri": LOGS}


async def test_a_rerun_needs_no_packages_where_the_image_had_them():
    plan = await plan_rerun_of(environment={"requirements": "r.txt"}, logs=None)
    (made,) = plan.create
    assert "trainyard.dev/environment-hash" not in made["metadata"]["annotations"]
    assert plan.status["environment"] == {"hash": DIGEST, "state": "Ready"}


async def test_a_rerun_of_a_run_whose_file_lists_nothing_asks_for_nothing():
    plan = await plan_rerun_of(environment={"requirements": "r.txt"}, hash_=None, logs=None)
    assert len(plan.create) == 1
    assert "environment" not in plan.status


async def test_a_rerun_has_a_list_of_packages_installed_again_where_they_were_removed():
    plan = await plan_rerun_of(environment={"pip": ["tabulate"]})
    (made,) = plan.create
    assert made["metadata"]["name"].startswith("env-")
    assert plan.status["environment"]["state"] == "Building"


async def test_a_rerun_fails_where_the_packages_of_a_file_were_removed():
    plan = await plan_rerun_of(environment={"requirements": "r.txt"})
    assert plan.create == ()
    failure = plan.status["failure"]
    assert failure["reason"] == "EnvironmentNotRestored"
    assert "spec.rerunOf: the packages of first, which its file r.txt lists, are not kept" in failure["message"]
    assert "give this run a source with that file" in failure["message"]


CODE = hashlib.sha256(b"x").hexdigest()
PATH = f"snapshots/ns/{CODE}.zip"


def listed(**over):
    source = {"archive": {"path": f"snapshots/{CODE}.zip", "sha256": CODE}}
    return {"source": source, "environment": {"requirements": "r.txt"}, **over}


def from_git():
    return listed(source={"git": {"url": "https://example.com/a.git"}})


def made_by(plan):
    return [child["metadata"]["name"] for child in plan.create]


def reader(yard, plan, *, failed=None):
    """Take the Job that `plan` wants, as the watch tells of it."""
    (wanted,) = plan.create
    meta = {**wanted["metadata"], "uid": f"uid-{wanted['metadata']['name']}"}
    ended = [{"type": "Failed", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": failed}]
    return yard.take(JOB, {"metadata": meta, "status": {"conditions": ended if failed else []}})


@pytest.mark.parametrize("spec", [listed(), from_git()], ids=["archive", "git"])
async def test_a_source_that_lists_packages_is_read_and_its_text_makes_the_environment_of_a_spec(spec):
    yard = Yard({PATH: b"x"})
    run = yard.run("a", **spec)
    uid = run["metadata"]["uid"]
    view, plan = await yard.plan(run)
    assert view.preparation == Reading(file="r.txt", settings=view.preparation.settings)
    (name,) = made_by(plan)
    assert name == f"a-{uid[:8]}-0"
    job_made = reader(yard, plan)
    assert (await yard.plan(run))[0].preparation.job == job_made
    yard.files.objects[f"runs/ns/{uid}/requirements.txt"] = b"tabulate"
    read, plan = await yard.plan(run)
    same, _ = await yard.plan(yard.run("b", source={"inline": {"train.py": ""}}, environment={"pip": ["tabulate"]}))
    assert read.preparation.environment == same.preparation.environment
    assert made_by(plan) == [read.preparation.environment.name]


@pytest.mark.parametrize(
    "spec",
    [listed(), {"source": {"inline": {"train.py": ""}}, "environment": {"pip": ["tabulate"]}}],
    ids=["file", "pip"],
)
async def test_a_run_takes_no_place_on_its_cluster_while_its_packages_are_read_or_built(spec):
    yard = Yard({PATH: b"x"})
    provider = {"type": "Existing", "existing": {}}
    yard.take(COMPUTE_CLUSTER, {"metadata": meta("pool"), "spec": {"provider": provider, "scale": {"maxNodes": 1}}})
    run = yard.run("a", computeClusterRef={"name": "pool"}, **spec)
    _, plan = await yard.plan(run)
    assert len(plan.create) == 1
    assert yard.book.queue(("ns", "pool")).admitted == {}


async def test_a_text_that_cannot_be_a_list_of_packages_fails_the_run_and_names_the_line():
    yard = Yard({PATH: b"x"})
    run = yard.run("a", **listed())
    yard.files.objects[f"runs/ns/{run['metadata']['uid']}/requirements.txt"] = b"numpy\n-e ."
    _, plan = await yard.plan(run)
    assert "line 2 of r.txt" in plan.status["failure"]["message"]


async def test_a_file_of_an_archive_is_read_once_for_all_runs_that_wait_for_it():
    yard = Yard({PATH: b"x"})
    first, second = yard.run("a", **listed()), yard.run("b", **listed())
    other = yard.run("c", **listed(environment={"requirements": "other.txt"}))
    _, plan = await yard.plan(first)
    for _ in range(2):
        view, waits = await yard.plan(second)
        assert (view.preparation.by, waits.create) == ("a", ())
        reader(yard, plan)
    assert len(made_by((await yard.plan(other))[1])) == 1
    yard.files.objects[f"runs/ns/{first['metadata']['uid']}/requirements.txt"] = b"tabulate"
    first_view, _ = await yard.plan(first)
    second_view, _ = await yard.plan(second)
    assert second_view.preparation.environment == first_view.preparation.environment


@pytest.mark.parametrize(
    ("failed", "shared"),
    [
        pytest.param("2026-11-23T11:30:00Z", True, id="while the other run waited"),
        pytest.param("2026-11-23T10:30:00Z", False, id="before there was the other run"),
    ],
)
async def test_a_reading_that_fails_fails_all_runs_that_waited_for_it_and_a_later_one_tries_anew(failed, shared):
    yard = Yard({PATH: b"x"})
    first, second = yard.run("a", **listed()), yard.run("b", **listed())
    _, plan = await yard.plan(first)
    reader(yard, plan, failed=failed)
    _, plan = await yard.plan(second)
    assert (plan.status["phase"] == "Failed", made_by(plan) == []) == (shared, shared)


@pytest.mark.parametrize("gone", ["deleted", "canceled"])
async def test_a_run_reads_itself_where_the_one_that_it_waits_for_is_gone(gone):
    yard = Yard({PATH: b"x"})
    first, second = yard.run("a", **listed()), yard.run("b", **listed())
    reader(yard, (await yard.plan(first))[1])
    assert (await yard.plan(second))[1].create == ()
    if gone == "deleted":
        yard.store.remove(TRAINING_JOB, first)
    else:
        yard.take(TRAINING_JOB, {**first, "metadata": {**first["metadata"]}, "status": {"phase": "Canceled"}})
    assert len((await yard.plan(second))[1].create) == 1


async def test_a_rerun_has_the_packages_of_a_file_installed_again_that_was_read_from_its_source():
    yard = Yard()
    status = {**STARTED, "environment": {"hash": DIGEST, "state": "Ready", "logUri": LOGS, "imageDigest": "sha256:1"}}
    first = yard.run("first", status=status, **from_git())
    yard.files.objects[f"runs/ns/{first['metadata']['uid']}/requirements.txt"] = b"tabulate"
    _, plan = await yard.plan(yard.run("again", rerunOf="first"))
    (name,) = made_by(plan)
    assert name.startswith("env-")
