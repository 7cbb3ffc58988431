"""Gathering what planning a RegisteredModel may look at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trainyard_operator.api.names import REGISTERED_MODEL
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.registered_model import ModelView, Sealed, plan_registered_model
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.model_keeper import ModelKeeper
from trainyard_operator.runtime.model_sources import SourceObserver
from trainyard_operator.runtime.store import Store
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ManifestInvalid, StoreError
from trainyard_operator.storage.models import read_model_manifest
from trainyard_operator.storage.store import ObjectStore

JsonObject = dict[str, Any]


class RegisteredModelController:
    """Observes and plans RegisteredModels."""

    kind = REGISTERED_MODEL

    def __init__(self, *, store: Store, objects: ObjectStore, memory: Memory, keeper: ModelKeeper, bucket: str) -> None:
        self._sources = SourceObserver(store=store, objects=objects)
        self._objects = objects
        self._memory = memory
        self._keeper = keeper
        self._bucket = bucket

    async def observe(self, parent: JsonObject) -> ModelView:
        """Return what the object store says of the model's pending versions."""
        # A spec without a name is for the plan to answer; such a model has no folder.
        meta, name = parent["metadata"], str(parent["spec"].get("modelName"))
        sealed, refused, answers = {}, {}, True
        trouble = self._memory.store_trouble.get(meta.get("uid", ""), "")
        for entry in (parent.get("status") or {}).get("versions") or ():
            if entry["state"] != VersionState.PENDING:
                continue
            number = entry["version"]
            try:
                found = await read_model_manifest(self._objects, meta["namespace"], name, number)
            except ManifestInvalid as error:
                refused[number] = str(error)
                continue
            except StoreError as error:
                # What it does not say of one version it will not say of the next: the model's worker has others to see.
                trouble, answers = str(error), False
                break
            if found is not None:
                manifest, sha256 = found
                files = manifest["files"]
                sealed[number] = Sealed(
                    manifest_sha256=sha256,
                    files=len(files),
                    bytes=sum(file["bytes"] for file in files),
                    signed_by=manifest.get("signature", {}).get("keySha256"),
                )
            elif (meta["uid"], number) in self._memory.refusals:
                refused[number] = self._memory.refusals[meta["uid"], number]
        return ModelView(
            folder_uri=layout.uri(self._bucket, layout.models_prefix(meta["namespace"]) + f"{name}/"),
            sealed=sealed,
            refused=refused,
            sources=await self._sources.observe(parent),
            findings=self._memory.inspections.findings.get(meta["uid"]),
            trouble=trouble,
            answers=answers,
            trust=self._memory.trust,
            keeping=await self._keeper.observe(parent, self._memory.kept_files),
        )

    def plan(self, parent: JsonObject, view: ModelView, now: datetime) -> Plan:
        """Return the next step of a model."""
        return plan_registered_model(parent, view, now)
