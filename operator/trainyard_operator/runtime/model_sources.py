"""Looking for what versions of a RegisteredModel are to be made from, where no run of its namespace makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.model_sources import ImportSpec, PromotionSpec
from trainyard_operator.api.names import REGISTERED_MODEL, object_name
from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.api.registered_model import RegisteredModelSpec
from trainyard_operator.domain.model_sources import (
    Problem,
    SourcesView,
    missing_imports,
    missing_promotion,
    shared_model,
    wished_sources,
)
from trainyard_operator.domain.registry import highest_number
from trainyard_operator.runtime.store import Store
from trainyard_operator.storage.errors import CopyRefused, NothingThere, StoreError
from trainyard_operator.storage.model_imports import survey_import
from trainyard_operator.storage.model_survey import look_beyond
from trainyard_operator.storage.store import ObjectStore

JsonObject = dict[str, Any]

_PARALLEL_SURVEYS = 4


class SourceObserver:
    """Asks the object store about imports without a version, and the own memory about models of other namespaces."""

    def __init__(self, *, store: Store, objects: ObjectStore) -> None:
        self._store = store
        self._objects = objects

    async def observe(self, parent: JsonObject) -> SourcesView:
        """Return what is known of the sources that `parent` names; nothing is asked where all have their version."""
        meta = parent["metadata"]
        try:
            spec = RegisteredModelSpec.parse(parent["spec"], name=meta["name"], namespace=meta["namespace"])
        except SpecError:
            return SourcesView()  # which is for the plan to answer
        missing = missing_imports(spec, parent)
        models = {
            (namespace, name): self._store.get(REGISTERED_MODEL, namespace, object_name(name))
            for namespace, name in wished_sources(spec, parent)
        }
        problems = await self._survey(meta["namespace"], missing)
        found = frozenset(wish.key for wish in missing) - problems.keys()
        unknown = ""
        if found or self._may_promote(missing_promotion(spec, parent), models, meta["namespace"]):
            try:
                await look_beyond(self._objects, meta["namespace"], spec.model_name, highest_number(parent))
            except StoreError as error:
                unknown = str(error)
        return SourcesView(found=found, problems=problems, models=models, unknown=unknown)

    @staticmethod
    def _may_promote(
        wish: PromotionSpec | None, models: Mapping[tuple[str, str], JsonObject | None], namespace: str
    ) -> bool:
        # A refusal takes no longer where there is something to refuse than where there is not.
        if wish is None:
            return False
        source = models[wish.namespace, wish.model]
        return shared_model(source, model_name=wish.model, namespace=namespace) is not None

    async def _survey(self, namespace: str, missing: tuple[ImportSpec, ...]) -> dict[str, Problem]:
        slots = asyncio.Semaphore(_PARALLEL_SURVEYS)

        async def survey(wish: ImportSpec) -> Problem | None:
            async with slots:
                return await self._problem(namespace, wish)

        problems = await asyncio.gather(*map(survey, missing))
        return {wish.key: problem for wish, problem in zip(missing, problems, strict=True) if problem is not None}

    async def _problem(self, namespace: str, wish: ImportSpec) -> Problem | None:
        where = f"spec.imports[{wish.key}].datastorePath"
        try:
            await survey_import(self._objects, namespace, wish.path, sha256=wish.sha256)
        except NothingThere as error:
            return Problem(reason=Reason.IMPORT_PATH_NOT_FOUND, message=f"{where}: {error}")
        except CopyRefused as error:
            return Problem(reason=Reason.IMPORT_PATH_UNUSABLE, message=f"{where}: {error}")
        except StoreError as error:
            words = f"{where}: the object store does not answer as it should, and is asked again: {error}"
            return Problem(reason=Reason.STORE_UNAVAILABLE, message=words)
        return None
