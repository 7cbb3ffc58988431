"""How the gateway says no."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class Refusal(Exception):  # noqa: N818 - what it is called in every sentence about it
    """An answer other than success: `reason` for programs, `message` for people, `field` where one is to blame."""

    def __init__(
        self, status: HTTPStatus, reason: str, message: str, *, field: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.field = field
        self.retry_after = retry_after

    def document(self) -> dict[str, Any]:
        """Return the body of the answer."""
        error = {"reason": self.reason, "message": self.message}
        if self.field is not None:
            error["field"] = self.field
        return {"error": error}


def bad_request(message: str, *, field: str | None = None) -> Refusal:
    """Return the refusal of a request that is wrong in itself."""
    return Refusal(HTTPStatus.BAD_REQUEST, "BadRequest", message, field=field)


def forbidden(message: str) -> Refusal:
    """Return the refusal of a request that this caller may not make."""
    return Refusal(HTTPStatus.FORBIDDEN, "Forbidden", message)


def unavailable(message: str, *, retry_after: int = 1) -> Refusal:
    """Return the refusal of a request that may succeed a little later."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Unavailable", message, retry_after=retry_after)
