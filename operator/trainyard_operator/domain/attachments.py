"""What the pod of a run has mounted because its spec says so: Secrets for fetching, and volumes of the user's own.

Secrets are optional for the kubelet, which would else wait for one without a word that a run could read; the container
`prepare`, which alone sees them, says which one is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.contract import CLAIMS_DIR, INPUTS_DIR, SECRETS_DIR
from trainyard_operator.api.inputs import ClaimSpec
from trainyard_operator.api.training_job import TrainingJobSpec

JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Attachments:
    """Volumes of a pod, and where its two containers have them."""

    volumes: tuple[JsonObject, ...]
    prepare: tuple[JsonObject, ...]
    train: tuple[JsonObject, ...]


def attachments(spec: TrainingJobSpec) -> Attachments:
    """Return what a run's own spec adds to its pod."""
    secrets = _source_secrets(spec)
    secrets += [(f"inputs/{item.name}", item.s3.secret) for item in spec.inputs if item.s3]
    claims = [(item.name, item.claim) for item in spec.inputs if item.claim]
    named = _named(secrets)
    names = list(dict.fromkeys(claim.name for _, claim in claims))
    return Attachments(
        volumes=(
            *(_secret(volume, name) for volume, _, name in named),
            *(_claim(number, name) for number, name in enumerate(names)),
        ),
        prepare=(
            *(_mount(volume, f"{SECRETS_DIR}/{place}") for volume, place, _ in named),
            *(_mount(f"claim-{names.index(claim.name)}", f"{CLAIMS_DIR}/{name}") for name, claim in claims),
        ),
        train=tuple(_part(names.index(claim.name), claim, folder=f"{INPUTS_DIR}/{name}") for name, claim in claims),
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


def _mount(volume: str, path: str) -> JsonObject:
    return {"name": volume, "mountPath": path, "readOnly": True}


def _part(number: int, claim: ClaimSpec, *, folder: str) -> JsonObject:
    return {**_mount(f"claim-{number}", folder), **({"subPath": claim.path} if claim.path else {})}
