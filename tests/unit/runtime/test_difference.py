from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runtime.fakes import merged
from trainyard_operator.runtime.difference import difference

VALUES = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.", max_size=2), inner, max_size=3),
    max_leaves=8,
)
STATUSES = st.dictionaries(st.text("ab.", max_size=2), VALUES, max_size=4)


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        pytest.param({"a": 1}, {"a": 1}, {}, id="nothing changed"),
        pytest.param({"a": 1, "b": 2}, {"a": 1}, {"b": None}, id="a key that goes"),
        pytest.param({"m": {"x": 1, "y": 2}}, {"m": {"x": 1}}, {"m": {"y": None}}, id="a key of a map that goes"),
        pytest.param({"l": [1, 2]}, {"l": [1]}, {"l": [1]}, id="a list as a whole"),
        pytest.param({"m": {"x": 1}}, {"m": {}}, {"m": {"x": None}}, id="an emptied map"),
        pytest.param({"a": 1}, {"a": True}, {"a": True}, id="a boolean is no number"),
        pytest.param({"a": {"x": 1}}, {"a": "text"}, {"a": "text"}, id="another type"),
    ],
)
def test_the_patch_holds_what_changed(old, new, patch):
    assert difference(old, new) == patch


@given(STATUSES, STATUSES)
def test_the_patch_makes_the_old_status_the_new_one(old, new):
    assert merged(old, difference(old, new)) == new


@given(STATUSES)
def test_the_patch_between_equals_is_empty(status):
    assert difference(status, status) == {}
