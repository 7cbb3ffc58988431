"""Whole listings, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

from trainyard_operator.storage.store import ObjectStore, Page


async def pages(store: ObjectStore, prefix: str, *, delimiter: str = "") -> AsyncIterator[Page]:
    """Yield every page of what is below `prefix`; with a delimiter, of what is right below it.

    What was listed may be deleted before the next page is asked for.
    """
    after = ""
    while True:
        page = await store.list(prefix, after=after, delimiter=delimiter)
        yield page
        last = max([*page.folders, *(info.key for info in page.objects)], default="")
        if not page.more or not last:
            return
        # What is in a folder sorts behind its name: the next page begins behind all of it.
        after = last[:-1] + chr(ord("/") + 1) if last in page.folders else last
