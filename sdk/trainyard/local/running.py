"""One TrainingJob carried out here and now, for whoever waits for it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainyard.contract import attempt_folder
from trainyard.errors import ConfigError, Conflict, Invalid, NotFound, TrainyardError
from trainyard.local.checking import parse, without_effect
from trainyard.local.gateway import LocalGateway
from trainyard.local.home import NAMESPACE, Home
from trainyard.local.objects import MAX_RUN_NAME, LocalObjects
from trainyard.local.supervisor import Supervisor
from trainyard.remote import snapshot
from trainyard.remote.files import names_of
from trainyard.remote.objects import TRAINING_JOBS
from trainyard.remote.view import (
    Story,
    experiment_of,
    failure_of,
    has_ended,
    metrics_of_status,
    next_name,
    reason_of,
    status_of,
    stem_of,
)
from trainyard_operator.api.source import DEFAULT_ENTRY_SCRIPT
from trainyard_operator.storage import layout

JsonObject = dict[str, Any]
Write = Callable[[str], None]

NAME_TRIES = 20


@dataclass(frozen=True, kw_only=True)
class LocalRun:
    """A run that has ended.

    Attributes
    ----------
    name
        The name of the TrainingJob in the folder.
    status
        Completed, Failed or Canceled.
    reason
        Why, in a sentence; of a failure it begins with its reason, as in ``ScriptFailed: …``.
    metrics
        The latest value of each metric.
    folder
        Where ``outputs/``, ``logs/``, ``metrics.jsonl`` and ``manifest.json`` of its last attempt are.
    files
        Paths of its logs and outputs below `folder`.
    models
        The ids of the versions that were registered of it, as in ``sklearn_mnist:1``.
    """

    name: str
    status: str
    reason: str
    folder: Path
    metrics: dict[str, float] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def run(
    document: Mapping[str, Any],
    *,
    folder: Path | None = None,
    home: Path | None = None,
    environ: Mapping[str, str] | None = None,
    write: Write = print,
) -> LocalRun:
    """Carry out a TrainingJob in a process of this machine, and return how it has ended.

    An interrupt cancels the run: its script is told to stop, and what it has saved is kept. A second one ends all.

    Parameters
    ----------
    document
        The TrainingJob, as in its file. A name that an earlier run has gets a number.
    folder
        The code, where the document names a ConfigMap or no source at all; the current folder by default.
    home
        Where runs, data and models are kept; ``TRAINYARD_HOME`` or else ``~/.trainyard`` by default.
    environ
        The environment that the script inherits; that of this process by default.
    write
        Gets each line of the log, and why the run waits.

    Raises
    ------
    TrainyardError
        If the document cannot work: the message names the field. A run that fails is returned.
    """
    environ = dict(os.environ if environ is None else environ)
    namespace = _check(document)
    objects = LocalObjects(Home.of(home, environ), namespace=namespace)
    job = with_source(document, folder=folder or Path(), gateway=LocalGateway(objects))
    parse(job["spec"])
    note = without_effect(job["spec"])
    created, claimed = _add(objects, job)
    printer = _Printer(write)
    if note:
        printer.line(note)
    printer.line(f"RunId: {created['metadata']['name']}")
    name = created["metadata"]["name"]
    supervisor = Supervisor(objects, name, environ=environ, take=printer.take, told=printer.show)
    try:
        with _canceled_by_interrupts(lambda: objects.patch(TRAINING_JOBS, name, {"spec": {"cancel": True}})):
            supervisor.carry_out()
    finally:
        os.close(claimed)
        printer.end()
    return of_job(objects, objects.get(TRAINING_JOBS, name))


def of_job(objects: LocalObjects, job: JsonObject) -> LocalRun:
    """Return a run of a folder as it is now."""
    meta, status = job["metadata"], job.get("status") or {}
    prefix = layout.run_prefix(meta["namespace"], meta["uid"]) + attempt_folder(status.get("attempt", 1))
    folder = objects.home.key(prefix)
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    failure = status.get("failure") or {}
    words = f"{failure.get('reason')}: {failure.get('message')}" if failure else reason_of(job)
    return LocalRun(
        name=meta["name"],
        status=status_of(job),
        reason=words or failure_of(job),
        folder=folder,
        metrics=metrics_of_status(job),
        files=tuple(names_of(paths)),
        models=tuple(str(model["id"]) for model in status.get("models") or ()),
    )


def with_source(document: Mapping[str, Any], *, folder: Path, gateway: LocalGateway) -> JsonObject:
    """Return a TrainingJob whose source is `folder`, where it names a ConfigMap or no source at all."""
    spec = dict(document["spec"])
    source = spec.get("source")
    named = isinstance(source, Mapping) and source.get("configMapRef") is not None and len(source) == 1
    if not (named or (source is None and spec.get("rerunOf") is None)):
        return {**document, "spec": spec}
    script = spec.get("entryScript", DEFAULT_ENTRY_SCRIPT)
    if isinstance(script, str) and not (folder / script).is_file():
        raise ConfigError(f"spec.entryScript: there is no {script} in {folder.absolute()}: give the folder of the code")
    taken = snapshot.take(folder)
    snapshot.keep(taken, gateway)
    return {**document, "spec": {**spec, "source": taken.source()}}


def _check(document: Mapping[str, Any]) -> str:
    """Return the namespace of a TrainingJob, or raise what keeps it from being one."""
    if not isinstance(document, Mapping) or document.get("kind") != "TrainingJob":
        kind = document.get("kind") if isinstance(document, Mapping) else None
        raise Invalid(f"kind is {kind!r}: give a TrainingJob")
    if not isinstance(document.get("spec"), Mapping):
        raise Invalid("spec must be an object: give at least spec.source, or the folder with the code")
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise Invalid("metadata must be an object, with a name")
    namespace = metadata.get("namespace", NAMESPACE)
    if not isinstance(namespace, str):
        raise Invalid(f"metadata.namespace is {namespace!r}: give text, or leave it out")
    return namespace


def _add(objects: LocalObjects, job: JsonObject) -> tuple[JsonObject, int]:
    metadata = dict(job.get("metadata") or {})
    given = metadata.get("name") or str(metadata.get("generateName") or "").rstrip("-.")
    stem = given or stem_of(experiment_of(job))
    names = list(objects.names(TRAINING_JOBS))
    if metadata.get("name"):
        # The one that has the name as it was given counts as the first.
        names.append(f"{stem}-1")
    for _ in range(NAME_TRIES):
        taken = not metadata.get("name") or given in names
        name = next_name(stem, names)[-MAX_RUN_NAME:] if taken else given
        try:
            created, claimed = objects.add(TRAINING_JOBS, {**job, "metadata": {**metadata, "name": name}})
        except Conflict:
            names.append(name)
            continue
        assert claimed is not None
        return created, claimed
    raise Conflict(f"others start runs called {stem} all the time: try again")


@contextmanager
def _canceled_by_interrupts(cancel: Callable[[], object]) -> Iterator[None]:
    """Have the first interrupt cancel the run, and the second one be an interrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = threading.Event()

    def quietly() -> None:
        try:
            cancel()
        except (NotFound, TrainyardError):
            return  # it has ended meanwhile

    def handle(number: int, _frame: Any) -> None:
        if seen.is_set():
            raise KeyboardInterrupt
        seen.set()
        # The lock that a change takes may be held by what was interrupted here.
        threading.Thread(target=quietly, name=f"cancel-{number}", daemon=True).start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Printer:
    """Gives whole lines of the log, and before it begins why the run waits."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._story = Story()
        self._rest = b""
        self._begun = False
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Give one line."""
        with self._lock:
            self._write(text)

    def take(self, chunk: bytes) -> None:
        """Give the lines of a piece of the log, which may end in the middle of one."""
        self._begun = True
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self.line(line.decode(errors="replace").rstrip("\r"))

    def show(self, job: JsonObject) -> None:
        """Give what is new in a status, unless the log says it."""
        for line in self._story.tell(job.get("status") or {}):
            if not self._begun and not has_ended(job):
                self.line(line)

    def end(self) -> None:
        """Give what is left of the log."""
        if self._rest:
            self.take(b"\n")
