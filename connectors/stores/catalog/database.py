"""Connections to the catalog database: SQLite by default, PostgreSQL when configured.

SQLite runs with a write-ahead log and `synchronous=FULL` (an acknowledged row survives power
loss); every write takes its lock at BEGIN, so that a read inside it cannot become stale.
PostgreSQL gives the same: `connectors.stores.catalog.postgresql`.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from connectors.stores.catalog import postgresql
from connectors.stores.catalog.postgresql import Queue, Role
from schemas.errors import (
    CatalogBusyError,
    DamagedError,
    FailError,
    StoreUnavailableError,
    TanadaError,
    WrongUseError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine

__all__ = ["Queue", "Role", "connect", "migrate", "reading", "writing"]
BUSY_TIMEOUT_MS: Final = 10_000
_WRITE: Final = "tanada_write"
_BACKENDS: Final = ("sqlite", "postgresql")


def connect(url: str, *, wait_ms: int = BUSY_TIMEOUT_MS, role: Role | None = None) -> Engine:
    """Engine for one catalog database; `dispose` it when done.

    Args:
        url: `sqlite:///FILE`, or `postgresql://…`; the driver is chosen here.
        wait_ms: How long to wait for what another connection has locked, milliseconds.
        role: What the connections may do on PostgreSQL; None = what the login may.

    Raises:
        WrongUseError: not the URL of an SQLite or PostgreSQL database.
        MissingDependencyError: the driver for PostgreSQL is not installed.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "postgresql":
        return postgresql.open_engine(parsed, wait_ms, role)
    engine = create_engine(parsed, hide_parameters=True)
    _prepare(engine, wait_ms)
    return engine


@contextmanager
def writing(
    engine: Engine, organisation: str | None = None, queue: Queue = Queue.CATALOG
) -> Iterator[Connection]:
    """One transaction that writes; committed on leaving, rolled back on an error.

    What it reads cannot be changed by another writer before it commits.

    Args:
        engine: The catalog.
        organisation: On PostgreSQL, it sees and writes this organisation's rows only.
        queue: Whom it waits for: those who change the catalog, or those who write the account.

    Raises:
        CatalogBusyError: another writer held the lock longer than the busy timeout.
        StoreUnavailableError: the disk is full or fails.
    """
    with translated(engine), _transaction(engine, organisation, queue) as connection:
        yield connection


@contextmanager
def reading(engine: Engine, organisation: str | None = None) -> Iterator[Connection]:
    """One transaction that reads one consistent state.

    Args:
        engine: The catalog.
        organisation: On PostgreSQL, it sees this organisation's rows only.

    Raises:
        CatalogBusyError: the database does not answer.
    """
    with translated(engine), _transaction(engine, organisation, None) as connection:
        yield connection


@contextmanager
def _transaction(
    engine: Engine, organisation: str | None, queue: Queue | None
) -> Iterator[Connection]:
    if engine.dialect.name == "postgresql":
        options = postgresql.options(queue)
    else:
        options = {_WRITE: queue is not None}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            postgresql.begin(connection, organisation, queue)
        yield connection


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turn the driver's errors below this into the project's, where recovery differs.

    Raises:
        CatalogBusyError: locked or unreachable.
        StoreUnavailableError: the disk is full or fails.
        DamagedError: the file is no database, or is malformed.
        WrongUseError: a value that PostgreSQL cannot hold.
    """
    name = engine.url.database or engine.url.host or "catalog"
    try:
        yield
    except PoolTimeoutError as error:
        raise CatalogBusyError(
            "too many at once want the catalog database", subject=name, next_step="try again"
        ) from error
    except DBAPIError as error:
        postgres = engine.dialect.name == "postgresql"
        found = (postgresql.translated if postgres else _translated)(error, name)
        if found is None:
            raise
        raise found from error


def _translated(error: DBAPIError, name: str) -> TanadaError | None:
    """The project's error for one of SQLite's; None where recovery does not differ."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if isinstance(error, OperationalError):
        if primary in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}:
            return StoreUnavailableError(
                "the catalog database cannot be written", subject=name, found=str(error.orig)
            )
        if primary == sqlite3.SQLITE_ERROR:
            return None
        return CatalogBusyError(
            "the catalog database is locked or does not answer",
            subject=name,
            found=str(error.orig)[:200],
            next_step="try again; if it stays so, look for a process that holds it",
        )
    damaged = primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    if isinstance(error, DatabaseError) and damaged:
        return DamagedError(
            "the catalog database is damaged",
            subject=name,
            found=str(error.orig),
            next_step="restore it from the backup, or rebuild it from lake and raw",
        )
    return None


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
        FailError: on PostgreSQL, the login may not make the roles of a server's connections.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    try:
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            current = MigrationContext.configure(connection).get_current_revision()
            applied = ScriptDirectory.from_config(config).iterate_revisions(current, "base")
            below = {"base"} | {script.revision for script in applied} - {current}
            change = command.downgrade if revision in below else command.upgrade
            change(config, revision)
    except ProgrammingError as error:
        if not postgresql.is_forbidden(error):
            raise
        roles = ", ".join(role.value for role in Role)
        raise FailError(
            "the login may not make or use the roles of a server's connections",
            subject=str(engine.url.database),
            found=str(error.orig).partition("\n")[0][:200],
            next_step=f"let an administrator make {roles} (CREATE ROLE … NOLOGIN) and grant them "
            f"to {engine.url.username}",
        ) from error


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        # The reason would repeat parts of the URL, and so perhaps of a password.
        raise WrongUseError(
            "not a database URL", expected="sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    if backend not in _BACKENDS:
        raise WrongUseError(
            "no such kind of catalog database",
            found=backend,
            expected="sqlite or postgresql",
            next_step="set --database-url or TANADA_DATABASE_URL",
        )
    return parsed


def _prepare(engine: Engine, wait_ms: int) -> None:
    def connected(connection: Any, _record: object) -> None:
        # The driver must not open transactions by itself: `began` says which kind.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={wait_ms}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    def began(connection: Connection) -> None:
        write = connection.get_execution_options().get(_WRITE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", began)
