"""Registered models: numbered versions, found by number or alias, and fetched with every byte verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainyard.errors import ConfigError, Conflict, Timeout
from trainyard.record import check_tags, with_properties
from trainyard.remote.api import JsonObject
from trainyard.remote.fetching import CACHE, Fetcher, cached
from trainyard.remote.objects import REGISTERED_MODELS
from trainyard.remote.versions import (
    TAGS_ANNOTATION,
    Pairs,
    asked_for,
    find_version,
    model_name,
    models_named,
    properties_of_version,
    tags_of_version,
    usable,
    wanted,
    with_version_tags,
)
from trainyard.remote.view import noted

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

GOING: Final = frozenset({"Deleting", "Deleted"})
DELETE_SECONDS: Final = 120.0
REGISTER_SECONDS: Final = 600.0


class Model:
    """A version of a registered model: looked up, never made by this.

    Parameters
    ----------
    workspace
        The workspace.
    name
        The model's name.
    id
        ``NAME:VERSION`` in place of both.
    version
        Its number; where neither it nor `alias` is given, the latest that is Ready.
    alias
        A name for a version, such as ``champion``.
    tags, properties, run_id
        What the version has to have, for the newest one that has it.

    Raises
    ------
    NotFound
        If there is no such model or version.
    """

    def __init__(  # noqa: PLR0913 - all but the first three by name
        self,
        workspace: Workspace,
        name: str | None = None,
        id: str | None = None,  # noqa: A002
        *,
        version: int | str | None = None,
        alias: str | None = None,
        tags: Pairs | None = None,
        properties: Pairs | None = None,
        run_id: str | None = None,
        _found: tuple[JsonObject, JsonObject] | None = None,
    ) -> None:
        self.workspace = workspace
        if _found is None:
            name, number = wanted(name, id, version)
            like = {"tags": tags, "properties": properties, "run_id": run_id}
            models = models_named(workspace, name)
            _found = find_version(models, name, number=number, alias=alias, like=like)
        self._model, self._entry = _found

    @staticmethod
    def list(  # noqa: PLR0913, PLR0917 - Azure ML's signature
        workspace: Workspace,
        name: str | None = None,
        tags: Pairs | None = None,
        properties: Pairs | None = None,
        run_id: str | None = None,
        latest: bool = False,
    ) -> list[Model]:
        """Return the versions that can be used, newest first.

        Parameters
        ----------
        name
            Those of one model alone.
        tags, properties
            Those that have these: a name, a dictionary, or a list of names and of pairs.
        run_id
            Those that this run has made.
        latest
            The latest Ready one of each model alone.
        workspace
            The workspace.
        """
        models = [m for m in workspace.objects.list(REGISTERED_MODELS) if name is None or model_name(m) == name]
        found = [
            (model, entry)
            for model in models
            for entry in usable(model, latest=latest)
            if asked_for(model, entry, tags=tags, properties=properties, run_id=run_id)
        ]
        found.sort(key=lambda pair: (pair[1].get("createdTime", ""), pair[1]["version"]), reverse=True)
        return [Model(workspace, _found=pair) for pair in found]

    @staticmethod
    def register(  # noqa: PLR0913, PLR0917 - Azure ML's signature
        workspace: Workspace,
        model_path: str | Path,
        model_name: str,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        description: str | None = None,
        *,
        timeout_seconds: float = REGISTER_SECONDS,
    ) -> Model:
        """Register a file or folder of this machine as a model's next version, and wait until it is Ready.

        The same files under the same name are one version, however often they are registered.

        Parameters
        ----------
        workspace
            The workspace.
        model_path
            The file or folder.
        model_name
            The name of the model.
        tags
            Tags of the version.
        properties
            Properties of the version, which do not change.
        description
            What the version is.
        timeout_seconds
            How long to wait at most.

        Raises
        ------
        ConfigError
            If nothing is there, or a name cannot be used.
        Timeout
            If it takes longer; it is registered all the same.
        """
        from trainyard.remote.registering import register_local

        print(f"Registering model {model_name}")
        found = register_local(
            workspace,
            Path(model_path),
            name=model_name,
            tags=with_properties(tags, properties),
            description=description,
            seconds=timeout_seconds,
        )
        return Model(workspace, _found=found)

    @staticmethod
    def get_model_path(model_name: str, version: int | str | None = None, _workspace: Workspace | None = None) -> str:
        """Return where a model is on this machine.

        With a workspace that is ``trainyard-models/NAME/VERSION`` below the current folder, where the version is
        fetched to unless it is there. Without one it is the same folder, with the highest version in it where none is
        said, or else ``./NAME``.

        Parameters
        ----------
        model_name
            The name of the model.
        version
            Its version; the latest where it is None.

        Raises
        ------
        NotFound
            If it is in none of these places.
        """
        name, number = wanted(model_name, None, version)
        if _workspace is None:
            return str(cached(name, number))
        model = Model(_workspace, name, version=number)
        return str(model._fetcher().fetch_once(CACHE / name / str(model.version)))

    @property
    def name(self) -> str:
        """The model's name."""
        return model_name(self._model)

    @property
    def id(self) -> str:
        """``NAME:VERSION``."""
        return str(self._entry["id"])

    @property
    def version(self) -> int:
        """The number of the version."""
        return int(self._entry["version"])

    @property
    def state(self) -> str:
        """Ready, or why it cannot be used."""
        return str(self._entry["state"])

    @property
    def tags(self) -> dict[str, str]:
        """The version's tags: those of its registration, and over them those that it was given afterwards."""
        return tags_of_version(self._model, self._entry)

    @property
    def properties(self) -> dict[str, Any]:
        """What it was registered with, and the digests of its manifest, its code and its image."""
        return dict(properties_of_version(self._entry))

    @property
    def metrics(self) -> dict[str, Any]:
        """What the run had logged last."""
        return dict(self._entry.get("metrics") or {})

    @property
    def description(self) -> str:
        """The version's description, or else the model's."""
        return str(self._entry.get("description") or (self._model.get("spec") or {}).get("description") or "")

    @property
    def created_time(self) -> str:
        """When the version was made."""
        return str(self._entry.get("createdTime", ""))

    @property
    def run_id(self) -> str | None:
        """The id of the run that it is from; None where it is from elsewhere."""
        return (self._entry.get("run") or {}).get("name")

    @property
    def url(self) -> str:
        """Where it is in the object store."""
        return str(self._entry.get("uri", ""))

    def download(self, target_dir: str | Path = ".", exist_ok: bool = False) -> str:
        """Fetch the version, hold every byte against what was registered, and return where it is.

        Parameters
        ----------
        target_dir
            The folder to put it in: a file keeps its name, a folder becomes one of that name.
        exist_ok
            Whether files that are there already may be replaced.

        Raises
        ------
        Conflict
            If one is there and may not be.
        DigestMismatch
            If what came is not what was registered; then nothing is put there.
        Forbidden
            If the service account may not get the model.
        """
        return str(self._fetcher().fetch(Path(target_dir), replace=exist_ok))

    def add_tags(self, tags: Mapping[str, Any]) -> None:
        """Give the version more tags; one that is there gets the new value.

        Parameters
        ----------
        tags
            Texts by name.
        """
        self._tag(lambda there: {**there, **_checked(tags)})

    def add_tag(self, key: str, value: Any = None) -> None:
        """Give the version one tag; None is the empty text.

        Parameters
        ----------
        key
            The name of the tag.
        value
            Its text.
        """
        self.add_tags({key: value})

    def remove_tags(self, tags: Sequence[str]) -> None:
        """Take tags back that were given after the registration.

        Parameters
        ----------
        tags
            The names.

        Raises
        ------
        Conflict
            If one is of the registration, which nobody can change.
        """
        names = [tags] if isinstance(tags, str) else list(tags)
        fixed = sorted(set(names) & (self._entry.get("tags") or {}).keys())
        if fixed:
            raise Conflict(f"{self.id} was registered with the tag {fixed[0]}, which stays: give it another value")
        self._tag(lambda there: {name: value for name, value in there.items() if name not in names})

    def update(self, tags: Mapping[str, Any]) -> None:
        """Have these tags be all that the version has beside those of its registration.

        Parameters
        ----------
        tags
            Texts by name.
        """
        self._tag(lambda _there: _checked(tags))

    def delete(self, *, timeout_seconds: float = DELETE_SECONDS) -> None:
        """Have the version deleted for ever; its number is never given again.

        Parameters
        ----------
        timeout_seconds
            How long to wait at most.

        Raises
        ------
        Conflict
            If an alias names it, or the store will not let it go.
        """
        name = self._model["metadata"]["name"]
        changed = self.workspace.objects.update(REGISTERED_MODELS, name, self._deleting)
        generation = changed["metadata"]["generation"]
        try:
            for model in self.workspace.objects.watch(REGISTERED_MODELS, name, timeout=timeout_seconds):
                entries = {e["version"]: e for e in (model.get("status") or {}).get("versions") or ()}
                self._model, self._entry = model, entries.get(self.version, self._entry)
                if self.state in GOING:
                    return
                _check_cleared(model, generation)
        except Timeout:
            raise Timeout(f"{self.id} is {self.state} after {timeout_seconds:g} s; it is deleted by itself") from None

    def serialize(self) -> dict[str, Any]:
        """Return what the registry knows of the version."""
        return {"name": self.name, **self._entry, "tags": self.tags}

    def __repr__(self) -> str:
        said = f"name={self.name}, id={self.id}, version={self.version}, tags={self.tags}, properties={self.properties}"
        return f"Model(workspace={self.workspace!r}, {said})"

    def _fetcher(self) -> Fetcher:
        return Fetcher(
            gateway=self.workspace.gateway,
            name=self.name,
            version=self.version,
            path=str(self._entry.get("path", "")),
            sha256=self._entry.get("manifestSha256"),
        )

    def _tag(self, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        def changing(model: JsonObject) -> dict[str, Any]:
            there = noted(model, TAGS_ANNOTATION).get(str(self.version), {})
            return with_version_tags(model, self.version, change(there))

        name = self._model["metadata"]["name"]
        self._model = self.workspace.objects.update(REGISTERED_MODELS, name, changing)

    def _deleting(self, model: JsonObject) -> dict[str, Any] | None:
        aliases = (model.get("status") or {}).get("aliases") or {}
        named = sorted(alias for alias, fact in aliases.items() if fact["version"] == self.version)
        if named:
            raise Conflict(f"{self.id} has the alias {', '.join(named)}: give that to another version first")
        numbers = (model.get("spec") or {}).get("delete") or []
        return None if self.version in numbers else {"spec": {"delete": [*numbers, self.version]}}


def _check_cleared(model: Mapping[str, Any], generation: int) -> None:
    status = model.get("status") or {}
    said = next((c for c in status.get("conditions") or () if c["type"] == "Cleared"), None)
    if said is not None and said["status"] == "False" and said.get("observedGeneration", 0) >= generation:
        raise Conflict(said["message"])


def _checked(tags: Mapping[str, Any]) -> dict[str, str]:
    try:
        return check_tags(tags, what="tags")
    except ValueError as error:
        raise ConfigError(str(error)) from error
