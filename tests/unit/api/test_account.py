from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, insert, select

from api.account import Account
from connectors.stores.catalog import database, ledger
from connectors.stores.catalog.models import AuditRow, Organisation
from schemas.errors import CatalogBusyError, ConflictError
from schemas.licences import Decision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from tests.servers.catalogs import Catalogs

PERMIT = Decision(permit=True, rules=(), obligations=())


def entry(number: int) -> ledger.Entry:
    return ledger.Entry(number, "m", "o", "list", f"r{number}", PERMIT, request_id=str(number))


@pytest.fixture
def engine(tmp_path: Path, catalogs: Catalogs) -> Iterator[Engine]:
    made = database.connect(catalogs.new(tmp_path))
    database.migrate(made)
    yield made
    made.dispose()


@pytest.fixture
def account(engine: Engine) -> Iterator[Account]:
    made = Account(engine)
    made.start()
    yield made
    made.close()


def rows(engine: Engine, query: Any) -> list[Any]:
    with database.reading(engine) as connection:
        return list(connection.execute(query))


def test_a_burst_is_written_together_and_in_a_sound_chain(engine: Engine, account: Account) -> None:
    commits: list[int] = []
    event.listen(engine, "commit", lambda _connection: commits.append(1))

    async def burst() -> list[ledger.Recorded]:
        return await asyncio.gather(*(account.record(entry(n)) for n in range(500)))

    recorded = asyncio.run(burst())
    assert sorted(r.seq for r in recorded) == list(range(1, 501))
    assert len(commits) < 100
    found = {row.seq: row.request_id for row in rows(engine, select(AuditRow))}
    assert [found[r.seq] for r in recorded] == [str(n) for n in range(500)]
    with database.reading(engine) as connection:
        assert ledger.verify_chain(connection) is None


def organisation(connection: Connection, name: str) -> None:
    row = {"id": name, "legal_name": name, "country": "JP", "operator": False, "created_ns": 1}
    connection.execute(insert(Organisation).values(state="active", **row))


def test_a_job_that_fails_is_undone_alone(engine: Engine, account: Account) -> None:
    def good(connection: Connection) -> str:
        organisation(connection, "good")
        return "done"

    def bad(connection: Connection) -> None:
        organisation(connection, "bad")
        raise ConflictError("no")

    async def both() -> Any:
        return await asyncio.gather(
            account.write(bad), account.write(good), account.record(entry(1)),
            return_exceptions=True,
        )  # fmt: skip

    refused, done, recorded = asyncio.run(both())
    assert isinstance(refused, ConflictError)
    assert done == "done"
    assert recorded.seq == 1
    assert [row.id for row in rows(engine, select(Organisation))] == ["good"]


@pytest.mark.sqlite("its file lock; test_accounting locks the log on both")
def test_what_cannot_be_written_is_told_and_the_next_one_works(
    engine: Engine, account: Account
) -> None:
    def impatient(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=50")

    engine.dispose()
    event.listen(engine, "connect", impatient)
    holder = sqlite3.connect(str(engine.url.database), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(CatalogBusyError):
        asyncio.run(account.record(entry(1)))
    holder.execute("ROLLBACK")
    holder.close()
    assert asyncio.run(account.record(entry(2))).seq == 1


def test_after_a_programming_error_in_a_job_the_writer_goes_on(account: Account) -> None:
    def broken(_connection: Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(account.write(broken))
    assert asyncio.run(account.record(entry(2))).seq == 1


def test_a_closed_account_takes_nothing(account: Account) -> None:
    account.close()
    with pytest.raises(CatalogBusyError):
        asyncio.run(account.record(entry(1)))


def test_who_left_does_not_stop_the_writer(engine: Engine, account: Account) -> None:
    async def leave() -> None:
        task = asyncio.ensure_future(account.record(entry(1)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    assert asyncio.run(account.record(entry(2))).seq == 2
    assert len(rows(engine, select(AuditRow.seq))) == 2
