"""Where and with what a script runs, apart from the script itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from trainyard.remote.environment import Environment
from trainyard.remote.settings import Settings

if TYPE_CHECKING:
    from trainyard.remote.compute import ComputeTarget
    from trainyard.remote.reference import DataReference

# As `base_image`: Trainyard's own trainer image.
DEFAULT_CPU_IMAGE: Final[str | None] = None


class RunConfiguration(Settings):
    """What a `ScriptRunConfig` takes as `run_config`, and has as its attribute.

    Attributes
    ----------
    target
        A `ComputeTarget` or its name; None for any node of the cluster.
    environment
        What the script needs.
    data_references
        `DataReference` objects by name; they are there before the script starts.
    """

    what: ClassVar = "run configurations"
    known: ClassVar = frozenset({"target", "environment", "data_references"})

    def __init__(self) -> None:
        self.target: ComputeTarget | str | None = None
        self.environment: Environment = Environment()
        self.data_references: dict[str, DataReference] = {}
