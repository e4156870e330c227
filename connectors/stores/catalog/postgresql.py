"""PostgreSQL under the catalog: how it is reached, who waits for whom, whose rows are seen.

Writers queue on an advisory lock that ends with their transaction, so that nothing they read can
become stale before they commit: what SQLite's `BEGIN IMMEDIATE` gives. There are two queues, the
catalog's and the account's, so that a reader's audit row does not wait for a worker's batch.

Row-level security is a second wall behind the queries. A server's connections take a role that
owns nothing, and a transaction that is bound to an organisation reads and writes that
organisation's rows only, whatever its statements forget.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event

from schemas.errors import (
    CatalogBusyError,
    DamagedError,
    FailError,
    MissingDependencyError,
    StoreUnavailableError,
    TanadaError,
    WrongUseError,
)

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.exc import DBAPIError

DRIVER: Final = "postgresql+psycopg"
CONNECT_SECONDS: Final = 10
ABANDONED_MS: Final = 60_000
"""After this a session that idles in a transaction is ended: a machine that vanished must not
hold a lock until its connection times out."""
_HELD: Final = "tanada_queue"
_BIND: Final = "SELECT set_config('tanada.organisation', %(organisation)s, true)"
_QUEUE: Final = "SELECT pg_advisory_xact_lock(%(queue)s)"
_BUSY: Final = frozenset(
    {
        "25P03",  # ended because it idled in a transaction
        "40001",  # serialisation failure
        "40P01",  # deadlock
        "53200",  # out of memory
        "53300",  # too many connections
        "55P03",  # lock_timeout
        "57014",  # statement_timeout
        "57P01",  # the server shuts down
        "57P02",  # it crashed
        "57P03",  # it starts
        "57P05",  # ended because it idled
    }
)
_UNWRITABLE: Final = frozenset({"25006", "53100", "58030"})
"""Read-only server, full disk, failing disk."""
_DAMAGED: Final = frozenset({"XX001", "XX002"})
_REFUSED: Final = re.compile(
    r"""authentication\ failed\ for\ user | no\ password\ supplied
    | no\ pg_hba\.conf\ entry | pg_hba\.conf\ rejects
    | (?:role|database)\ ".*"\ does\ not\ exist | is\ not\ permitted\ to\ log\ in
    | permission\ denied\ (?:for\ database|to\ set\ role)""",
    re.VERBOSE,
)
"""What a server says to a login it will never let in. The driver gives no code for it while it
connects; a server that speaks another language is told like one that does not answer."""
_BEYOND: Final = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user"


class Role(Enum):
    """What a server's connections may do; each owns nothing, see migration 0003."""

    API = "tanada_api"
    """Reads and receives for one organisation at a time."""
    GATE = "tanada_gate"
    """Looks up who is calling, and nothing else."""
    ACCOUNT = "tanada_account"
    """Appends to the account, and nothing else."""


class Queue(Enum):
    """Whom a writer waits for; a transaction that takes both takes the catalog's first."""

    CATALOG = 0x7461_6E61_6462
    ACCOUNT = 0x7461_6E61_6461


def open_engine(url: URL, wait_ms: int, role: Role | None) -> Engine:
    """Engine for a PostgreSQL database.

    Args:
        url: Its address; the driver is ours to choose.
        wait_ms: How long a statement waits for a lock, milliseconds.
        role: What its connections may do; None = what the login may.

    Raises:
        MissingDependencyError: psycopg is not installed.
    """
    given = url.query.get("options", ())
    settings = {
        "lock_timeout": wait_ms,
        "idle_in_transaction_session_timeout": ABANDONED_MS,
        # As SQLite's synchronous=FULL: what was acknowledged is on disk.
        "synchronous_commit": "on",
    }
    if role is not None:
        settings["role"] = role.value
    options = [given] if isinstance(given, str) else list(given)
    options += [f"-c {name}={value}" for name, value in settings.items()]
    arguments = {
        "options": " ".join(options),
        "client_encoding": "utf8",
        "connect_timeout": url.query.get("connect_timeout", CONNECT_SECONDS),
        "fallback_application_name": "tanada",
    }
    try:
        engine = create_engine(
            url.set(drivername=DRIVER),
            connect_args=arguments,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ImportError as error:
        raise MissingDependencyError(
            "the driver for PostgreSQL is not installed",
            found=str(error)[:200],
            next_step="pip install 'tanada-platform[postgresql]'",
        ) from error
    event.listen(engine, "connect", _require_bound_login)
    return engine


def _require_bound_login(connection: Any, _record: object) -> None:
    """Refuse a login that no policy holds for: rivals' rows would be behind one wall only.

    Raises:
        FailError: it is a superuser, or may bypass row-level security.
    """
    try:
        with connection.cursor() as cursor:
            beyond = cursor.execute(_BEYOND).fetchone()[0]
        # What asks next says itself which kind of transaction it begins.
        connection.rollback()
        login = connection.info.user
    except BaseException:
        connection.close()
        raise
    if beyond:
        connection.close()
        raise FailError(
            "row-level security does not hold for this login to the catalog database",
            subject=login,
            expected="a login that is neither SUPERUSER nor BYPASSRLS",
            next_step="make an ordinary one that owns the database (CREATE ROLE … LOGIN "
            "CREATEROLE), and name it in TANADA_DATABASE_URL",
        )


def begin(connection: Connection, organisation: str | None, queue: Queue | None) -> None:
    """What a transaction starts with: its organisation, then its turn among the writers.

    Each is a statement of its own, before any other: later statements see what the writer before
    this one committed.
    """
    if organisation is not None:
        connection.exec_driver_sql(_BIND, {"organisation": organisation})
    if queue is not None:
        connection.exec_driver_sql(_QUEUE, {"queue": queue.value})


def take(connection: Connection, queue: Queue) -> None:
    """Wait until no other transaction writes from this queue; held until the commit."""
    if connection.dialect.name != "postgresql":
        return
    if connection.get_execution_options().get(_HELD) is not queue:
        connection.exec_driver_sql(_QUEUE, {"queue": queue.value})


def options(queue: Queue | None) -> dict[str, Any]:
    """Execution options of a transaction: a reader sees one state and cannot write."""
    if queue is None:
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return {"isolation_level": "READ COMMITTED", _HELD: queue}


def is_forbidden(error: DBAPIError) -> bool:
    """Whether the login lacks a right."""
    return getattr(error.orig, "sqlstate", None) == "42501"


def translated(error: DBAPIError, name: str) -> TanadaError | None:
    """The project's error for one of the driver's; None where recovery does not differ.

    Args:
        error: As SQLAlchemy raised it.
        name: Of the database.
    """
    cause = error.orig
    state = getattr(cause, "sqlstate", None)
    found = str(cause).partition("\n")[0][:200]
    kind = type(cause).__name__
    if state in _DAMAGED:
        return DamagedError(
            "the catalog database is damaged",
            subject=name,
            found=found,
            next_step="restore it from the backup, or rebuild it from lake and raw",
        )
    if state in _UNWRITABLE:
        return StoreUnavailableError(
            "the catalog database cannot be written", subject=name, found=found
        )
    unreachable = state is None and kind == "OperationalError"
    if unreachable and (refused := _REFUSED.search(str(cause))):
        # Only what was recognised: the rest of the text names hosts, and is in the server's log.
        return FailError(
            "the catalog database does not let this login in",
            subject=name,
            found=refused[0],
            next_step="check login, password and database in TANADA_DATABASE_URL; the server's "
            "log says more",
        )
    if unreachable or state in _BUSY or (state or "")[:2] == "08":
        return CatalogBusyError(
            "the catalog database is locked or does not answer",
            subject=name,
            found=found,
            next_step="try again; if it stays so, look at the server's log and pg_stat_activity",
        )
    if kind == "DataError" or (state or "")[:2] == "22":
        return WrongUseError(
            "the catalog cannot hold such a value",
            expected="texts without NUL, of the allowed length, and numbers of 64 bits",
            found=found,
        )
    return None
