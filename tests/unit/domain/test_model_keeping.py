"""Archiving, deleting and keeping a status small, as decisions over entries."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import NOW, model, version
from trainyard.contract import canonical_json
from trainyard_operator.api.names import object_name
from trainyard_operator.domain.model_keeping import LEAST_RECENT, MOST_RECENT, KeepingView
from trainyard_operator.domain.model_retention import ReadyVersion
from trainyard_operator.domain.registered_model import ModelView, plan_registered_model

NAME = object_name("sklearn_mnist")
FOLDER = "s3://b/models/default/sklearn_mnist/"
OLD = "2026-01-01T00:00:00Z"


def wished(*entries, status=None, managers=(), **spec):
    parent = model(*entries, object_name=NAME)
    parent = {**parent, "spec": {**parent["spec"], **spec}}
    fields = [{"manager": who, "fieldsV1": {"f:spec": {"f:delete": {".": {}, f"v:{n}": {}}}}} for n, who in managers]
    parent["metadata"] = {**parent["metadata"], "managedFields": fields}
    parent["status"] = {**parent["status"], **(status or {})}
    return parent


def plan(parent, **seen):
    return plan_registered_model(
        parent, ModelView(folder_uri=FOLDER, keeping=KeepingView(archive_uri=f"{FOLDER}archive/", **seen)), NOW
    )


def after(parent, done):
    return {**parent, "status": done.status} if done.status is not None else parent


def states(done):
    return [(entry["version"], entry["state"]) for entry in done.status["versions"]]


def cleared(status):
    return next((c for c in status["conditions"] if c["type"] == "Cleared"), None)


def test_a_version_is_laid_aside_while_the_spec_names_it_and_told_once():
    parent = wished(version(1), version(2), archive=[2])
    done = plan(parent)
    assert states(done) == [(1, "Ready"), (2, "Archived")]
    assert [event.reason for event in done.events] == ["VersionArchived"]
    assert done.status["conditions"][0]["message"] == "sklearn_mnist:1 is ready"
    parent = after(parent, done)
    assert plan(parent).status is None
    back = plan({**parent, "spec": {"modelName": "sklearn_mnist"}})
    assert states(back) == [(1, "Ready"), (2, "Ready")]
    assert back.events == ()


def test_a_version_that_is_not_laid_aside_any_more_is_verified_with_the_others_at_once():
    aside = {**version(1, manifestSha256="d" * 64), "state": "Archived"}
    done = plan(wished(aside, version(2, manifestSha256="e" * 64), verification={"request": "now"}))
    assert [number for number, _ in done.inspect.versions] == [1, 2]


def test_where_all_versions_are_laid_aside_none_can_be_used():
    ready = plan(wished(version(1), archive=[1])).status["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "NoVersions")


def test_a_version_is_deleted_in_steps_and_leaves_a_tombstone():
    parent = wished(version(1, manifestSha256="d" * 64, files=1, bytes=9), delete=[1], managers=[(1, "argocd")])
    assert plan(parent).status["versions"][0]["state"] == "Ready"  # the store was not asked yet
    going = plan(parent, free=frozenset({1}))
    assert states(going) == [(1, "Deleting")]
    assert [wish.version for wish in going.clear] == [1]
    tombstone = going.clear[0].tombstone
    parent = after(parent, going)
    again = plan(parent)
    assert (again.status, [wish.tombstone for wish in again.clear]) == (None, [tombstone])
    gone = plan(parent, cleared=frozenset({1}))
    assert gone.status["versions"] == [tombstone]
    assert gone.clear == ()
    assert tombstone == {
        "version": 1,
        "id": "sklearn_mnist:1",
        "key": "k",
        "state": "Deleted",
        "run": {"name": "run-a", "uid": parent["status"]["versions"][0]["run"]["uid"], "attempt": 1},
        "path": "outputs/m.pkl",
        "runManifestSha256": "f" * 64,
        "manifestSha256": "d" * 64,
        "createdTime": "2026-11-23T11:00:00Z",
        "deletedTime": "2026-11-23T12:00:00Z",
        "deletedBy": "argocd",
    }
    assert [(event.reason, "by argocd" in event.message) for event in gone.events] == [("VersionDeleted", True)]
    parent = after(parent, gone)
    assert plan(parent, free=frozenset({1})).status is None
    assert plan({**parent, "spec": {"modelName": "sklearn_mnist"}}).status is None  # nothing comes back


@pytest.mark.parametrize("field", ["delete", "archive"])
@pytest.mark.parametrize(
    "place",
    [
        pytest.param({"aliases": {"champion": 1}}, id="wished"),
        pytest.param(
            {"aliases": {"champion": 9}, "status": {"aliases": {"champion": {"version": 1, "since": OLD}}}},
            id="in fact",
        ),
    ],
)
def test_a_version_with_an_alias_stays_and_the_alias_is_named_once(field, place):
    parent = wished(version(1), **place, **{field: [1]})
    done = plan(parent, free=frozenset({1}))
    assert states(done) == [(1, "Ready")]
    assert cleared(done.status)["reason"] == "VersionAliased"
    assert f"spec.{field}: sklearn_mnist:1 has the alias champion" in cleared(done.status)["message"]
    assert [event.reason for event in done.events if not event.reason.startswith("Alias")] == ["VersionAliased"]
    assert plan(after(parent, done), free=frozenset({1})).events == ()


def test_an_alias_that_moves_away_sets_its_version_free_without_a_complaint():
    status = {"aliases": {"champion": {"version": 1, "since": OLD}}}
    parent = wished(version(1), version(2), status=status, aliases={"champion": 2}, delete=[1])
    moved = plan(parent)
    assert moved.status["aliases"]["champion"]["version"] == 2
    assert cleared(moved.status) is None
    assert moved.requeue_after == 0
    assert states(plan(after(parent, moved), free=frozenset({1}))) == [(1, "Deleting"), (2, "Ready")]


def test_a_version_can_come_back_and_get_an_alias_at_once():
    status = {"archivedEntries": {"count": 1, "uri": "s3://b/"}}
    parent = wished(version(9), status=status, aliases={"champion": 2})
    done = plan(parent, recalled={2: version(2, state="Archived")})
    assert done.status["aliases"]["champion"]["version"] == 2
    assert states(done) == [(2, "Ready"), (9, "Ready")]
    assert {event.reason for event in done.events} == {"AliasMoved"}


def test_a_version_that_is_being_made_is_not_deleted_yet():
    done = plan(wished(version(1, state="Pending"), delete=[1]), free=frozenset({1}))
    assert states(done) == [(1, "Pending")]


def test_what_the_store_retains_stays_as_it_was_and_is_looked_at_again():
    parent = wished(version(1), delete=[1])
    done = plan(parent, held={1: "retained until 2027-01-01T00:00:00Z"})
    assert states(done) == [(1, "Ready")]
    assert cleared(done.status)["reason"] == "VersionRetained"
    assert "retained until 2027-01-01" in cleared(done.status)["message"]
    assert done.requeue_after == 3600
    assert done.clear == ()
    later = plan(after(parent, done), free=frozenset({1}))
    assert states(later) == [(1, "Deleting")]
    assert cleared(later.status) is None


def test_what_the_store_refuses_to_delete_is_said():
    parent = wished(version(1, state="Deleting"), delete=[1])
    done = plan(parent, trouble={1: "access denied"})
    assert "access denied" in cleared(done.status)["message"]
    assert len(done.clear) == 1


def test_a_number_that_is_no_version_is_answered():
    words = cleared(plan(wished(version(1), delete=[9], archive=[8])).status)["message"]
    assert "spec.delete: there is no version 9 of sklearn_mnist" in words
    assert "spec.archive: there is no version 8" in words


RULE = {"keepLast": 1, "keepReadyDays": 30}
LATEST = version(9)


@pytest.mark.parametrize(
    ("entries", "spec", "due"),
    [
        pytest.param([version(1, createdTime=OLD)], {}, [1], id="old"),
        pytest.param([version(1)], {}, [], id="young"),
        pytest.param([version(1, createdTime=OLD), version(2, createdTime=OLD)], {}, [1, 2], id="several"),
        pytest.param([version(1, createdTime=OLD)], {"aliases": {"champion": 1}}, [], id="aliased"),
        pytest.param([version(1, createdTime=OLD, state="Archived")], {"archive": [1]}, [], id="laid aside"),
        pytest.param([version(1, createdTime=OLD, state="Failed")], {}, [], id="never ready"),
    ],
)
def test_a_dry_run_says_what_the_rule_deletes_and_the_rule_deletes_that(entries, spec, due):
    dry = wished(*entries, LATEST, retention={**RULE, "dryRun": True}, **spec)
    done = plan(dry, free=frozenset({1, 2}))
    assert done.status["retention"] == {"count": len(due), "versions": due}
    assert done.clear == ()
    real = plan(wished(*entries, LATEST, retention=RULE, **spec), free=frozenset({1, 2}))
    assert [wish.version for wish in real.clear] == due
    assert all(wish.tombstone["deletedBy"] == "retention" for wish in real.clear)
    assert "retention" not in real.status


def test_without_a_rule_nothing_is_deleted():
    assert plan(wished(version(1, createdTime=OLD), LATEST), free=frozenset({1})).clear == ()


def test_the_rule_knows_versions_in_the_archive_and_the_newest_stay():
    older = [ReadyVersion(version=n, created=NOW.replace(year=2020)) for n in (1, 2)]
    status = {"archivedEntries": {"count": 2, "uri": "s3://b/"}}
    parent = wished(LATEST, status=status, retention=RULE)
    done = plan(parent, older=older, recalled={1: version(1, createdTime=OLD)}, free=frozenset({1}))
    assert states(done) == [(1, "Deleting"), (9, "Ready")]
    assert done.status["archivedEntries"]["count"] == 1


def test_the_rule_is_looked_at_again_when_the_next_version_gets_old():
    done = plan(wished(version(1, createdTime="2026-10-24T13:00:00Z"), LATEST, retention=RULE))
    assert done.requeue_after == 3601


def test_older_entries_leave_the_status_once_there_are_many_and_are_written_before():
    count = MOST_RECENT + 1
    parent = wished(*(version(n, key=str(n)) for n in range(1, count + 1)))
    parent = after(parent, plan({**parent, "status": {**parent["status"], "versions": []}}))
    parent["status"]["versions"] = [version(n, key=str(n)) for n in range(1, count + 1)]
    done = plan(parent)
    (filing,) = done.file
    assert [entry["version"] for entry in filing.entries] == list(range(1, count - LEAST_RECENT + 1))
    assert len(done.status["versions"]) == LEAST_RECENT
    assert done.status["archivedEntries"] == {"count": count - LEAST_RECENT, "uri": f"{FOLDER}archive/"}
    assert done.events == ()
    assert plan(after(parent, done)).status is None


def test_what_somebody_names_or_is_under_way_never_leaves_the_status():
    busy = {3: {"state": "Pending"}, 4: {"state": "Deleting"}}
    entries = [version(n, key=str(n), **busy.get(n, {})) for n in range(1, 300)]
    entries[4]["state"] = "Archived"
    entries[5]["state"] = "Deleted"
    parent = wished(*entries, aliases={"champion": 1, "old": 2}, archive=[5], delete=[6])
    done = plan(after(parent, plan(parent)))
    assert [entry["version"] for entry in done.status["versions"]][:7] == [1, 2, 3, 4, 5, 6, 200]


def test_large_entries_leave_the_status_earlier():
    entries = [version(n, key=str(n), description="x" * 2048, metrics={"m" * 900: 1}) for n in range(1, 200)]
    done = plan(wished(*entries))
    assert done.file
    assert len(canonical_json(done.status)) < 300_000


def test_an_entry_that_somebody_asks_for_comes_back_from_the_archive():
    status = {"archivedEntries": {"count": 5, "uri": f"{FOLDER}archive/"}, "latestVersion": 9}
    done = plan(wished(version(9), status=status, archive=[2]), recalled={2: version(2)})
    assert states(done) == [(2, "Archived"), (9, "Ready")]
    assert done.status["archivedEntries"]["count"] == 4
