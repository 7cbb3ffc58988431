"""Answers of the API server that are good for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")
AT_MOST = 10_000


class Remembered(Generic[Key, Answer]):
    """Answers by what was asked, the newest `AT_MOST` of them.

    Parameters
    ----------
    clock
        Tells the time, in seconds.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[Key, tuple[Answer, float]] = OrderedDict()

    async def answer(
        self, key: Key, *, ask: Callable[[], Awaitable[Answer]], seconds: Callable[[Answer], float]
    ) -> Answer:
        """Return the answer that is known of `key`, or `ask` for it; it is then good for so many `seconds`."""
        known = self._known.get(key)
        if known is not None and self._clock() < known[1]:
            return known[0]
        answer = await ask()
        self._known[key] = (answer, self._clock() + seconds(answer))
        self._known.move_to_end(key)
        if len(self._known) > AT_MOST:
            self._known.popitem(last=False)
        return answer
