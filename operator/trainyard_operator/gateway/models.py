"""Reading models: the signed addresses of one Ready version's files, for whoever RBAC lets get the RegisteredModel.

Keys come from the version's manifest, which is read only where its SHA-256 is the one in the model's status: nobody is
sent to bytes that the registry does not vouch for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from trainyard.contract import MAX_GRANTS, FileGrant, ModelFile, ModelGrant, check_relative_path
from trainyard_operator.api.names import object_name
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.gateway.errors import Refusal
from trainyard_operator.gateway.model_requests import ModelRequest
from trainyard_operator.gateway.ports import AccessReviewer, Identity, ModelDirectory
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ManifestInvalid
from trainyard_operator.storage.models import read_model_manifest
from trainyard_operator.storage.store import ObjectInfo, ObjectStore

Signed = TypeVar("Signed")

SHOWN = 10


class ModelGrants:
    """The operation ``model`` of ``POST /v1/grants``."""

    def __init__(self, *, access: AccessReviewer, models: ModelDirectory, store: ObjectStore) -> None:
        self._access = access
        self._models = models
        self._store = store
        # As in `Grants`: two threads that sign at once would only slow the event loop down.
        self._signing = asyncio.Semaphore(1)

    async def model(self, identity: Identity, request: ModelRequest) -> ModelGrant:
        """Return one page of a version's files, with its number, state and the digest of its manifest."""
        namespace = request.namespace or identity.namespace
        # Before anything is looked up: who may not read a model must not learn whether there is one.
        await self.check(identity, request.model, namespace)
        model = self._models.find(namespace, object_name(request.model))
        if model is None:
            message = f"there is no model {request.model} in namespace {namespace}: register a version of it first"
            raise Refusal(HTTPStatus.NOT_FOUND, "ModelNotFound", message, field="model")
        entry = select(model, request, namespace)
        manifest = await self._manifest(namespace, request.model, entry)
        return await self._page(namespace, request, entry, manifest)

    async def check(self, identity: Identity, model: str, namespace: str) -> None:
        """Raise a `Refusal` where RBAC does not let the identity's service account get the model's object."""
        name = object_name(model)
        if not await self._access.may_get_model(identity, namespace=namespace, name=name):
            raise _forbidden(identity, model, namespace, name)

    async def _manifest(self, namespace: str, model: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            found = await read_model_manifest(self._store, namespace, model, entry["version"])
        except ManifestInvalid as error:
            raise _broken(entry, str(error)) from error
        if found is None:
            raise _broken(entry, "its manifest is not in the object store any more")
        document, sha256 = found
        if sha256 != entry.get("manifestSha256"):
            raise _broken(entry, "its manifest in the object store is not the one that was registered")
        return document

    async def _page(
        self, namespace: str, request: ModelRequest, entry: Mapping[str, Any], manifest: Mapping[str, Any]
    ) -> ModelGrant:
        key = layout.model_manifest_key(namespace, request.model, entry["version"])
        folder = layout.version_prefix(namespace, request.model, entry["version"])
        info = await self._store.head(key)
        if info is None:
            raise _broken(entry, "its manifest is not in the object store any more")
        size = info.bytes
        signature = await self._signature(namespace, request.model, entry)
        files = sorted(manifest["files"], key=lambda file: str(file["path"]))
        page = [file for file in files if file["path"] > request.after][:MAX_GRANTS]
        try:
            for file in page:
                check_relative_path(file["path"], what="the name of a file")
        except ValueError as error:
            raise _broken(entry, str(error)) from error

        def sign() -> ModelGrant:
            signed = [
                ModelFile(
                    path=file["path"],
                    bytes=file["bytes"],
                    sha256=file["sha256"],
                    url=self._store.sign_get(folder + file["path"]),
                )
                for file in page
            ]
            answer = ModelGrant(
                namespace=namespace,
                model=request.model,
                version=entry["version"],
                id=entry["id"],
                state=entry["state"],
                manifestSha256=entry["manifestSha256"],
                manifest=FileGrant(path=key.rsplit("/", 1)[-1], bytes=size, url=self._store.sign_get(key)),
                files=signed,
                next=page[-1]["path"] if page and page[-1]["path"] != files[-1]["path"] else None,
            )
            if signature is not None:
                url = self._store.sign_get(signature.key)
                answer["signature"] = FileGrant(path=signature.key.rsplit("/", 1)[-1], bytes=signature.bytes, url=url)
            return answer

        return await self._sign(sign)

    async def _signature(self, namespace: str, model: str, entry: Mapping[str, Any]) -> ObjectInfo | None:
        if "signature" not in entry:
            return None
        info = await self._store.head(layout.model_signature_key(namespace, model, entry["version"]))
        if info is None:
            raise _broken(entry, "its signature is not in the object store any more")
        return info

    async def _sign(self, sign: Callable[[], Signed]) -> Signed:
        async with self._signing:
            return await asyncio.to_thread(sign)


def select(model: Mapping[str, Any], request: ModelRequest, namespace: str) -> Mapping[str, Any]:
    """Return the entry of the version that `request` means; raises a `Refusal` where it means none that is Ready."""
    status = model.get("status") or {}
    entries = {entry["version"]: entry for entry in status.get("versions") or ()}
    number = request.number
    if request.alias is not None:
        number = _aliased(status.get("aliases") or {}, request, namespace)
    if number is None:
        usable = [version for version, entry in entries.items() if entry["state"] == VersionState.READY]
        if not usable:
            message = f"no version of {request.model} in namespace {namespace} is Ready: see kubectl describe rmodel"
            raise Refusal(HTTPStatus.CONFLICT, "ModelNotReady", message, field="version")
        number = max(usable)
    if number not in entries:
        there = ", ".join(str(version) for version in sorted(entries, reverse=True)[:SHOWN]) or "none"
        message = f"{request.model} in namespace {namespace} has no version {number}; its newest are: {there}"
        raise Refusal(HTTPStatus.NOT_FOUND, "ModelNotFound", message, field="version")
    entry: Mapping[str, Any] = entries[number]
    if entry["state"] != VersionState.READY:
        said = f" ({entry['message']})" if entry.get("message") else ""
        message = f"{entry['id']} is {entry['state']}{said}: only versions that are Ready can be read"
        raise Refusal(HTTPStatus.CONFLICT, "ModelNotReady", message, field="version")
    return entry


def _aliased(aliases: Mapping[str, Any], request: ModelRequest, namespace: str) -> int:
    found = (aliases.get(request.alias or "") or {}).get("version")
    if not isinstance(found, int):
        there = ", ".join(sorted(aliases)[:SHOWN]) or "none"
        message = (
            f"{request.model} in namespace {namespace} has no alias {request.alias!r}; its aliases are: {there}. "
            "Set it in spec.aliases of the RegisteredModel"
        )
        raise Refusal(HTTPStatus.NOT_FOUND, "ModelNotFound", message, field="version")
    return found


def _forbidden(identity: Identity, model: str, namespace: str, name: str) -> Refusal:
    message = (
        f"the service account {identity.service_account} of namespace {identity.namespace} may not read a model "
        f"{model} of namespace {namespace}, whether there is one or not: a Role there has to allow it the verb get "
        f"on registeredmodels of trainyard.dev with the name {name}"
    )
    return Refusal(HTTPStatus.FORBIDDEN, "Forbidden", message)


def _broken(entry: Mapping[str, Any], why: str) -> Refusal:
    message = f"{entry['id']} cannot be read: {why}; use another version"
    return Refusal(HTTPStatus.CONFLICT, "ModelNotReady", message, field="version")
