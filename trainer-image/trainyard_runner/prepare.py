"""The init container: source, inputs and the runner itself are there before the training image is started."""

from __future__ import annotations

import json
import os
import signal
import sys
import zipfile
from typing import TYPE_CHECKING

from trainyard import contract
from trainyard.patience import TransferError
from trainyard.transfer import GatewayRefused
from trainyard_runner.checkpoint import restore
from trainyard_runner.environment import RestoreError, restore_packages
from trainyard_runner.gateway import Clients
from trainyard_runner.input_cache import InputCache
from trainyard_runner.inputs import InputError, InputFetcher
from trainyard_runner.journal import journaled, save_journal
from trainyard_runner.report import Reporter
from trainyard_runner.source import SourceError, check_entry_script
from trainyard_runner.source_keeper import SourceKeeper
from trainyard_runner.termination import termination, write_termination
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainyard.contract import Report
    from trainyard_runner.layout import Layout

CONTAINER = "prepare"
# What the gateway may give as the reason for having no run for this pod. Every other refusal is about the pod itself.
_REASONS_OF_RUN = frozenset({"SourceInvalid", "InputNotFound", "InputFailed", "EnvironmentNotRestored"})


def prepare(*, layout: Layout, environ: Mapping[str, str], archive: Path) -> int:
    """Make everything ready for `execute` and return the container's exit code."""
    with journaled(layout.prepare_log):
        code = _prepare(layout=layout, environ=environ, archive=archive)
    if code:
        # Otherwise `execute` saves it: the script does not wait for that.
        save_journal(layout, environ)
    return code


def _prepare(*, layout: Layout, environ: Mapping[str, str], archive: Path) -> int:
    signal.signal(signal.SIGTERM, lambda *_: _stopped(layout))
    try:
        install_runner(archive, layout)
        _fetch(layout, environ)
    except (SourceError, InputError, RestoreError) as error:
        return _failed(layout, reason=error.reason, message=str(error))
    except GatewayRefused as error:
        reason = error.reason if error.reason in _REASONS_OF_RUN else "RunFailed"
        return _failed(layout, reason=reason, message=error.message)
    except KeyError as error:
        return _failed(layout, reason="RunFailed", message=f"the variable or field {error} is missing")
    except (TransferError, OSError) as error:
        return _failed(layout, reason="RunFailed", message=f"the run could not be prepared: {error}")
    write_termination(layout.termination_log, termination(container=CONTAINER, exit_code=0))
    return 0


def install_runner(archive: Path, layout: Layout) -> None:
    """Leave the runner, and the package that scripts import, where the training image's Python finds them."""
    layout.library.mkdir(parents=True, exist_ok=True)
    layout.archive.write_bytes(archive.read_bytes())
    package = f"{contract.__package__}/"
    with zipfile.ZipFile(archive) as members:
        for name in members.namelist():
            if name.startswith(package) and not name.endswith("/"):
                target = layout.library / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(members.read(name))


def _fetch(layout: Layout, environ: Mapping[str, str]) -> None:
    words = _Words()
    clients = Clients(environ=environ, layout=layout, on_trouble=words.tell)
    document = clients.gateway.run()

    def snapshot() -> Report:
        return {"state": "Preparing", "metrics": {}, "message": words.message}

    reporter = Reporter(gateway=clients.reports, snapshot=snapshot)
    reporter.start()
    keeper = SourceKeeper(clients=clients, layout=layout, say=words.say)
    source = keeper.fetch(document["source"])
    check_entry_script(layout.work, document["entryScript"])
    restore_packages(document, clients=clients, layout=layout)
    inputs = InputFetcher(clients=clients, layout=layout, say=words.say, cache=_cache(layout, environ))
    records = []
    for wanted in document["inputs"]:
        records.append(inputs.fetch(wanted))
        tell(words.message)
    if document["checkpoint"] is not None:
        restored = restore(document["checkpoint"], layout.checkpoint, gateway=clients.gateway, store=clients.store)
        layout.restored.write_text(json.dumps(restored))
    # The script can read this file, and has no use for a way into the object store.
    kept = {**document, "source": {**source, "url": ""}, "inputRecords": records}
    kept.pop("environment", None)
    layout.run_file.write_text(json.dumps(kept))


def _cache(layout: Layout, environ: Mapping[str, str]) -> InputCache | None:
    limit = environ.get(contract.ENV_INPUT_CACHE)
    if limit is None:
        return None
    namespace = environ[contract.ENV_RUN_NAMESPACE]
    return InputCache(layout.input_cache, namespace=namespace, limit=int(limit), warn=lambda it: tell(f"warning: {it}"))


class _Words:
    """The sentence that the run's status shows, and what is said in between of trouble."""

    def __init__(self) -> None:
        self.message = "fetching the source"
        self._doing = self.message

    def say(self, message: str) -> None:
        self.message = self._doing = message

    def tell(self, trouble: str) -> None:
        self.message = f"{self._doing}; trying again: {trouble}"


def _failed(layout: Layout, *, reason: str, message: str) -> int:
    tell(f"{reason}: {message}")
    write_termination(
        layout.termination_log, termination(container=CONTAINER, reason=reason, message=message, exit_code=1)
    )
    return 1


def _stopped(layout: Layout) -> None:
    """End at once: there is nothing yet that would have to be saved, and threads may be waiting for hours."""
    code = 128 + signal.SIGTERM
    message = "the pod was stopped from outside while its source and inputs were being fetched"
    write_termination(
        layout.termination_log,
        termination(container=CONTAINER, reason="RunFailed", message=message, exit_code=code, signal=signal.SIGTERM),
    )
    sys.stderr.flush()
    os._exit(code)
