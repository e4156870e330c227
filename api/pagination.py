"""Cursor pages: a cursor is opaque, bound to its listing, and checked when it comes back."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import orjson

from schemas.errors import WrongUseError

PAGE_DEFAULT: Final = 20
PAGE_MAX: Final = 200
CURSOR_MAX: Final = 2000


def encode_cursor(listing: str, *position: str | int) -> str:
    """Opaque text for the position of a page's last item.

    Args:
        listing: Name of the listing, so that a cursor of another one is refused.
        position: Sort key of the last item shown.
    """
    return base64.urlsafe_b64encode(orjson.dumps([listing, *position])).decode().rstrip("=")


def decode_cursor(listing: str, cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Inverse of `encode_cursor`; None stays None.

    Raises:
        WrongUseError: the text is no cursor of this listing, or of other types than `kinds`.
    """
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        value = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise _refused(listing) from error
    if not isinstance(value, list) or len(value) != len(kinds) + 1 or value[0] != listing:
        raise _refused(listing)
    position = tuple(value[1:])
    # bool is an int to isinstance: compare the exact types.
    if any(type(part) is not kind for part, kind in zip(position, kinds, strict=True)):
        raise _refused(listing)
    return position


def _refused(listing: str) -> WrongUseError:
    return WrongUseError(
        "not a cursor of this listing",
        subject=listing,
        next_step="start again without a cursor, and pass next_cursor back unchanged",
    )
