"""What a TrainingJob looks like to the one who watches it: one small dictionary of JSON, all of it pure."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from trainyard.contract import arguments_of
from trainyard.remote.view import ENDED, experiment_of, reason_of, status_of, tags_of

JsonObject = Mapping[str, Any]
Look = dict[str, Any]

_TONES: Final = {
    "Running": "active",
    "Finalizing": "active",
    "Completed": "good",
    "Failed": "bad",
    "Canceled": "warn",
    "CancelRequested": "warn",
}
_WHOLE: Final = 100


def look_of(job: JsonObject) -> Look:
    """Return what is shown of a run; times are seconds since 1970."""
    metadata, status = job.get("metadata") or {}, job.get("status") or {}
    name = status_of(job)
    return {
        "id": str(metadata.get("name", "")),
        "namespace": str(metadata.get("namespace", "")),
        "experiment": experiment_of(job),
        "status": name,
        "tone": _TONES.get(name, "waiting"),
        "reason": _reason_word(status),
        "message": reason_of(job),
        "ended": status.get("phase") in ENDED,
        "created": moment(metadata.get("creationTimestamp")),
        "start": moment(status.get("startTime")),
        "end": moment(status.get("completionTime")),
        "phases": _phases(status),
        "progress": _progress(status),
        "queue": _queue(status),
        "latest": [[key, value] for key, value in (status.get("metrics") or {}).items()],
        "models": [{"id": str(entry.get("id", "")), "path": str(entry.get("path", ""))} for entry in _entries(status)],
        "held": [
            {"name": str(entry.get("name", "")), "message": str(entry.get("message", ""))}
            for entry in status.get("heldModels") or ()
        ],
        "failure": _failure(status),
        "facts": _facts(job),
    }


def moment(text: Any) -> float | None:
    """Return a timestamp of Kubernetes as seconds since 1970."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None


def _entries(status: JsonObject) -> list[JsonObject]:
    return list(status.get("models") or ())


def _reason_word(status: JsonObject) -> str:
    failure = (status.get("failure") or {}).get("reason")
    ready: JsonObject = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), {})
    return str(failure or ready.get("reason", ""))


def _phases(status: JsonObject) -> list[JsonObject]:
    found: list[JsonObject] = []
    for entry in status.get("phases") or ():
        start = moment(entry.get("startTime"))
        if start is not None and entry.get("name") not in ENDED:
            found.append({"name": str(entry["name"]), "start": start, "end": moment(entry.get("endTime"))})
    return found


def _progress(status: JsonObject) -> JsonObject | None:
    told = status.get("progress")
    if not told:
        return None
    percent, updated = told.get("percent"), moment(told.get("updatedTime"))
    begun = moment(status.get("startTime"))
    eta = None
    if updated is not None and told.get("etaSeconds") is not None:
        eta = updated + float(told["etaSeconds"])
    elif updated is not None and begun is not None and percent and updated > begun:
        # The script says how far it is and not how long it takes: as long for each part as until now.
        eta = updated + (updated - begun) * (_WHOLE - percent) / percent
    return {"percent": percent, "eta": eta, "message": str(told.get("message") or "")}


def _queue(status: JsonObject) -> JsonObject | None:
    told = status.get("queue")
    if not told or status.get("phase") != "Queued":
        return None
    likely = moment((told.get("estimatedStart") or {}).get("likely"))
    return {"position": told.get("position"), "pending": told.get("pending"), "likely": likely}


def _failure(status: JsonObject) -> JsonObject | None:
    told = status.get("failure")
    if not told:
        return None
    return {
        "reason": str(told.get("reason") or ""),
        "message": str(told.get("message") or ""),
        "exitCode": told.get("exitCode"),
        "logTail": str(told.get("logTail") or ""),
    }


def _facts(job: JsonObject) -> list[list[str]]:
    spec, status = job.get("spec") or {}, job.get("status") or {}
    environment = spec.get("environment") or {}
    given = arguments_of(spec.get("parameters") or {}, spec.get("arguments") or [], {})
    packages = [str(package) for package in environment.get("pip") or ()]
    attempt, retries = status.get("attempt"), int(spec.get("retries") or 0)
    facts = {
        "Script": str(spec.get("entryScript") or "train.py"),
        "Arguments": shlex.join(given),
        "Compute": str((spec.get("computeClusterRef") or {}).get("name") or "any node"),
        "Node": str(status.get("nodeName") or ""),
        "Pod": str(status.get("podName") or ""),
        "Attempt": f"{attempt} of at most {retries + 1}" if attempt and retries else "",
        "Inputs": ", ".join(str(entry.get("name", "")) for entry in spec.get("inputs") or ()),
        "Packages": ", ".join(packages),
        "Image": str((status.get("environment") or {}).get("image") or environment.get("image") or ""),
        "Source": str((status.get("source") or {}).get("sha256") or ""),
        "Tags": ", ".join(f"{key}: {value}" if value else key for key, value in tags_of(job).items()),
    }
    return [[name, text] for name, text in facts.items() if text]


def seconds_in_words(seconds: float | None) -> str:
    """Return a duration as people say it: ``4 s``, ``2 min 05 s``, ``3 h 04 min``."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = max(0, round(seconds))
    if whole < 60:  # noqa: PLR2004 - seconds and minutes
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def bytes_in_words(size: float) -> str:
    """Return a size as people say it: ``812 B``, ``4.1 kB``, ``12 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:  # noqa: PLR2004 - as disks are sold
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"  # noqa: PLR2004
        size /= 1000
    return f"{size:.1f} TB"
