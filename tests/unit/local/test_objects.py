"""Objects of a folder."""

from __future__ import annotations

import pytest

from trainyard.errors import Conflict, Invalid, NotFound
from trainyard.local.home import Home
from trainyard.local.objects import LocalObjects, merged, selects

MODEL = {"metadata": {"name": "digits"}, "spec": {"modelName": "digits"}}


@pytest.fixture
def objects(home):
    """The objects of an empty folder."""
    return LocalObjects(Home(home), namespace="local")


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        pytest.param("", True, id="everything"),
        pytest.param("spec.experiment=digits", True, id="a value"),
        pytest.param("spec.experiment=letters", False, id="another value"),
        pytest.param("spec.experiment=digits,metadata.name=a", True, id="two values"),
        pytest.param("spec.experiment=digits,metadata.name=b", False, id="one of two values"),
        pytest.param("spec.nothing.below=", True, id="no value"),
    ],
)
def test_objects_are_selected_by_their_fields(selector, selected):
    assert selects(selector, {"metadata": {"name": "a"}, "spec": {"experiment": "digits"}}) is selected


@pytest.mark.parametrize(
    ("target", "change", "expected"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="more"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}, id="less"),
        pytest.param({"a": [1, 2]}, {"a": [3]}, {"a": [3]}, id="lists are replaced"),
        pytest.param({"a": 1}, {"a": {"b": {"c": None, "d": 1}}}, {"a": {"b": {"d": 1}}}, id="an object for a value"),
    ],
)
def test_a_change_is_merged_as_an_api_server_does_it(target, change, expected):
    assert merged(target, change) == expected


@pytest.mark.parametrize("name", ["", "../up", "A", "a/b", "a\n", ".json", "-a"])
def test_a_name_that_is_no_file_of_the_folder_is_refused(objects, name):
    with pytest.raises(Invalid, match=r"metadata\.name is"):
        objects.create("registeredmodels", {**MODEL, "metadata": {"name": name}})
    with pytest.raises(NotFound):
        objects.get("registeredmodels", name)


def test_a_change_of_what_was_changed_meanwhile_is_refused(objects):
    old = objects.create("registeredmodels", MODEL)
    with pytest.raises(Conflict, match="already exists"):
        objects.create("registeredmodels", MODEL)
    changed = objects.patch("registeredmodels", "digits", {"spec": {"description": "new"}, "status": {"latest": 7}})
    assert (changed["metadata"]["generation"], "latest" in changed["status"]) == (2, False)
    stale = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "spec": {"description": "old"}}
    with pytest.raises(Conflict, match="was changed meanwhile"):
        objects.patch("registeredmodels", "digits", stale)
    same = objects.update("registeredmodels", "digits", lambda model: {"metadata": {"labels": {"a": "b"}}})
    assert (same["metadata"]["generation"], same["metadata"]["labels"]) == (2, {"a": "b"})
