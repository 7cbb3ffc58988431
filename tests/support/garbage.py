"""Specs that nobody should write: good ones with a few places gone wrong."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.support.schemas import objects
from trainyard_operator.api.names import Kind

JsonObject = dict[str, Any]
Place = tuple[str | int, ...]

_GONE = object()
_WRONG = st.one_of(
    st.just(_GONE),
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", " ", "-", "..", "/", "../..", "a" * 300, "$(x)", "{{x}}", "0x1", "1e9999", "ü\u2028\u202e", "\n"]
    ),
    st.sampled_from([[], {}, [[]], [{}], [None], {"": ""}, {"name": {}}, {"a": {"b": {"c": [1, {"d": None}]}}}]),
)


def garbage(kind: Kind) -> st.SearchStrategy[JsonObject]:
    """Return a strategy of objects of `kind` that are objects, and whose specs have one to three wrong places."""
    return st.builds(_spoil, objects(kind), st.lists(st.tuples(st.integers(0, 10**6), _WRONG), min_size=1, max_size=3))


def _spoil(obj: JsonObject, wrongs: list[tuple[int, Any]]) -> JsonObject:
    obj = deepcopy(obj)
    for number, wrong in wrongs:
        places = list(_places(obj["spec"])) if isinstance(obj["spec"], dict) else []
        if not places:
            break
        *path, last = places[number % len(places)]
        holder: Any = obj["spec"]
        for step in path:
            holder = holder[step]
        if wrong is _GONE:
            del holder[last]
        else:
            holder[last] = deepcopy(wrong)
    return obj


def _places(node: Any, path: Place = ()) -> Iterator[Place]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield (*path, name)
        yield from _places(child, (*path, name))
