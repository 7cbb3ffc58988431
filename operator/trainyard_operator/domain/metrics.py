"""Metrics on their way from a pod, which nobody has to trust, into a status, which stays small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainyard.contract import MAX_METRICS, MetricValue, decode_metric, encode_metric, metric_name


def bounded(metrics: object) -> dict[str, MetricValue]:
    """Return at most 64 clean metrics of what a pod sent, in its order; what is no number is dropped."""
    if not isinstance(metrics, Mapping):
        return {}
    clean: dict[str, MetricValue] = {}
    for name, value in metrics.items():
        if len(clean) >= MAX_METRICS:
            break
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        try:
            number = decode_metric(value)
            # The API server keeps integers as int64: larger ones become floats before it refuses them.
            clean[metric_name(str(name))] = encode_metric(number if abs(number) < 2**63 else float(number))
        except (ValueError, OverflowError):
            continue
    return clean


def unchanged(*, old: Mapping[str, Any], new: Mapping[str, MetricValue]) -> dict[str, MetricValue]:
    """Return `new`, spelled as `old` spells it where both mean the same number.

    The API server gives 1.0 back as 1 and large floats as integers of other digits; a spelling is no change.
    """
    return {name: old[name] if name in old and _same(old[name], value) else value for name, value in new.items()}


def _same(old: object, new: MetricValue) -> bool:
    if isinstance(old, str) or isinstance(new, str):
        return old == new
    return isinstance(old, int | float) and float(old) == float(new)


def summary(*, metrics: Mapping[str, MetricValue], parameters: Mapping[str, Any], before: str | None) -> str | None:
    """Return the one metric that a table has room for, as ``name=value``.

    It is the first metric that does not merely repeat a parameter's value (the tutorial logs its regularization rate
    before its accuracy); a name once shown stays the one shown.
    """
    shown: str | None = before.rsplit("=", 1)[0] if before else None
    if shown not in metrics:
        echoed = [value for value in parameters.values() if isinstance(value, int | float)]
        shown = next((name for name, value in metrics.items() if value not in echoed), None)
    if shown is None:
        return before
    return f"{shown}={_short(metrics[shown])}"


def _short(value: MetricValue) -> str:
    number = decode_metric(value)
    if isinstance(value, str) or not math.isfinite(number):
        return str(value)
    return f"{number:.6g}"
