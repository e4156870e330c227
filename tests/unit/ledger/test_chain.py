"""Changed, deleted, swapped, inserted, cut off: the verifier names the first bad row."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from connectors.stores.catalog.chain import row_hash
from connectors.stores.catalog.database import connect, reading, writing
from connectors.stores.catalog.ledger import Entry, head, record, verify_chain, verify_head
from connectors.stores.catalog.models import AuditRow
from schemas.licences import Decision

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

PEPPER = b"p" * 32
YES = Decision(permit=True, rules=(), obligations=("encrypt",))


def entry(number: int) -> Entry:
    return Entry(number, f"m{number}", "kitchen", "sign", f"tidy/1/{number}", YES)


def triggers(engine: Engine, table: str) -> list[str]:
    if engine.dialect.name == "sqlite":
        return [f"{table}_no_update", f"{table}_no_delete"]
    return [f"{table}_append_only ON {table}"]


@pytest.fixture
def log(engine: Engine) -> Engine:
    """Ten rows, with the triggers out of the way, as an attacker with the file would have them."""
    with writing(engine) as connection:
        record(connection, [entry(number) for number in range(1, 11)])
        for table in ("audit", "decisions"):
            for trigger in triggers(engine, table):
                connection.execute(text(f"DROP TRIGGER {trigger}"))
        assert verify_chain(connection) is None
    return engine


INSERT_BEFORE = (
    "INSERT INTO audit SELECT 0, at_ns, actor, organisation_id, action, resource, decision_id,"
    " outcome, amount, request_id, previous, 'new' FROM audit WHERE seq = 1"
)
TAMPERED = {
    "changed": (["UPDATE audit SET amount = 1 WHERE seq = 4"], 4),
    "changed actor": (["UPDATE audit SET actor = NULL WHERE seq = 1"], 1),
    "changed hash": (["UPDATE audit SET hash = 'x' WHERE seq = 6"], 6),
    "deleted": (["DELETE FROM audit WHERE seq = 5"], 5),
    "first deleted": (["DELETE FROM audit WHERE seq = 1"], 1),
    "deleted and closed up": (
        ["DELETE FROM audit WHERE seq = 5", "UPDATE audit SET seq = seq - 1 WHERE seq > 5"],
        5,
    ),
    "swapped": (
        [
            "UPDATE audit SET seq = 99 WHERE seq = 3",
            "UPDATE audit SET seq = 3 WHERE seq = 7",
            "UPDATE audit SET seq = 7 WHERE seq = 99",
        ],
        3,
    ),
    "contents swapped": (
        [
            "UPDATE audit SET resource = 'tidy/1/4' WHERE seq = 3",
            "UPDATE audit SET resource = 'tidy/1/3' WHERE seq = 4",
        ],
        3,
    ),
    "inserted before": (
        [INSERT_BEFORE],
        1,
    ),
    "decision changed": (["UPDATE decisions SET permit = false WHERE at_ns = 8"], 8),
    "obligations changed": (["UPDATE decisions SET obligations = '[]' WHERE at_ns = 2"], 2),
    "decision deleted": (["DELETE FROM decisions WHERE at_ns = 9"], 9),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_found_where_it_begins(log: Engine, name: str) -> None:
    statements, bad = TAMPERED[name]
    with writing(log) as connection:
        for statement in statements:
            connection.execute(text(statement))
    with reading(log) as connection:
        assert verify_chain(connection) == bad


def test_a_row_inserted_with_a_fitting_hash_breaks_at_the_next(log: Engine) -> None:
    with writing(log) as connection:
        connection.execute(text("UPDATE audit SET seq = seq + 100 WHERE seq > 5"))
        connection.execute(text("UPDATE audit SET seq = seq - 99 WHERE seq > 100"))
        previous = connection.scalar(select(AuditRow.hash).where(AuditRow.seq == 5)) or ""
        forged = {
            "seq": 6,
            "at_ns": 6,
            "actor": None,
            "organisation_id": None,
            "action": "sign",
            "resource": "forged",
            "decision_id": None,
            "outcome": "permit",
            "amount": 0,
            "request_id": "",
        }
        row = {**forged, "previous": previous, "hash": row_hash(previous, forged)}
        connection.execute(AuditRow.__table__.insert().values(row))  # type: ignore[attr-defined]
        assert verify_chain(connection) == 7


def test_only_the_signed_head_finds_a_cut_tail(log: Engine) -> None:
    with writing(log) as connection:
        signed = head(connection, PEPPER)
        assert verify_chain(connection, signed, PEPPER) is None
        connection.execute(text("DELETE FROM audit WHERE seq > 7"))
        assert verify_chain(connection) is None
        assert verify_chain(connection, signed, PEPPER) == 8


def test_only_the_signed_head_finds_a_log_made_anew(log: Engine) -> None:
    with writing(log) as connection:
        signed = head(connection, PEPPER)
        connection.execute(text("DELETE FROM audit"))
        connection.execute(text("DELETE FROM decisions"))
        record(connection, [entry(number) for number in range(11, 25)])
        assert verify_chain(connection) is None
        assert verify_chain(connection, signed, PEPPER) == 10


def test_a_head_grows_old_but_stays_true(log: Engine) -> None:
    with writing(log) as connection:
        signed = head(connection, PEPPER)
        record(connection, [entry(11)])
        assert verify_chain(connection, signed, PEPPER) is None


def test_a_head_that_was_not_signed_here_is_refused(log: Engine) -> None:
    with reading(log) as connection:
        signed = head(connection, PEPPER)
        assert verify_head(connection, signed | {"seq": 3}, PEPPER) == 0
        assert verify_head(connection, signed, b"another") == 0
        assert verify_head(connection, {}, PEPPER) == 0


def test_an_empty_log_is_whole(engine: Engine) -> None:
    with reading(engine) as connection:
        signed = head(connection, PEPPER)
        assert signed["seq"] == 0
        assert verify_chain(connection, signed, PEPPER) is None


def _write(url: str, worker: int, rounds: int) -> None:
    engine = connect(url)
    for number in range(rounds):
        with writing(engine) as connection:
            record(connection, [entry(1000 * worker + 2 * number + k) for k in (0, 1)])
    engine.dispose()


def test_four_writing_processes_make_one_chain(engine: Engine) -> None:
    spawn = multiprocessing.get_context("spawn")
    url = engine.url.render_as_string(hide_password=False)
    workers = [spawn.Process(target=_write, args=(url, n, 25)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4

    def actors(connection: Connection) -> list[str | None]:
        return list(connection.scalars(select(AuditRow.actor)))

    with reading(engine) as connection:
        assert verify_chain(connection) is None
        found = actors(connection)
    expected = {f"m{1000 * n + k}" for n in range(4) for k in range(50)}
    assert len(found) == 200
    assert set(found) == expected
