"""The widget itself: what the page is told, by ipywidgets' protocol."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets

from trainyard.widgets.feed import Difference
from trainyard.widgets.hub import Hub

STATIC: Final = Path(__file__).parent / "static"
# A widget's page code is one module; each part sees those before it.
PARTS: Final = ("store.js", "chart.js", "panels.js", "run_details.js")
# When the page is told everything again: what was said before it listened is lost otherwise.
AGAIN_SECONDS: Final = (1.0, 4.0, 12.0)


class RunWidget(anywidget.AnyWidget):
    """Shows one run.

    Parameters
    ----------
    hub
        What is known of the run.
    write_down
        Called when the run's status has changed, and once nothing more will come.
    """

    _esm = "\n".join((STATIC / part).read_text(encoding="utf-8") for part in PARTS)
    _css = (STATIC / "run_details.css").read_text(encoding="utf-8")
    # Never set: whoever asks for it, as a page does that is opened anew, gets what is known at that moment.
    snapshot = traitlets.Dict().tag(sync=True, to_json=lambda _, widget: widget.hub.snapshot())

    def __init__(self, hub: Hub, *, write_down: Callable[[], None]) -> None:
        self.hub = hub
        self._write_down = write_down
        self._again = [time.monotonic() + seconds for seconds in AGAIN_SECONDS]
        super().__init__()
        self.on_msg(self._asked)

    @property
    def closed(self) -> bool:
        """Whether the widget is closed."""
        return self.comm is None

    def tell(self, news: Difference | None) -> None:
        """Send what is new; None says that somebody is there."""
        with contextlib.suppress(Exception):
            if news is None:
                self.send({"type": "beat"})
            else:
                self.send({"type": "news", **news.message}, [memoryview(part).cast("B") for part in news.buffers])
                if "status" in news.message["view"]:
                    self._write_down()
            if self._again and time.monotonic() >= self._again[0]:
                del self._again[0]
                self.send_state("snapshot")

    def tell_all(self) -> None:
        """Send everything."""
        with contextlib.suppress(Exception):
            self.send_state("snapshot")

    def end(self) -> None:
        """Say that nothing more will come."""
        self.tell_all()
        with contextlib.suppress(Exception):
            self.send({"type": "end"})
        with contextlib.suppress(Exception):
            self._write_down()

    def _asked(self, _: Any, content: dict[str, Any], __: Any) -> None:
        with self.hub.turn:
            if content.get("type") == "all":
                self.tell_all()
            elif content.get("type") == "hello":
                epoch, whole = self.hub.look(lambda feed: (feed.series_epoch, feed.whole_series()))
                parts = [memoryview(part).cast("B") for _, x, y in whole for part in (x, y)]
                of = [about for about, _, _ in whole]
                self.send({"type": "hello", "over": self.hub.over, "series": {"epoch": epoch, "of": of}}, parts)
