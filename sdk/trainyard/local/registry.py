"""The registry in the folder: the operator's own plans for a model, carried out at once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainyard.contract import MODEL_MANIFEST_SCHEMA, canonical_json
from trainyard.digest import sha256_of
from trainyard.errors import Conflict, NotFound
from trainyard.local.bucket import find
from trainyard.local.claims import locked
from trainyard.local.home import Home
from trainyard.remote.objects import REGISTERED_MODELS
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.reasons import RegisteredModelReason, VersionState
from trainyard_operator.api.registered_model import RegisteredModelSpec
from trainyard_operator.domain.model_keeping import KeepingView
from trainyard_operator.domain.model_sources import Problem, SourcesView, missing_imports
from trainyard_operator.domain.plan import Plan, VersionCopy, VersionRequest
from trainyard_operator.domain.provenance import provenance
from trainyard_operator.domain.registered_model import ModelView, Sealed, plan_registered_model
from trainyard_operator.domain.registry import Beyond, allocate
from trainyard_operator.storage import layout

if TYPE_CHECKING:
    from trainyard.local.objects import LocalObjects

JsonObject = dict[str, Any]

# More steps than any change takes: a number, a copy, a state, and as many for what goes.
ROUNDS: Final = 20


class CopyRefusedError(Exception):
    """A version can never be made: what it is made from is not there, or not what it was."""


def take_number(objects: LocalObjects, request: VersionRequest) -> None:
    """Give the next number of a model to what is to become a version, and make that."""
    with _locked(objects):
        model = objects.get(REGISTERED_MODELS, request.model)
        _take(objects, model, request)
    settle(objects, request.model)


def create_model(objects: LocalObjects, document: JsonObject) -> None:
    """Make the model that a first version is of, unless somebody has just made it."""
    try:
        objects.create(REGISTERED_MODELS, document)
    except Conflict:
        return


def settle(objects: LocalObjects, name: str) -> None:
    """Bring a model to where its spec wants it."""
    with _locked(objects):
        refused: dict[int, str] = {}
        for _ in range(ROUNDS):
            try:
                model = objects.get(REGISTERED_MODELS, name)
            except NotFound:
                return
            plan = plan_registered_model(model, _view(objects, model, refused), datetime.now(UTC))
            if not _carry_out(objects, model, plan, refused):
                return


def _locked(objects: LocalObjects) -> Any:
    # Not the objects' own: that one is taken for each write, and by whoever changes a spec.
    return locked(objects.home.objects(objects.namespace) / ".models-lock")


def _carry_out(objects: LocalObjects, model: JsonObject, plan: Plan, refused: dict[int, str]) -> bool:
    """Do what a plan says, and return whether there was anything."""
    name = model["metadata"]["name"]
    for request in plan.register:
        _take(objects, objects.get(REGISTERED_MODELS, name), request)
    copies = [copy for copy in plan.copy if copy.version not in refused]
    for wish in copies:
        refused |= _try_copy(objects, wish)
    if plan.status is not None:
        # An API server keeps objects small and older entries elsewhere; a file may hold all of them.
        entries = {entry["version"]: entry for filing in plan.file for entry in filing.entries}
        entries |= {entry["version"]: entry for entry in plan.status.get("versions") or ()}
        versions = {"versions": [entries[number] for number in sorted(entries)]} if entries else {}
        objects.write_status(REGISTERED_MODELS, name, {**plan.status, **versions})
    for clearing in plan.clear:
        folder = objects.home.key(layout.version_prefix(objects.namespace, clearing.model_name, clearing.version))
        key = layout.tombstone_key(objects.namespace, clearing.model_name, clearing.version)
        shutil.rmtree(folder, ignore_errors=True)
        objects.home.write(objects.home.key(key), canonical_json(clearing.tombstone))
    return bool(plan.register or copies or plan.status is not None or plan.clear)


def _try_copy(objects: LocalObjects, wish: VersionCopy) -> dict[int, str]:
    """Make a version whole, and return why it cannot be, by its number."""
    try:
        _copy(objects.home, objects.namespace, wish)
    except (CopyRefusedError, OSError) as error:
        return {wish.version: str(error)}
    return {}


def _take(objects: LocalObjects, model: JsonObject, request: VersionRequest) -> None:
    folder = objects.home.key(layout.model_prefix(objects.namespace, model["spec"]["modelName"]))
    beyond = Beyond(used=_highest_number(folder))
    status = allocate(model=model, request=request, beyond=beyond, now=datetime.now(UTC))
    if status is not None:
        objects.write_status(REGISTERED_MODELS, request.model, status)


def _highest_number(folder: Path) -> int:
    """Return the highest number that has left anything, though the object may be gone."""
    if not folder.is_dir():
        return 0
    numbers = (path.name.split(".", 1)[0] for path in folder.iterdir())
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _view(objects: LocalObjects, model: JsonObject, refused: Mapping[int, str]) -> ModelView:
    home, namespace = objects.home, objects.namespace
    try:
        spec = RegisteredModelSpec.parse(model["spec"], name=model["metadata"]["name"], namespace=namespace)
    except SpecError:
        return ModelView(folder_uri="")
    name = spec.model_name
    entries = {entry["version"]: entry for entry in (model.get("status") or {}).get("versions") or ()}
    sealed = {n: _sealed(home.key(layout.model_manifest_key(namespace, name, n))) for n in entries}
    data = home.key(layout.data_prefix(namespace))
    wishes = {wish.key: find(data, wish.path) for wish in missing_imports(spec, model)}
    missing = {
        key: Problem(
            reason=RegisteredModelReason.IMPORT_PATH_NOT_FOUND,
            message=f"spec.imports[{key}].datastorePath: nothing is there in the local datastore {data}",
        )
        for key, found in wishes.items()
        if not found
    }
    going = [n for n, entry in entries.items() if entry["state"] == VersionState.DELETING]
    gone = frozenset(n for n in going if not home.key(layout.version_prefix(namespace, name, n)).exists())
    return ModelView(
        folder_uri=home.uri(layout.model_prefix(namespace, name)),
        sealed={number: found for number, found in sealed.items() if found is not None},
        refused=refused,
        sources=SourcesView(found=frozenset(wishes.keys() - missing.keys()), problems=missing),
        keeping=KeepingView(free=frozenset(entries), cleared=gone),
    )


def _sealed(path: Path) -> Sealed | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    files = json.loads(content)["files"]
    size = sum(file["bytes"] for file in files)
    return Sealed(manifest_sha256=hashlib.sha256(content).hexdigest(), files=len(files), bytes=size)


def _copy(home: Home, namespace: str, wish: VersionCopy) -> None:
    """Make the files of a version whole, and write its manifest last, where nobody has written one."""
    entry, name, version = wish.entry, wish.model_name, wish.version
    sealing = home.key(layout.model_manifest_key(namespace, name, version))
    if sealing.exists():
        return
    places, origin = _from_run(home, namespace, entry) if "run" in entry else _from_data(home, namespace, entry)
    target = home.key(layout.version_prefix(namespace, name, version))
    shutil.rmtree(target, ignore_errors=True)
    listed = []
    for path, (place, expected) in sorted(places.items()):
        home.copy(place, target / path)
        found = sha256_of(target / path)
        if expected and found != expected:
            raise CopyRefusedError(f"{path} has other bytes than the run's manifest says: it was changed after the run")
        listed.append({"path": path, "bytes": (target / path).stat().st_size, "sha256": found})
    manifest = {
        "sourceSha256": entry.get("sourceSha256"),
        "imageDigest": entry.get("imageDigest"),
        "metrics": dict(entry.get("metrics") or {}),
        "tags": dict(entry.get("tags") or {}),
        **origin,
        "schema": MODEL_MANIFEST_SCHEMA,
        "namespace": namespace,
        "model": name,
        "version": version,
        "id": f"{name}:{version}",
        "key": entry["key"],
        **{part: entry[part] for part in ("path", "description") if entry.get(part)},
        "createdTime": entry.get("createdTime"),
        "files": listed,
    }
    home.write(sealing, canonical_json(manifest), exclusive=True)


def _from_run(
    home: Home, namespace: str, entry: Mapping[str, Any]
) -> tuple[dict[str, tuple[Path, str]], dict[str, Any]]:
    run, path = entry["run"], entry["path"].rstrip("/")
    content = home.key(layout.run_manifest_key(namespace, run["uid"], run["attempt"])).read_bytes()
    manifest = json.loads(content)
    saved = {file["path"]: file["sha256"] for file in manifest["outputs"]}
    above = path.rpartition("/")[0] if path in saved else path
    chosen = [name for name in saved if name == path or name.startswith(f"{path}/")]
    folder = home.key(layout.attempt_prefix(namespace, run["uid"], run["attempt"]))
    places = {name.removeprefix(f"{above}/"): (folder / name, saved[name]) for name in chosen}
    about = {**run, "manifestSha256": entry.get("runManifestSha256")}
    return places, {**provenance(manifest, list(places)), "run": about}


def _from_data(
    home: Home, namespace: str, entry: Mapping[str, Any]
) -> tuple[dict[str, tuple[Path, str]], dict[str, Any]]:
    wish = entry["import"]
    found = find(home.key(layout.data_prefix(namespace)), wish["datastorePath"])
    if not found:
        raise CopyRefusedError(f"nothing is at {wish['datastorePath']!r} in the local datastore")
    return {file.path: (file.place, wish.get("sha256", "")) for file in found}, {"import": dict(wish)}
