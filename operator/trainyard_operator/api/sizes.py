"""The size catalogue: names of machine sizes, what such a machine has, and what each cloud calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.quantities import cpu_millis, memory_bytes


class CatalogueError(ValueError):
    """The catalogue says something that cannot work; the message names the size and the field."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """One machine size.

    Attributes
    ----------
    cpu
        Thousandths of a core that a machine has.
    memory
        Bytes that a machine has.
    instance_types
        What the size is called, by the API group of the node class that makes such machines, or by ``eks`` for
        the node groups of EKS.
    """

    name: str
    cpu: int
    memory: int
    instance_types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def types_of(self, *groups: str) -> tuple[str, ...]:
        """Return the instance types of the first group that the size speaks of; its own name where it is silent."""
        return next((self.instance_types[group] for group in groups if self.instance_types.get(group)), (self.name,))


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All sizes, found by name in any spelling of upper and lower case, as Azure's are."""

    sizes: Mapping[str, Size] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: object) -> Self:
        """Return the catalogue that `document` describes.

        Raises
        ------
        CatalogueError
            Naming the first entry that cannot work.
        """
        if not isinstance(document, dict):
            raise CatalogueError("the size catalogue must be an object of sizes by name")
        sizes = {}
        for name, entry in document.items():
            size = _read(str(name), entry)
            if size.name.lower() in sizes:
                raise CatalogueError(f"size {name}: another one has the same name but for upper and lower case")
            sizes[size.name.lower()] = size
        return cls(sizes=sizes)

    def find(self, name: str) -> Size:
        """Return the size called `name`.

        Raises
        ------
        SpecError
            If there is none, listing those that there are.
        """
        size = self.sizes.get(name.lower())
        if size is None:
            known = ", ".join(sorted(size.name for size in self.sizes.values())) or "no size at all"
            raise SpecError(
                "spec.vmSize",
                f"is {name!r}, which the size catalogue does not have",
                f"use one of {known}, or have it added to the chart's value `sizes`",
            )
        return size


def _read(name: str, entry: object) -> Size:
    if not isinstance(entry, dict):
        raise CatalogueError(f"size {name}: must be an object with cpu and memory")
    try:
        cpu, memory = cpu_millis(str(entry.get("cpu"))), memory_bytes(str(entry.get("memory")))
    except ValueError as error:
        raise CatalogueError(f"size {name}: {error}") from None
    types = entry.get("instanceTypes") or {}
    if not isinstance(types, dict) or not all(isinstance(names, list) for names in types.values()):
        raise CatalogueError(f"size {name}: instanceTypes must be lists of instance types by API group of a node class")
    return Size(
        name=name,
        cpu=cpu,
        memory=memory,
        instance_types={str(group): tuple(str(n) for n in names) for group, names in types.items()},
    )
