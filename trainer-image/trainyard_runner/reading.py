"""Reading which packages a run needs from its source, which is frozen with that: the same code runs later."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from trainyard.contract import MAX_REQUIREMENTS_BYTES
from trainyard.patience import TransferError
from trainyard.transfer import GatewayRefused
from trainyard_runner.gateway import Clients
from trainyard_runner.report import Reporter
from trainyard_runner.source import SourceError, check_entry_script, read_text
from trainyard_runner.source_keeper import SourceKeeper
from trainyard_runner.termination import termination, write_termination
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainyard.contract import Report
    from trainyard_runner.layout import Layout

CONTAINER = "read"
FAILED = "EnvironmentBuildFailed"
_FIELD = "spec.environment.requirements"


def read(*, layout: Layout, environ: Mapping[str, str]) -> int:
    """Hand the run's requirements to the gateway and return the container's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        _Reader(Clients(environ=environ, layout=layout), layout).run()
    except SourceError as error:
        return _failed(layout, error.reason, str(error))
    except GatewayRefused as error:
        return _failed(layout, error.reason, error.message)
    except (TransferError, OSError, KeyError) as error:
        words = f"{_FIELD}: the source could not be read: {type(error).__name__}: {error}"
        return _failed(layout, FAILED, words)
    return 0


class _Reader:
    """One reading; `message` says what it is at."""

    def __init__(self, clients: Clients, layout: Layout) -> None:
        self._clients = clients
        self._layout = layout
        self._message = "fetching the source"

    def run(self) -> None:
        document = self._clients.gateway.run()
        reporter = Reporter(gateway=self._clients.reports, snapshot=self._snapshot)
        reporter.start()
        SourceKeeper(clients=self._clients, layout=self._layout, say=self._say).fetch(document["source"])
        # Better now than when its packages are built.
        check_entry_script(self._layout.work, document["entryScript"])
        file = document["requirements"]
        text = read_text(self._layout.work, file, field=_FIELD, at_most=MAX_REQUIREMENTS_BYTES)
        self._clients.gateway.grants({"op": "requirements-put", "text": text})
        tell(f"read {file}: {len(text.splitlines())} lines")

    def _say(self, message: str) -> None:
        self._message = message

    def _snapshot(self) -> Report:
        return {"state": "Preparing", "metrics": {}, "message": self._message}


def _failed(layout: Layout, reason: str, message: str) -> int:
    tell(f"{reason}: {message}")
    document = termination(container=CONTAINER, reason=reason, message=message, exit_code=1)
    write_termination(layout.termination_log, document)
    return 1
