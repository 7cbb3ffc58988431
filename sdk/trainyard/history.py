"""What a run has logged, read back from its lines in the shapes that Azure ML gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainyard.contract import decode_metric

if TYPE_CHECKING:
    from collections.abc import Iterable

Entry = dict[str, Any]


def metrics_of(entries: Iterable[Entry]) -> dict[str, Any]:
    """Return what was logged under each name.

    A name that was logged once has its value, one that was logged again a list; lists are lists; rows are
    dictionaries of columns, each with its value or, from the second row on, a list; tables are dictionaries of lists;
    images and documents are the path of their file.
    """
    found: dict[str, Any] = {}
    again: set[str] = set()
    for entry in entries:
        if "metric" in entry:
            name = entry["metric"]
            _append(found, name, _plain(entry["value"]), first=name not in again)
            again.add(name)
        elif "list" in entry:
            values = found.get(entry["list"])
            if not isinstance(values, list):
                values = found[entry["list"]] = []
            values.extend(map(_plain, entry["values"]))
        elif "row" in entry:
            columns = _columns(found, entry["row"])
            for column, value in entry["values"].items():
                _append(columns, column, _plain(value), first=column not in columns)
        elif "table" in entry:
            columns = _columns(found, entry["table"])
            for column, values in entry["columns"].items():
                columns.setdefault(column, []).extend(map(_plain, values))
        elif "file" in entry:
            found[entry["file"]] = entry["path"]
    return found


def said_of(entries: Iterable[Entry], kind: str) -> dict[str, str]:
    """Return the tags or the properties of a run, as `kind` says."""
    found: dict[str, str] = {}
    for entry in entries:
        found.update(entry.get(kind, {}))
    return found


def _columns(found: dict[str, Any], name: str) -> dict[str, Any]:
    columns = found.get(name)
    if not isinstance(columns, dict):
        columns = found[name] = {}
    return columns


def _append(found: dict[str, Any], name: str, value: Any, *, first: bool) -> None:
    if first:
        found[name] = value
    elif isinstance(found[name], list):
        found[name].append(value)
    else:
        found[name] = [found[name], value]


def _plain(value: Any) -> Any:
    try:
        return decode_metric(value)
    except ValueError:
        return value  # a text in a row or table
