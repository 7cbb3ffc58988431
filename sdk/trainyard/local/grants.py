"""What the runner of one run is granted: the same operations as by the gateway of a cluster."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainyard.contract import (
    CHECKPOINT,
    CHECKPOINT_FILE,
    MANIFEST,
    METRICS_HISTORY,
    FileGrant,
    GitSource,
    InvalidPathError,
    RunDocument,
    RunInput,
    S3Input,
    SourceGrant,
    arguments_of,
    check_relative_path,
)
from trainyard.digest import digest_of
from trainyard.local.bucket import Found, find, top_level
from trainyard.local.home import Home
from trainyard.local.serving import Refusal, Yard
from trainyard_operator.api.inputs import InputSpec
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.storage import layout

JsonObject = dict[str, Any]

# What an input may have where its spec does not say: as much as the disk holds.
INPUT_LIMIT: Final = 1 << 62
FOLDERS: Final = ("outputs/", "logs/", f"{CHECKPOINT}/")
FILES: Final = frozenset({METRICS_HISTORY, MANIFEST, CHECKPOINT_FILE})


@dataclass(kw_only=True)
class RunGrants:
    """Answers the runner of a run; `attempt` is the one that is under way, 0 before the first.

    Parameters
    ----------
    inputs
        Where the inputs of the run are to be.
    """

    yard: Yard
    metadata: Mapping[str, Any]
    spec: TrainingJobSpec
    ran: JsonObject
    inputs: Path
    attempt: int = 0
    build: JsonObject | None = None
    commit: str | None = None
    requirements: str | None = None

    @property
    def home(self) -> Home:
        """The folder."""
        return self.yard.home

    def __call__(self, request: Mapping[str, Any]) -> JsonObject:
        """Return what `request` is granted, or raise a `Refusal`."""
        operations: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
            "run": lambda _: self._run(),
            "ran": lambda _: self.ran,
            "input": self._input,
            "checkpoint": self._checkpoint,
            "put": self._put,
            "delete": self._delete,
            "source-put": self._source_put,
            "requirements-put": self._requirements_put,
            "build": lambda _: self.build or {},
            "build-put": self._build_put,
        }
        answer: JsonObject = operations[request["op"]](request)
        return answer

    @property
    def source(self) -> Path:
        """Where the frozen source of the run is."""
        return self.home.key(layout.source_key(self._namespace, self._uid))

    @property
    def _namespace(self) -> str:
        return str(self.metadata["namespace"])

    @property
    def _uid(self) -> str:
        return str(self.metadata["uid"])

    def _run(self) -> RunDocument:
        folders = {entry.name: str(self.inputs / entry.name) for entry in self.spec.inputs}
        document = RunDocument(
            name=self.metadata["name"],
            namespace=self._namespace,
            uid=self._uid,
            experiment=self.spec.experiment,
            entryScript=self.spec.entry_script,
            arguments=arguments_of(dict(self.spec.parameters), list(self.spec.arguments), folders),
            source=self._source(),
            inputs=[self._run_input(entry, index) for index, entry in enumerate(self.spec.inputs)],
            checkpoint=self._latest_checkpoint(),
        )
        if self.attempt == 0 and self.spec.environment.requirements is not None:
            document["requirements"] = self.spec.environment.requirements
        return document

    def _source(self) -> SourceGrant:
        if not self.source.exists() and self.spec.source is not None and self.spec.source.git is not None:
            git = self.spec.source.git
            wanted = GitSource(url=git.url, revision=git.revision, path=git.path)
            return SourceGrant(url="", sha256="", bytes=0, git=wanted)
        with self.source.open("rb") as file:
            sha256, size = digest_of(file)
        url = self.yard.sign(layout.source_key(self._namespace, self._uid))
        grant = SourceGrant(url=url, sha256=sha256, bytes=size)
        if self.commit is not None:
            grant["commit"] = self.commit
        return grant

    def _run_input(self, entry: InputSpec, index: int) -> RunInput:
        path = str(self.inputs / entry.name)
        data = self.home.uri(layout.data_prefix(self._namespace) + (entry.path or ""))
        uri = entry.s3.uri if entry.s3 is not None else data
        found = RunInput(name=entry.name, path=path, field=f"spec.inputs[{index}]", uri=uri)
        found["limit"] = INPUT_LIMIT if entry.size_limit is None else entry.size_limit
        if entry.s3 is not None:
            found["s3"] = S3Input(uri=entry.s3.uri, region=entry.s3.region)
            if entry.s3.endpoint is not None:
                found["s3"]["endpoint"] = entry.s3.endpoint
        return found

    def _input(self, request: Mapping[str, Any]) -> JsonObject:
        index, entry = next(pair for pair in enumerate(self.spec.inputs) if pair[1].name == request["name"])
        where, prefix = f"spec.inputs[{index}].datastore.path", layout.data_prefix(self._namespace)
        root = self.home.key(prefix)
        files = find(root, entry.path or "")
        if not files:
            names = top_level(root)
            there = f"at its top level there is {', '.join(names)}" if names else "it is empty"
            message = (
                f"{where}: nothing is at {entry.path or ''!r} in the local datastore {root}; {there}. "
                "Give a path that is there, or put the files there"
            )
            raise Refusal(message, reason="InputNotFound", status=404)
        return {"files": [self._file(file) for file in files], "next": None}

    def _file(self, file: Found) -> FileGrant:
        key = file.place.relative_to(self.home.folder).as_posix()
        tag = self.yard.etags.of(file.place)
        return FileGrant(path=file.path, bytes=file.bytes, url=self.yard.sign(key), etag=tag)

    def _latest_checkpoint(self) -> int | None:
        attempts = range(self.attempt, 0, -1)
        return next((n for n in attempts if self.home.key(self._attempt(n) + CHECKPOINT_FILE).exists()), None)

    def _checkpoint(self, request: Mapping[str, Any]) -> JsonObject:
        prefix = self._attempt(int(request["attempt"]))
        try:
            record = json.loads(self.home.key(prefix + CHECKPOINT_FILE).read_bytes())
        except OSError as error:
            raise Refusal(f"attempt {request['attempt']} has left no checkpoint", status=404) from error
        folder = f"{prefix}{CHECKPOINT}/{record['slot']}/"
        return {"files": [{**f, "url": self.yard.sign(folder + _path(f["path"]))} for f in record["files"]]}

    def _put(self, request: Mapping[str, Any]) -> JsonObject:
        for file in request["files"]:
            path = _path(file["path"])
            if path not in FILES and not path.startswith(FOLDERS):
                raise Refusal(f"{path!r}: a run may write its outputs, logs, checkpoint and metrics", status=403)
        return self._puts(self._attempt(self.attempt), request["files"])

    def _build_put(self, request: Mapping[str, Any]) -> JsonObject:
        digest = (self.build or {})["hash"]
        return self._puts(layout.environment_prefix(self._namespace, digest), request["files"])

    def _puts(self, prefix: str, files: Sequence[Mapping[str, Any]]) -> JsonObject:
        granted = []
        for file in files:
            headers = {}
            if "sha256" in file:
                headers["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(file["sha256"])).decode()
            path = _path(file["path"])
            granted.append({"path": path, "url": self.yard.sign(prefix + path), "headers": headers})
        return {"files": granted}

    def _delete(self, request: Mapping[str, Any]) -> JsonObject:
        prefix = self._attempt(self.attempt)
        return {"files": [{"path": path, "url": self.yard.sign(prefix + _path(path))} for path in request["paths"]]}

    def _source_put(self, request: Mapping[str, Any]) -> JsonObject:
        self.commit = str(request["commit"])
        url = self.yard.sign(layout.source_key(self._namespace, self._uid))
        return {"files": [{"path": layout.SOURCE, "url": url, "headers": {"If-None-Match": "*"}}]}

    def _requirements_put(self, request: Mapping[str, Any]) -> JsonObject:
        self.requirements = str(request["text"])
        return {}

    def _attempt(self, attempt: int) -> str:
        return layout.attempt_prefix(self._namespace, self._uid, attempt)


def _path(path: str) -> str:
    try:
        return check_relative_path(path)
    except InvalidPathError as error:
        raise Refusal(str(error)) from error
