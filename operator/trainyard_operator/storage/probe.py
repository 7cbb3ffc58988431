"""Asking the object store whether it means what it says about conditional writes."""

from __future__ import annotations

import contextlib
import uuid

from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.domain.store_trust import Trust
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import StoreError, StoreRefused
from trainyard_operator.storage.store import ObjectStore

_FIRST, _SECOND = b"first", b"second"


async def probe(store: ObjectStore) -> Trust:
    """Write an object twice under the condition that it is not there, and see whose bytes stay.

    Raises
    ------
    StoreError
        If the store does not answer, or not even plain writes work: that says nothing of conditional ones.
    """
    key = f"{layout.PROBES}{uuid.uuid4().hex}"
    try:
        return Trust(reason=await _reason(store, key))
    finally:
        # What is left is a few bytes that nobody looks for.
        with contextlib.suppress(StoreError):
            await store.delete([key])


async def _reason(store: ObjectStore, key: str) -> Reason:
    try:
        first = await store.put(key, _FIRST, only_if_absent=True)
    except StoreRefused:
        await store.put(key, _FIRST)  # which raises where it was not the condition that is refused
        return Reason.CONDITIONAL_WRITES_REFUSED
    second = await store.put(key, _SECOND, only_if_absent=True)
    kept = await store.get(key, limit=len(_SECOND))
    holds = first and not second and kept == _FIRST
    return Reason.CONDITIONAL_WRITES if holds else Reason.CONDITIONAL_WRITES_IGNORED
