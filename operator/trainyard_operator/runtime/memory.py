"""What one process has learned and may forget: a restart only learns it again."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainyard_operator.domain.store_trust import Trust
from trainyard_operator.runtime.inspections import Inspections


@dataclass(kw_only=True)
class Memory:
    """Why a version's copy can never work, by the model's uid and the version's number.

    `kept_data` says why the data of a deleted run could not be deleted the last time, by the run's uid;
    `store_trouble` why the object store did not do what a registration needed, by the uid of the run or the model.
    `kept_files` says why the files of a version that is to go could not be deleted the last time.
    """

    kept_files: dict[tuple[str, int], str] = field(default_factory=dict)
    kept_data: dict[str, str] = field(default_factory=dict)
    store_trouble: dict[str, str] = field(default_factory=dict)
    trust: Trust | None = None  # what the probe at the start found; None while it is under way
    refusals: dict[tuple[str, int], str] = field(default_factory=dict)
    inspections: Inspections = field(default_factory=Inspections)
