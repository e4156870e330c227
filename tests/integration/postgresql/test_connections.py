"""What a connection is set to, and what is said when the server refuses, waits, ends or is hurt."""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from api.services import ACCOUNT_WAIT_MS
from connectors.stores.catalog.database import Queue, Role, connect, migrate, reading, writing
from connectors.stores.catalog.models import Organisation
from connectors.stores.catalog.postgresql import translated
from connectors.telemetry.catalog_state import CatalogState
from schemas.errors import (
    CatalogBusyError,
    DamagedError,
    FailError,
    StoreUnavailableError,
    WrongUseError,
)
from tests.servers.postgresql import SUPERUSER, running

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from tests.servers.postgresql import Cluster

pytestmark = [pytest.mark.full, pytest.mark.postgresql]
NAMES = ("lock_timeout", "idle_in_transaction_session_timeout", "synchronous_commit", "role")
ROW = {"legal_name": "A", "country": "JP", "operator": False, "state": "active", "created_ns": 1}


def shown(connection: Connection, *names: str) -> list[str]:
    return [str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in names]


def add(engine: Engine, name: str) -> None:
    with writing(engine) as connection:
        connection.execute(insert(Organisation), {"id": name, **ROW})


def organisations(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.execute(select(Organisation.id).order_by("id")).scalars())


def everything(error: BaseException) -> str:
    """What a log could hold of an error: its causes too."""
    return "".join(traceback.format_exception(error)) + repr(error)


def test_a_connection_waits_ten_seconds_and_acknowledges_what_is_on_disk(engine: Engine) -> None:
    with reading(engine) as connection:
        assert shown(connection, *NAMES) == ["10s", "1min", "on", "none"]
        kind = shown(connection, "transaction_isolation", "transaction_read_only")
        assert kind == ["repeatable read", "on"]
    with writing(engine) as connection:
        kind = shown(connection, "transaction_isolation", "transaction_read_only")
        assert kind == ["read committed", "off"]


def test_a_servers_connections_take_their_role_and_the_account_waits_less(url: str) -> None:
    account = connect(url, role=Role.ACCOUNT, wait_ms=ACCOUNT_WAIT_MS)
    with reading(account) as connection:
        assert shown(connection, *NAMES) == ["1s", "1min", "on", "tanada_account"]
    account.dispose()


def test_options_of_the_url_are_kept_and_ours_come_after(url: str) -> None:
    engine = connect(f"{url}?options=-c%20statement_timeout%3D7s%20-c%20lock_timeout%3D3s")
    with reading(engine) as connection:
        assert shown(connection, "statement_timeout", "lock_timeout") == ["7s", "10s"]
    engine.dispose()


def test_a_reader_sees_one_state_and_cannot_write(engine: Engine) -> None:
    with reading(engine) as connection:
        before = connection.execute(select(Organisation.id)).all()
        add(engine, "later")
        assert connection.execute(select(Organisation.id)).all() == before == []
    assert organisations(engine) == ["later"]
    with pytest.raises(StoreUnavailableError), reading(engine) as connection:
        connection.execute(insert(Organisation), {"id": "x", **ROW})


def test_a_refused_connection_says_try_again_and_not_the_password(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    engine = connect(cluster.url("c").replace(f":{cluster.port}/", f":{port}/"))
    with pytest.raises(CatalogBusyError, match="does not answer") as caught, reading(engine):
        pass
    assert "refused" in str(caught.value)
    assert cluster.password not in everything(caught.value)
    engine.dispose()


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ("password", "authentication failed for user"),
        ("login", "authentication failed for user"),
        ("database", 'database "no_such_database" does not exist'),
        ("nothing", "no password supplied"),
    ],
)
def test_a_refused_login_is_no_busy_server_and_no_error_repeats_a_password(
    cluster: Cluster, url: str, wrong: str, found: str
) -> None:
    given = {
        "password": url.replace(cluster.password, "guessed-secret"),
        "login": url.replace("//tanada:", "//nobody:"),
        "database": cluster.url("no_such_database"),
        "nothing": url.replace(f":{cluster.password}@", "@"),
    }[wrong]
    engine = connect(given)
    with pytest.raises(FailError, match="does not let this login in") as caught, reading(engine):
        pass
    assert caught.value.found == found
    # For the alert it is a catalog that does not answer, not a metric that is missing.
    gauges = {one.name: one.samples for one in CatalogState(engine, time.time_ns, None).collect()}
    assert [sample.value for sample in gauges["tanada_catalog_up"]] == [0]
    said = everything(caught.value)
    assert cluster.password not in said
    assert "guessed-secret" not in said
    assert cluster.password not in repr(engine)
    engine.dispose()


def test_a_server_that_starts_is_told_as_one_that_does_not_answer() -> None:
    """The text that a login is refused for must not match what a restart says."""
    said = psycopg.OperationalError("FATAL:  the database system is starting up")
    error = DBAPIError("connect", None, said)
    assert isinstance(translated(error, "c"), CatalogBusyError)


@pytest.mark.parametrize("right", ["SUPERUSER", "BYPASSRLS"])
@pytest.mark.parametrize("role", [None, Role.API])
def test_a_login_above_row_security_is_refused(
    cluster: Cluster, url: str, right: str, role: Role | None
) -> None:
    login = f"above_{right.lower()}_{'server' if role else 'worker'}"
    cluster.add_login(login, right)
    cluster.execute(f"GRANT tanada_api TO {login}")
    engine = connect(cluster.url(url.rsplit("/", 1)[1], login), role=role)
    for _ in range(2):  # nor is its connection kept for the next who asks
        with pytest.raises(FailError, match="row-level security does not hold") as caught:
            organisations(engine)
    assert caught.value.subject == login
    assert cluster.password not in everything(caught.value)
    engine.dispose()


def test_a_connection_that_was_ended_is_replaced(
    cluster: Cluster, url: str, engine: Engine
) -> None:
    def lose() -> None:
        with writing(engine) as connection:
            connection.execute(insert(Organisation), {"id": "lost", **ROW})
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            cluster.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(CatalogBusyError) as caught:
        lose()
    assert cluster.password not in everything(caught.value)
    # The pool notices as well one that was ended while nobody used it.
    name = url.rsplit("/", 1)[1]
    assert organisations(engine) == []
    cluster.end_connections(name)
    add(engine, "kept")
    assert organisations(engine) == ["kept"]


def test_who_waits_too_long_for_a_writer_is_told_so(url: str, engine: Engine) -> None:
    hasty = connect(url, wait_ms=50)
    with writing(engine):
        with pytest.raises(CatalogBusyError, match="locked") as caught, writing(hasty):
            pass
        # Readers and the account's writers do not wait for the catalog's.
        assert organisations(hasty) == []
        with writing(hasty, queue=Queue.ACCOUNT):
            pass
    assert caught.value.next_step
    with writing(hasty):
        pass
    hasty.dispose()


def test_a_locked_table_is_told_after_the_same_time(url: str, engine: Engine) -> None:
    hasty = connect(url, wait_ms=50)
    with writing(engine) as connection:
        connection.exec_driver_sql("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(CatalogBusyError), reading(hasty) as waiting:
            waiting.exec_driver_sql("SELECT 1 FROM audit")
    hasty.dispose()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("40001", CatalogBusyError),
        ("40P01", CatalogBusyError),
        ("53300", CatalogBusyError),
        ("57014", CatalogBusyError),
        ("53100", StoreUnavailableError),
        ("58030", StoreUnavailableError),
        ("XX001", DamagedError),
        ("22003", WrongUseError),
    ],
)
def test_what_the_server_says_becomes_what_to_do(
    engine: Engine, state: str, expected: type[Exception]
) -> None:
    """The server says it itself: a full or failing disk cannot be had on any machine."""
    words = f"DO $$ BEGIN RAISE EXCEPTION 'as it happens' USING ERRCODE = '{state}'; END $$"

    def say() -> None:
        with writing(engine) as connection:
            connection.execute(insert(Organisation), {"id": "a", **ROW})
            connection.exec_driver_sql(words)

    with pytest.raises(expected, match="as it happens"):
        say()
    assert organisations(engine) == []


@pytest.mark.parametrize("value", ["a\x00b", "a" * 41])
def test_a_text_that_does_not_fit_is_the_callers_mistake(engine: Engine, value: str) -> None:
    with pytest.raises(WrongUseError):
        add(engine, value)


def test_what_was_acknowledged_outlives_the_servers_crash_and_damage_is_named() -> None:
    with running(fsync=True) as cluster:
        engine = connect(cluster.create("catalog"))
        migrate(engine)
        add(engine, "kept")

        def crash() -> None:
            with writing(engine) as connection:
                connection.execute(insert(Organisation), {"id": "lost", **ROW})
                # Immediate: nothing is written out, the next start recovers from the log.
                os.kill(cluster.pid, signal.SIGQUIT)
                cluster.stop()

        with pytest.raises(CatalogBusyError):
            crash()
        with pytest.raises(CatalogBusyError) as caught:
            organisations(engine)
        assert cluster.password not in everything(caught.value)
        cluster.start()
        assert organisations(engine) == ["kept"]

        with reading(engine) as connection:
            path = connection.execute(text("SELECT pg_relation_filepath('organisations')"))
            file = cluster.data / str(path.scalar())
        engine.dispose()
        cluster.stop()
        content = bytearray(file.read_bytes())
        # The first row of a page lies at its end.
        content[-40:-20] = bytes(20)
        file.write_bytes(content)
        cluster.start()
        with pytest.raises(DamagedError, match="restore it from the backup"):
            organisations(engine)
        engine.dispose()


def test_the_tests_login_is_no_superuser(engine: Engine) -> None:
    """A superuser would see through every policy, and the other tests would prove nothing."""
    with reading(engine) as connection:
        mine = "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        name, above, beside = connection.exec_driver_sql(mine).one()
    assert name != SUPERUSER
    assert (above, beside) == (False, False)
