"""Connections to the catalog database: SQLite by default, PostgreSQL when configured.

SQLite runs with a write-ahead log and `synchronous=FULL` (an acknowledged row survives power
loss); every write takes its lock at BEGIN, so that a read inside it cannot become stale.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import DatabaseError, OperationalError

from schemas.errors import CatalogBusyError, DamagedError, StoreUnavailableError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

BUSY_TIMEOUT_MS: Final = 10_000
_WRITE: Final = "tanada_write"
_ASYNC_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


def connect(url: str) -> Engine:
    """Engine for one catalog database; `dispose` it when done.

    Raises:
        WrongUseError: not the URL of an SQLite or PostgreSQL database.
    """
    engine = create_engine(_parsed(url))
    _prepare(engine)
    return engine


def connect_async(url: str) -> AsyncEngine:
    """The same for `async` callers (aiosqlite, asyncpg).

    Raises:
        WrongUseError: not the URL of an SQLite or PostgreSQL database.
    """
    # Imported here: only the server pays for it, and only its extra installs the drivers.
    from sqlalchemy.ext.asyncio import create_async_engine

    parsed = _parsed(url)
    driver = _ASYNC_DRIVERS[parsed.get_backend_name()]
    engine = create_async_engine(parsed.set(drivername=driver))
    _prepare(engine.sync_engine)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes; committed on leaving, rolled back on an error.

    Raises:
        CatalogBusyError: another writer held the lock longer than the busy timeout.
        StoreUnavailableError: the disk is full or fails.
    """
    with (
        translated(engine),
        engine.connect().execution_options(**{_WRITE: True}) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that reads one consistent state.

    Raises:
        CatalogBusyError: the database does not answer.
    """
    with translated(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turn the driver's errors below this into the project's, where recovery differs.

    Raises:
        CatalogBusyError: locked or unreachable.
        StoreUnavailableError: the disk is full or fails.
        DamagedError: the file is no database, or is malformed.
    """
    name = engine.url.database or engine.url.host or "catalog"
    try:
        yield
    except OperationalError as error:
        code = getattr(error.orig, "sqlite_errorcode", None)
        primary = code & 0xFF if isinstance(code, int) else None
        if primary in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}:
            raise StoreUnavailableError(
                "the catalog database cannot be written", subject=name, found=str(error.orig)
            ) from error
        if primary == sqlite3.SQLITE_ERROR:
            raise
        raise CatalogBusyError(
            "the catalog database is locked or does not answer",
            subject=name,
            found=str(error.orig)[:200],
            next_step="try again; if it stays so, look for a process that holds it",
        ) from error
    except DatabaseError as error:
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise DamagedError(
                "the catalog database is damaged",
                subject=name,
                found=str(error.orig),
                next_step="restore it from the backup, or rebuild it from lake and raw",
            ) from error
        raise


def migrations_folder() -> Path:
    """Where the Alembic scripts lie: in the wheel below this package, in a checkout in `infra`."""
    packaged = Path(__file__).parents[1] / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "infra" / "migrations"


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to a revision, up or down, in one transaction.

    Args:
        engine: The database.
        revision: Alembic revision; `base` empties it.

    Raises:
        CatalogBusyError: another process migrates or writes.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except Exception as error:
        raise WrongUseError("not a database URL", expected="sqlite:///FILE") from error
    if backend not in _ASYNC_DRIVERS:
        raise WrongUseError(
            "no such kind of catalog database",
            found=backend,
            expected="sqlite or postgresql",
            next_step="set --database-url or TANADA_DATABASE_URL",
        )
    return parsed


def _prepare(engine: Engine) -> None:
    if engine.url.get_backend_name() != "sqlite":
        return

    def connected(connection: Any, _record: object) -> None:
        # The driver must not open transactions by itself: `began` says which kind.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    def began(connection: Connection) -> None:
        write = connection.get_execution_options().get(_WRITE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", began)
