"""Restoring a status from what the store holds: what is missing is added, nothing else is touched."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import model, version
from trainyard_operator.domain.model_restore import Found, restore
from trainyard_operator.domain.registry import MAX_ENTRIES


def sealed(number, **over):
    return version(number, key=f"key-{number}", manifestSha256=f"{number:064x}", **over)


def tombstone(number):
    entry = {name: value for name, value in sealed(number).items() if name not in {"uri", "files", "bytes"}}
    return {**entry, "state": "Deleted", "deletedBy": "retention"}


def numbers(restoration):
    return [v["version"] for v in restoration.status["versions"]]


def test_a_model_that_was_lost_has_its_versions_again():
    done = restore(model(), Found(entries=[sealed(1), sealed(2)]))
    assert done.status == {
        "latestVersion": 2, "latestId": "sklearn_mnist:2", "versions": [sealed(1), sealed(2)],
    }  # fmt: skip
    assert (done.added, done.notes) == ((1, 2), ())


def test_a_hole_is_filled_in_its_place_and_what_is_known_stays_as_it_is():
    mine = sealed(3, state="Failed", message="x")
    parent = model(sealed(1), mine)
    parent["status"]["conditions"] = [{"type": "Ready"}]
    done = restore(parent, Found(entries=[sealed(1), sealed(2), sealed(3)]))
    assert numbers(done) == [1, 2, 3]
    assert done.status["versions"][2] == mine
    assert done.status["conditions"] == [{"type": "Ready"}]


def test_what_is_whole_is_left_alone():
    parent = model(sealed(1), sealed(2))
    done = restore(parent, Found(entries=[sealed(1), sealed(2)]))
    assert (done.status, done.added, done.notes) == (None, (), ())


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param({"unsealed": [5]}, "number 5 stays used: it has files and no manifest", id="no-manifest"),
        pytest.param({"broken": {5: "it is no manifest"}}, "number 5 stays used: it is no manifest", id="broken"),
    ],
)
def test_a_number_without_a_version_is_used_and_told(found, said):
    done = restore(model(), Found(entries=[sealed(1)], **found))
    assert (done.status["latestVersion"], numbers(done), done.notes) == (5, [1], (said,))


@pytest.mark.parametrize(
    ("status", "added"),
    [
        pytest.param([sealed(1)], (2,), id="not known any more"),
        pytest.param([sealed(1), sealed(2)], (2,), id="deleted since the backup"),
        pytest.param([sealed(1), tombstone(2)], (), id="known"),
        pytest.param([sealed(1), tombstone(2) | {"state": "Deleting"}], (), id="under way"),
    ],
)
def test_a_version_that_was_deleted_stays_deleted(status, added):
    found = Found(entries=[sealed(1)], deleted={2: tombstone(2)})
    done = restore(model(*status), found)
    assert (done.added, done.notes) == (added, ())
    assert found.highest == 2
    if added:
        assert done.status["versions"] == [sealed(1), tombstone(2)]


def test_a_manifest_that_is_not_the_one_of_the_status_is_told():
    (note,) = restore(model(sealed(1)), Found(entries=[sealed(1) | {"manifestSha256": "e" * 64}])).notes
    assert "its manifest was changed" in note


def test_what_has_no_room_is_told():
    done = restore(model(), Found(entries=[sealed(n) for n in range(1, MAX_ENTRIES + 3)]))
    assert numbers(done)[0] == 3
    assert done.notes == ("the status has no room for 2 versions, up to number 2",)


def test_versions_whose_entries_are_archived_stay_in_the_archive_and_are_counted():
    found = Found(entries=[sealed(n) for n in (1, 2, 3)], archived=(1, 2), archive_uri="s3://b/archive/")
    done = restore(model(), found)
    assert numbers(done) == [3]
    assert done.status["archivedEntries"] == {"count": 2, "uri": "s3://b/archive/"}
    assert restore({**model(), "status": done.status}, found).status is None
