"""`spec.inputCache` of a ComputeCluster: where its runs keep what they have downloaded, for the next ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from trainyard_operator.api.fields import (
    MAX_OBJECT_NAME,
    OBJECT_NAME,
    SpecError,
    read_object,
    read_quantity,
    read_text,
)
from trainyard_operator.api.quantities import MEMORY, memory_bytes

FIELD: Final = "spec.inputCache"
# No part begins with a dot, so that none can climb, and the root of the node is no such path.
HOST_PATH: Final = re.compile(r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$")
MAX_HOST_PATH: Final = 1024
MAX_SIZE_LIMIT: Final = 24
DEFAULT_SIZE_LIMIT: Final = "50Gi"


@dataclass(frozen=True, kw_only=True)
class InputCacheSpec:
    """A cache of inputs, in exactly one of `host_path` (of each node) and `claim` (of each run's namespace)."""

    host_path: str | None = None
    claim: str | None = None
    size_limit: int  # in bytes


def read_input_cache(value: object) -> InputCacheSpec | None:
    """Return what `spec.inputCache` asks for, None where it is absent.

    Raises
    ------
    SpecError
        If it cannot work.
    """
    if value is None:
        return None
    fields = read_object(value, FIELD)
    host, claim = fields.get("hostPath"), fields.get("persistentVolumeClaim")
    if (host is None) == (claim is None):
        fix = "add one, for example hostPath: {path: /var/cache/trainyard}" if host is None else "remove one"
        raise SpecError(FIELD, "must have exactly one of hostPath and persistentVolumeClaim", fix)
    limit = fields.get("sizeLimit")
    amount = read_quantity(
        DEFAULT_SIZE_LIMIT if limit is None else limit, f"{FIELD}.sizeLimit", at_most=MAX_SIZE_LIMIT, pattern=MEMORY
    )
    return InputCacheSpec(
        host_path=None if host is None else _read_path(host),
        claim=None if claim is None else _read_claim(claim),
        size_limit=memory_bytes(amount),
    )


def _read_path(value: object) -> str:
    path = read_object(value, f"{FIELD}.hostPath").get("path")
    return read_text(path, f"{FIELD}.hostPath.path", at_most=MAX_HOST_PATH, pattern=HOST_PATH)


def _read_claim(value: object) -> str:
    field = f"{FIELD}.persistentVolumeClaim"
    name = read_object(value, field).get("claimName")
    return read_text(name, f"{field}.claimName", at_most=MAX_OBJECT_NAME, pattern=OBJECT_NAME)
