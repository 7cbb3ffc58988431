"""From the bytes of a request to a value that can be trusted, or to a refusal that names the field."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, NoReturn, cast

from trainyard.contract import (
    CHECKPOINT,
    CHECKPOINT_FILE,
    LOG_PARTS,
    MANIFEST,
    MAX_GRANTS,
    MAX_MESSAGE_CHARS,
    MAX_REQUIREMENTS_BYTES,
    METRICS_HISTORY,
    Progress,
    Report,
    check_relative_path,
    is_pack,
)
from trainyard.record import check_tags
from trainyard_operator.api.fields import MODEL_NAME
from trainyard_operator.domain.conditions import shorten
from trainyard_operator.domain.metrics import bounded
from trainyard_operator.gateway.errors import Refusal, bad_request
from trainyard_operator.gateway.model_requests import ModelRequest, parse_model
from trainyard_operator.storage.store import MAX_OBJECT_BYTES

MAX_GRANTS_BODY = 4 << 20
MAX_REPORT_BODY = 256 << 10

STATES = ("Preparing", "Running", "Finalizing")
OPERATIONS = (
    "run",
    "ran",
    "input",
    "checkpoint",
    "put",
    "source-put",
    "requirements-put",
    "delete",
    "data-put",
    "snapshot-put",
    "list",
    "build",
    "build-put",
    "model",
)
AREAS = ("data", "snapshots", "runs", "models")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_RUN_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class _Writable:
    """What one kind of pod may write below its own folder."""

    who: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    pack: bool = False

    @property
    def allowed(self) -> str:
        return ", ".join([*(f"{folder}…" for folder in self.folders), *self.files, *(["a pack"] * self.pack)])

    def has(self, path: str) -> bool:
        return path in self.files or path.startswith(self.folders) or (self.pack and is_pack(path))


_RUN_FILES = _Writable(
    who="a run",
    folders=("outputs/", "logs/", f"{CHECKPOINT}/"),
    files=(METRICS_HISTORY, MANIFEST, CHECKPOINT_FILE),
)
_BUILD_FILES = _Writable(who="a build", folders=("logs/",), files=(MANIFEST,), pack=True)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A pod asks what its run is."""

    op: Literal["run"] = "run"


@dataclass(frozen=True, kw_only=True)
class RanRequest:
    """A pod asks what its script runs in, to say so in its run's manifest."""

    op: Literal["ran"] = "ran"


@dataclass(frozen=True, kw_only=True)
class InputRequest:
    """A pod asks for the files of one of its inputs."""

    name: str
    after: str
    op: Literal["input"] = "input"


@dataclass(frozen=True, kw_only=True)
class CheckpointRequest:
    """A pod asks for what an earlier attempt of its run has left to go on from."""

    attempt: int
    after: str
    op: Literal["checkpoint"] = "checkpoint"


@dataclass(frozen=True, kw_only=True)
class PutFile:
    """One file that somebody wants to write."""

    path: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class PutRequest:
    """A pod wants to write below its run's folder."""

    files: tuple[PutFile, ...]
    op: Literal["put"] = "put"


@dataclass(frozen=True, kw_only=True)
class DeleteRequest:
    """A pod wants to delete parts of its log, which the whole log has taken the place of."""

    paths: tuple[str, ...]
    op: Literal["delete"] = "delete"


@dataclass(frozen=True, kw_only=True)
class DataPutRequest:
    """A person wants to write into the namespace's datastore."""

    files: tuple[PutFile, ...]
    op: Literal["data-put"] = "data-put"


@dataclass(frozen=True, kw_only=True)
class SnapshotPutRequest:
    """A person wants to keep archives of code."""

    files: tuple[PutFile, ...]
    op: Literal["snapshot-put"] = "snapshot-put"


@dataclass(frozen=True, kw_only=True)
class SourcePutRequest:
    """A pod has fetched its run's code from git, and wants it frozen."""

    sha256: str
    commit: str
    op: Literal["source-put"] = "source-put"


@dataclass(frozen=True, kw_only=True)
class RequirementsPutRequest:
    """A pod has read which packages its run's source asks for."""

    text: str
    op: Literal["requirements-put"] = "requirements-put"


@dataclass(frozen=True, kw_only=True)
class ListRequest:
    """A person wants to see and read what is there."""

    area: str
    prefix: str
    after: str
    op: Literal["list"] = "list"


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """The pod of an environment's build asks what it is to build."""

    op: Literal["build"] = "build"


@dataclass(frozen=True, kw_only=True)
class BuildPutRequest:
    """The pod of an environment's build wants to write what it built."""

    files: tuple[PutFile, ...]
    op: Literal["build-put"] = "build-put"


GrantRequest = (
    BuildRequest
    | BuildPutRequest
    | RunRequest
    | RanRequest
    | InputRequest
    | CheckpointRequest
    | PutRequest
    | SourcePutRequest
    | RequirementsPutRequest
    | DeleteRequest
    | DataPutRequest
    | SnapshotPutRequest
    | ListRequest
    | ModelRequest
)


def parse_grant(body: bytes) -> GrantRequest:  # noqa: C901, PLR0911, PLR0912 - one for each operation
    """Return what a body of ``POST /v1/grants`` asks for."""
    document = _object(body)
    match document.get("op"):
        case "run":
            return RunRequest()
        case "ran":
            return RanRequest()
        case "input":
            return InputRequest(name=_text(document, "name"), after=_after(document))
        case "checkpoint":
            return CheckpointRequest(attempt=_attempt(document), after=_after(document))
        case "put":
            return PutRequest(files=_files(document, may_write=_RUN_FILES))
        case "delete":
            return DeleteRequest(paths=_log_parts(document))
        case "data-put":
            return DataPutRequest(files=_files(document))
        case "snapshot-put":
            return SnapshotPutRequest(files=tuple(map(_snapshot, _files(document))))
        case "source-put":
            return _source_put(document)
        case "requirements-put":
            return RequirementsPutRequest(text=_requirements(document))
        case "build":
            return BuildRequest()
        case "build-put":
            return BuildPutRequest(files=_files(document, may_write=_BUILD_FILES))
        case "list":
            return _list(document)
        case "model":
            return parse_model(document)
        case other:
            raise bad_request(f"op is {other!r}: use one of {', '.join(OPERATIONS)}", field="op")


def parse_report(body: bytes) -> Report:
    """Return the report of a body of ``POST /v1/report``, with nothing in it that a status has no room for."""
    document = _object(body)
    state = document.get("state")
    if state not in STATES:
        raise bad_request(f"state is {state!r}: use one of {', '.join(STATES)}", field="state")
    if not isinstance(document.get("metrics"), dict):
        raise bad_request("metrics must be an object of names and numbers", field="metrics")
    report = Report(state=cast("str", state), metrics=bounded(document["metrics"]))
    if document.get("progress") is not None:
        report["progress"] = _progress(document["progress"])
    if document.get("message") is not None:
        report["message"] = _message(document, "message")
    if document.get("tags") is not None:
        try:
            report["tags"] = check_tags(document["tags"], what="tags")
        except ValueError as error:
            raise bad_request(str(error), field="tags") from error
    return report


def _progress(value: object) -> Progress:
    if not isinstance(value, dict):
        raise bad_request("progress must be an object", field="progress")
    progress = Progress()
    if value.get("percent") is not None:
        progress["percent"] = min(100.0, max(0.0, _number(value["percent"], "progress.percent")))
    if value.get("etaSeconds") is not None:
        progress["etaSeconds"] = max(0.0, _number(value["etaSeconds"], "progress.etaSeconds"))
    if value.get("message") is not None:
        progress["message"] = _message(value, "progress.message")
    return progress


def _files(document: Mapping[str, Any], *, may_write: _Writable | None = None) -> tuple[PutFile, ...]:
    files = document.get("files")
    if not isinstance(files, list) or not files:
        raise bad_request("files must be a list of at least one file", field="files")
    if len(files) > MAX_GRANTS:
        raise bad_request(f"files has {len(files)} entries: ask for at most {MAX_GRANTS} at once", field="files")
    return tuple(_file(file, f"files[{index}]", may_write) for index, file in enumerate(files))


def _log_parts(document: Mapping[str, Any]) -> tuple[str, ...]:
    paths = document.get("paths")
    if not isinstance(paths, list) or not 0 < len(paths) <= MAX_GRANTS:
        raise bad_request(f"paths must be a list of 1 to {MAX_GRANTS} paths", field="paths")
    return tuple(_log_part(path, f"paths[{index}]") for index, path in enumerate(paths))


def _log_part(path: object, where: str) -> str:
    if not isinstance(path, str):
        raise bad_request(f"{where} must be a string", field=where)
    checked = _path(path, where)
    if not checked.startswith(LOG_PARTS) or checked.endswith("/"):
        message = f"{where} is {checked!r}: a run may delete {LOG_PARTS}… only"
        raise Refusal(HTTPStatus.FORBIDDEN, "Forbidden", message, field=where)
    return checked


def _file(file: object, where: str, may_write: _Writable | None) -> PutFile:
    if not isinstance(file, dict):
        raise bad_request(f"{where} must be an object with path and bytes", field=where)
    path = _path(_text(file, "path", f"{where}.path"), f"{where}.path")
    if path.endswith("/"):
        raise bad_request(f"{where}.path is {path!r}: name a file, not a folder", field=f"{where}.path")
    if may_write is not None and not may_write.has(path):
        message = f"{where}.path is {path!r}: {may_write.who} may write {may_write.allowed}"
        raise Refusal(HTTPStatus.FORBIDDEN, "Forbidden", message, field=f"{where}.path")
    size = file.get("bytes")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise bad_request(f"{where}.bytes must be a whole number, at least 0", field=f"{where}.bytes")
    if size > MAX_OBJECT_BYTES:
        message = f"{where} ({path}) has {size} bytes: one file may have {MAX_OBJECT_BYTES} at most, split it"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TooLarge", message, field=f"{where}.bytes")
    sha256 = file.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise bad_request(f"{where}.sha256 must be 64 lower-case hex digits", field=f"{where}.sha256")
    return PutFile(path=path, sha256=sha256)


def _snapshot(file: PutFile) -> PutFile:
    if file.sha256 is None or file.path not in {f"{file.sha256}.tar.gz", f"{file.sha256}.zip"}:
        message = f"{file.path!r} is no name of a snapshot: give its sha256, and call it by that, with .tar.gz or .zip"
        raise bad_request(message, field="files")
    return file


def _source_put(document: Mapping[str, Any]) -> SourcePutRequest:
    sha256, commit = _text(document, "sha256"), _text(document, "commit")
    if not _SHA256.fullmatch(sha256):
        raise bad_request("sha256 must be 64 lower-case hex digits", field="sha256")
    if not _COMMIT.fullmatch(commit):
        raise bad_request("commit must be all digits of a commit, in lower-case hex", field="commit")
    return SourcePutRequest(sha256=sha256, commit=commit)


def _list(document: Mapping[str, Any]) -> ListRequest:
    area = document.get("area")
    if area not in AREAS:
        raise bad_request(f"area is {area!r}: use one of {', '.join(AREAS)}", field="area")
    prefix = _path(_text(document, "prefix"), "prefix", empty=True)
    if area == "runs" and not _RUN_UID.fullmatch(prefix.split("/", 1)[0]):
        raise bad_request(f"prefix is {prefix!r}: begin with the uid of a run", field="prefix")
    if area == "models" and not MODEL_NAME.fullmatch(prefix.split("/", 1)[0]):
        raise bad_request(f"prefix is {prefix!r}: begin with the name of a model", field="prefix")
    return ListRequest(area=cast("str", area), prefix=prefix, after=_after(document))


def _requirements(document: Mapping[str, Any]) -> str:
    text = _text(document, "text")
    # JSON can spell halves of characters, which no file has.
    size = len(text.encode(errors="replace"))
    if size > MAX_REQUIREMENTS_BYTES:
        message = f"text has {size} bytes: a file of requirements may have {MAX_REQUIREMENTS_BYTES} at most"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TooLarge", message, field="text")
    return text.encode(errors="replace").decode()


def _attempt(document: Mapping[str, Any]) -> int:
    attempt = document.get("attempt")
    if not isinstance(attempt, int) or isinstance(attempt, bool) or attempt < 1:
        raise bad_request("attempt must be a whole number, at least 1", field="attempt")
    return attempt


def _after(document: Mapping[str, Any]) -> str:
    return _path(_text({"after": "", **document}, "after"), "after", empty=True)


def _path(path: str, field: str, *, empty: bool = False) -> str:
    try:
        return check_relative_path(path, what=field, empty=empty)
    except ValueError as error:
        raise bad_request(str(error), field=field) from error


def _text(document: Mapping[str, Any], name: str, field: str | None = None) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise bad_request(f"{field or name} must be a string", field=field or name)
    return value


def _message(document: Mapping[str, Any], field: str) -> str:
    # JSON can spell halves of characters, which neither a log nor the API server can write down.
    text = _text(document, "message", field).encode(errors="replace").decode()
    return shorten(text, MAX_MESSAGE_CHARS)


def _number(value: object, field: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise bad_request(f"{field} must be a finite number", field=field)


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise bad_request("the body must be a JSON object")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON: send it as a string")
