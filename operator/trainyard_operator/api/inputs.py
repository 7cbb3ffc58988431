"""`spec.inputs` of a TrainingJob: the data that is there before the script starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from trainyard.contract import INPUTS_DIR
from trainyard_operator.api.fields import (
    MAX_OBJECT_NAME,
    OBJECT_NAME,
    SpecError,
    read_list,
    read_object,
    read_optional_text,
    read_path,
    read_quantity,
    read_reference,
    read_text,
)
from trainyard_operator.api.quantities import MEMORY, memory_bytes

INPUT_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
MAX_INPUT_NAME: Final = 63
MAX_INPUTS: Final = 16
MAX_INPUT_PATH: Final = 1024
S3_URI: Final = re.compile(r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\\\x00-\x1f\x7f-\x9f]*)?$")
MAX_S3_URI: Final = 1100
S3_ENDPOINT: Final = re.compile(r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")
MAX_S3_ENDPOINT: Final = 253
S3_REGION: Final = re.compile(r"^[a-z0-9-]+$")
MAX_S3_REGION: Final = 32
DEFAULT_S3_REGION: Final = "us-east-1"
MAX_SIZE_LIMIT: Final = 24
KINDS: Final = ("datastore", "s3", "pvc")


@dataclass(frozen=True, kw_only=True)
class S3Spec:
    """A part of a bucket that is read with the run's own keys, or with none."""

    uri: str
    endpoint: str | None = None
    region: str = DEFAULT_S3_REGION
    secret: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClaimSpec:
    """A folder of a PersistentVolumeClaim."""

    name: str
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input, from exactly one of `path` (in the namespace's datastore), `s3` and `claim`."""

    name: str
    path: str | None = None
    s3: S3Spec | None = None
    claim: ClaimSpec | None = None
    size_limit: int | None = None  # in bytes

    @property
    def folder(self) -> str:
        """Where the input is in the pod."""
        return f"{INPUTS_DIR}/{self.name}"


def read_inputs(value: object) -> tuple[InputSpec, ...]:
    """Return what `spec.inputs` asks for.

    Raises
    ------
    SpecError
        If it cannot work.
    """
    inputs: dict[str, InputSpec] = {}
    for index, item in enumerate(read_list(value, "spec.inputs", at_most=MAX_INPUTS)):
        field = f"spec.inputs[{index}]"
        entry = read_object(item, field)
        name = read_text(entry.get("name"), f"{field}.name", at_most=MAX_INPUT_NAME, pattern=INPUT_NAME)
        if name in inputs:
            raise SpecError(f"{field}.name", f"is {name!r} a second time", "give each input a name of its own")
        inputs[name] = _read_input(name, entry, field)
    return tuple(inputs.values())


def _read_input(name: str, entry: dict[str, Any], field: str) -> InputSpec:
    given = [kind for kind in KINDS if entry.get(kind) is not None]
    if len(given) != 1:
        fix = "remove all but one" if given else 'add one, for example datastore: {path: ""}'
        raise SpecError(field, "must have exactly one of datastore, s3 and pvc", fix)
    (kind,) = given
    limit = entry.get("sizeLimit")
    size_limit = None
    if limit is not None:
        if kind == "pvc":
            raise SpecError(f"{field}.sizeLimit", "is for what is downloaded", "remove it from an input of a pvc")
        text = read_quantity(limit, f"{field}.sizeLimit", at_most=MAX_SIZE_LIMIT, pattern=MEMORY)
        size_limit = memory_bytes(text)
    source = read_object(entry[kind], f"{field}.{kind}")
    if kind == "s3":
        return InputSpec(name=name, s3=_read_s3(source, f"{field}.s3"), size_limit=size_limit)
    path = source.get("path")
    path = read_path("" if path is None else path, f"{field}.{kind}.path", at_most=MAX_INPUT_PATH, empty=True)
    if kind == "datastore":
        return InputSpec(name=name, path=path, size_limit=size_limit)
    claim = read_text(source.get("claimName"), f"{field}.pvc.claimName", at_most=MAX_OBJECT_NAME, pattern=OBJECT_NAME)
    return InputSpec(name=name, claim=ClaimSpec(name=claim, path=path.removesuffix("/")))


def _read_s3(source: dict[str, Any], field: str) -> S3Spec:
    region = source.get("region")
    return S3Spec(
        uri=read_text(source.get("uri"), f"{field}.uri", at_most=MAX_S3_URI, pattern=S3_URI),
        endpoint=read_optional_text(
            source.get("endpoint"), f"{field}.endpoint", at_most=MAX_S3_ENDPOINT, pattern=S3_ENDPOINT
        ),
        region=read_text(
            DEFAULT_S3_REGION if region is None else region,
            f"{field}.region",
            at_most=MAX_S3_REGION,
            pattern=S3_REGION,
        ),
        secret=read_reference(source.get("secretRef"), f"{field}.secretRef", MAX_OBJECT_NAME),
    )
