"""One watch for each run, however many widgets show it: it ends with the run, or with its last widget."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, ClassVar, Final, Protocol

from trainyard.widgets.feed import Difference, RunFeed

JsonObject = Mapping[str, Any]

# Nobody sees more than four changes in a second.
SPACING_SECONDS: Final = 0.25
# A page that hears nothing for longer than some of these knows that nobody is there.
HEARTBEAT_SECONDS: Final = 5.0
# Whoever has asked for a hub listens to it within this time, on a machine with much else to do too.
ASKED_SECONDS: Final = 30.0


class Source(Protocol):
    """Where what happens to a run is heard of."""

    @property
    def key(self) -> Hashable:
        """What makes it the same run as another one's."""

    @property
    def first(self) -> JsonObject:
        """The TrainingJob as it is known already, without asking anybody."""

    def look(self) -> JsonObject:
        """Return the TrainingJob as it is now."""

    def follow(self, hub: Hub, stop: threading.Event) -> None:
        """Tell `hub` what happens until the run has ended or `stop` is set."""


class Listener(Protocol):
    """Somebody who shows a run."""

    @property
    def closed(self) -> bool:
        """Whether it is of no use any more to tell it."""

    def tell(self, news: Difference | None) -> None:
        """Take what is new; None says that nothing is."""

    def end(self) -> None:
        """Take note that nothing more will come."""


class Hub:
    """The state of a run, kept up to date by threads of its own.

    Attributes
    ----------
    turn
        Held while listeners are told what is new. Whoever sends them more holds it from looking to sending: so nothing
        that is older comes after what is newer, and takes its place.
    """

    _of: ClassVar[dict[Hashable, Hub]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, source: Source) -> None:
        self._source = source
        self._feed = RunFeed()
        self._guard = threading.Lock()
        self.turn = threading.Lock()
        self._listeners: list[weakref.ref[Listener]] = []
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._done = threading.Event()
        self._asked = time.monotonic()
        self._began = False
        self._told_all = False
        self._feed.job(source.first)

    @classmethod
    def of(cls, source: Source) -> Hub:
        """Return the hub that follows this run already, or one that will."""
        with cls._lock:
            found = cls._of.get(source.key)
            if found is None or found.over:
                found = cls._of[source.key] = Hub(source)
            found._asked = time.monotonic()
            return found

    @property
    def over(self) -> bool:
        """Whether it follows its run no more."""
        return self._done.is_set() or self._stop.is_set()

    def listen(self, listener: Listener) -> None:
        """Tell `listener`, for as long as it exists and is not closed, what happens from now on."""
        with self._guard:
            self._listeners.append(weakref.ref(listener))
            begin, self._began = not self._began, True
            late = self._told_all
        if begin:
            threading.Thread(target=self._follow, name="run-details-follow", daemon=True).start()
            threading.Thread(target=self._pump, name="run-details-tell", daemon=True).start()
        if late:
            listener.end()

    def look(self, see: Callable[[RunFeed], Any]) -> Any:
        """Return what `see` makes of the state, while nobody changes it."""
        with self._guard:
            return see(self._feed)

    def snapshot(self) -> dict[str, Any]:
        """Return all that is shown of the run."""
        with self._guard:
            return self._feed.snapshot(now=time.time())

    def job(self, job: JsonObject) -> None:
        """Take the TrainingJob as it is now."""
        self._change(lambda feed: feed.job(job))

    def lines(self, lines: Iterable[str]) -> None:
        """Take more lines of the log."""
        self._change(lambda feed: feed.lines(lines))

    def new_log(self) -> None:
        """Begin with the log anew."""
        self._change(lambda feed: feed.new_log())

    def history(self, entries: list[dict[str, Any]]) -> None:
        """Take all that was logged."""
        self._change(lambda feed: feed.history(entries))

    def files(self, files: Mapping[str, int]) -> None:
        """Take the files with their sizes."""
        self._change(lambda feed: feed.files(files))

    def note(self, about: str, words: str) -> None:
        """Say what is wrong with a part of it."""
        self._change(lambda feed: feed.note(about, words))

    def _change(self, change: Callable[[RunFeed], None]) -> None:
        with self._guard:
            change(self._feed)
        self._changed.set()

    def _follow(self) -> None:
        try:
            self._source.follow(self, self._stop)
        # Whatever it is: a thread has nobody else to tell, and the page must not go on as if it still watched.
        except Exception as error:  # noqa: BLE001
            self.note("watch", f"the run is not watched any more: {error}")
        finally:
            self._done.set()
            self._changed.set()

    def _pump(self) -> None:
        while True:
            heard = self._changed.wait(HEARTBEAT_SECONDS)
            self._changed.clear()
            done = self._done.is_set()
            with self.turn:
                listened = self._tell(heard=heard, done=done)
            # A source that ends stops its own threads too, by the same event, and what it said last is not told yet.
            if done or (not listened and self._desert()):
                self._forget()
                return
            time.sleep(SPACING_SECONDS)

    def _tell(self, *, heard: bool, done: bool) -> bool:
        """Tell all who listen what is new, and return whether anybody does."""
        with self._guard:
            news = self._feed.difference(now=time.time())
            listeners = [there for ref in self._listeners if (there := ref()) is not None and not there.closed]
            self._listeners = [weakref.ref(there) for there in listeners]
            self._told_all = done
        if news is not None or not heard:
            for listener in listeners:
                listener.tell(news)
        if done:
            for listener in listeners:
                listener.end()
        return bool(listeners)

    def _desert(self) -> bool:
        """Stop, unless somebody has asked for this hub just now and is about to listen; return whether it does."""
        with self._lock:
            deserted = time.monotonic() - self._asked > ASKED_SECONDS
            if deserted:
                self._stop.set()
            return deserted

    def _forget(self) -> None:
        with self._lock:
            if self._of.get(self._source.key) is self:
                del self._of[self._source.key]
