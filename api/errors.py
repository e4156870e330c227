"""The one map from errors to HTTP, as problem details (RFC 9457).

A 404 never says which id it was asked for, so that a foreign object and one that never existed
answer with the same bytes. A 5xx never repeats an exception's text.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from schemas import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 2
LOG = logging.getLogger("tanada.api")


class RefusedError(errors.ForbiddenError):
    """The caller may know of the object, and terms or role forbid this use of it now.

    Args:
        what: What was refused, in one clause.
        rules: The rules that fired, as in the decision.
        next_step: What the reader can do.
    """

    def __init__(self, what: str, *, rules: Sequence[str], next_step: str = "") -> None:
        self.rules = tuple(rules)
        super().__init__(what, next_step=next_step)


class BodyTooLargeError(errors.WrongUseError):
    """The request's body exceeds what this route takes."""


class RangeNotSatisfiableError(errors.WrongUseError):
    """The asked range lies outside the file.

    Args:
        size: Size of the file in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__("the range lies outside the file", expected=f"within {size} bytes")


class UnaccountedError(errors.FailError):
    """A data route tried to answer without a durable decision and audit entry."""


STATUS: Final[Mapping[type[errors.TanadaError], int]] = {
    errors.UnauthenticatedError: 401,
    errors.ForbiddenError: 403,
    errors.LicenceError: 403,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.GoneError: 410,
    BodyTooLargeError: 413,
    RangeNotSatisfiableError: 416,
    errors.WrongUseError: 422,
    errors.QuarantineError: 422,
    errors.RetryError: 503,
    errors.FailError: 500,
    errors.TanadaError: 500,
}
TITLES: Final[Mapping[int, str]] = {
    400: "Bad request",
    401: "Key needed",
    403: "Refused",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Withdrawn",
    413: "Too large",
    416: "Range not satisfiable",
    422: "Not valid",
    500: "Internal error",
    503: "Try again later",
}
NOT_FOUND_DETAIL: Final = "no such object, or none that you may know of"
_FIXED_DETAIL: Final[Mapping[int, str]] = {
    404: NOT_FOUND_DETAIL,
    500: "something failed inside the platform; its log holds the request id of this answer",
    503: "the platform can't record or serve this just now; nothing was lost",
}
_FIXED_STEP: Final[Mapping[int, str]] = {
    401: "send 'Authorization: Bearer tnd_…', or open /login in a browser",
    404: "list what you may read: GET /v1/datasets, GET /v1/recordings",
    500: "report the X-Request-Id of this answer to the operator",
    503: "repeat the request after the seconds in Retry-After",
}


def status_of(error: errors.TanadaError) -> int:
    """HTTP status of an error: that of the nearest class in `STATUS`."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(
    status: int,
    detail: str = "",
    *,
    next_step: str = "",
    rules: Sequence[str] | None = None,
    invalid: Sequence[Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """A problem document: {type, title, status, detail, rules?, next_step?, errors?}."""
    title = TITLES.get(status, "Error")
    document: dict[str, Any] = {
        "type": "urn:tanada:problem:" + title.lower().replace(" ", "-"),
        "title": title,
        "status": status,
        "detail": _FIXED_DETAIL.get(status) or detail,
    }
    if rules is not None:
        document["rules"] = list(rules)
    step = _FIXED_STEP.get(status) or next_step
    if step:
        document["next_step"] = step
    if invalid:
        document["errors"] = [dict(entry) for entry in invalid]
    return document


def problem_of(error: Exception) -> tuple[dict[str, Any], dict[str, str]]:
    """The problem document and extra headers of any exception a route can raise."""
    # FastAPI wraps what is raised while it reads a body.
    if isinstance(error, HTTPException) and isinstance(error.__cause__, errors.TanadaError):
        error = error.__cause__
    if isinstance(error, RequestValidationError):
        return problem(
            422,
            "the request does not have the documented form",
            next_step="see /openapi.json",
            invalid=_invalid(error),
        ), {}
    if isinstance(error, HTTPException):
        return problem(error.status_code, str(error.detail)), dict(error.headers or {})
    if not isinstance(error, errors.TanadaError):
        return problem(500), {}
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    elif isinstance(error, RangeNotSatisfiableError):
        headers["Content-Range"] = f"bytes */{error.size}"
    elif isinstance(error, errors.UnauthenticatedError):
        headers["WWW-Authenticate"] = 'Bearer realm="tanada"'
    rules = error.rules if isinstance(error, RefusedError) else None
    detail = str(error).removesuffix(f"; next: {error.next_step}")
    return problem(status, detail, next_step=error.next_step, rules=rules), headers


def _invalid(error: RequestValidationError) -> list[dict[str, str]]:
    """Where and why, without repeating what was sent (it may hold a key)."""
    return [
        {"where": ".".join(str(part) for part in entry["loc"]), "why": str(entry["msg"])}
        for entry in error.errors()
    ]


class JsonResponse(Response):
    """A JSON answer written by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Bytes of the document."""
        return orjson.dumps(content)


def problem_response(document: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    """A problem document as an answer."""
    return Response(
        orjson.dumps(document),
        status_code=int(document["status"]),
        headers=dict(headers),
        media_type=PROBLEM_TYPE,
    )


def wants_page(request: Request) -> bool:
    """Whether a person's browser asked, outside the machine routes."""
    path = request.url.path
    machine = path.startswith(("/v1/", "/static/")) or path in {"/health", "/openapi.json"}
    return not machine and "text/html" in request.headers.get("accept", "")
