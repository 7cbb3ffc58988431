"""One queue per planned kind, so that long copies of model files never hold up the runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trainyard_operator.api.names import Kind
from trainyard_operator.runtime.workqueue import Clock, WorkQueue


class Key(NamedTuple):
    """One object to look at; `plural` names its kind."""

    plural: str
    namespace: str
    name: str


class Queues:
    """The work queues by kind."""

    def __init__(self, *, kinds: Iterable[Kind], clock: Clock) -> None:
        self._queues: dict[str, WorkQueue[Key]] = {kind.plural: WorkQueue(clock=clock) for kind in kinds}

    def __getitem__(self, kind: Kind) -> WorkQueue[Key]:
        return self._queues[kind.plural]

    def add(self, key: Key) -> None:
        """Have `key` looked at as soon as a worker of its kind is free."""
        self._queues[key.plural].add(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Have `key` looked at after `seconds`."""
        self._queues[key.plural].add_after(key, seconds)

    def depths(self) -> Mapping[str, int]:
        """Return how many keys wait, by the plural name of their kind."""
        return {plural: len(queue) for plural, queue in self._queues.items()}

    def close(self) -> None:
        """Give out no more keys."""
        for queue in self._queues.values():
            queue.close()
