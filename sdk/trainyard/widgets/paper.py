"""A run on paper: HTML without scripts and plain text, for wherever no kernel or no front end answers."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from trainyard.widgets.look import bytes_in_words, seconds_in_words

Snapshot = Mapping[str, Any]

TAIL_LINES: Final = 30
_COLOURS: Final = {"good": "#1a7f37", "bad": "#c62828", "warn": "#9a6700", "active": "#1565c0", "waiting": "#6e7781"}
_MUTED: Final = "opacity:.7"
_CELL: Final = "text-align:left;padding:2px 12px 2px 0"
_WIDTH, _HEIGHT = 160, 32


def html_of(snapshot: Snapshot) -> str:
    """Return the run as HTML; nothing that a run says becomes markup."""
    view = snapshot["view"]
    parts = [
        '<div class="trainyard-paper" style="font-family:sans-serif;font-size:13px;line-height:1.5;max-width:900px">',
        _head(view, now=snapshot["now"]),
        _phases(view, now=snapshot["now"]),
        _metrics(view, snapshot["series"]["of"]),
        _models(view),
        _files(view),
        _log(snapshot),
        "</div>",
    ]
    return "".join(parts)


def text_of(snapshot: Snapshot) -> str:
    """Return the run as plain text."""
    view = snapshot["view"]
    lines = [f"Run {view['id']} of {view['experiment']}: {view['status']}"]
    lines += [f"  {line}" for line in (view["message"], *view["notes"].values()) if line]
    if view["progress"] and view["progress"]["percent"] is not None and not view["ended"]:
        lines.append(f"  {view['progress']['percent']} % {view['progress']['message']}".rstrip())
    passed = [f"{p['name']} {_took(p, view, now=snapshot['now'])}" for p in view["phases"]]
    lines += [f"  {', '.join(passed)}"] if passed else []
    lines += [f"  {name} = {_number(value)}" for name, value in view["latest"]]
    lines += [f"  model {model['id']}" for model in view["models"]]
    lines += [f"  {path}  {_size(size)}".rstrip() for path, size in view["files"]]
    return "\n".join(lines)


def _head(view: Mapping[str, Any], *, now: float) -> str:
    colour = _COLOURS[view["tone"]]
    pill = f"background:{colour};color:#fff;border-radius:10px;padding:1px 10px;font-weight:600"
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    asof = "" if view["ended"] else f" · as of {stamp}"
    about = f"{_safe(view['experiment'])} · {_safe(_elapsed(view, now=now))}{asof}"
    state = f'<span style="{pill}">{_safe(view["status"])}</span> <b>{_safe(view["id"])}</b>'
    words = [f'<div>{state} <span style="{_MUTED}">{about}</span></div>']
    words += [f"<div>{_safe(text)}</div>" for text in (view["message"], *view["notes"].values()) if text]
    progress = view["progress"]
    if progress and progress["percent"] is not None and not view["ended"]:
        words.append(f"<div>{_safe(progress['percent'])} % {_safe(progress['message'])}</div>")
    return "".join(words)


def _phases(view: Mapping[str, Any], *, now: float) -> str:
    cells = [f"{_safe(phase['name'])} {_safe(_took(phase, view, now=now))}" for phase in view["phases"]]
    return f'<div style="{_MUTED}">{" → ".join(cells)}</div>' if cells else ""


def _metrics(view: Mapping[str, Any], series: Sequence[Mapping[str, Any]]) -> str:
    drawn = {one["name"]: one for one in series}
    names = [name for name, _ in view["latest"]] + [name for name in drawn if name not in dict(view["latest"])]
    rows = []
    for name in names:
        value = dict(view["latest"]).get(name)
        if value is None:
            value = drawn[name]["y"][-1]
        line = _line(drawn[name]) if name in drawn else ""
        rows.append([_safe(name), f"<b>{_safe(_number(value))}</b>", line])
    return _table(("Metric", "Latest", ""), rows)


def _models(view: Mapping[str, Any]) -> str:
    rows = [[f"<b>{_safe(model['id'])}</b>", _safe(model["path"])] for model in view["models"]]
    rows += [[_safe(held["name"]), f"not registered: {_safe(held['message'])}"] for held in view["held"]]
    return _table(("Model", ""), rows)


def _files(view: Mapping[str, Any]) -> str:
    rows = [[f"<code>{_safe(path)}</code>", _safe(_size(size))] for path, size in view["files"]]
    if view["more_files"]:
        rows.append([f"and {view['more_files']} more", ""])
    return _table(("File", "Size"), rows)


def _log(snapshot: Snapshot) -> str:
    lines = snapshot["log"]["lines"] or str((snapshot["view"]["failure"] or {}).get("logTail", "")).splitlines()
    if not lines:
        return ""
    text = _safe("\n".join(lines[-TAIL_LINES:]))
    style = "max-height:20em;overflow:auto;margin:4px 0"
    return f'<details><summary>The end of its log</summary><pre style="{style}">{text}</pre></details>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    top = "".join(f'<th style="{_CELL}">{name}</th>' for name in head)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f'<table style="margin:6px 0"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def _line(series: Mapping[str, Any]) -> str:
    """Return a small picture of a series."""
    points = [(x, y) for x, y in zip(series["x"], series["y"], strict=True) if y is not None]
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return ""
    (x0, x1), (y0, y1) = (_ends([point[axis] for point in points]) for axis in (0, 1))
    places = " ".join(
        f"{(x - x0) / (x1 - x0) * _WIDTH:.1f},{_HEIGHT - 2 - (y - y0) / (y1 - y0) * (_HEIGHT - 4):.1f}"
        for x, y in points
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">'
        f'<polyline fill="none" stroke="currentColor" stroke-width="1.5" points="{places}"/></svg>'
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _elapsed(view: Mapping[str, Any], *, now: float) -> str:
    begun = view["start"] or view["created"]
    return seconds_in_words((view["end"] or now) - begun) if begun else ""


def _took(phase: Mapping[str, Any], view: Mapping[str, Any], *, now: float) -> str:
    return seconds_in_words((phase["end"] or view["end"] or now) - phase["start"])


def _number(value: Any) -> str:
    if isinstance(value, (int, float)) and math.isfinite(value):
        return f"{value:.6g}"
    return "NaN" if value is None else str(value)


def _size(size: float) -> str:
    return bytes_in_words(size) if size >= 0 else ""


def _safe(text: Any) -> str:
    return html.escape(str(text))
