"""What every answer gets: a request id, security headers, a last resort, a cap on small bodies.

Plain ASGI: nothing here buffers a body or adds a task per request.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from api.errors import LOG, PROBLEM_TYPE, BodyTooLargeError, problem
from api.metrics import route_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.metrics import ApiMetrics

BODY_MAX: Final = 8 << 20
"""Bytes of a JSON or form body; a manifest of ten thousand files needs about two million."""
SECURITY_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
            b"base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_NO_STORE: Final = (b"cache-control", b"no-store")
_HTTPS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")


class Envelope:
    """Outermost layer: request id, security headers, and an answer when everything else failed.

    Counts every answer, and logs one line of it: the route's template, never the address.

    Args:
        app: What it wraps.
        https: Whether the server is reached by https, and browsers should insist on it.
        metrics: Counts the answers.
    """

    def __init__(self, app: ASGIApp, *, https: bool, metrics: ApiMetrics) -> None:
        self.app = app
        self._metrics = metrics
        self._headers = SECURITY_HEADERS + ((_HTTPS_ONLY,) if https else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = secrets.token_hex(12)
        scope.setdefault("state", {})["request_id"] = request_id
        begun = time.perf_counter()
        status = sent = 0

        async def enveloped(message: Message) -> None:
            nonlocal status, sent
            sent += len(message.get("body", b""))
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message.get("headers", ()))
                names = {name for name, _ in headers}
                headers.append((b"x-request-id", request_id.encode()))
                headers.extend(self._headers)
                if b"cache-control" not in names:
                    headers.append(_NO_STORE)
            await send(message)

        try:
            await self.app(scope, receive, enveloped)
        except Exception:
            # The traceback goes to the platform's log only; the answer carries just the id.
            LOG.exception("request %s failed", request_id, extra={"request_id": request_id})
            if status:
                raise
            await _answer_500(enveloped)
        finally:
            seconds = time.perf_counter() - begun
            route = route_of(scope)
            self._metrics.answered(scope["method"], route, status, seconds)
            said = {
                "request_id": request_id,
                "method": scope["method"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 6),
                "bytes": sent,
            }
            LOG.info("answered", extra=said)


async def _answer_500(send: Send) -> None:
    body = orjson.dumps(problem(500))
    headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class BodyCap:
    """Refuses bodies over `BODY_MAX` while they stream; uploads have caps of their own.

    Args:
        app: What it wraps.
        limit: Bytes.
    """

    def __init__(self, app: ASGIApp, *, limit: int = BODY_MAX) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "PUT"}:
            await self.app(scope, receive, send)
            return
        seen = 0

        async def capped() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise BodyTooLargeError("the body is too large", expected=f"≤ {self.limit} bytes")
            return message

        await self.app(scope, capped, send)


def request_id_of(scope: Scope) -> str:
    """The id that `Envelope` gave this request."""
    state: dict[str, Any] = scope.get("state", {})
    return str(state.get("request_id", ""))
