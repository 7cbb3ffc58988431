"""``RunDetails(run).show()``: a run as it goes, in a notebook, and on paper everywhere else."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from trainyard.errors import ConfigError, TrainyardError
from trainyard.widgets import paper
from trainyard.widgets.cluster import ClusterSource
from trainyard.widgets.feed import RunFeed
from trainyard.widgets.hub import Hub, Source
from trainyard.widgets.polled import Askable, PolledSource

MISSING = "The live view needs anywidget: pip install 'trainyard[notebook]'. This is the run as it is now."
VIEW = "application/vnd.jupyter.widget-view+json"


class RunDetails:
    """Shows a run: its state and why, its phases, metrics, log, files and models, live and without waiting for any.

    Parameters
    ----------
    run_instance
        The run: what `Experiment.submit` has returned, or any other that answers the same questions.

    Raises
    ------
    ConfigError
        If it is no run.
    """

    def __init__(self, run_instance: Any) -> None:
        self._source = source_of(run_instance)
        self._run = run_instance
        self._widget: Any = None
        self._handle: Any = None

    def show(self) -> None:
        """Show the run here and now, and go on to the next cell: what is shown follows the run by itself.

        It does so until the run has ended, or `close`. Where no notebook is there to show it, it is printed as it is.
        """
        if not _in_notebook():
            print(paper.text_of(self.get_widget_data()))
            return
        from IPython.display import display

        try:
            from trainyard.widgets.front import RunWidget
        except ImportError:
            print(MISSING)
            display(_on_paper(self.get_widget_data()), raw=True)  # type: ignore[no-untyped-call]
            return
        self.close()
        hub = Hub.of(self._source)
        self._widget = RunWidget(hub, write_down=self._write_down)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        display({VIEW: view}, raw=True)  # type: ignore[no-untyped-call]
        # Below it the same on paper, which the widget hides: whoever cannot show the one shows the other.
        self._handle = display(_on_paper(hub.snapshot()), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        hub.listen(self._widget)

    def close(self) -> None:
        """Follow the run no longer; the run goes on."""
        if self._widget is not None:
            self._widget.close()
            self._widget = None

    def get_widget_data(self) -> dict[str, Any]:
        """Return what is shown, as a dictionary."""
        if self._widget is not None:
            found: dict[str, Any] = self._widget.hub.snapshot()
            return found
        feed = RunFeed()
        feed.job(self._source.first)
        # One that cannot be asked now is shown as it was last seen.
        with contextlib.suppress(TrainyardError):
            feed.job(self._source.look())
        return feed.snapshot(now=time.time())

    def __repr__(self) -> str:
        return f"RunDetails({self._run.id})"

    def _ipython_display_(self) -> None:
        self.show()

    def _write_down(self) -> None:
        """Have the notebook keep how it is now for readers that have no kernel and no widgets."""
        widget, handle = self._widget, self._handle
        if widget is not None and handle is not None:
            handle.update(_on_paper(widget.hub.snapshot()), raw=True)


def _on_paper(snapshot: dict[str, Any]) -> dict[str, str]:
    return {"text/html": paper.html_of(snapshot), "text/plain": paper.text_of(snapshot)}


def source_of(run: Any) -> Source:
    """Return where what happens to a run is heard of.

    Raises
    ------
    ConfigError
        If it is no run.
    """
    from trainyard.remote.submitted import SubmittedRun

    if isinstance(run, SubmittedRun):
        return ClusterSource(run)
    if isinstance(run, Askable):
        return PolledSource(run)
    raise ConfigError(f"run_instance is a {type(run).__name__}: give the run that Experiment.submit has returned")


def _in_notebook() -> bool:
    """Whether output goes to a page: a terminal has no use for a widget."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None
