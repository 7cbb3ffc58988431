"""The termination message: what a container says of its end, in the 4 KiB that the kubelet keeps of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trainyard.contract import MAX_MESSAGE_CHARS, MAX_TERMINATION_BYTES, Termination
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from pathlib import Path

    from trainyard.contract import MetricValue, OutputsSummary

VERSION = 1


def termination(  # noqa: PLR0913 - the fields of a document, each by name
    *,
    container: str,
    reason: str | None = None,
    message: str = "",
    exit_code: int | None = None,
    signal: int | None = None,
    metrics: dict[str, MetricValue] | None = None,
    outputs: OutputsSummary | None = None,
    manifest_sha256: str | None = None,
    warnings: list[str] | None = None,
    log_tail: str = "",
) -> Termination:
    """Return the document; what is left out is empty."""
    return Termination(
        version=VERSION,
        container=container,
        reason=reason,
        message=message[:MAX_MESSAGE_CHARS],
        exitCode=exit_code,
        signal=signal,
        metrics=metrics or {},
        outputs=outputs or {"files": 0, "bytes": 0},
        manifestSha256=manifest_sha256,
        warnings=warnings or [],
        logTail=log_tail,
    )


def fit(document: Termination) -> bytes:
    """Return `document` as JSON of at most `MAX_TERMINATION_BYTES`.

    What is least missed goes first: the beginning of the log's tail, then the last metrics, warnings, the message's
    end. The manifest and the log itself have all of it.
    """
    tail, metrics = document["logTail"], dict(document["metrics"])
    warnings, message = list(document["warnings"]), document["message"]
    while True:
        trimmed = {**document, "logTail": tail, "metrics": metrics, "warnings": warnings, "message": message}
        raw = json.dumps(trimmed, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors="replace")
        over = len(raw) - MAX_TERMINATION_BYTES
        if over <= 0:
            return raw
        if tail:
            # A character takes six bytes at most, so this never cuts more than is needed.
            tail = tail[max(1, over // 6) :]
        elif metrics:
            metrics.popitem()
        elif warnings:
            warnings.pop()
        else:
            message = message[: -max(1, over // 6)]


def write_termination(path: Path, document: Termination) -> None:
    """Leave `document` where the kubelet reads it when the container has ended."""
    try:
        path.write_bytes(fit(document))
    except OSError as error:
        # The exit code still tells success from failure; the log is the one place left for the words.
        tell(f"the termination message could not be written: {error}; it was {document['message']!r}")
