"""What is printed of a run once it has ended: all of it pure text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

JsonObject = Mapping[str, Any]

# The phases of a run, by what the person at the terminal waits for.
_WAITING = ("Pending", "Queued", "Provisioning")
_TRAINING = ("Running",)
_SAVING = ("Finalizing",)


def model_lines(models: Iterable[JsonObject]) -> list[str]:
    """Return one line for each registered model: name, id and version."""
    return [f"{model['name']}\t{model['id']}\t{model['version']}" for model in models]


def failure_lines(status: JsonObject) -> list[str]:
    """Return why a run failed, with the end of its log."""
    failure = status.get("failure") or {}
    lines = [f"Failed: {failure.get('reason', 'RunFailed')}: {failure.get('message', 'no reason given')}"]
    if failure.get("logTail"):
        lines += ["The end of its log:", *(f"  | {line}" for line in failure["logTail"].splitlines())]
    return lines


def missing_models(spec: JsonObject, status: JsonObject, registered: Sequence[JsonObject]) -> list[str]:
    """Return a sentence for each model that the run should have registered and that is not Ready."""
    entries = {(model["name"], model["path"]): model for model in status.get("models") or ()}
    states = {
        version["id"]: version["state"]
        for model in registered
        for version in (model.get("status") or {}).get("versions") or ()
    }
    sentences = []
    for wish in spec.get("models") or ():
        entry = entries.get((wish["name"], wish["path"]))
        if entry is None:
            sentences.append(f"the model {wish['name']} was not registered")
        elif states.get(entry["id"]) != "Ready":
            sentences.append(f"the model version {entry['id']} is {states.get(entry['id'], 'missing')}, not Ready")
    return sentences


def timings(status: JsonObject, *, upload: float, total: float) -> str:
    """Return one line that says where the time went; the cluster tells its times in whole seconds."""
    spent: dict[str, float] = {}
    for phase in status.get("phases") or ():
        if "endTime" in phase:
            begin, end = (datetime.fromisoformat(phase[key]) for key in ("startTime", "endTime"))
            spent[phase["name"]] = spent.get(phase["name"], 0.0) + (end - begin).total_seconds()
    parts = {"waiting": _WAITING, "training": _TRAINING, "saving": _SAVING}
    words = [f"upload {upload:.1f} s"]
    words += [f"{what} {sum(spent.get(name, 0.0) for name in names):.0f} s" for what, names in parts.items()]
    return ", ".join([*words, f"total {total:.1f} s"])
