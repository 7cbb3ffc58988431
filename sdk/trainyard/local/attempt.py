"""One attempt of a run: its processes, told to the operator's rules as a Job and its pod would be."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from trainyard import contract
from trainyard.local.concluding import Witness, apply, view_of
from trainyard.local.console import pod_name
from trainyard.local.objects import merged
from trainyard.local.processes import Process, Root, wait_until
from trainyard.remote.view import has_ended
from trainyard_operator.api.names import ATTEMPT_LABEL, job_name
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.conditions import timestamp
from trainyard_operator.domain.pod import PREPARE, TRAIN, read_pod
from trainyard_operator.domain.run_conclusion import conclude
from trainyard_operator.domain.run_facts import is_saving, known, written
from trainyard_operator.domain.run_status import Standing
from trainyard_operator.domain.run_stop import Stop, stop, why_stopped
from trainyard_operator.domain.run_view import RunView

if TYPE_CHECKING:
    from trainyard.local.objects import LocalObjects

JsonObject = dict[str, Any]

# Looks that an end takes at most: one for the numbers of models, one for the end, and one in reserve.
ROUNDS: Final = 5


class Attempt:
    """An attempt; `carry_out` returns when it is over, and its end is in the run's status.

    Parameters
    ----------
    number
        1, 2 …
    run
        The TrainingJob, with what it takes from the one that it repeats.
    witness
        What is known of the run; this adds the attempt's Job and pod.
    environ
        The environment of the script's process.
    take
        Gets what the script prints, as it comes.
    told
        Called with the run after each change of its status.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        number: int,
        run: Callable[[], JsonObject],
        spec: TrainingJobSpec,
        objects: LocalObjects,
        root: Root,
        witness: Witness,
        image_digest: str,
        environ: Mapping[str, str],
        take: Callable[[bytes], None],
        told: Callable[[], None],
    ) -> None:
        self._number = number
        self._run = run
        self._spec = spec
        self._objects = objects
        self._root = root
        self._environ = environ
        self._take = take
        self._told = told
        self._image_digest = image_digest
        self._meta = run()["metadata"]
        self._states: dict[str, JsonObject] = {}
        self._created = timestamp(datetime.now(UTC))
        self._kill_at: float | None = None
        self._process: Process | None = None
        self._witness = witness
        witness.job = self._job()
        witness.pod = self._pod("Running")
        witness.live = None

    def carry_out(self) -> None:
        """Fetch what the script needs, run it, and bring the run to where that leads."""
        code = self._stage(PREPARE, "prepare", lambda _: None)
        if code == 0 and self._kill_at is None:
            # What `execute` says is read from the same place.
            self._root.layout.termination_log.write_bytes(b"")
            code = self._stage(TRAIN, "execute", self._take)
        succeeded = code == 0 and TRAIN in self._states
        self._witness.pod = self._pod("Succeeded" if succeeded else "Failed")
        job = self._witness.job or {}
        kind = "Complete" if succeeded else "Failed"
        job["status"]["conditions"] = [{"type": kind, "status": "True", "reason": kind, "message": ""}]
        for _ in range(ROUNDS):
            run = self._run()
            plan = conclude(run, self._spec_now(run), self._view(run, whole=True), datetime.now(UTC))
            apply(self._objects, self._meta["name"], plan)
            self._told()
            if has_ended(self._run()) or not (plan.register or plan.create):
                return

    def _stage(self, container: str, command: str, take: Callable[[bytes], None]) -> int:
        begun = timestamp(datetime.now(UTC))
        self._process = Process(command, root=self._root, environ=self._environ, take=take)
        self._states[container] = {"running": {"startedAt": begun}}
        self._witness.pod = self._pod("Running")
        self._look()
        code = wait_until(self._process, tick=self._look)
        message = ""
        with contextlib.suppress(OSError):
            message = self._root.layout.termination_log.read_text(encoding="utf-8", errors="replace")
        self._states[container] = {"terminated": {"exitCode": code, "message": message, "startedAt": begun}}
        return code

    def _look(self) -> None:
        """Write down how the attempt is, and stop it where it has to."""
        run, now = self._run(), datetime.now(UTC)
        view, spec = self._view(run), self._spec_now(run)
        why = why_stopped(run, spec, view, read_pod(self._witness.pod or {}), now)
        if why is None:
            plan = written(run, view, now, self._standing(run, view))
        else:
            plan = stop(run, spec, view, now, why)
            for patch in plan.patch:
                self._witness.job = merged(self._witness.job, patch.body)
            self._stop()
        if plan.status is not None:
            apply(self._objects, self._meta["name"], replace(plan, patch=()))
            self._told()

    def _stop(self) -> None:
        assert self._process is not None
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._spec.grace_seconds
            self._process.terminate()
        elif time.monotonic() >= self._kill_at:
            self._process.kill()

    def _standing(self, run: Mapping[str, Any], view: RunView) -> Standing:
        base = known(run, self._spec, view, read_pod(self._witness.pod or {}))
        if TRAIN not in self._states:
            words = self._witness.said or "fetching the source"
            return replace(base, phase=Phase.PROVISIONING, reason=Reason.PREPARING, message=words)
        if is_saving(view):
            words = "the script has ended, its outputs are being saved"
            return replace(base, phase=Phase.FINALIZING, reason=Reason.SAVING_OUTPUTS, message=words)
        assert self._process is not None
        words = f"{self._spec.entry_script} runs in process {self._process.pid}"
        return replace(base, phase=Phase.RUNNING, reason=Reason.RUNNING, message=words)

    def _spec_now(self, run: Mapping[str, Any]) -> TrainingJobSpec:
        """Return the spec with what people may change while the run goes on."""
        wished = run["spec"].get("models") or []
        models = (
            self._spec.models if len(wished) == len(self._spec.models) else TrainingJobSpec.parse(run["spec"]).models
        )
        return replace(self._spec, cancel=bool(run["spec"].get("cancel")), models=models)

    def _view(self, run: JsonObject, *, whole: bool = False) -> RunView:
        return view_of(self._objects, run, self._witness, attempt=self._number if whole else 0)

    def _job(self) -> JsonObject:
        meta = self._meta
        return {
            "metadata": {
                "name": job_name(meta["name"], meta["uid"], self._number),
                "namespace": meta["namespace"],
                "labels": {ATTEMPT_LABEL: str(self._number)},
            },
            "spec": {},
            "status": {"startTime": self._created},
        }

    def _pod(self, phase: str) -> JsonObject:
        def status(name: str) -> list[JsonObject]:
            state = self._states.get(name)
            digest = {"imageID": self._image_digest} if name == TRAIN else {}
            return [{"name": name, "state": state, **digest}] if state is not None else []

        return {
            "metadata": {"name": pod_name(self._meta["uid"], self._number), "creationTimestamp": self._created},
            "spec": {"nodeName": platform.node()},
            "status": {
                "phase": phase,
                "initContainerStatuses": status(PREPARE),
                "containerStatuses": status(TRAIN),
            },
        }


def canceled() -> Stop:
    """Return why a run stops that was canceled between two attempts, or before the first."""
    return Stop(reason=Reason.CANCELED, message="spec.cancel was set")


def script_environment(
    environ: Mapping[str, str], *, run: Mapping[str, Any], spec: TrainingJobSpec, attempt: int, gateway: str
) -> dict[str, str]:
    """Return the environment of the runner's processes: the person's own, and what a container of a run has."""
    meta = run["metadata"]
    own = {name: value for name, value in environ.items() if not name.startswith("TRAINYARD_")}
    return {
        **own,
        **{name: str(value) for name, value in spec.environment.variables.items()},
        contract.ENV_GATEWAY: gateway,
        # The gateway is a port of this machine, and needs no certificate.
        contract.ENV_CA: "",
        contract.ENV_RUN_NAME: meta["name"],
        contract.ENV_RUN_NAMESPACE: meta["namespace"],
        contract.ENV_RUN_UID: meta["uid"],
        contract.ENV_EXPERIMENT: spec.experiment,
        contract.ENV_ATTEMPT: str(attempt),
    }
