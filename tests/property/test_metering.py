"""Byte ranges against the set of bytes that they stand for."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from connectors.stores.catalog.database import connect, migrate, reading, writing
from connectors.stores.catalog.ledger import (
    Ask,
    Recorded,
    Span,
    authorise,
    record,
    settle,
    verify_chain,
)
from connectors.stores.catalog.metering import length, merged, missing, without
from connectors.stores.catalog.models import AuditRow, Delivery
from schemas.licences import Action, Purpose, Request, Terms

if TYPE_CHECKING:
    from tests.servers.catalogs import Catalogs

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def cells(ranges: list[tuple[int, int]] | list[list[int]]) -> set[int]:
    return {byte for start, end in ranges for byte in range(start, end)}


@given(RANGES, st.integers(0, 60), st.integers(0, 60))
def test_ranges_agree_with_sets(ranges: list[tuple[int, int]], start: int, end: int) -> None:
    held = merged(ranges)
    assert cells(held) == cells(ranges)
    assert length(held) == len(cells(ranges))
    assert all(a[1] < b[0] for a, b in pairwise(held))
    new = missing(held, start, end)
    assert cells(list(new)) == set(range(start, end)) - cells(held)
    assert cells(without(held, new)) == cells(held)
    assert cells(without(held, [(start, max(start, end))])) == cells(held) - set(range(start, end))


STEPS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8
)
TERMS = Terms.own_use("kitchen")


@given(STEPS)
@settings(max_examples=30)
def test_reservations_and_settlements_add_up_to_distinct_bytes_sent(
    session_catalogs: Catalogs, steps: list[tuple[int, int, int]]
) -> None:
    """Each step reserves a range; all are open at once, then each is cut at a random point."""
    with tempfile.TemporaryDirectory() as folder:
        engine = connect(session_catalogs.new(Path(folder)))
        migrate(engine)
        request = Request("m", "kitchen", Purpose.RESEARCH, Action.SIGN, "JP", None, 5)
        reserved: set[int] = set()
        sent: set[int] = set()
        records: list[tuple[Recorded, int]] = []
        with writing(engine) as connection:
            for one, two, cut in steps:
                start, end = sorted((one, two))
                ask = Ask(TERMS, request, "d/1/f", span=Span("d", 1, "f", start, end))
                (recorded,) = authorise(connection, [ask])
                assert recorded.reservation is not None
                assert recorded.reservation.new_bytes == len(set(range(start, end)) - reserved)
                reserved |= set(range(start, end))
                stop = min(max(cut, start), end)
                sent |= set(range(start, stop))
                records.append((recorded, stop))
            for recorded, stop in records:
                settle(connection, recorded, stop, 6)
            assert record(connection, []) == []
        with reading(engine) as connection:
            charged = connection.scalar(select(func.sum(AuditRow.amount)))
            delivery = connection.execute(select(Delivery.__table__)).one()
            assert verify_chain(connection) is None
        engine.dispose()
    assert cells(delivery.ranges) == sent
    assert delivery.bytes == charged == len(sent)
