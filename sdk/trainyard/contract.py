"""The wire format that the operator, the runner and the SDK share.

Standard library only, and good for Python 3.9 and newer: this module is carried into training pods and imported beside
users' scripts. Whatever two of the three programs must agree on (names of variables and files, shapes of documents,
limits) stands here once.
"""

from __future__ import annotations

import json
import math
import re
import signal
import unicodedata
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypedDict, Union

if TYPE_CHECKING:
    # Younger than Python 3.9; the annotations that use it are never evaluated.
    from typing import NotRequired

GROUP: Final = "trainyard.dev"

# Where things are inside a training pod.
HOME: Final = "/trainyard"
LIBRARY_DIR: Final = "/trainyard/lib"
RUN_FILE: Final = "/trainyard/run.json"
TOKEN_FILE: Final = "/var/run/secrets/trainyard/token"  # noqa: S105 - a path, not a secret
INPUTS_DIR: Final = "/inputs"
WORK_DIR: Final = "/workspace"
# In the container `prepare` alone: Secrets that the run's spec names, volumes whole, and what earlier runs downloaded.
SECRETS_DIR: Final = "/var/run/secrets/trainyard-spec"
CLAIMS_DIR: Final = "/claims"
INPUT_CACHE_DIR: Final = "/input-cache"
OUTPUTS: Final = "outputs"
CHECKPOINT_DIR: Final = "/checkpoint"
# The packages of a run. A build makes them at this very path, since scripts that come with packages name it.
ENVIRONMENT_DIR: Final = "/trainyard/env"
TOOLS_DIR: Final = "/trainyard/tools"

# Environment of a training pod.
ENV_GATEWAY: Final = "TRAINYARD_GATEWAY"  # https://host:port
ENV_CA: Final = "TRAINYARD_CA"  # PEM of the gateway's certificate authority
ENV_METRICS_FILE: Final = "TRAINYARD_METRICS_FILE"  # JSON lines that the script may append, in any language
ENV_OUTPUTS: Final = "TRAINYARD_OUTPUTS"  # the folder whose files are saved, wherever the script is by now
ENV_RUN_NAME: Final = "TRAINYARD_RUN_NAME"
ENV_RUN_NAMESPACE: Final = "TRAINYARD_RUN_NAMESPACE"
ENV_RUN_UID: Final = "TRAINYARD_RUN_UID"
ENV_EXPERIMENT: Final = "TRAINYARD_EXPERIMENT"
ENV_ATTEMPT: Final = "TRAINYARD_ATTEMPT"  # 1, 2 …
ENV_INPUT_CACHE: Final = "TRAINYARD_INPUT_CACHE_BYTES"  # of `prepare`: how much the cache of inputs may hold
ENV_CHECKPOINT_DIR: Final = "TRAINYARD_CHECKPOINT_DIR"  # what a script leaves there the next attempt finds there

TOKEN_AUDIENCE: Final = "trainyard"  # noqa: S105
TERMINATION_LOG: Final = "/dev/termination-log"

# Limits. The status of a TrainingJob stays below 32 KiB because each of its parts is bounded here.
MAX_METRICS: Final = 64
MAX_METRIC_NAME_BYTES: Final = 256
MAX_MESSAGE_CHARS: Final = 1024
MAX_LOG_TAIL_BYTES: Final = 2048
MAX_TERMINATION_BYTES: Final = 4096
MAX_PATH_BYTES: Final = 1024
MAX_GRANTS: Final = 500
MAX_OUTPUT_FILES: Final = 20_000
MAX_WARNINGS: Final = 20
MAX_TAGS: Final = 32
MAX_TAG_KEY_CHARS: Final = 128
MAX_TAG_CHARS: Final = 256
MAX_MODELS_OF_SCRIPT: Final = 16
MAX_MODEL_NAME_CHARS: Final = 255
MAX_DESCRIPTION_CHARS: Final = 2048
# Of a source, unpacked. What is larger is data.
MAX_SOURCE_BYTES: Final = 500_000_000
MAX_SOURCE_FILES: Final = 20_000
# Of a file of requirements: together with `pip` it has to fit into an annotation of a Job.
MAX_REQUIREMENTS_BYTES: Final = 64 * 1024

ATTEMPTS: Final = "attempts"
MANIFEST: Final = "manifest.json"
CHECKPOINT: Final = "checkpoint"
CHECKPOINT_FILE: Final = "checkpoint.json"
# An empty file of this name in the folder asks for a save at once; it is gone when that is done.
CHECKPOINT_REQUEST: Final = "save.now"
CHECKPOINT_SCHEMA: Final = "trainyard.dev/checkpoint/v1"
METRICS_HISTORY: Final = "metrics.jsonl"
# A run's log: the whole as one object once the script has ended, until then its parts in the order of their names.
TRAIN_LOG: Final = "logs/train.log"
LOG_PARTS: Final = "logs/train/"
PREPARE_LOG: Final = "logs/prepare.log"
RUN_MANIFEST_SCHEMA: Final = "trainyard.dev/run-manifest/v1"
ENVIRONMENT_MANIFEST_SCHEMA: Final = "trainyard.dev/environment-manifest/v1"
MODEL_MANIFEST_SCHEMA: Final = "trainyard.dev/model-manifest/v1"

SIGNAL_BASE: Final = 128
_EXIT_CODES: Final = {
    2: "often wrong arguments, or a missing file",
    126: "found, but it cannot be executed",
    127: "a command was not found",
}
_SIGNALS: Final = {
    "SIGHUP": "the terminal or parent of a process went away",
    "SIGINT": "interrupted",
    "SIGQUIT": "asked to quit",
    "SIGILL": "an instruction that this processor does not have",
    "SIGABRT": "it gave up by itself, often for a failed assertion or want of memory",
    "SIGBUS": "memory that is not there, often a full /dev/shm or a file that shrank",
    "SIGFPE": "an arithmetic error such as a division by zero",
    "SIGKILL": "by the kernel or another process, often for want of memory",
    "SIGSEGV": "memory that is not its own, a fault in native code",
    "SIGPIPE": "it wrote to a pipe that nobody reads",
    "SIGTERM": "it was told to stop",
}

MetricValue = Union[float, int, str]
# How JSON, which has no such numbers, is made to hold them.
NOT_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})


class OutputFile(TypedDict):
    """One saved file: `path` starts with ``outputs/``; `sha256` in hex."""

    path: str
    bytes: int
    sha256: str


class OutputsSummary(TypedDict):
    """How much was saved."""

    files: int
    bytes: int


class Progress(TypedDict):
    """What a script says of how far it is; `percent` 0 to 100."""

    percent: NotRequired[float]
    etaSeconds: NotRequired[float]
    message: NotRequired[str]


class GitSource(TypedDict):
    """A folder of one revision of a repository; `secret` is the name of the Secret that may read it."""

    url: str
    revision: str
    path: str
    secret: NotRequired[str]


class SourceGrant(TypedDict):
    """The frozen source of a run; where `git` is given nobody has frozen it yet, and `url` is empty."""

    url: str
    sha256: str
    bytes: int
    commit: NotRequired[str]
    git: NotRequired[GitSource]


class S3Input(TypedDict):
    """A part of a bucket; `secret` is the name of the Secret with the keys."""

    uri: str
    region: str
    endpoint: NotRequired[str]
    secret: NotRequired[str]


class RunInput(TypedDict):
    """One input: its files appear under `path`; those of a claim are there by being mounted.

    `field` is where it stands in the spec, `uri` what it is in one word, `limit` how many bytes it may have.
    """

    name: str
    path: str
    field: str
    uri: str
    limit: NotRequired[int]
    s3: NotRequired[S3Input]
    claim: NotRequired[str]  # the folder below the claim's top


class InputRecord(TypedDict):
    """What a run was given as one of its inputs.

    `sha256` is that of the listing: a line ``["path",bytes,"etag"]`` for each object in the order of the keys, in JSON
    without spaces and in ASCII, ended by a newline, with the ETag as the store gives it but without quotes. A volume is
    not listed.
    """

    name: str
    uri: str
    files: NotRequired[int]
    bytes: NotRequired[int]
    sha256: NotRequired[str]


class PackGrant(TypedDict):
    """The packages of a run's environment: a tar.zst of `ENVIRONMENT_DIR`."""

    url: str
    sha256: str
    bytes: int


class IndexSettings(TypedDict):
    """Where packages come from: addresses with their credentials in them, and whom to trust (PEM, or empty)."""

    url: str
    extraUrls: list[str]
    ca: str


class CondaWish(TypedDict):
    """Conda packages to install, the address below which their channels are, and how to get in there."""

    alias: str
    channels: list[str]
    packages: list[str]
    username: str
    password: str
    ca: str  # PEM, or empty


class BuildDocument(TypedDict):
    """What the pod of an environment's build is told: the answer to the grant ``{"op": "build"}``."""

    hash: str
    requirements: list[str]
    index: IndexSettings
    built: bool  # by an earlier pod: nothing is left to do
    conda: NotRequired[CondaWish]


class PackFile(TypedDict):
    """The pack that a build saved; `path` is below the environment's own folder."""

    path: str
    sha256: str
    bytes: int


class EnvironmentManifest(TypedDict):
    """`manifest.json` of an environment's build, written last; without a pack its image has all packages."""

    schema: str
    hash: str
    pack: PackFile | None
    packages: list[str]


class RunDocument(TypedDict):
    """What a pod is told of its run: the answer to the grant ``{"op": "run"}``."""

    name: str
    namespace: str
    uid: str
    experiment: str
    entryScript: str
    arguments: list[str]
    source: SourceGrant
    inputs: list[RunInput]
    checkpoint: int | None  # the attempt whose checkpoint this one goes on from
    inputRecords: NotRequired[list[InputRecord]]  # added by `prepare`, for the manifest
    environment: NotRequired[PackGrant]
    requirements: NotRequired[str]  # the file of the source that is read before the packages can be built


class Ran(TypedDict):
    """What a run's script runs in: the answer to the grant ``{"op": "ran"}``, and a part of the run's manifest.

    What is not known yet is not there. `image` is absent for good where the node was given the image by hand, and
    `environmentHash` where the run asks for no packages.
    """

    imageDigest: NotRequired[str]
    image: NotRequired[str]
    environmentHash: NotRequired[str]


class FileGrant(TypedDict):
    """One object that may be read; `path` is relative to the granted prefix."""

    path: str
    bytes: int
    url: str
    etag: NotRequired[str]


class CheckpointFile(FileGrant):
    """One file of a checkpoint; `path` is relative to the checkpoint folder."""

    sha256: str


class ModelFile(FileGrant):
    """One file of a model version; `path` is relative to the version's folder, as in its manifest."""

    sha256: str


class ModelGrant(TypedDict):
    """One page of a Ready version of a model: the answer to the grant ``{"op": "model"}``.

    Whoever asks for the next page names the version by its number, since an alias may move in between.
    """

    namespace: str
    model: str
    version: int
    id: str
    state: str
    manifestSha256: str
    manifest: FileGrant
    signature: NotRequired[FileGrant]  # where the version was signed
    files: list[ModelFile]
    next: str | None


class CheckpointRecord(TypedDict):
    """`checkpoint.json` of an attempt: written after the files that it lists, which are in the slot that it names."""

    schema: str
    slot: str  # eight hexadecimal digits of the pod, and which of its two
    files: list[OutputFile]


class PutGrant(TypedDict):
    """One object that may be written with exactly these headers."""

    path: str
    url: str
    headers: dict[str, str]


class ModelWish(TypedDict):
    """A model that a script wants to have registered once it has succeeded; `path` is below ``outputs``."""

    name: str
    path: str
    description: NotRequired[str]
    tags: NotRequired[dict[str, str]]


class DeleteGrant(TypedDict):
    """One object that may be deleted."""

    path: str
    url: str


class Report(TypedDict):
    """What the runner tells while a run is going: always the whole state, never a difference."""

    state: str  # Preparing | Running | Finalizing
    metrics: dict[str, MetricValue]
    tags: NotRequired[dict[str, str]]
    progress: NotRequired[Progress]
    message: NotRequired[str]


class RunManifest(TypedDict):
    """`manifest.json` of a run: written last, so that its presence says the outputs are whole."""

    schema: str
    run: dict[str, str]
    sourceSha256: str
    sourceCommit: NotRequired[str]
    # As the operator knows them, see `Ran`.
    imageDigest: NotRequired[str]
    image: NotRequired[str]
    environmentHash: NotRequired[str]
    exitCode: int
    startTime: str
    endTime: str
    metrics: dict[str, MetricValue]
    outputs: list[OutputFile]
    warnings: list[str]
    environment: dict[str, str]
    inputs: NotRequired[list[InputRecord]]
    # What the script said of itself; absent where it said nothing.
    tags: NotRequired[dict[str, str]]
    properties: NotRequired[dict[str, str]]
    models: NotRequired[list[ModelWish]]


class Termination(TypedDict):
    """The termination message of a container of a run, at most 4 KiB of JSON."""

    version: int
    container: str  # prepare | train
    reason: str | None  # a reason of the operator's closed list, or None after success
    message: str
    exitCode: int | None
    signal: int | None
    metrics: dict[str, MetricValue]
    outputs: OutputsSummary
    manifestSha256: str | None
    warnings: list[str]
    logTail: str


class InvalidPathError(ValueError):
    """A path that is absolute, climbs, or holds what no object key or file name should."""


def check_relative_path(path: str, *, what: str = "path", empty: bool = False) -> str:
    """Return `path` if it stays below the folder that it is relative to.

    Raises
    ------
    InvalidPathError
        With a sentence that begins with `what` and says how to mend it.
    """
    if path == "" and empty:
        return path
    if path == "":
        raise InvalidPathError(f"{what} is empty: give a relative path such as train.py")
    if path.startswith("/"):
        raise InvalidPathError(f"{what} is {path!r}, an absolute path: give it relative, without the leading /")
    if len(path.encode(errors="surrogatepass")) > MAX_PATH_BYTES:
        raise InvalidPathError(f"{what} is longer than {MAX_PATH_BYTES} bytes: shorten it")
    if "\\" in path or any(unicodedata.category(c) in {"Cc", "Cs"} for c in path):
        raise InvalidPathError(f"{what} is {path!r}: backslashes and control characters are not allowed")
    parts = path.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise InvalidPathError(f"{what} is {path!r}: '..', '.' and empty parts are not allowed, it must stay inside")
    return str(PurePosixPath(path)) + ("/" if path.endswith("/") else "")


def pack_path(sha256: str) -> str:
    """Return what a pack is called: by its digest, so that two builds at once never write the same file."""
    return f"pack-{sha256[:16]}.tar.zst"


def is_pack(path: str) -> bool:
    """Return whether `path` is one that `pack_path` gives."""
    return re.fullmatch(r"pack-[0-9a-f]{16}\.tar\.zst", path) is not None


def encode_metric(value: float) -> MetricValue:
    """Return `value` as JSON can hold it: a number, or one of NaN, Infinity, -Infinity as a string."""
    if isinstance(value, int):
        return int(value)
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def decode_metric(value: MetricValue) -> float:
    """Return the number that `encode_metric` was given.

    Raises
    ------
    ValueError
        If `value` is a string other than NaN, Infinity and -Infinity.
    """
    if isinstance(value, str):
        if value not in NOT_FINITE:
            raise ValueError(f"not a metric value: {value!r}")
        return float(value)
    return value


def printable(text: str) -> str:
    """Return `text` with a space for each control character and each half of a character, and none around it."""
    return "".join(c if unicodedata.category(c) not in {"Cc", "Cs"} else " " for c in text).strip()


def metric_name(name: str) -> str:
    """Return `name` fit for a status: printable, at most 256 bytes of UTF-8, cut with an ellipsis where longer."""
    clean = printable(str(name)) or "unnamed"
    raw = clean.encode()
    if len(raw) <= MAX_METRIC_NAME_BYTES:
        return clean
    mark = "…"
    return raw[: MAX_METRIC_NAME_BYTES - len(mark.encode())].decode(errors="ignore") + mark


def render_parameter(value: object) -> str:
    """Return a parameter's value as the one argv element that the script sees (YAML spelling of booleans and null)."""
    if isinstance(value, str):
        return value
    return json.dumps(value)


def attempt_folder(attempt: int) -> str:
    """Return the folder, below that of the run, of everything that one attempt of it may write."""
    return f"{ATTEMPTS}/{attempt}/"


def arguments_of(parameters: dict[str, Any], arguments: list[str], inputs: dict[str, str]) -> list[str]:
    """Return the script's argv after its name.

    Parameters come first, sorted by name, as ``--name value``; then `arguments` with ``$(inputs.NAME)`` replaced by
    the input's folder. Nothing passes through a shell, and parameter values are never expanded.
    """
    argv: list[str] = []
    for name in sorted(parameters):
        argv += [f"--{name}", render_parameter(parameters[name])]
    for argument in arguments:
        text = argument
        for name, path in inputs.items():
            text = text.replace(f"$(inputs.{name})", path)
        argv.append(text)
    return argv


def explain_exit(code: int, number: int | None = None) -> str:
    """Return an exit code in words, with what it commonly means (POSIX shells' conventions).

    Parameters
    ----------
    number
        The signal that ended the process, where that is known.
    """
    if number is None and code > SIGNAL_BASE:
        number = code - SIGNAL_BASE
    meaning = _EXIT_CODES.get(code) if number is None else _signal_words(number)
    return f"exit code {code}" + (f" ({meaning})" if meaning else "")


def _signal_words(number: int) -> str | None:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return None
    words = _SIGNALS.get(name)
    return f"killed by {name}" + (f": {words}" if words else "")


def canonical_json(document: object) -> bytes:
    """Return the one byte form of `document` that digests are taken of: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
