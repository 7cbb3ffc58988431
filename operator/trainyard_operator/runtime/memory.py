"""What one process has learned and may forget: a restart only learns it again."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainyard_operator.runtime.inspections import Inspections


@dataclass(kw_only=True)
class Memory:
    """Why a version's copy can never work, by the model's uid and the version's number.

    `kept_data` says why the data of a deleted run could not be deleted the last time, by the run's uid.
    """

    kept_data: dict[str, str] = field(default_factory=dict)
    refusals: dict[tuple[str, int], str] = field(default_factory=dict)
    inspections: Inspections = field(default_factory=Inspections)
