"""Fetching from the network, whose errors may pass."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from devcluster.errors import DevclusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from devcluster.progress import Progress

PAUSES = (5.0, 20.0, 60.0)

T = TypeVar("T")


def patiently(fetch: Callable[[], T], *, progress: Progress) -> T:
    """Return what `fetch` returns, and call it again after a while where it fails: a registry may be busy.

    Parameters
    ----------
    fetch
        Goes on where it stopped, or begins anew.
    progress
        Where to tell what went wrong.

    Raises
    ------
    DevclusterError
        If the last try fails too.
    """
    for seconds in PAUSES:
        try:
            return fetch()
        except DevclusterError as error:
            progress.say(f"{error}\ntrying again in {seconds:.0f} s, as an error of the network may pass ...")
            time.sleep(seconds)
    return fetch()
