"""Bringing the status of a RegisteredModel back from the manifests of its versions.

A manifest says all that a Ready entry says, and a tombstone is the entry of a version that was deleted: status and
object store can each be lost, and the store is the one that has the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainyard_operator.api.reasons import VersionState
from trainyard_operator.domain.model_keeping import GOING
from trainyard_operator.domain.registry import highest_number, that_fit

JsonObject = dict[str, Any]

# Fields of a manifest that its version's entry has under the same name.
_SAME = ("version", "id", "key", "path", "description", "sourceSha256", "imageDigest", "createdTime")
# What a version is made from: a manifest and an entry have one of these.
_ORIGINS = ("run", "import", "promotedFrom")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the object store holds of one model.

    `entries` are of the versions that are whole, `deleted` those of tombstones; `broken` are numbers with one that
    cannot be read and why, `unsealed` those with files and no manifest. `archived` are numbers whose entries are
    in the archive, which is at `archive_uri`: they need no place in the status.
    """

    entries: Sequence[JsonObject] = ()
    deleted: Mapping[int, JsonObject] = field(default_factory=dict)
    broken: Mapping[int, str] | None = None
    unsealed: Sequence[int] = ()
    archived: Sequence[int] = ()
    archive_uri: str = ""

    @property
    def highest(self) -> int:
        """The highest number that has left anything, 0 where none has."""
        numbers = (int(entry["version"]) for entry in self.entries)
        return max([0, *numbers, *self.deleted, *(self.broken or {}), *self.unsealed])


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """A status to write, None where nothing is missing, and what is to be told."""

    status: JsonObject | None
    added: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def entry_of_manifest(manifest: Mapping[str, Any], *, sha256: str, uri: str) -> JsonObject:
    """Return the status entry of the whole version that `manifest` describes.

    Parameters
    ----------
    manifest
        A manifest with a model manifest's schema.
    sha256
        Of its bytes.
    uri
        Where the version's files are.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError, StopIteration
        If it has not the fields of a manifest.
    """
    origin = next(name for name in _ORIGINS if manifest.get(name))
    run = manifest.get("run") or {}
    files = manifest["files"]
    signer = (manifest.get("signature") or {}).get("keySha256")
    named = {name: manifest.get(name) for name in _SAME}
    if run and not named["path"]:  # manifests that were written first have it inside of the key only
        named["path"] = str(manifest["key"]).removeprefix(f"{run.get('uid')}/{manifest['model']}/")
    found = {
        **named,
        "version": int(manifest["version"]),
        "state": VersionState.READY.value,
        "uri": uri,
        "manifestSha256": sha256,
        "files": len(files),
        "bytes": sum(int(file["bytes"]) for file in files),
        origin: _origin(origin, manifest[origin]),
        "runManifestSha256": (run or manifest[origin].get("run") or {}).get("manifestSha256"),
        "metrics": dict(manifest.get("metrics") or {}),
        "tags": dict(manifest.get("tags") or {}),
        "signature": {"uri": f"{uri.rstrip('/')}.sig", "keySha256": signer} if signer else None,
    }
    return {name: value for name, value in found.items() if value is not None and value != {}}


def _origin(name: str, told: Mapping[str, Any]) -> JsonObject:
    """Return what an entry says of its version's origin: the digest of a run's manifest is beside it there."""
    if name == "run":
        return {part: value for part, value in told.items() if part != "manifestSha256"}
    return {part: _origin("run", value) if part == "run" else value for part, value in told.items()}


def restore(model: Mapping[str, Any], found: Found) -> Restoration:
    """Return what the status of `model` lacks of what was found: entries are added, none is changed or removed."""
    status: JsonObject = dict(model.get("status") or {})
    name = model["spec"]["modelName"]
    known = {int(entry["version"]): entry for entry in status.get("versions") or ()}
    filed = set(found.archived) - known.keys()
    there = [*found.entries, *found.deleted.values()]
    missing = [entry for entry in there if entry["version"] not in {*known, *filed}]
    # What an older status says of a version that was deleted since is the one thing that is not true any more.
    outdated = {n: entry for n, entry in found.deleted.items() if n in known and known[n]["state"] not in GOING}
    known |= outdated
    kept = that_fit(status, missing)
    left_out = sorted(entry["version"] for entry in missing if entry not in kept)
    notes = [*_differences(known, found), *_not_restored(found, known)]
    if left_out:
        notes.append(f"the status has no room for {len(left_out)} versions, up to number {left_out[-1]}")
    latest = max(highest_number(model), found.highest)
    if latest:
        status |= {"latestVersion": latest, "latestId": f"{name}:{latest}"}
    if filed:
        status["archivedEntries"] = {"count": len(filed), "uri": found.archive_uri}
    if kept or outdated:
        versions = sorted([*known.values(), *kept], key=lambda entry: int(entry["version"]))
        status["versions"] = versions
    if status == (model.get("status") or {}):
        return Restoration(status=None, notes=tuple(notes))
    added = sorted([*outdated, *(int(entry["version"]) for entry in kept)])
    return Restoration(status=status, added=tuple(added), notes=tuple(notes))


def _differences(known: Mapping[int, Mapping[str, Any]], found: Found) -> list[str]:
    notes = []
    for entry in found.entries:
        digest = known.get(entry["version"], {}).get("manifestSha256")
        if digest is not None and digest != entry["manifestSha256"]:
            notes.append(
                f"{entry['id']} has the digest {digest} in the status and {entry['manifestSha256']} in the store: "
                "its manifest was changed, and nothing was done about it"
            )
    return notes


def _not_restored(found: Found, known: Mapping[int, object]) -> list[str]:
    notes = [
        f"number {number} stays used: it has files and no manifest" for number in found.unsealed if number not in known
    ]
    notes += [f"number {number} stays used: {why}" for number, why in sorted((found.broken or {}).items())]
    return notes
