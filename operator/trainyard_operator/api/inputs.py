"""`spec.inputs` of a TrainingJob: the data that is there before the script starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from trainyard.contract import INPUTS_DIR
from trainyard_operator.api.fields import SpecError, read_list, read_object, read_path, read_text

INPUT_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
MAX_INPUT_NAME: Final = 63
MAX_INPUTS: Final = 16
MAX_INPUT_PATH: Final = 1024


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input: what lies at `path` in the namespace's datastore."""

    name: str
    path: str

    @property
    def folder(self) -> str:
        """Where the input is in the pod."""
        return f"{INPUTS_DIR}/{self.name}"


def read_inputs(value: object) -> tuple[InputSpec, ...]:
    """Return what `spec.inputs` asks for.

    Raises
    ------
    SpecError
        If it cannot work.
    """
    inputs: dict[str, InputSpec] = {}
    for index, item in enumerate(read_list(value, "spec.inputs", at_most=MAX_INPUTS)):
        field = f"spec.inputs[{index}]"
        entry = read_object(item, field)
        name = read_text(entry.get("name"), f"{field}.name", at_most=MAX_INPUT_NAME, pattern=INPUT_NAME)
        if name in inputs:
            raise SpecError(f"{field}.name", f"is {name!r} a second time", "give each input a name of its own")
        datastore = entry.get("datastore")
        if datastore is None:
            raise SpecError(f"{field}.datastore", "is missing", 'add it, for example {path: ""}')
        path = read_object(datastore, f"{field}.datastore").get("path")
        path = read_path("" if path is None else path, f"{field}.datastore.path", at_most=MAX_INPUT_PATH, empty=True)
        inputs[name] = InputSpec(name=name, path=path)
    return tuple(inputs.values())
