"""Volume per grant: windows of UTC time, and byte ranges of which each is charged once.

Ranges are half-open [start, end). A delivery keeps the ranges it was charged for, sorted, disjoint
and merged; what a request adds to them is all that it costs. A reservation is made before a byte
leaves; settling takes back what was reserved and not sent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from connectors.stores.catalog.models import Delivery
from connectors.stores.catalog.models import Usage as UsageRow
from schemas.errors import WrongUseError
from schemas.licences import Amount, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Connection, Executable

    Insert = Callable[[Any], Any]

Range = tuple[int, int]
TERM: Final = "term"
_USAGE: Final = UsageRow.metadata.tables["usage"]
_DELIVERIES: Final = Delivery.metadata.tables["deliveries"]


@dataclass(frozen=True, slots=True)
class Span:
    """Part of one release file, [start, end) in bytes."""

    dataset: str
    version: int
    path: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one request may deliver, and what of it was not charged before.

    Attributes:
        organisation: The recipient.
        grant: Grant id; "" where an organisation reads what it published itself.
        span: The bytes asked for.
        new: Pieces of the span that this reservation was charged for.
        first: Whether nothing of the file had been charged before.
        at_ns: When; decides the usage windows.
    """

    organisation: str
    grant: str
    span: Span
    new: tuple[Range, ...]
    first: bool
    at_ns: int

    @property
    def new_bytes(self) -> int:
        """Bytes charged by this reservation."""
        return length(self.new)


def length(ranges: Iterable[Sequence[int]]) -> int:
    """Bytes in disjoint ranges."""
    return sum(end - start for start, end in ranges)


def missing(ranges: Iterable[Sequence[int]], start: int, end: int) -> tuple[Range, ...]:
    """Pieces of [start, end) that sorted, disjoint `ranges` don't hold, in order."""
    pieces: list[Range] = []
    for low, high in ranges:
        if high <= start:
            continue
        if low >= end:
            break
        if low > start:
            pieces.append((start, low))
        start = max(start, high)
    if start < end:
        pieces.append((start, end))
    return tuple(pieces)


def merged(ranges: Iterable[Sequence[int]]) -> list[list[int]]:
    """The same bytes as sorted, disjoint ranges that don't touch."""
    result: list[list[int]] = []
    for start, end in sorted((low, high) for low, high in ranges if low < high):
        if result and start <= result[-1][1]:
            result[-1][1] = max(result[-1][1], end)
        else:
            result.append([start, end])
    return result


def without(ranges: Iterable[Sequence[int]], taken: Sequence[Range]) -> list[list[int]]:
    """`ranges` less the sorted, disjoint `taken`."""
    return [list(piece) for low, high in ranges for piece in missing(taken, low, high)]


def windows(now_ns: int) -> dict[str, str]:
    """Names of the windows that an instant lies in: UTC day, UTC month, the whole term."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_ns // 1000)
    return {"day": f"{at:%Y-%m-%d}", "month": f"{at:%Y-%m}", TERM: TERM}


def usage(connection: Connection, grant_id: str, now_ns: int) -> Usage:
    """What was used under a grant in the windows of `now_ns`, reservations included."""
    names = windows(now_ns)
    rows = connection.execute(_USED, {"grant": grant_id, **names})
    found = {
        row.window: Amount(row.bytes, row.rows, row.episodes, row.hours_of_video) for row in rows
    }
    day, month, term = (found.get(name, Amount()) for name in names.values())
    return Usage(day=day, month=month, term=term)


def charge(connection: Connection, grant_id: str, amount: Amount, at_ns: int) -> None:
    """Add an amount (or, where negative, take it back) in all windows of `at_ns`."""
    if not grant_id or amount == Amount():
        return
    rows = [
        {"grant_id": grant_id, "window": window, **asdict(amount)}
        for window in windows(at_ns).values()
    ]
    connection.execute(_CHARGE[connection.dialect.name], rows)


def _charging(insert: Insert) -> Executable:
    fresh = insert(_USAGE)
    added = {name: _USAGE.c[name] + fresh.excluded[name] for name in asdict(Amount())}
    stored: Executable = fresh.on_conflict_do_update(
        index_elements=["grant_id", "window"], set_=added
    )
    return stored


def _keeping(insert: Insert) -> Executable:
    fresh = insert(_DELIVERIES)
    changed = {name: fresh.excluded[name] for name in ("ranges", "bytes", "last_ns")}
    key = [column.name for column in _DELIVERIES.primary_key]
    stored: Executable = fresh.on_conflict_do_update(index_elements=key, set_=changed)
    return stored


# Built once: building a statement costs several times what SQLite needs to run it.
_CHARGE: Final = {
    "sqlite": _charging(sqlite.insert),
    "postgresql": _charging(postgresql.insert),
}
_KEEP: Final = {"sqlite": _keeping(sqlite.insert), "postgresql": _keeping(postgresql.insert)}
_HELD: Final = select(_DELIVERIES.c.ranges).where(
    *(column == bindparam(f"key_{column.name}") for column in _DELIVERIES.primary_key)
)
_USED: Final = select(_USAGE).where(
    _USAGE.c.grant_id == bindparam("grant"),
    _USAGE.c.window.in_([bindparam("day"), bindparam("month"), bindparam("term")]),
)


def plan_range(
    connection: Connection, organisation: str, grant: str, span: Span, now_ns: int
) -> Reservation:
    """What a span would cost now; nothing is written.

    Raises:
        WrongUseError: the range is negative or runs backwards.
    """
    if not 0 <= span.start <= span.end:
        raise WrongUseError(
            "not a byte range", subject=span.path, found=f"[{span.start}, {span.end})"
        )
    held = _held(connection, organisation, grant, span)
    new = missing(held, span.start, span.end)
    return Reservation(organisation, grant, span, new, first=not held, at_ns=now_ns)


def keep_range(connection: Connection, reservation: Reservation) -> None:
    """Write a planned reservation into its delivery; same transaction as `plan_range`."""
    held = _held(connection, reservation.organisation, reservation.grant, reservation.span)
    _store(connection, reservation, merged([*held, *reservation.new]), reservation.at_ns)


def reserve_range(
    connection: Connection, organisation: str, grant: str, span: Span, now_ns: int
) -> Reservation:
    """Mark a span of a file as delivered; bytes delivered before are not counted again.

    The delivery alone is written: usage is charged where the decision is recorded.

    Returns:
        The reservation; `new_bytes` is what it adds.

    Raises:
        WrongUseError: the range is negative or runs backwards.
    """
    reservation = plan_range(connection, organisation, grant, span, now_ns)
    keep_range(connection, reservation)
    return reservation


def settle_range(
    connection: Connection, reservation: Reservation, sent_end: int, now_ns: int
) -> int:
    """Bring a delivery to what was really sent: [start, sent_end) of the reserved span.

    What this reservation was charged for beyond `sent_end` is taken back; what was sent and is
    not charged (another reader's reservation of the same bytes was taken back meanwhile) is added.

    Returns:
        Bytes added (positive) or taken back (negative).
    """
    span = reservation.span
    before = _held(connection, reservation.organisation, reservation.grant, span)
    unsent = [(max(low, sent_end), high) for low, high in reservation.new if high > sent_end]
    kept = without(before, unsent)
    after = merged([*kept, (span.start, min(max(sent_end, span.start), span.end))])
    delta = length(after) - length(before)
    if delta or after != before:
        _store(connection, reservation, after, now_ns)
    return delta


def _key(organisation: str, grant: str, span: Span) -> dict[str, Any]:
    return {
        "organisation_id": organisation,
        "grant_id": grant,
        "dataset_id": span.dataset,
        "version": span.version,
        "path": span.path,
    }


def _held(connection: Connection, organisation: str, grant: str, span: Span) -> list[list[int]]:
    key = {f"key_{name}": value for name, value in _key(organisation, grant, span).items()}
    return connection.scalar(_HELD, key) or []


def _store(
    connection: Connection, reservation: Reservation, ranges: list[list[int]], at_ns: int
) -> None:
    row = {
        **_key(reservation.organisation, reservation.grant, reservation.span),
        "ranges": ranges,
        "bytes": length(ranges),
        "first_ns": at_ns,
        "last_ns": at_ns,
    }
    connection.execute(_KEEP[connection.dialect.name], row)
