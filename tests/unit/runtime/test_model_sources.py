"""What is asked of the object store about versions that are still to be made, and when nothing is."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import model, version
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.api.names import REGISTERED_MODEL, object_name
from trainyard_operator.runtime.model_sources import SourceObserver
from trainyard_operator.runtime.store import Store

NAME = object_name("sklearn_mnist")
PROMOTION = {"namespace": "lab", "model": "iris", "version": 2, "sha256": "d" * 64}
OBJECTS = {"data/default/iris": b"i", "models/default/sklearn_mnist/7/left": b""}


class Yard:
    """An observer over a store of objects, with a RegisteredModel `iris` in the namespace `lab`."""

    def __init__(self, *, shared=()):
        self.objects, self.store = MemoryStore(OBJECTS), Store()
        self.observer = SourceObserver(store=self.store, objects=self.objects)
        self.source = {
            "metadata": {"name": "iris", "namespace": "lab", "uid": "u", "resourceVersion": "1"},
            "spec": {"modelName": "iris", "sharedWith": list(shared)},
        }
        self.store.put(REGISTERED_MODEL, self.source)

    async def look(self, *versions, **spec):
        found = model(*versions, object_name=NAME)
        view = await self.observer.observe({**found, "spec": {**found["spec"], **spec}})
        return view, [call for call, _ in self.objects.calls]


def wish(key="one", path="iris"):
    return {"key": key, "datastorePath": path}


async def test_an_import_is_looked_for_where_its_path_says():
    view, _ = await Yard().look(imports=[wish(), wish("two", "missing")])
    assert (view.found, view.unknown, set(view.problems)) == (frozenset({"one"}), "", {"two"})
    assert view.problems["two"].reason == "ImportPathNotFound"
    assert "spec.imports[two].datastorePath" in view.problems["two"].message


@pytest.mark.parametrize(
    ("versions", "spec"),
    [
        pytest.param([], {}, id="nothing-asked-for"),
        pytest.param([version(1, key="import/one")], {"imports": [wish()]}, id="imported"),
        pytest.param([version(1, key=f"promoted/lab/iris/2/{'d' * 64}")], {"promoteFrom": PROMOTION}, id="promoted"),
        pytest.param([], {"imports": "no list"}, id="a-spec-that-cannot-work"),
    ],
)
async def test_a_model_at_rest_costs_no_call(versions, spec):
    assert (await Yard(shared=["default"]).look(*versions, **spec))[1] == []


@pytest.mark.parametrize(
    ("shared", "wished"),
    [
        pytest.param([], PROMOTION, id="not-shared"),
        pytest.param(["default"], {**PROMOTION, "model": "none"}, id="not-there"),
    ],
)
async def test_a_refused_promotion_costs_no_call_so_that_nothing_is_learned_from_the_time_it_takes(shared, wished):
    assert (await Yard(shared=shared).look(promoteFrom=wished))[1] == []


async def test_a_shared_source_is_seen_once_the_store_tells_of_numbers():
    yard = Yard(shared=["default"])
    view, calls = await yard.look(promoteFrom=PROMOTION)
    assert view.models["lab", "iris"]["spec"] == yard.source["spec"]
    assert (view.unknown, "list" in calls) == ("", True)


@pytest.mark.parametrize("call", ["head", "list"])
async def test_a_store_that_is_away_is_said_and_fails_nothing(call):
    yard = Yard(shared=["default"])
    yard.objects.breaks_at = lambda name, _key: name == call
    view, _ = await yard.look(imports=[wish()], promoteFrom=PROMOTION)
    reasons = {problem.reason for problem in view.problems.values()}
    assert view.unknown or reasons == {"StoreUnavailable"}
