"""Finding, and deleting, folders of model versions that belong to nothing: ``python -m trainyard_operator.sweep``.

It may run while the operator runs, be cut short, and run again. The numbers of what it deletes stay used.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from trainyard_operator.administration import EXIT_CONFIG, EXIT_INCOMPLETE, find_surroundings, open_surroundings
from trainyard_operator.api.names import REGISTERED_MODEL, object_name
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.domain.conditions import timestamp
from trainyard_operator.kube.client import Client, find_one
from trainyard_operator.kube.errors import ApiError
from trainyard_operator.storage.errors import StoreError
from trainyard_operator.storage.model_clearing import clear_version, held
from trainyard_operator.storage.model_sweep import Orphan, find_orphans
from trainyard_operator.storage.store import ObjectStore

BY = "sweep"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what there is and what became of it; return the exit status: 1 where something could not be done."""
    parser = argparse.ArgumentParser(
        prog="python -m trainyard_operator.sweep",
        description="Find folders of model versions that have no manifest and no entry, and are older than an hour.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    what.add_argument("--delete", action="store_true", help="delete them")
    parser.add_argument("--namespace", default="", help="only the models of this namespace")
    wish = parser.parse_args(arguments)
    surroundings = find_surroundings("sweep")
    if surroundings is None:
        return EXIT_CONFIG

    async def run() -> list[tuple[Orphan, str]]:
        async with open_surroundings(*surroundings) as (client, store):
            return await sweep(client, store, namespace=wish.namespace, delete=wish.delete, now=datetime.now(UTC))

    try:
        rows = asyncio.run(run())
    except (StoreError, ApiError) as error:
        sys.stderr.write(f"sweep: {error}: what was deleted until then stays so; run this again\n")
        return EXIT_INCOMPLETE
    sys.stdout.write(table(rows, delete=wish.delete) + "\n")
    return EXIT_INCOMPLETE if any(why for _, why in rows) else 0


async def sweep(
    client: Client, store: ObjectStore, *, namespace: str, delete: bool, now: datetime
) -> list[tuple[Orphan, str]]:
    """Return the folders that belong to nothing, each with why it stays although it was to be deleted.

    Raises
    ------
    ApiError, StoreError
        Where nothing more can be done; running it again goes on.
    """

    async def known(space: str, model: str) -> Collection[int]:
        # Asked of the API server each time: no copy that is behind may decide what is deleted.
        found = await find_one(client, REGISTERED_MODEL, object_name(model), namespace=space)
        return [entry["version"] for entry in ((found or {}).get("status") or {}).get("versions") or ()]

    rows = []
    async for orphan in find_orphans(store, known=known, now=now, namespace=namespace):
        why = await held(store, orphan.namespace, orphan.model, orphan.version)
        if delete and not why:
            await clear_version(store, orphan.namespace, orphan.model, orphan.version, _tombstone(orphan, now))
        rows.append((orphan, why))
    return rows


def table(rows: Iterable[tuple[Orphan, str]], *, delete: bool) -> str:
    """Return the rows as a table for people."""
    lines = [("NAMESPACE", "MODEL", "VERSION", "FILES", "BYTES", "LAST WRITTEN", "OUTCOME")]
    rows, does = list(rows), "deleted" if delete else "would be deleted"
    for one, why in rows:
        written = timestamp(one.newest) if one.newest else "-"
        what = f"stays: {why}" if why else does
        lines.append((one.namespace, one.model, str(one.version), str(one.files), str(one.bytes), written, what))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = ["   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    gone = [one for one, why in rows if not why]
    total = f"{len(gone)} folder(s) with {sum(one.files for one in gone)} file(s)"
    return "\n".join([*texts, f"{total}, {sum(one.bytes for one in gone)} bytes, {does}"])


def _tombstone(orphan: Orphan, now: datetime) -> dict[str, object]:
    # A number that has been used is not given again, also where no object remembers it.
    return {
        "version": orphan.version,
        "id": f"{orphan.model}:{orphan.version}",
        "state": VersionState.DELETED.value,
        "deletedTime": timestamp(now),
        "deletedBy": BY,
    }


if __name__ == "__main__":
    sys.exit(main())
