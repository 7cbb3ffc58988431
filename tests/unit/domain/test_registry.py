"""Version numbers: unique, never reused, the same for the same wish."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.domain.builders import NOW, model, version
from trainyard_operator.api.names import object_name
from trainyard_operator.domain.plan import VersionRequest
from trainyard_operator.domain.registered_model import ModelView, Sealed, plan_registered_model
from trainyard_operator.domain.registry import MAX_ENTRIES, Beyond, RegistryFullError, allocate, that_fit

NAME = object_name("sklearn_mnist")


def request(key="run/m/p"):
    entry = {"run": {"name": "r", "uid": "u"}, "path": "p", "runManifestSha256": "0" * 64, "metrics": {}}
    return VersionRequest(model=NAME, key=key, entry=entry)


def take(parent, wish, **beyond):
    return allocate(model=parent, request=wish, beyond=Beyond(**beyond), now=NOW)


@given(st.lists(st.text(min_size=1), max_size=30))
def test_every_distinct_wish_gets_the_next_number_and_a_repeated_one_gets_nothing_new(keys):
    parent = model()
    for key in keys:
        status = take(parent, request(key))
        if status is not None:
            parent = {**parent, "status": status}
    versions = parent["status"].get("versions", [])
    assert [v["version"] for v in versions] == list(range(1, len(set(keys)) + 1))
    assert [v["key"] for v in versions] == list(dict.fromkeys(keys))


def test_a_number_is_not_used_again_when_its_entry_is_gone():
    parent = model(version(1), version(2))
    parent["status"]["versions"].pop()
    assert take(parent, request("new"))["latestVersion"] == 3


def test_a_model_that_was_deleted_and_registered_again_goes_on_counting():
    assert take(model(), request(), used=7)["latestId"] == "sklearn_mnist:8"


def test_a_full_status_takes_no_more_until_older_entries_have_left_it():
    parent = model(*[version(n, key=str(n)) for n in range(1, MAX_ENTRIES + 1)])
    with pytest.raises(RegistryFullError, match=str(MAX_ENTRIES)):
        take(parent, request("new"))


def plan(parent, **seen):
    return plan_registered_model(parent, ModelView(folder_uri="s3://b/models/default/sklearn_mnist/", **seen), NOW)


def test_a_pending_version_is_copied():
    (copy,) = plan(model(version(1, state="Pending"), object_name=NAME)).copy
    assert (copy.model_name, copy.version) == ("sklearn_mnist", 1)


def test_a_sealed_version_becomes_ready_with_its_digest_and_is_told_once():
    pending = model(version(1, state="Pending"), object_name=NAME)
    sealed = {1: Sealed(manifest_sha256="d" * 64, files=2, bytes=20)}
    done = plan(pending, sealed=sealed)
    entry = done.status["versions"][0]
    assert entry["state"] == "Ready"
    assert entry["manifestSha256"] == "d" * 64
    assert entry["uri"] == "s3://b/models/default/sklearn_mnist/1/"
    assert [event.reason for event in done.events] == ["VersionReady"]
    assert done.copy == ()
    assert plan({**pending, "status": done.status}) == plan({**pending, "status": done.status}, sealed=sealed)
    assert plan({**pending, "status": done.status}).status is None


def test_a_refused_copy_fails_its_version_only():
    parent = model(version(1, state="Pending"), version(2, key="other", state="Pending"), object_name=NAME)
    after = plan(parent, refused={1: "outputs/m.pkl is gone"})
    assert [v["state"] for v in after.status["versions"]] == ["Failed", "Pending"]
    assert "outputs/m.pkl is gone" in after.status["versions"][0]["message"]


def test_a_model_object_under_a_wrong_name_is_told_its_right_name():
    after = plan(model(object_name="something-else"))
    assert after.status["conditions"][0]["reason"] == "InvalidSpec"
    assert NAME in after.status["conditions"][0]["message"]
    assert after.copy == ()


class TestAStatusThatIsBehindTheObjectStore:
    """It came back from a backup that is older than its last versions."""

    def test_the_next_number_is_behind_those_of_the_store_and_its_versions_are_known_again(self):
        old = model(version(1, key="a"), version(2, key="b"))
        status = take(old, request("new"), used=4, entries=(version(3, key="c"), version(4, key="d")))
        assert [(v["version"], v["key"], v["state"]) for v in status["versions"]] == [
            (1, "a", "Ready"), (2, "b", "Ready"), (3, "c", "Ready"), (4, "d", "Ready"), (5, "new", "Pending"),
        ]  # fmt: skip
        assert (status["latestVersion"], status["latestId"]) == (5, "sklearn_mnist:5")

    def test_a_wish_whose_version_is_in_the_store_gets_that_one(self):
        old = model(version(1, key="a"))
        status = take(old, request("own"), used=3, entries=(version(2, key="own"), version(3, key="c")))
        assert [(v["version"], v["key"]) for v in status["versions"]] == [(1, "a"), (2, "own"), (3, "c")]
        assert status["latestVersion"] == 3

    def test_a_number_with_files_and_no_manifest_is_not_given_again(self):
        assert take(model(version(1, key="a")), request("new"), used=2)["latestVersion"] == 3

    def test_what_has_no_room_stays_in_the_store_but_not_the_wished_one(self):
        entries = [version(n, key=str(n)) for n in range(1, MAX_ENTRIES + 5)]
        kept = that_fit({}, entries, key="2")
        assert [v["version"] for v in kept] == [2, *range(6, MAX_ENTRIES + 5)]
        large = [version(n, key=str(n), description="x" * 2048) for n in range(1, 900)]
        assert 300 < len(that_fit({}, large)) < 500
