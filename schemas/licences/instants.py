"""Absolute points in time, as terms state them: nanoseconds UTC, or ISO 8601 with an offset."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BeforeValidator

if TYPE_CHECKING:
    from collections.abc import Mapping

NS_PER_SECOND: Final = 1_000_000_000
NS_PER_DAY: Final = 86_400 * NS_PER_SECOND
_ISO = re.compile(
    r"(?P<whole>\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(?:[.,](?P<fraction>\d{1,9}))?"
    r"(?P<offset>Z|[+-]\d\d:?\d\d)"
)


def parse_instant(value: object) -> int:
    """Nanoseconds UTC of an integer, an ISO 8601 text with an offset, or an aware datetime.

    A local time without an offset, or a bare date, is refused: terms must end at the same
    instant wherever they are read.

    Raises:
        ValueError: `value` is none of these.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, datetime) and value.tzinfo is not None:
        return _whole_seconds(value) * NS_PER_SECOND + value.microsecond * 1000
    if isinstance(value, str) and (match := _ISO.fullmatch(value.strip())):
        whole = datetime.fromisoformat(match["whole"] + match["offset"].replace("Z", "+00:00"))
        return _whole_seconds(whole) * NS_PER_SECOND + int((match["fraction"] or "").ljust(9, "0"))
    raise ValueError(
        f"{value!r} is no absolute time: give nanoseconds UTC or ISO 8601 with an offset, "
        "such as 2027-04-01T00:00:00+09:00"
    )


def _whole_seconds(value: datetime) -> int:
    since = value.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400 + since.seconds


def format_instant(value_ns: int) -> str:
    """ISO 8601 in UTC, with as many fractional digits as the instant has.

    Args:
        value_ns: Nanoseconds UTC. What no calendar can name is shown as the bare number.
    """
    seconds, fraction = divmod(value_ns, NS_PER_SECOND)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{value_ns} ns"
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{text}{digits}Z"


def expiry_of(terms: Mapping[str, object]) -> int | None:
    """When terms end, ns UTC, of their document as it is stored; None: never.

    Raises:
        ValueError: the document holds no absolute time.
    """
    end = terms.get("expires_at")
    return None if end is None else parse_instant(end)


Instant = Annotated[int, BeforeValidator(parse_instant)]
"""A pydantic field holding nanoseconds UTC."""
