"""Versions of models: which one is meant, and where its files go."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from trainyard.errors import ConfigError, Conflict, NotFound
from trainyard.remote.model import Model
from trainyard.remote.versions import TAGS_ANNOTATION, find_version, place_of, usable, wanted

STATES = {1: "Deleted", 2: "Archived", 3: "Ready", 4: "Ready", 5: "Pending", 6: "Corrupted"}
DIGITS = {
    "spec": {"modelName": "digits"},
    "status": {
        "versions": [
            {"version": n, "id": f"digits:{n}", "state": state, "createdTime": f"2026-11-{n:02}"}
            for n, state in STATES.items()
        ],
        "aliases": {"champion": {"version": 3}},
    },
}
EMPTY = {"spec": {"modelName": "empty"}}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"number": None, "alias": None}, 4, id="the latest that is Ready"),
        pytest.param({"number": 6, "alias": None}, 6, id="by number whatever its state"),
        pytest.param({"number": None, "alias": "champion"}, 3, id="by alias"),
    ],
)
def test_a_version_is_found(asked, expected):
    assert find_version([EMPTY, DIGITS], "digits", **asked)[1]["version"] == expected


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        pytest.param("other", {}, "ModelNotFound: Model with name other not found .* it has: digits, empty", id="name"),
        pytest.param("digits", {"number": 9}, "no version 9; its newest are: 6, 5, 4", id="number"),
        pytest.param("digits", {"alias": "best"}, "no alias 'best'; it has: champion", id="alias"),
        pytest.param("empty", {}, "no version of empty is Ready", id="none is Ready"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(name, asked, said):
    with pytest.raises(NotFound, match=said):
        find_version([EMPTY, DIGITS], name, **{"number": None, "alias": None, **asked})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(("digits", None, None), ("digits", None), id="name"),
        pytest.param(("digits", None, 3), ("digits", 3), id="number"),
        pytest.param(("digits", None, "3"), ("digits", 3), id="text"),
        pytest.param((None, "digits:3", None), ("digits", 3), id="id"),
    ],
)
def test_versions_are_named_in_several_ways(given, expected):
    assert wanted(*given) == expected


@pytest.mark.parametrize("given", [(None, None, None), (None, "digits", None), ("digits", None, "last")])
def test_what_makes_no_sense_is_refused(given):
    with pytest.raises(ConfigError):
        wanted(*given)


def test_lists_are_newest_first_and_have_what_can_be_used():
    assert [entry["version"] for entry in usable(DIGITS, latest=False)] == [2, 3, 4]
    workspace = SimpleNamespace(objects=SimpleNamespace(list=lambda _plural: [EMPTY, DIGITS]))
    assert [model.id for model in Model.list(workspace)] == ["digits:4", "digits:3", "digits:2"]
    assert [model.id for model in Model.list(workspace, latest=True)] == ["digits:4"]
    assert Model.list(workspace, "empty") == []


@pytest.mark.parametrize(
    ("path", "files", "expected"),
    [
        pytest.param("outputs/m.pkl", ["m.pkl"], ".", id="a file"),
        pytest.param("outputs/model", ["a", "b/c"], "model", id="a folder"),
        pytest.param("outputs/model", ["a"], "model", id="a folder with one file"),
        pytest.param("", ["a"], ".", id="from elsewhere"),
    ],
)
def test_files_go_where_they_are_looked_for(path, files, expected):
    assert str(place_of(path, SimpleNamespace(files=dict.fromkeys(files)))) == expected


TAGGED = {
    "metadata": {"name": "digits", "annotations": {TAGS_ANNOTATION: '{"1": {"area": "post", "by": "ann"}}'}},
    "spec": {"modelName": "digits"},
    "status": {
        "versions": [
            {
                "version": n, "id": f"digits:{n}", "state": "Ready", "createdTime": f"2026-11-{n:02}",
                "tags": {"area": "digits", "property/data": "mnist"}, "run": {"name": f"digits-{n}"},
                "manifestSha256": "5a",
            }
            for n in (1, 2)
        ]
    },
}  # fmt: skip


class Registry:
    def __init__(self, model):
        self.model, self.changes = model, []

    def list(self, _plural):
        return [self.model]

    def get(self, _plural, _name):
        return self.model

    def update(self, _plural, _name, change_of):
        self.changes.append(change_of(self.model))
        return self.model


def test_tags_of_a_version_may_change_and_its_properties_may_not():
    workspace = SimpleNamespace(objects=Registry(TAGGED))
    first, second = Model(workspace, "digits", version=1), Model(workspace, "digits")
    assert first.tags == {"area": "post", "by": "ann"}
    assert second.tags == {"area": "digits"}
    assert second.properties == {"data": "mnist", "manifestSha256": "5a"}
    first.add_tag("seen")
    first.remove_tags(["by"])
    first.update(tags={"n": 1})
    with pytest.raises(Conflict, match="registered with the tag area, which stays"):
        first.remove_tags(["area"])
    notes = [json.loads(change["metadata"]["annotations"][TAGS_ANNOTATION]) for change in workspace.objects.changes]
    assert notes == [
        {"1": {"area": "post", "by": "ann", "seen": ""}}, {"1": {"area": "post"}}, {"1": {"n": "1"}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "versions"),
    [
        pytest.param({"tags": "by"}, [1], id="a name"),
        pytest.param({"tags": ["area", ["area", "digits"]]}, [2], id="Azure ML's list of names and pairs"),
        pytest.param({"tags": {"area": "post"}}, [1], id="a dictionary"),
        pytest.param({"properties": [["data", "mnist"]]}, [2, 1], id="properties"),
        pytest.param({"run_id": "digits-1"}, [1], id="run"),
        pytest.param({"run_id": "other-1"}, [], id="none"),
    ],
)
def test_versions_are_looked_for(asked, versions):
    workspace = SimpleNamespace(objects=Registry(TAGGED))
    assert [model.version for model in Model.list(workspace, **asked)] == versions
    if versions:
        assert Model(workspace, "digits", **asked).version == versions[0]
    else:
        with pytest.raises(NotFound, match=r"no version of digits that can be used has run_id='other-1'"):
            Model(workspace, "digits", **asked)


def test_a_model_that_was_fetched_before_is_found_by_one_rule(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match=r"looked for trainyard-models/digits/<version> and \./digits"):
        Model.get_model_path("digits")
    (tmp_path / "digits").mkdir()
    assert Model.get_model_path("digits") == "digits"
    for number in (2, 10):
        (tmp_path / f"trainyard-models/digits/{number}").mkdir(parents=True)
        (tmp_path / f"trainyard-models/digits/{number}/m.pkl").touch()
    assert Model.get_model_path("digits") == "trainyard-models/digits/10/m.pkl"
    assert Model.get_model_path("digits", version="2") == "trainyard-models/digits/2/m.pkl"
    with pytest.raises(NotFound, match="trainyard-models/digits/3"):
        Model.get_model_path("digits", version=3)
