"""Rebuilding RegisteredModels from the manifests in the object store: ``python -m trainyard_operator.restore``.

It adds what is missing and changes nothing else, may be run while the operator runs, and may be run again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trainyard_operator.administration import EXIT_CONFIG, EXIT_INCOMPLETE, find_surroundings, open_surroundings
from trainyard_operator.api.names import REGISTERED_MODEL, object_name
from trainyard_operator.domain.model_restore import Found, Restoration, restore
from trainyard_operator.domain.registry import build_model
from trainyard_operator.kube.client import KubeClient, find_one
from trainyard_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from trainyard_operator.runtime.difference import difference
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import StoreError
from trainyard_operator.storage.model_survey import find_model, folders
from trainyard_operator.storage.store import S3Store

_ATTEMPTS = 20

JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one model: `failed` where it is not restored."""

    namespace: str
    model: str
    outcome: str
    added: tuple[int, ...] = ()
    highest: int = 0
    notes: tuple[str, ...] = ()
    failed: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Restore what is missing, print a table, and return the exit status: 1 where something could not be restored."""
    parser = argparse.ArgumentParser(
        prog="python -m trainyard_operator.restore",
        description="Rebuild RegisteredModels from the manifests in the object store; run again, it changes nothing.",
    )
    parser.add_argument("--namespace", default="", help="only the models of this namespace")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    wish = parser.parse_args(arguments)
    surroundings = find_surroundings("restore")
    if surroundings is None:
        return EXIT_CONFIG

    async def run() -> list[Row]:
        async with open_surroundings(*surroundings) as (client, store):
            return await restore_all(client, store, namespace=wish.namespace, dry_run=wish.dry_run)

    try:
        rows = asyncio.run(run())
    except (StoreError, ApiError) as error:
        sys.stderr.write(f"restore: {error}\n")
        return EXIT_INCOMPLETE
    sys.stdout.write(table(rows, dry_run=wish.dry_run) + "\n")
    return EXIT_INCOMPLETE if any(row.failed for row in rows) else 0


async def restore_all(client: KubeClient, store: S3Store, *, namespace: str, dry_run: bool) -> list[Row]:
    """Restore every model that the store has, of one namespace or of all; return what became of each.

    Raises
    ------
    ApiError, StoreError
        Where nothing more can be done: what was done until then stays, and running it again goes on.
    """
    rows = []
    for space in [namespace] if namespace else await folders(store, layout.MODELS):
        for model in await folders(store, layout.models_prefix(space)):
            found = await find_model(store, space, model)
            if found.highest:
                rows.append(await _restore(client, space, model, found, dry_run=dry_run))
    return rows


async def _restore(client: KubeClient, namespace: str, name: str, found: Found, *, dry_run: bool) -> Row:
    wish = build_model(namespace=namespace, model_name=name)
    try:
        model = await find_one(client, REGISTERED_MODEL, object_name(name), namespace=namespace)
        missing = model is None
        if model is None:
            model = await client.create(REGISTERED_MODEL, wish, dry_run=dry_run)
        for _ in range(_ATTEMPTS):
            done = restore(model, found)
            if dry_run or done.status is None or await _written(client, model, done.status):
                return _row(namespace, name, found, done, missing=missing)
            model = await find_one(client, REGISTERED_MODEL, object_name(name), namespace=namespace) or wish
        return _failed(namespace, name, f"keeps changing under {_ATTEMPTS} attempts: run this again")
    except NotFound:
        return _failed(namespace, name, "the namespace does not exist: create it and run this again")
    except AlreadyExists:
        return _failed(namespace, name, "was created at the same time: run this again")
    except ApiError as error:
        return _failed(namespace, name, str(error))


async def _written(client: KubeClient, model: JsonObject, status: JsonObject) -> bool:
    metadata = model["metadata"]
    try:
        await client.patch_status(
            REGISTERED_MODEL,
            metadata["name"],
            difference(model.get("status") or {}, status),
            namespace=metadata["namespace"],
            resource_version=metadata["resourceVersion"],
        )
    except Conflict:
        return False
    return True


def _row(namespace: str, name: str, found: Found, done: Restoration, *, missing: bool) -> Row:
    outcome = "created" if missing else "unchanged" if done.status is None else "completed"
    return Row(
        namespace=namespace,
        model=name,
        outcome=outcome,
        added=done.added,
        highest=found.highest,
        notes=done.notes,
    )


def _failed(namespace: str, name: str, why: str) -> Row:
    return Row(namespace=namespace, model=name, outcome="not restored", notes=(why,), failed=True)


def table(rows: Iterable[Row], *, dry_run: bool) -> str:
    """Return the rows as a table for people, with what there is to know of each model below its line."""
    rows = list(rows)
    lines = [("NAMESPACE", "MODEL", "OUTCOME", "VERSIONS ADDED", "HIGHEST NUMBER")]
    lines += [(r.namespace, r.model, r.outcome, ranges(r.added) or "-", str(r.highest or "-")) for r in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = ["   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    shown = texts[:1]
    for row, text in zip(rows, texts[1:], strict=True):
        shown += [text, *(f"  {note}" for note in row.notes)]
    added = sum(len(row.added) for row in rows)
    does = "would add" if dry_run else "added"
    shown.append(f"{does} {added} version(s) to {sum(bool(row.added) for row in rows)} of {len(rows)} model(s)")
    return "\n".join(shown)


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as people write them: 1-3, 5."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


if __name__ == "__main__":
    sys.exit(main())
