"""What the pod of a run has mounted because its spec, or its cluster's, says so: Secrets, volumes, a cache of inputs.

Secrets are optional for the kubelet, which would else wait for one without a word that a run could read; the container
`prepare`, which alone sees them, says which one is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.contract import CLAIMS_DIR, ENV_INPUT_CACHE, INPUT_CACHE_DIR, INPUTS_DIR, SECRETS_DIR
from trainyard_operator.api.input_cache import InputCacheSpec
from trainyard_operator.api.inputs import ClaimSpec
from trainyard_operator.api.training_job import TrainingJobSpec

JsonObject = dict[str, Any]

# The volume's name, which Kubernetes repeats where it refuses it.
INPUT_CACHE = "input-cache"


@dataclass(frozen=True, kw_only=True)
class Attachments:
    """Volumes of a pod, where its two containers have them, and what `prepare` is told of them."""

    volumes: tuple[JsonObject, ...]
    prepare: tuple[JsonObject, ...]
    train: tuple[JsonObject, ...]
    prepare_env: tuple[JsonObject, ...] = ()


def attachments(spec: TrainingJobSpec, cache: InputCacheSpec | None) -> Attachments:
    """Return what a run's own spec, and the cache of its cluster, add to its pod."""
    # A run that downloads nothing needs no cache, nor a namespace that lets it have one.
    kept = (cache,) if cache is not None and any(item.claim is None for item in spec.inputs) else ()
    secrets = _source_secrets(spec)
    secrets += [(f"inputs/{item.name}", item.s3.secret) for item in spec.inputs if item.s3]
    claims = [(item.name, item.claim) for item in spec.inputs if item.claim]
    named = _named(secrets)
    names = list(dict.fromkeys(claim.name for _, claim in claims))
    return Attachments(
        volumes=(
            *(_secret(volume, name) for volume, _, name in named),
            *(_claim(number, name) for number, name in enumerate(names)),
            *(_cache(where) for where in kept),
        ),
        prepare=(
            *(_mount(volume, f"{SECRETS_DIR}/{place}") for volume, place, _ in named),
            *(_mount(f"claim-{names.index(claim.name)}", f"{CLAIMS_DIR}/{name}") for name, claim in claims),
            *({"name": INPUT_CACHE, "mountPath": INPUT_CACHE_DIR} for _ in kept),
        ),
        train=tuple(_part(names.index(claim.name), claim, folder=f"{INPUTS_DIR}/{name}") for name, claim in claims),
        prepare_env=tuple({"name": ENV_INPUT_CACHE, "value": str(where.size_limit)} for where in kept),
    )


def attached_source(spec: TrainingJobSpec) -> Attachments:
    """Return what a pod needs that fetches a run's source and nothing else."""
    named = _named(_source_secrets(spec))
    return Attachments(
        volumes=tuple(_secret(volume, name) for volume, _, name in named),
        prepare=tuple(_mount(volume, f"{SECRETS_DIR}/{place}") for volume, place, _ in named),
        train=(),
    )


def _source_secrets(spec: TrainingJobSpec) -> list[tuple[str, str | None]]:
    """Return the Secrets that the source is fetched with, by their place."""
    return [("source", spec.source.git.secret)] if spec.source and spec.source.git else []


def _named(secrets: Sequence[tuple[str, str | None]]) -> list[tuple[str, str, str]]:
    return [(f"secret-{number}", place, name) for number, (place, name) in enumerate(secrets) if name]


def _secret(volume: str, name: str) -> JsonObject:
    return {"name": volume, "secret": {"secretName": name, "defaultMode": 0o440, "optional": True}}


def _claim(number: int, name: str) -> JsonObject:
    # Read-only as a volume, not only as a mount: the kubelet gives no file of it another owner then.
    return {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": name, "readOnly": True}}


def _cache(where: InputCacheSpec) -> JsonObject:
    if where.claim is not None:
        return {"name": INPUT_CACHE, "persistentVolumeClaim": {"claimName": where.claim}}
    # Made where it is missing: the kubelet would start no pod without it, and a cache must keep no run from starting.
    return {"name": INPUT_CACHE, "hostPath": {"path": where.host_path, "type": "DirectoryOrCreate"}}


def _mount(volume: str, path: str) -> JsonObject:
    return {"name": volume, "mountPath": path, "readOnly": True}


def _part(number: int, claim: ClaimSpec, *, folder: str) -> JsonObject:
    return {**_mount(f"claim-{number}", folder), **({"subPath": claim.path} if claim.path else {})}
