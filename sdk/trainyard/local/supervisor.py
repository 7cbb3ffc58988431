"""Carrying out one run: what operator, scheduler and node do for it in a cluster, in one process."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, BinaryIO, Final

from trainyard.contract import Report
from trainyard.local.archive import runner_archive
from trainyard.local.attempt import Attempt, canceled, script_environment
from trainyard.local.checking import parse
from trainyard.local.concluding import Witness, apply, failed, repeated_by, view_of
from trainyard.local.console import pod_name
from trainyard.local.environments import LOCK_SECONDS, Packages, path_of, python_digest
from trainyard.local.freezing import freeze
from trainyard.local.grants import RunGrants
from trainyard.local.objects import LocalObjects
from trainyard.local.processes import Process, Root, wait_until
from trainyard.local.serving import Yard, serving
from trainyard.remote.objects import TRAINING_JOBS
from trainyard.remote.view import has_ended
from trainyard_operator.api.environment import read_requirements
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.reasons import EnvironmentState, Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.attempts import entry_of
from trainyard_operator.domain.rerun import Repeated, whole
from trainyard_operator.domain.retries import Tally, next_attempt_at
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_facts import written
from trainyard_operator.domain.run_status import Standing
from trainyard_operator.domain.run_stop import at_rest
from trainyard_operator.storage import layout

JsonObject = dict[str, Any]

LOOK_SECONDS: Final = 0.2


class Ended(Exception):  # noqa: N818 - no error: there is nothing left to do
    """The run has come to its end."""


class Supervisor:
    """Carries out one run, whose lock somebody holds for it.

    Parameters
    ----------
    objects
        The objects of the folder.
    name
        The name of the TrainingJob.
    environ
        The environment of the person who runs it.
    take
        Gets what the script prints.
    told
        Gets each new status.
    """

    def __init__(
        self,
        objects: LocalObjects,
        name: str,
        *,
        environ: Mapping[str, str],
        take: Callable[[bytes], None] | None = None,
        told: Callable[[JsonObject], None] | None = None,
    ) -> None:
        self._objects = objects
        self._home = objects.home
        self._name = name
        self._environ = {**environ, "PATH": path_of(environ)}
        self._take = take or (lambda _: None)
        self._tell = told or (lambda _: None)
        self._changed = objects.changed(TRAINING_JOBS, name)
        self._latest: JsonObject = {}
        self._witness = Witness()
        self._archive = runner_archive()

    def carry_out(self) -> None:
        """Bring the run to its end."""
        try:
            with serving(self._home) as yard, contextlib.suppress(Ended):
                self._carry_out(yard)
        except BaseException as error:
            run = self._run()
            if not has_ended(run):
                words = f"trainyard itself failed, please report this: {type(error).__name__}: {error}"
                if isinstance(error, KeyboardInterrupt):
                    words = "it was interrupted a second time, before the script had saved what it has"
                self._fail(Failure(reason=Reason.RUN_FAILED, message=words), end=False)
            raise

    def _carry_out(self, yard: Yard) -> None:
        run = self._run()
        repeated = repeated_by(self._objects, run)
        if isinstance(repeated, Failure):
            self._fail(repeated)
        self._witness.repeated = repeated if isinstance(repeated, Repeated) else None
        run = self._run()
        self._spec = parse(run["spec"])
        failure = freeze(self._home, run, self._spec, self._witness.repeated)
        if failure is not None:
            self._fail(failure)
        digest = python_digest()
        root = Root(folder=self._work / "reading")
        grants = RunGrants(
            yard=yard, metadata=run["metadata"], spec=self._spec, ran={"imageDigest": digest}, inputs=root.layout.inputs
        )
        yard.answer, yard.report = grants, self._report
        packages = self._packages(grants, root)
        if packages is not None:
            grants.ran["environmentHash"] = packages.hash
        for number in count(1):
            self._attempt(number, grants, packages, digest)
            self._await_next(number)

    def _attempt(self, number: int, grants: RunGrants, packages: Packages | None, digest: str) -> None:
        root = Root(folder=self._work / f"attempt-{number}")
        root.remove()
        root.make(archive=self._archive, token=grants.yard.token)
        if packages is not None and packages.folder is not None:
            root.layout.environment.symlink_to(packages.folder)
        grants.attempt, grants.inputs = number, root.layout.inputs
        pod = pod_name(self._run()["metadata"]["uid"], number)
        environ = script_environment(
            self._environ, run=self._run(), spec=self._spec, attempt=number, gateway=grants.yard.url
        )
        console = self._work / f"console-{pod}.log"
        try:
            with console.open("ab", buffering=0) as file:
                Attempt(
                    number=number,
                    run=self._run,
                    spec=self._spec,
                    objects=self._objects,
                    root=root,
                    witness=self._witness,
                    image_digest=digest,
                    environ=environ,
                    take=lambda chunk: self._print(file, chunk),
                    told=self._tell_status,
                ).carry_out()
        finally:
            console.with_suffix(".end").touch()
            root.remove()
        if has_ended(self._run()):
            raise Ended

    def _packages(self, grants: RunGrants, root: Root) -> Packages | None:
        """Return the packages that the run asks for, once they are there."""
        wanted = self._spec.environment
        if not wanted.builds:
            return None
        listed: tuple[str, ...] = ()
        if wanted.requirements is not None:
            self._preparing("reading which packages the run needs")
            listed = self._read_requirements(wanted.requirements, grants, root)
        packages = Packages(sorted({*wanted.pip, *listed}), environ=self._environ)
        while not packages.ready:
            number = packages.lock()
            if number is None:
                self._preparing("another run has the same packages built", packages.hash)
                self._pause(LOCK_SECONDS)
                continue
            try:
                if not packages.ready:
                    self._build(packages, grants)
            finally:
                os.close(number)
        self._preparing("the packages are there", packages.hash, EnvironmentState.READY)
        return packages

    def _read_requirements(self, file: str, grants: RunGrants, root: Root) -> tuple[str, ...]:
        root.make(archive=self._archive, token=grants.yard.token)
        environ = script_environment(
            self._environ, run=self._run(), spec=self._spec, attempt=0, gateway=grants.yard.url
        )
        process = Process("read", root=root, environ=environ, take=lambda _: None)
        code = wait_until(process, tick=self._stopping(process))
        said = _said(root)
        root.remove()
        if code or grants.requirements is None:
            reason = next((r for r in Reason if r.value == said.get("reason")), Reason.ENVIRONMENT_BUILD_FAILED)
            self._fail(Failure(reason=reason, message=said.get("message") or "the source could not be read"))
        try:
            return read_requirements(grants.requirements or "", file)
        except SpecError as error:
            self._fail(Failure(reason=Reason.INVALID_SPEC, message=str(error)))
            raise

    def _build(self, packages: Packages, grants: RunGrants) -> None:
        self._preparing("its build begins", packages.hash)

        def build(root: Root, document: JsonObject) -> tuple[str, str] | None:
            grants.build = document
            environ = script_environment(
                self._environ, run=self._run(), spec=self._spec, attempt=0, gateway=grants.yard.url
            )
            process = Process("build", root=root, environ=environ, take=lambda _: None)
            stopping = self._stopping(process)

            def tick() -> None:
                stopping()
                words = self._witness.said or "its build begins"
                self._preparing(words, packages.hash)

            if wait_until(process, tick=tick) == 0:
                return None
            said = _said(root)
            return said.get("message") or "its build ended without a word", said.get("logTail", "")

        failure = packages.build(build, archive=self._archive, token=grants.yard.token)
        if failure is not None:
            words, tail = failure
            message = f"the environment could not be built: {words}"
            self._fail(
                Failure(reason=Reason.ENVIRONMENT_BUILD_FAILED, message=message, exit_code=1, log_tail=tail[-2048:])
            )

    def _await_next(self, number: int) -> None:
        """Wait until the next attempt may begin."""
        status = self._run()["status"]
        due = next_attempt_at(entry_of(status, number) or {}, Tally.of(status))
        while due is not None and datetime.now(UTC) < due:
            self._pause(LOOK_SECONDS)

    def _pause(self, seconds: float) -> None:
        """Let some time pass, unless the run is canceled."""
        if self._run()["spec"].get("cancel"):
            self._rest()
        time.sleep(seconds)

    def _stopping(self, process: Process) -> Callable[[], None]:
        def look() -> None:
            if self._run()["spec"].get("cancel"):
                process.kill()
                self._rest()

        return look

    def _rest(self) -> None:
        """Write down that the run was canceled with no attempt of it under way."""
        run = self._run()
        status = run.get("status") or {}
        standing = Standing(
            phase=Phase.PENDING,
            reason=Reason.POD_PENDING,
            message="",
            job_name=status.get("jobName"),
            models_wished=bool(self._spec.models),
        )
        self._write(at_rest(standing, canceled()))
        raise Ended

    def _preparing(self, words: str, digest: str = "", state: EnvironmentState = EnvironmentState.BUILDING) -> None:
        namespace = self._objects.namespace
        environment = {
            "hash": digest,
            "state": state.value,
            "logUri": self._home.uri(layout.environment_logs_prefix(namespace, digest)),
        }
        standing = Standing(
            phase=Phase.PREPARING,
            reason=Reason.ENVIRONMENT_BUILDING,
            message=f"preparing the environment: {words}",
            environment=environment if digest else None,
            models_wished=bool(self._spec.models),
        )
        self._write(standing)

    def _write(self, standing: Standing) -> None:
        run = self._run()
        plan = written(run, view_of(self._objects, run, self._witness, attempt=0), datetime.now(UTC), standing)
        if plan.status is not None:
            apply(self._objects, self._name, plan)
            self._tell_status()

    def _fail(self, failure: Failure, *, end: bool = True) -> None:
        self._objects.write_status(TRAINING_JOBS, self._name, failed(self._run(), failure))
        self._tell_status()
        if end:
            raise Ended

    def _report(self, report: Mapping[str, Any]) -> JsonObject:
        self._witness.live = Report(**report)  # type: ignore[typeddict-item]
        return {}

    def _print(self, file: BinaryIO, chunk: bytes) -> None:
        file.write(chunk)
        self._take(chunk)

    def _tell_status(self) -> None:
        self._tell(self._run())

    def _run(self) -> JsonObject:
        """Return the run as it is now, with what it takes from the one that it repeats."""
        if self._changed() or not self._latest:
            self._latest = self._objects.read(TRAINING_JOBS, self._name)
        return dict(whole(self._latest, self._witness.repeated))

    @property
    def _work(self) -> Any:
        folder = self._home.work(self._run()["metadata"]["uid"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _said(root: Root) -> dict[str, Any]:
    """Return what a process has left as its last words."""
    try:
        found = json.loads(root.layout.termination_log.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
