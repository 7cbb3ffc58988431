"""What the API server's refusals mean, as types that callers can tell apart."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """A call that did not succeed; `code` is the HTTP status, or 0 where no answer came."""

    def __init__(self, message: str, *, code: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class Unavailable(ApiError):  # noqa: N818 - named like the reasons of the API itself
    """No answer, or one that asks to come again later (408, 429, 5xx): the same call may succeed."""


class NotFound(ApiError):  # noqa: N818
    """The object, or its kind, does not exist."""


class AlreadyExists(ApiError):  # noqa: N818
    """An object of that name was there before."""


class Conflict(ApiError):  # noqa: N818
    """The object has changed since the resourceVersion that the write named."""


class Forbidden(ApiError):  # noqa: N818
    """The operator's service account may not do that, or its token was not accepted."""


class Invalid(ApiError):  # noqa: N818
    """The API server refuses the content; sending it again would be refused again."""


class Expired(ApiError):  # noqa: N818
    """The continuation of a paged LIST is too old; the list has to begin anew."""


_BY_CODE: dict[int, type[ApiError]] = {
    HTTPStatus.BAD_REQUEST: Invalid,
    HTTPStatus.UNAUTHORIZED: Forbidden,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.REQUEST_TIMEOUT: Unavailable,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Expired,
    HTTPStatus.UNPROCESSABLE_ENTITY: Invalid,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Invalid,
    HTTPStatus.TOO_MANY_REQUESTS: Unavailable,
}


def error_of(*, code: int, body: bytes, what: str, retry_after: str | None = None) -> ApiError:
    """Return the error that an answer with status `code` stands for; `what` names the call in its message."""
    status = _status_of(body)
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or body[:200].decode(errors="replace").strip() or "no message")
    kind = _BY_CODE.get(code, Unavailable if code >= HTTPStatus.INTERNAL_SERVER_ERROR else ApiError)
    if kind is Conflict and reason == "AlreadyExists":
        kind = AlreadyExists
    return kind(f"{what}: {code} {message}", code=code, reason=reason, retry_after=_seconds(retry_after))


def _status_of(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:  # a proxy's HTML page, or nothing
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:  # the date form of the header, which API servers do not send
        return None
