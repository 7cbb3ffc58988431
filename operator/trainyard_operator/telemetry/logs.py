"""Logs as one JSON object a line, with the reference of the Kubernetes object that a line is about."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("trainyard_operator")


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON; `extra={"object": {...}}` becomes the field `object`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        reference = getattr(record, "object", None)
        if reference:
            line["object"] = reference
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logs(level: str) -> None:
    """Send all logs to stdout as JSON; libraries speak from WARNING on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("trainyard_operator").setLevel(level)


def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what nobody awaited, but for one thing that is no news.

    kopf leaves the generator of a watch suspended when it is stopped between two events of a burst. asyncio closes it
    at the very end, and says that the block inside it does not take that well; nothing is left to go wrong then.
    """
    if "asyncgen" in context:
        log.debug("%s", context.get("message"))
    else:
        loop.default_exception_handler(context)
