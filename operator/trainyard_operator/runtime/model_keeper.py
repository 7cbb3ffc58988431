"""Models' archives and what is to be cleared of them, as functions of the object store."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.model_keeping import KeepingSpec
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.api.registered_model import RegisteredModelSpec
from trainyard_operator.domain.model_keeping import (
    BATCH,
    HELD_SECONDS,
    KeepingView,
    aliases_of,
    archived_count,
    can_go,
    named_versions,
    verdict,
)
from trainyard_operator.domain.model_retention import ReadyVersion, ready_versions
from trainyard_operator.domain.plan import VersionClearing, VersionFiling
from trainyard_operator.storage import layout
from trainyard_operator.storage.model_archive import Page, file_entries, find_entry, list_pages, read_entries, read_page
from trainyard_operator.storage.model_clearing import clear_version, held, is_cleared
from trainyard_operator.storage.store import ObjectStore

JsonObject = dict[str, Any]
Name = tuple[str, str]  # namespace and name of a model

# Of each, two numbers a version: of all that a rule may be about.
_REMEMBERED_MODELS = 64
_REMEMBERED_LOCKS = 4096


class ModelKeeper:
    """What one process does with models' archives; what it remembers, a restart only reads again."""

    def __init__(self, objects: ObjectStore, *, now: Callable[[], datetime]) -> None:
        self._objects = objects
        self._now = now
        self._ready: OrderedDict[Name, dict[int, tuple[ReadyVersion, ...]]] = OrderedDict()
        self._held: OrderedDict[tuple[str, int], tuple[datetime, str]] = OrderedDict()

    async def observe(self, parent: JsonObject, trouble: Mapping[tuple[str, int], str]) -> KeepingView:
        """Return what planning a model has to know; the store is asked only for what the spec is about."""
        try:
            spec = RegisteredModelSpec.parse(parent["spec"], name=parent["metadata"]["name"])
        except SpecError:
            return KeepingView()  # which the plan finds as well, and says
        meta, name, wish = parent["metadata"], spec.model_name, spec.keeping
        entries = {entry["version"]: entry for entry in (parent.get("status") or {}).get("versions") or ()}
        archived = archived_count(parent) > 0
        older = await self._older(meta["namespace"], name) if archived and wish.retention else ()
        due = self._due(parent, wish, entries.values(), older)
        missing = {*named_versions(parent, wish), *due} - entries.keys()
        latest = int((parent.get("status") or {}).get("latestVersion") or 0)
        missing = {number for number in missing if archived and 0 < number <= latest}
        recalled = await read_entries(self._objects, meta["namespace"], name, missing) if missing else {}
        known = {**entries, **recalled}
        asked = {*due, *(number for number in wish.delete if number not in aliases_of(parent))}
        free, kept = await self._locks(meta, name, (known[n] for n in sorted(asked) if n in known and can_go(known[n])))
        going = [number for number, entry in known.items() if entry["state"] == VersionState.DELETING]
        over = await asyncio.gather(*(is_cleared(self._objects, meta["namespace"], name, number) for number in going))
        return KeepingView(
            archive_uri=self._objects.uri(layout.archive_prefix(meta["namespace"], name)),
            recalled=recalled,
            free=free,
            held=kept,
            cleared=frozenset(number for number, done in zip(going, over, strict=True) if done),
            trouble={number: trouble[meta["uid"], number] for number in going if (meta["uid"], number) in trouble},
            older=older,
        )

    async def file(self, namespace: str, wish: VersionFiling) -> None:
        """Write entries into a model's archive."""
        pages = await file_entries(self._objects, namespace, wish.model_name, wish.entries)
        known = self._ready.get((namespace, wish.model_name))
        if known is not None:
            known |= {first: _ready(page) for first, page in pages.items()}

    async def find(self, namespace: str, model_name: str, key: str) -> JsonObject | None:
        """Return the archived entry that was made from `key`, None where there is none."""
        return await find_entry(self._objects, namespace, model_name, key)

    async def clear(self, namespace: str, wish: VersionClearing) -> None:
        """Delete the files of a version."""
        await clear_version(self._objects, namespace, wish.model_name, wish.version, wish.tombstone)

    def _due(
        self, parent: JsonObject, wish: KeepingSpec, entries: Iterable[JsonObject], older: tuple[ReadyVersion, ...]
    ) -> tuple[int, ...]:
        """Return the next versions that the rule deletes; those that the store holds keep none of the others."""
        if wish.retention is None or wish.retention.dry_run:
            return ()
        uid, now = parent["metadata"]["uid"], self._now()
        due = verdict(parent, wish, entries, older, now).due
        free = [number for number in due if not self._known_lock(uid, number, now)]
        return tuple(free[:BATCH])

    async def _older(self, namespace: str, name: str) -> tuple[ReadyVersion, ...]:
        key = namespace, name
        if key not in self._ready:
            self._ready[key] = {
                first: _ready(await read_page(self._objects, namespace, name, first))
                for first in await list_pages(self._objects, namespace, name)
            }
            if len(self._ready) > _REMEMBERED_MODELS:
                self._ready.popitem(last=False)
        self._ready.move_to_end(key)
        return tuple(one for versions in self._ready[key].values() for one in versions)

    async def _locks(
        self, meta: JsonObject, name: str, entries: Iterable[JsonObject]
    ) -> tuple[frozenset[int], dict[int, str]]:
        now, uid = self._now(), meta["uid"]
        free = set()
        asked = [entry["version"] for entry in entries if not self._known_lock(uid, entry["version"], now)]
        told = await asyncio.gather(*(held(self._objects, meta["namespace"], name, number) for number in asked))
        for number, words in zip(asked, told, strict=True):
            if words:
                self._held[uid, number] = now, words
                if len(self._held) > _REMEMBERED_LOCKS:
                    self._held.popitem(last=False)
            else:
                self._held.pop((uid, number), None)
                free.add(number)
        return frozenset(free), {number: words for (of, number), (_, words) in self._held.items() if of == uid}

    def _known_lock(self, uid: str, number: int, now: datetime) -> bool:
        found = self._held.get((uid, number))
        return found is not None and now - found[0] < timedelta(seconds=HELD_SECONDS)


def _ready(page: Page) -> tuple[ReadyVersion, ...]:
    return ready_versions(page.values())
