"""Posts one JSON document to an address of the operator's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping


def post_json(url: str, document: Mapping[str, Any], timeout_seconds: float) -> None:
    """Post it; redirects are not followed.

    Args:
        url: http or https; it may hold a password, so no error repeats it.
        document: What is posted.
        timeout_seconds: For each of connecting, sending and waiting.

    Raises:
        StoreUnavailableError: nobody took it.
    """
    import httpx

    try:
        answer = httpx.post(url, json=document, timeout=timeout_seconds)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StoreUnavailableError(
            "the receiver does not answer", found=type(error).__name__
        ) from None
    if not answer.is_success:
        raise StoreUnavailableError("the receiver refuses", found=str(answer.status_code))
