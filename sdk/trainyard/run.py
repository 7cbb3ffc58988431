"""The run that a script belongs to: ``Run.get_context().log("accuracy", 0.92)``.

Inside a training pod each call appends one line of JSON to a file that the runner follows; anywhere else the same call
prints. There is no lock to hold over a fork: a line is one ``write`` to a file opened for appending, which the kernel
keeps whole whichever thread or process it comes from.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from trainyard.contract import (
    ENV_EXPERIMENT,
    ENV_METRICS_FILE,
    ENV_RUN_NAME,
    ENV_RUN_UID,
    encode_metric,
    metric_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode
# A name is cleaned once; scripts use few, and one that makes up names without end must not fill the memory with them.
_MAX_REMEMBERED_NAMES = 4096


class Run:
    """One run. Get it with `Run.get_context`, which works unchanged inside a training pod and outside."""

    _current: Run | None = None

    def __init__(self, *, run_id: str, name: str, experiment: str, write: Callable[[dict[str, Any]], None]) -> None:
        self._id = run_id
        self._name = name
        self._experiment = experiment
        self._metrics: dict[str, float] = {}
        self._names: dict[str, str] = {}
        self._write = write

    @staticmethod
    def get_context() -> Run:
        """Return the run that this process belongs to: always the same object.

        Returns
        -------
        Run
            In a training pod the run of the TrainingJob; elsewhere an offline run, which prints what it is told.
        """
        if Run._current is None:
            path = os.environ.get(ENV_METRICS_FILE)
            Run._current = _run_of_pod(path) if path else _offline_run()
        return Run._current

    @property
    def id(self) -> str:
        """The uid of the TrainingJob, or ``offline-…``."""
        return self._id

    @property
    def name(self) -> str:
        """The name of the TrainingJob, or of the script that runs offline."""
        return self._name

    @property
    def experiment(self) -> str:
        """The name of the experiment that the run belongs to."""
        return self._experiment

    def log(self, name: str, value: Any, step: int | None = None) -> None:
        """Record `value` as the latest of the metric `name`.

        Parameters
        ----------
        name
            Any text; names longer than 256 bytes are cut.
        value
            A number: int, float, bool, a numpy scalar or whatever else holds exactly one number. NaN and infinities
            are kept.
        step
            Which step or epoch the value belongs to; it is kept in the history of the run.

        Raises
        ------
        TypeError
            If `name` is not text, `value` is not one number or `step` is not a whole number.
        """
        clean = self._names.get(name) if isinstance(name, str) else None
        if clean is None:
            clean = self._clean(name)
        number = _number(value, what=f"metric {name!r}")
        entry: dict[str, Any] = {"metric": clean, "value": encode_metric(number), "time": time.time()}
        if step is not None:
            entry["step"] = _whole(step, what=f"the step of metric {name!r}")
        self._metrics[clean] = number
        self._write(entry)

    def progress(self, percent: float, message: str | None = None, eta_seconds: float | None = None) -> None:
        """Tell how far the run is.

        Parameters
        ----------
        percent
            From 0 to 100; what lies outside is moved to the nearer end.
        message
            One short sentence, such as ``epoch 3 of 10``.
        eta_seconds
            How many seconds the rest will take.

        Raises
        ------
        TypeError
            If `percent` or `eta_seconds` is not a finite number, or `message` is not text.
        """
        told: dict[str, Any] = {"percent": min(100.0, max(0.0, _finite(percent, what="percent")))}
        if eta_seconds is not None:
            told["etaSeconds"] = max(0.0, _finite(eta_seconds, what="eta_seconds"))
        if message is not None:
            if not isinstance(message, str):
                raise TypeError(f"message is {_described(message)}: give text, such as 'epoch 3 of 10'")
            told["message"] = message
        self._write({"progress": told, "time": time.time()})

    def get_metrics(self) -> dict[str, float]:
        """Return the latest value of each metric that this process has logged."""
        return dict(self._metrics)

    def _clean(self, name: object) -> str:
        if not isinstance(name, str):
            raise TypeError(f"the name of a metric is {_described(name)}: give text, such as 'accuracy'")
        clean = metric_name(name)
        if len(self._names) < _MAX_REMEMBERED_NAMES:
            self._names[name] = clean
        return clean


def _run_of_pod(path: str) -> Run:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(entry: dict[str, Any]) -> None:
        os.write(file, _encode(entry).encode() + b"\n")

    return Run(
        run_id=os.environ.get(ENV_RUN_UID, ""),
        name=os.environ.get(ENV_RUN_NAME, ""),
        experiment=os.environ.get(ENV_EXPERIMENT, "default"),
        write=append,
    )


def _offline_run() -> Run:
    script = os.path.basename(sys.argv[0] if sys.argv else "")  # noqa: PTH119 - pathlib costs a script its start
    return Run(
        run_id=f"offline-{os.urandom(8).hex()}", name=script or "offline", experiment="default", write=_print_entry
    )


def _print_entry(entry: dict[str, Any]) -> None:
    if "metric" in entry:
        step = f"  (step {entry['step']})" if "step" in entry else ""
        line = f"{entry['metric']}: {entry['value']}{step}"
    else:
        told = entry["progress"]
        left = f", {told['etaSeconds']:.0f} s left" if "etaSeconds" in told else ""
        line = f"{told['percent']:.0f} %{left}" + (f": {told['message']}" if "message" in told else "")
    # One write for line and line end: threads that print at the same time then do not share lines.
    sys.stdout.write(line + "\n")


def _number(value: Any, *, what: str) -> float:
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]
    if not isinstance(value, (int, float)):
        # numpy, torch and their like give their one number as a plain one; Decimal and Fraction have only __float__.
        try:
            value = value.item() if hasattr(value, "item") else type(value).__float__(value)
        except (AttributeError, TypeError, ValueError, RuntimeError):
            raise TypeError(f"{what} is {_described(value)}: give one number") from None
        if not isinstance(value, (int, float)):
            raise TypeError(f"{what} is {_described(value)}: give one number")
    if isinstance(value, int):
        # Beyond 64 bits no reader of JSON agrees with another on what an integer is.
        return int(value) if -(2**63) <= value < 2**63 else _as_float(value)
    return float(value)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _finite(value: Any, *, what: str) -> float:
    number = float(_number(value, what=what))
    if not math.isfinite(number):
        raise TypeError(f"{what} is {number}: give a finite number")
    return number


def _whole(value: Any, *, what: str) -> int:
    number = _number(value, what=what)
    if int(_finite(number, what=what)) != number:
        raise TypeError(f"{what} is {number}: give a whole number")
    return int(number)


def _described(value: object) -> str:
    text = repr(value)
    shown = text if len(text) <= 60 else text[:59] + "…"  # noqa: PLR2004
    return f"of type {type(value).__name__} ({shown})"
