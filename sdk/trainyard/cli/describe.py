"""What `show` prints: all of it pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from trainyard.cli.tables import NONE, clean, indented, number, pairs, since, size, table
from trainyard.contract import decode_metric
from trainyard.remote.view import experiment_of, reason_of, status_of, tags_of

JsonObject = Mapping[str, Any]

RUN_HEADER: Final = ("NAME", "EXPERIMENT", "PHASE", "METRIC", "MODEL", "DURATION", "AGE")
RUN_WIDE: Final = ("CLUSTER", "NODE", "REASON")
TAIL_LINES: Final = 10


def run_row(job: JsonObject, *, now: datetime, wide: bool = False) -> list[str]:
    """Return the row of a run in a list."""
    status = job.get("status") or {}
    models = [str(entry["id"]) for entry in status.get("models") or () if "id" in entry]
    row = [
        job["metadata"]["name"],
        experiment_of(job),
        status_of(job),
        str(status.get("metricSummary", "")),
        ", ".join(models),
        since(status.get("startTime"), status.get("completionTime") or now),
        since(job["metadata"]["creationTimestamp"], now),
    ]
    if wide:
        ready: JsonObject = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
        cluster = ((job.get("spec") or {}).get("computeClusterRef") or {}).get("name", "")
        row += [cluster, status.get("nodeName", ""), ready.get("reason", "")]
    return row


def run_text(job: JsonObject, *, now: datetime, files: Mapping[str, Any] | str) -> list[str]:
    """Return all that people ask of a run; `files` are its files, or why they cannot be had."""
    status = job.get("status") or {}
    sections = [
        pairs(_head(job, now)),
        _section("Phases", ("NAME", "BEGAN", "TOOK"), _phases(status, now)),
        _section(
            "Conditions",
            ("TYPE", "STATUS", "REASON", "MESSAGE"),
            [(c["type"], c["status"], c["reason"], c["message"]) for c in status.get("conditions") or ()],
        ),
        _section("Inputs", ("NAME", "FROM"), [(i["name"], origin(i)) for i in (job["spec"].get("inputs") or ())]),
        _section(
            "Metrics",
            ("NAME", "LATEST"),
            [(name, number(decode_metric(value))) for name, value in (status.get("metrics") or {}).items()],
        ),
        _files(files),
        _section(
            "Models", ("ID", "PATH"), [(m.get("id", m["name"]), m.get("path")) for m in status.get("models") or ()]
        ),
        _held(status),
        _failure(status),
    ]
    return [line for section in sections for line in section]


def origin(entry: JsonObject) -> str:
    """Return where an input comes from."""
    if "datastore" in entry:
        return f"datastore {entry['datastore'].get('path') or '(all of it)'}"
    if "s3" in entry:
        return str(entry["s3"].get("uri"))
    claim = entry.get("pvc") or {}
    return f"volume {claim.get('claimName')} {claim.get('path') or ''}".rstrip()


def source_of(job: JsonObject) -> str:
    """Return where the code of a run comes from."""
    spec = job.get("spec") or {}
    if "rerunOf" in spec:
        return f"that of run {spec['rerunOf']}"
    source = spec.get("source") or {}
    if "git" in source:
        return f"{source['git'].get('url')} at {source['git'].get('revision', 'HEAD')}"
    if "configMapRef" in source:
        return f"ConfigMap {source['configMapRef'].get('name')}"
    if "archive" in source:
        return str(source["archive"].get("path"))
    return f"in the object: {', '.join(sorted(source.get('inline') or {}))}"


def conclusion(job: JsonObject) -> str:
    """Return in a sentence how a run has ended."""
    name, status = job["metadata"]["name"], job.get("status") or {}
    if status.get("phase") == "Completed":
        took = f" in {since(status['startTime'], status.get('completionTime'))}" if "startTime" in status else ""
        metric = f", {clean(status['metricSummary'])}" if status.get("metricSummary") else ""
        models = "".join(f", model {entry['id']}" for entry in status.get("models") or () if "id" in entry)
        return f"run {name} Completed{took}{metric}{models}"
    failure = status.get("failure") or {}
    words = f"{failure['reason']}: {failure.get('message', '')}" if "reason" in failure else reason_of(job)
    return clean(f"run {name} is {status.get('phase')}: {words}")


def cluster_row(cluster: JsonObject, *, now: datetime) -> list[str]:
    """Return the row of a cluster in a list."""
    spec, status = cluster.get("spec") or {}, cluster.get("status") or {}
    scale, queue = spec.get("scale") or {}, status.get("queue") or {}
    nodes = f"{status.get('currentNodeCount', 0)} of {scale.get('minNodes', 0)}-{scale.get('maxNodes', 0)}"
    return [
        cluster["metadata"]["name"],
        status.get("provisioningState", "Creating"),
        status.get("allocationState", ""),
        nodes,
        spec.get("vmSize", ""),
        str(queue.get("running", 0)),
        str(queue.get("pending", 0)),
        since(cluster["metadata"]["creationTimestamp"], now),
    ]


def cluster_text(cluster: JsonObject, *, now: datetime) -> list[str]:
    """Return all that people ask of a cluster."""
    spec, status = cluster.get("spec") or {}, cluster.get("status") or {}
    scale, usage = spec.get("scale") or {}, status.get("usage") or {}
    counts = (status.get("nodeStateCounts") or {}).items()
    head = {
        "Cluster": cluster["metadata"]["name"],
        "State": status.get("provisioningState", "Creating"),
        "Reason": reason_of(cluster),
        "Nodes": f"{status.get('currentNodeCount', 0)}, {status.get('targetNodeCount', 0)} wanted",
        "Node states": ", ".join(f"{count} {state}" for state, count in counts if count),
        "Scale": f"{scale.get('minNodes', 0)} to {scale.get('maxNodes', 0)} nodes",
        "Machines": f"{spec.get('vmSize', 'as they are')}, {spec.get('vmPriority', 'Dedicated')}",
        "Provider": (spec.get("provider") or {}).get("type"),
        "Empty since": since(status.get("idleSince"), now) if "idleSince" in status else "",
        "Node hours": f"{usage.get('nodeSeconds', 0) / 3600:.2f}" if usage else "",
        "Age": since(cluster["metadata"]["creationTimestamp"], now),
    }
    nodes = [(n.get("name"), n.get("state"), n.get("instanceType")) for n in status.get("nodes") or ()]
    errors = [(e.get("code"), e.get("message")) for e in status.get("errors") or ()]
    return [
        *pairs({name: value for name, value in head.items() if value}),
        *_section("Nodes", ("NAME", "STATE", "TYPE"), nodes),
        *_section("Errors", ("CODE", "MESSAGE"), errors),
    ]


def version_rows(models: Sequence[JsonObject], *, now: datetime) -> list[list[str]]:
    """Return the rows of all versions of models, newest first."""
    rows = []
    for model in models:
        status = model.get("status") or {}
        aliases = status.get("aliases") or {}
        for entry in status.get("versions") or ():
            named = sorted(alias for alias, fact in aliases.items() if fact["version"] == entry["version"])
            metrics = [f"{name}={number(decode_metric(v))}" for name, v in (entry.get("metrics") or {}).items()]
            row = [
                entry["id"],
                entry["state"],
                ", ".join(named),
                " ".join(metrics[:2]),
                (entry.get("run") or {}).get("name", "") or (entry.get("import") or {}).get("key", ""),
                size(entry.get("bytes", 0)),
                since(entry.get("createdTime"), now),
            ]
            rows.append((entry.get("createdTime", ""), entry["version"], row))
    return [row for _, _, row in sorted(rows, key=lambda found: found[:2], reverse=True)]


def version_text(model: JsonObject, entry: JsonObject, *, now: datetime) -> list[str]:
    """Return all that people ask of a version."""
    aliases = (model.get("status") or {}).get("aliases") or {}
    promoted, taken = entry.get("promotedFrom") or {}, entry.get("import") or {}
    head = {
        "Model": entry["id"],
        "State": entry["state"],
        "Reason": entry.get("message"),
        "Description": entry.get("description") or (model.get("spec") or {}).get("description"),
        "Aliases": ", ".join(sorted(alias for alias, fact in aliases.items() if fact["version"] == entry["version"])),
        "Run": (entry.get("run") or {}).get("name"),
        "Import": f"{taken['key']} of {taken['datastorePath']}" if taken else "",
        "Copy of": f"{promoted['namespace']}/{promoted['model']}:{promoted['version']}" if promoted else "",
        "Path": entry.get("path"),
        "Files": f"{entry['files']}, {size(entry.get('bytes', 0))}" if "files" in entry else "",
        "Address": entry.get("uri"),
        "Manifest": entry.get("manifestSha256"),
        "Code": entry.get("sourceSha256"),
        "Image": entry.get("imageDigest"),
        "Age": since(entry.get("createdTime"), now),
    }
    metrics = [(name, number(decode_metric(value))) for name, value in (entry.get("metrics") or {}).items()]
    return [
        *pairs({name: value for name, value in head.items() if value}),
        *_section("Metrics", ("NAME", "VALUE"), metrics),
        *_section("Tags", ("NAME", "VALUE"), list((entry.get("tags") or {}).items())),
    ]


def _head(job: JsonObject, now: datetime) -> dict[str, object]:
    spec, status = job.get("spec") or {}, job.get("status") or {}
    progress, queue = status.get("progress") or {}, status.get("queue") or {}
    command = [f"--{name} {value}" for name, value in sorted((spec.get("parameters") or {}).items())]
    head = {
        "Run": job["metadata"]["name"],
        "Experiment": experiment_of(job),
        "Status": status_of(job),
        "Reason": reason_of(job),
        "Progress": _progress(progress) if progress else "",
        "Queue": f"place {queue['position']}" if queue.get("position") else "",
        "Script": " ".join([spec.get("entryScript", "train.py"), *command, *map(str, spec.get("arguments") or ())]),
        "Source": source_of(job),
        "Cluster": (spec.get("computeClusterRef") or {}).get("name"),
        "Node": status.get("nodeName"),
        "Attempt": status.get("attempt"),
        "Duration": since(status.get("startTime"), status.get("completionTime") or now),
        "Age": since(job["metadata"]["creationTimestamp"], now),
        "Tags": ", ".join(f"{name}={value}" if value else name for name, value in tags_of(job).items()),
    }
    return {name: value for name, value in head.items() if value}


def _progress(progress: JsonObject) -> str:
    words = [f"{progress['percent']} %"] if "percent" in progress else []
    words += [f"{progress['etaSeconds']:g} s left"] if "etaSeconds" in progress else []
    words += [str(progress["message"])] if "message" in progress else []
    return ", ".join(words)


def _phases(status: JsonObject, now: datetime) -> list[tuple[str, ...]]:
    phases = status.get("phases") or ()
    ended = {"Completed", "Failed", "Canceled"}
    return [
        (
            phase["name"],
            phase["startTime"],
            "" if phase["name"] in ended else since(phase["startTime"], phase.get("endTime") or now),
        )
        for phase in phases
    ]


def _section(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    if not rows:
        return []
    return ["", f"{title}:", *indented(table(header, [[cell or NONE for cell in row] for row in rows]))]


def _files(files: Mapping[str, Any] | str) -> list[str]:
    if isinstance(files, str):
        return ["", f"Files: they cannot be listed: {clean(files)}"]
    return _section("Files", ("SIZE", "PATH"), [(size(file["bytes"]), path) for path, file in sorted(files.items())])


def _held(status: JsonObject) -> list[str]:
    held = [(model["name"], model.get("message", "")) for model in status.get("heldModels") or ()]
    return _section("Models that were not good enough", ("NAME", "BECAUSE"), held)


def _failure(status: JsonObject) -> list[str]:
    failure = status.get("failure") or {}
    if not failure:
        return []
    tail = [clean(line) for line in str(failure.get("logTail") or "").splitlines()[-TAIL_LINES:]]
    head = ["", f"Failure: {clean(failure.get('reason', ''))}: {clean(failure.get('message', ''))}"]
    return [*head, *(["The end of its log:", *indented(tail)] if tail else [])]
