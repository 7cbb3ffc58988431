"""What a TrainingJob says, in the words of Azure ML: all of it pure."""

from __future__ import annotations

import difflib
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from trainyard.contract import GROUP, decode_metric

JsonObject = Mapping[str, Any]

ENDED: Final = frozenset({"Completed", "Failed", "Canceled"})
TAGS_ANNOTATION: Final = f"{GROUP}/tags"
PROPERTIES_ANNOTATION: Final = f"{GROUP}/properties"
EXPERIMENT_LABEL: Final = f"{GROUP}/experiment"
TYPE: Final = "trainyard.trainingjob"
# What code that was written for Azure ML may ask for.
TYPES: Final = frozenset({TYPE, "azureml.scriptrun"})
DOCS: Final = "https://kubernetes.io/docs/reference/kubectl/"
SHOWN: Final = 5
# Azure ML's words where they are not the phase's own.
_STATUSES: Final = {"": "NotStarted", "Pending": "Starting"}
_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>[1-9][0-9]{0,8})")
_MAX_STEM: Final = 40


def status_of(job: JsonObject) -> str:
    """Return the status of a run."""
    phase = str((job.get("status") or {}).get("phase", ""))
    if phase not in ENDED and (job.get("spec") or {}).get("cancel"):
        return "CancelRequested"
    return _STATUSES.get(phase, phase)


def has_begun(job: JsonObject) -> bool:
    """Return whether a run has a Job, and so a folder for what it saves."""
    return "jobName" in (job.get("status") or {})


def has_ended(job: JsonObject) -> bool:
    """Return whether nothing more will happen to a run."""
    return (job.get("status") or {}).get("phase") in ENDED


def experiment_of(job: JsonObject) -> str:
    """Return the name of the experiment of a run."""
    return str((job.get("spec") or {}).get("experiment", "default"))


def number_of_name(name: str) -> int | None:
    """Return the number of a run, which its name ends in; None where somebody else has named it."""
    found = _NUMBERED.fullmatch(name)
    return int(found["number"]) if found else None


def stem_of(experiment: str) -> str:
    """Return what the names of an experiment's runs begin with."""
    return re.sub(r"[^a-z0-9]+", "-", experiment.lower()).strip("-")[:_MAX_STEM].rstrip("-") or "run"


def next_name(stem: str, names: Iterable[str]) -> str:
    """Return ``STEM-N``, where N is one more than the highest number among `names`."""
    found = (_NUMBERED.fullmatch(name) for name in names)
    numbers = [int(match["number"]) for match in found if match and match["stem"] == stem]
    return f"{stem}-{max(numbers, default=0) + 1}"


class Details(dict[str, Any]):
    """What a run is; the `status` can also be had as an attribute, as Azure ML's first articles have it."""

    @property
    def status(self) -> str:
        """The status of the run."""
        return str(self["status"])


def noted(document: JsonObject, annotation: str) -> dict[str, Any]:
    """Return what people have noted in an annotation; nothing where it is torn."""
    try:
        found = json.loads((document.get("metadata", {}).get("annotations") or {}).get(annotation, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def note(annotation: str, notes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the change that has an annotation say these notes."""
    text = json.dumps(notes, sort_keys=True, ensure_ascii=False)
    return {"metadata": {"annotations": {annotation: text}}}


def tags_of(job: JsonObject) -> dict[str, str]:
    """Return the tags that the script has set, and over them those that were set from outside."""
    inside = (job.get("status") or {}).get("tags") or {}
    return {**inside, **noted(job, TAGS_ANNOTATION)}


def with_tags(job: JsonObject, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the change that gives a run more tags from outside."""
    return note(TAGS_ANNOTATION, {**noted(job, TAGS_ANNOTATION), **tags})


def properties_of(job: JsonObject) -> dict[str, str]:
    """Return what a run was made of, and the properties that it was given from outside."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    source, environment = status.get("source") or {}, status.get("environment") or {}
    facts = {
        "uid": job["metadata"]["uid"],
        "rerunOf": spec.get("rerunOf"),
        "sourceSha256": source.get("sha256"),
        "commit": source.get("commit"),
        "imageDigest": environment.get("imageDigest"),
        "environmentHash": environment.get("hash"),
    }
    return {**noted(job, PROPERTIES_ANNOTATION), **{name: str(value) for name, value in facts.items() if value}}


def has_tags(job: JsonObject, wanted: str | Mapping[str, str] | None) -> bool:
    """Return whether a run has a tag of that name, or all of those tags with those values."""
    return has_pairs(tags_of(job), wanted)


def has_pairs(there: Mapping[str, str], wanted: str | Mapping[str, Any] | None) -> bool:
    """Return whether a name is `there`, or all names that are wanted with their values."""
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return wanted in there
    return all(there.get(key) == ("" if value is None else str(value)) for key, value in wanted.items())


def matches(  # noqa: PLR0913 - all but the first three by name
    job: JsonObject,
    experiment: str,
    tags: str | Mapping[str, Any] | None = None,
    *,
    properties: str | Mapping[str, Any] | None = None,
    status: str | None = None,
    type: str | None = None,  # noqa: A002 - Azure ML's name
) -> bool:
    """Return whether a TrainingJob is a run of an experiment, and is as it is asked for."""
    return (
        experiment_of(job) == experiment
        and has_pairs(tags_of(job), tags)
        and has_pairs(properties_of(job), properties)
        and status in {None, status_of(job)}
        and (type is None or type in TYPES)
    )


def metrics_of_status(job: JsonObject) -> dict[str, float]:
    """Return the latest value of each metric, as far as the status has room for them."""
    metrics = (job.get("status") or {}).get("metrics") or {}
    return {name: decode_metric(value) for name, value in metrics.items()}


def details_of(job: JsonObject) -> Details:
    """Return what Azure ML's ``get_details`` gives."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    details = {
        "runId": job["metadata"]["name"],
        "target": (spec.get("computeClusterRef") or {}).get("name"),
        "status": status_of(job),
        "startTimeUtc": status.get("startTime"),
        "properties": properties_of(job),
        "tags": tags_of(job),
        "runDefinition": {
            "script": spec.get("entryScript", "train.py"),
            "arguments": spec.get("arguments", []),
            "parameters": spec.get("parameters", {}),
            "environment": spec.get("environment", {}),
        },
        "inputDatasets": spec.get("inputs", []),
        "reason": reason_of(job),
    }
    if "completionTime" in status:
        details["endTimeUtc"] = status["completionTime"]
    if "failure" in status:
        details["error"] = {"error": {"code": status["failure"].get("reason"), "message": failure_of(job)}}
    return Details(details)


def reason_of(job: JsonObject) -> str:
    """Return in a sentence why a run is as it is."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    ready: JsonObject = next((c for c in conditions if c["type"] == "Ready"), {})
    return str(ready.get("message", ""))


def failure_of(job: JsonObject) -> str:
    """Return why a run did not complete, with the end of its log."""
    failure = (job.get("status") or {}).get("failure") or {}
    words = f"{failure.get('reason', status_of(job))}: {failure.get('message') or reason_of(job) or 'no reason given'}"
    tail = str(failure.get("logTail") or "").rstrip()
    return words + (f"\nThe end of its log:\n{tail}" if tail else "")


def text_of(job: JsonObject) -> str:
    """Return a run as Azure ML prints it."""
    name, status = job["metadata"]["name"], status_of(job)
    return f"Run(Experiment: {experiment_of(job)},\nId: {name},\nType: {TYPE},\nStatus: {status})"


def html_table(columns: Mapping[str, str]) -> str:
    """Return one row as a table, with everything in it escaped."""
    # Notebooks put text to the right of its column, far from where the eye looks for it.
    left = 'style="text-align:left"'
    head = "".join(f"<th {left}>{html.escape(name)}</th>" for name in columns)
    row = "".join(f"<td {left}>{html.escape(value)}</td>" for value in columns.values())
    return f"<table><tr>{head}</tr><tr>{row}</tr></table>"


def command_of(job: JsonObject, words: str, *, local: bool) -> str:
    """Return what is typed to look at a run: `words` of kubectl, or without a cluster the command line's own."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    return f"trainyard --local show {name}" if local else f"kubectl --namespace {namespace} {words} trainingjob {name}"


def html_of(job: JsonObject, *, local: bool = False) -> str:
    """Return a run as a notebook shows it; `local` where there is no cluster."""
    name = job["metadata"]["name"]
    return html_table(
        {
            "Experiment": experiment_of(job),
            "Id": name,
            "Type": TYPE,
            "Status": status_of(job),
            "Reason": reason_of(job),
            "Details": command_of(job, "describe", local=local),
        }
    )


def near(path: str, paths: Sequence[str]) -> str:
    """Return, for a sentence, which of `paths` may have been meant."""
    name = path.rsplit("/", 1)[-1]
    same = [there for there in paths if there.rsplit("/", 1)[-1] == name]
    meant = same or difflib.get_close_matches(path, paths, n=SHOWN, cutoff=0.4)
    if meant:
        return f"did you mean {', '.join(meant[:SHOWN])}?"
    listed = ", ".join(paths[:SHOWN]) + (" …" if len(paths) > SHOWN else "")
    return f"it has: {listed or 'none'}"


class Story:
    """Turns one status of a run after another into the sentences that are new in each."""

    def __init__(self) -> None:
        self._stand = ("", "")
        self._metrics: dict[str, Any] = {}
        self._progress: dict[str, Any] = {}

    def tell(self, status: JsonObject) -> list[str]:
        """Return what is new in `status`."""
        lines: list[str] = []
        phase = str(status.get("phase", ""))
        ready: JsonObject = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
        stand = (phase, str(ready.get("reason", "")))
        if phase and stand != self._stand:
            self._stand = stand
            lines.append(f"{phase}: {ready.get('message', '')}".removesuffix(": "))
        for name, value in (status.get("metrics") or {}).items():
            if self._metrics.get(name) != value:
                self._metrics[name] = value
                lines.append(f"metric {name} = {decode_metric(value):g}")
        return lines + self._tell_progress(status.get("progress") or {})

    def _tell_progress(self, progress: JsonObject) -> list[str]:
        told = {name: value for name, value in progress.items() if name != "updatedTime"}
        if not told or told == self._progress:
            return []
        self._progress = told
        words = [f"{told['percent']} %"] if "percent" in told else []
        words += [f"{told['etaSeconds']:g} s left"] if "etaSeconds" in told else []
        words += [told["message"]] if "message" in told else []
        return [f"progress {', '.join(words)}"]
