"""Whether a store's word about conditional writes can be trusted."""

from __future__ import annotations

import pytest

from tests.unit.storage.memory import MemoryStore
from trainyard_operator.storage.errors import StoreDenied, StoreRefused
from trainyard_operator.storage.probe import probe


class Deaf(MemoryStore):
    """Ignores the condition."""

    async def put(self, key, body, *, only_if_absent=False):
        return await super().put(key, body)


class Lying(MemoryStore):
    """Says 412 and writes all the same."""

    async def put(self, key, body, *, only_if_absent=False):
        known = key in self.objects
        await super().put(key, body)
        return not known


class Refusing(MemoryStore):
    """Does not know the header."""

    async def put(self, key, body, *, only_if_absent=False):
        if only_if_absent:
            raise StoreRefused("NotImplemented")
        return await super().put(key, body)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        pytest.param(MemoryStore, "ConditionalWrites", id="kept"),
        pytest.param(Deaf, "ConditionalWritesIgnored", id="ignored"),
        pytest.param(Lying, "ConditionalWritesIgnored", id="said-but-not-kept"),
        pytest.param(Refusing, "ConditionalWritesRefused", id="refused"),
    ],
)
async def test_the_second_write_says_how_far_a_store_can_be_trusted(kind, reason):
    store = kind()
    trust = await probe(store)
    assert (trust.reason, trust.good) == (reason, reason == "ConditionalWrites")
    assert store.objects == {}


async def test_a_store_that_takes_no_write_at_all_says_nothing_of_conditions():
    store = MemoryStore()

    async def denied(*_, **__):
        raise StoreDenied("no")

    store.put = denied
    with pytest.raises(StoreDenied):
        await probe(store)
