"""Decision, audit row and reservation are one transaction; caps hold to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.ledger import (
    Ask,
    Entry,
    Recorded,
    Span,
    authorise,
    record,
    settle,
    usage,
    verify_chain,
)
from connectors.stores.catalog.models import AuditRow, DecisionRow, Delivery
from schemas.licences import Action, Amount, Decision, Purpose, Request, Terms, parse_instant

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

NOON = parse_instant("2026-11-22T12:00:00Z")
HOUR = 3_600 * 10**9
OPEN: dict[str, Any] = {
    "purposes_allowed": ["pretraining"],
    "territory": {"storage": ["JP"], "processing": ["JP"]},
    "personal": {"contains_pi": False},
    "medical": {"contains_medical": False},
}


def ask(
    start: int,
    end: int,
    *,
    at: int = NOON,
    grant: str | None = "g1",
    purpose: Purpose = Purpose.PRETRAINING,
    rows: int = 0,
    **terms: Any,
) -> Ask:
    return Ask(
        terms=Terms.model_validate(OPEN | terms),
        request=Request("m1", "kitchen", purpose, Action.SIGN, "JP", None, at, Amount(rows=rows)),
        resource="tidy/1/a.parquet",
        grant=grant,
        terms_version=3,
        span=Span("tidy", 1, "a.parquet", start, end),
    )


def total(connection: Connection) -> int:
    return connection.scalar(select(func.coalesce(func.sum(AuditRow.amount), 0))) or 0


def test_a_permit_writes_decision_audit_delivery_and_usage(engine: Engine) -> None:
    with writing(engine) as connection:
        (recorded,) = authorise(connection, [ask(0, 100, rows=7)])
    assert recorded.decision is not None
    assert recorded.decision.permit
    with reading(engine) as connection:
        decision = connection.execute(select(DecisionRow.__table__)).one()
        audit = connection.execute(select(AuditRow.__table__)).one()
        delivery = connection.execute(select(Delivery.__table__)).one()
        used = usage(connection, "g1", NOON)
        assert verify_chain(connection) is None
    assert (decision.id, decision.permit, decision.terms_version) == (
        recorded.decision_id,
        True,
        3,
    )
    assert (audit.decision_id, audit.outcome, audit.amount) == (decision.id, "permit", 100)
    assert delivery.ranges == [[0, 100]]
    assert used.day == used.month == used.term == Amount(bytes=100, rows=7)


def test_a_denial_is_recorded_and_reserves_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        (recorded,) = authorise(connection, [ask(0, 100, purpose=Purpose.RESEARCH)])
    assert recorded.reservation is None
    with reading(engine) as connection:
        row = connection.execute(select(DecisionRow.__table__)).one()
        assert (row.permit, row.rules) == (False, ["purpose_not_allowed"])
        assert connection.execute(select(Delivery.__table__)).first() is None
        assert usage(connection, "g1", NOON).term == Amount()


def test_a_resumed_range_is_counted_once_and_rows_with_the_first_bytes(engine: Engine) -> None:
    with writing(engine) as connection:
        asks = [ask(0, 60, rows=7), ask(40, 100, rows=7), ask(0, 100, rows=7)]
        records = authorise(connection, asks)
        assert [r.reservation.new_bytes for r in records if r.reservation] == [60, 40, 0]
        assert usage(connection, "g1", NOON).term == Amount(bytes=100, rows=7)


def test_the_cap_holds_to_the_byte_within_one_transaction(engine: Engine) -> None:
    cap = {"volume_caps": {"day": {"bytes": 100}}}
    with writing(engine) as connection:
        records = authorise(
            connection,
            [ask(0, 60, **cap), ask(60, 101, **cap), ask(60, 100, **cap), ask(0, 100, **cap)],
        )
    outcomes = [r.decision.rules for r in records if r.decision]
    # The last one asks for bytes that were charged before: it costs nothing.
    assert outcomes == [(), ("cap_bytes_day",), (), ()]


def test_windows_turn_over_at_midnight_and_month_in_utc(engine: Engine) -> None:
    last = parse_instant("2026-11-30T23:59:59.999999999Z")
    with writing(engine) as connection:
        authorise(connection, [ask(0, 10, at=last)])
        authorise(connection, [ask(10, 15, at=last + 1)])
        before, after = usage(connection, "g1", last), usage(connection, "g1", last + 1)
    assert (before.day.bytes, before.month.bytes, before.term.bytes) == (10, 10, 15)
    assert (after.day.bytes, after.month.bytes, after.term.bytes) == (5, 5, 15)


def test_grants_are_counted_apart(engine: Engine) -> None:
    with writing(engine) as connection:
        authorise(connection, [ask(0, 10), ask(0, 30, grant="g2"), ask(0, 50, grant=None)])
        assert usage(connection, "g1", NOON).term.bytes == 10
        assert usage(connection, "g2", NOON).term.bytes == 30


def test_nothing_is_kept_of_a_transaction_that_fails(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            authorise(connection, [ask(0, 100)])
            raise RuntimeError("the process dies here")

    with pytest.raises(RuntimeError):
        fail()
    with reading(engine) as connection:
        assert usage(connection, "g1", NOON).term == Amount()
        assert connection.scalar(select(func.count()).select_from(AuditRow)) == 0
        assert connection.scalar(select(func.count()).select_from(DecisionRow)) == 0


def test_what_was_not_sent_is_taken_back_in_the_windows_it_was_charged_in(engine: Engine) -> None:
    with writing(engine) as connection:
        (recorded,) = authorise(connection, [ask(0, 100)])
        assert settle(connection, recorded, 30, NOON + 24 * HOUR) == -70
        assert usage(connection, "g1", NOON).day.bytes == 30
        assert usage(connection, "g1", NOON + 24 * HOUR).day.bytes == 0
        (again,) = authorise(connection, [ask(30, 100)])
        assert settle(connection, again, 100, NOON) == 0
        assert usage(connection, "g1", NOON).term.bytes == 100 == total(connection)
        assert verify_chain(connection) is None


def test_a_parallel_reader_pays_for_what_the_first_one_gave_back(engine: Engine) -> None:
    with writing(engine) as connection:
        first, second = authorise(connection, [ask(0, 100), ask(0, 100)])
        assert settle(connection, first, 10, NOON) == -90
        assert settle(connection, second, 100, NOON) == 90
        assert usage(connection, "g1", NOON).term.bytes == 100 == total(connection)


def test_a_denied_ask_has_nothing_to_settle(engine: Engine) -> None:
    with writing(engine) as connection:
        assert settle(connection, Recorded(None, 1), 5, NOON) == 0


def test_plain_entries_need_no_decision(engine: Engine) -> None:
    entries = [
        Entry(NOON, None, None, "login", "-", outcome="refused"),
        Entry(NOON, "m1", "kitchen", "upload", "r1", outcome="ok", request_id="q"),
        Entry(
            NOON,
            "m1",
            "kitchen",
            "list",
            "datasets",
            Decision(permit=True, rules=(), obligations=()),
        ),
    ]
    with writing(engine) as connection:
        assert record(connection, []) == []
        written = record(connection, entries)
        assert [w.seq for w in written] == [1, 2, 3]
        assert [w.decision_id is None for w in written] == [True, True, False]
        assert verify_chain(connection) is None


@pytest.mark.parametrize("table", ["audit", "decisions"])
@pytest.mark.parametrize("change", ["UPDATE {} SET action = 'x'", "DELETE FROM {}"])
def test_the_database_refuses_to_change_the_log(engine: Engine, table: str, change: str) -> None:
    with writing(engine) as connection:
        authorise(connection, [ask(0, 1)])
    with (
        pytest.raises(DBAPIError, match="never changed or deleted"),
        writing(engine) as connection,
    ):
        connection.execute(text(change.format(table)))
