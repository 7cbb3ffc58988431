"""What a script says of its run beside numbers, collected within bounds: tags, properties, models, failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainyard.contract import MAX_MESSAGE_CHARS, MAX_MODELS_OF_SCRIPT, MAX_TAGS, printable
from trainyard.record import check_model, check_tags

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainyard.contract import ModelWish


class Record:
    """The latest of what was said; `warn` is told once of each kind of thing that had no room or no sense.

    Attributes
    ----------
    failure
        The words of `Run.fail`, None where it was not called or taken back.
    """

    def __init__(self, *, warn: Callable[[str, str], None]) -> None:
        self.tags: dict[str, str] = {}
        self.properties: dict[str, str] = {}
        self.failure: str | None = None
        self._models: dict[tuple[str, str], ModelWish] = {}
        self._warn = warn

    @property
    def models(self) -> list[ModelWish]:
        """The models that are to be registered, in the order in which they were wished first."""
        return list(self._models.values())

    def take(self, entry: dict[str, Any]) -> bool:
        """Take `entry` in if it is a word of the record; return whether it is."""
        if "tags" in entry:
            self._merge("tags", self.tags, entry["tags"], anew=True)
        elif "properties" in entry:
            self._merge("properties", self.properties, entry["properties"], anew=False)
        elif "model" in entry:
            self._model(entry["model"])
        elif "fail" in entry:
            told = entry["fail"]
            self.failure = None if told is None else printable(str(told["message"]))[:MAX_MESSAGE_CHARS]
        else:
            return False
        return True

    def _merge(self, kind: str, there: dict[str, str], more: Any, *, anew: bool) -> None:
        try:
            checked = check_tags(more, what=kind)
        except ValueError as error:
            self._warn(kind, f"{kind} were left out: {error}")
            return
        for key, value in checked.items():
            if key in there and not anew:
                continue
            if key not in there and len(there) >= MAX_TAGS:
                self._warn(f"many {kind}", f"more than {MAX_TAGS} {kind} were set, {key!r} is the first left out")
                return
            there[key] = value

    def _model(self, told: Any) -> None:
        try:
            wish = check_model(told)
        except ValueError as error:
            self._warn("model", f"a model will not be registered: {error}")
            return
        key = (wish["name"], wish["path"])
        if key not in self._models and len(self._models) >= MAX_MODELS_OF_SCRIPT:
            self._warn(
                "many models",
                f"more than {MAX_MODELS_OF_SCRIPT} models were to be registered, {wish['name']} is the first left out",
            )
            return
        self._models[key] = wish
