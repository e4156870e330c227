"""Single byte ranges (RFC 9110, section 14)."""

from __future__ import annotations

import re
from typing import Final

from api.errors import RangeNotSatisfiableError

_SINGLE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open range [start, end) that a Range header asks for.

    Args:
        header: Value of the Range header, or None.
        size: Size of the file in bytes.

    Returns:
        None where the whole file is to be sent: no header, another unit, several ranges or a
        malformed one (a server may ignore these).

    Raises:
        RangeNotSatisfiableError: it starts behind the end, or is an empty suffix.
    """
    match = _SINGLE.fullmatch(header.strip()) if header else None
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise RangeNotSatisfiableError(size)
        return size - length, size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiableError(size)
    return start, min(int(last) + 1, size) if last else size


def applies(if_range: str | None, etag: str) -> bool:
    """Whether a Range header holds under this If-Range header (strong comparison)."""
    return if_range is None or if_range.strip() == etag


def unchanged(if_none_match: str | None, etag: str) -> bool:
    """Whether the caller's copy, named by If-None-Match, is the current one."""
    if if_none_match is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag in tags
