"""Saving files through the gateway's grants: fresh ones while the store is away, a few files at a time."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from trainyard.contract import MAX_GRANTS
from trainyard.patience import Unavailable
from trainyard.transfer import StoreRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from trainyard.contract import PutGrant
    from trainyard.transfer import GatewayClient, StoreClient, Upload

Result = TypeVar("Result")
Item = TypeVar("Item")

# How many signed URLs in a row a store may refuse before the refusal is believed.
GRANTS_PER_FILE = 3
THREADS = 8


def put_file(  # noqa: PLR0913 - all but the first by name, and most of them rarely
    upload: Upload,
    *,
    gateway: GatewayClient,
    store: StoreClient,
    op: str = "put",
    grant: PutGrant | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> PutGrant:
    """Save one file, with fresh grants for as long as the store is away and for a few refused ones.

    Returns
    -------
    PutGrant
        The grant that was good in the end.

    Raises
    ------
    TransferError
        With the last refusal, or once the gateway client's patience is at its end.
    """
    began, refused, tries = time.monotonic(), 0, 0
    while True:
        if grant is None:
            grant = gateway.put_grants([upload.wish()], op=op)[0]
        try:
            store.upload(
                grant["url"], headers=grant["headers"], size=upload.size, opener=upload.opener, on_bytes=on_bytes
            )
        except StoreRefused:
            refused += 1
            if refused >= GRANTS_PER_FILE:
                raise
        except Unavailable:
            if time.monotonic() - began > gateway.retry.limit:
                raise
        else:
            return grant
        # An expired URL answers 403 like any other refusal: only a fresh one can tell them apart.
        grant = None
        time.sleep(gateway.retry.wait(tries))
        tries += 1


def put_files(
    uploads: Sequence[Upload],
    *,
    gateway: GatewayClient,
    store: StoreClient,
    op: str = "put",
    on_bytes: Callable[[int], None] | None = None,
) -> None:
    """Save many files, a few at a time.

    Raises
    ------
    TransferError
        With the first failure; files that were not begun by then are left out.
    """
    for start in range(0, len(uploads), MAX_GRANTS):
        batch = uploads[start : start + MAX_GRANTS]
        granted = zip(batch, gateway.put_grants([upload.wish() for upload in batch], op=op))

        def put(pair: tuple[Upload, PutGrant]) -> None:
            put_file(pair[0], gateway=gateway, store=store, op=op, grant=pair[1], on_bytes=on_bytes)

        in_parallel(put, granted)


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item], *, threads: int = THREADS) -> list[Result]:
    """Return `function` of each of `items`, in their order; after the first failure nothing new is begun."""
    # Imports logging behind one's back: 15 ms that only those pay who transfer many files.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(max_workers=threads) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def open_regular(path: Path) -> BinaryIO:
    """Open `path` for reading, but never through a link and never a device or a pipe.

    Raises
    ------
    OSError
        If it cannot be read, or is not a plain file any more.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a plain file")
    return os.fdopen(descriptor, "rb")
