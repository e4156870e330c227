"""The account: decisions, audit entries and reservations, durable before a byte leaves.

One thread writes. Requests that arrive while it commits are committed together by the next
transaction, so that a burst of readers costs one fsync, not one each.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from connectors.stores.catalog import ledger
from connectors.stores.catalog.database import Queue, writing
from schemas.errors import CatalogBusyError, RetryError, TanadaError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

LOG = logging.getLogger("tanada.api")
GROUP_MAX: Final = 512
"""Entries per transaction."""
WAITING_MAX: Final = 10_000
"""Entries that may wait; more are refused at once."""
_T = TypeVar("_T")


@dataclass(slots=True)
class _Item:
    """One waiting request: entries to record, or a job of its own within the transaction."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    entry: ledger.Entry | None
    job: Callable[[Connection], Any] | None
    result: Any = None
    error: BaseException | None = None


class Account:
    """Writes the account from one thread, many requests to a transaction.

    Args:
        engine: Engine of the catalog database; its lock wait bounds how long a reader waits
            before it is told to come back.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[_Item] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self.written = 0
        """Entries and jobs written so far."""
        self.failed = 0
        """Entries and jobs that could not be written so far."""
        self._thread = threading.Thread(target=self._run, name="tanada-account", daemon=True)

    @property
    def waiting(self) -> int:
        """Entries and jobs that wait."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the writer."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    async def record(self, entry: ledger.Entry) -> ledger.Recorded:
        """Record one decision with its audit entry; returns once it is durable.

        Raises:
            CatalogBusyError: it could not be written; nothing may be sent.
        """
        recorded: ledger.Recorded = await self._submit(entry, None)
        return recorded

    async def write(self, job: Callable[[Connection], _T]) -> _T:
        """Run `job` in the next transaction, undone alone if it raises; returns once durable.

        Raises:
            CatalogBusyError: it could not be written.
            TanadaError: what the job raised on purpose.
        """
        result: _T = await self._submit(None, job)
        return result

    def _submit(
        self, entry: ledger.Entry | None, job: Callable[[Connection], Any] | None
    ) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        item = _Item(loop, loop.create_future(), entry, job)
        with self._wake:
            if not self._thread.is_alive() or self._closed or len(self._waiting) >= WAITING_MAX:
                self.failed += 1
                raise CatalogBusyError("the account takes no entries just now")
            self._waiting.append(item)
            self._wake.notify()
        return item.future

    def _run(self) -> None:
        while group := self._next_group():
            self._commit(group)
            for loop in {item.loop for item in group}:
                mine = [item for item in group if item.loop is loop]
                try:
                    loop.call_soon_threadsafe(_deliver, mine)
                except RuntimeError:
                    LOG.warning("%d callers left before their entries were written", len(mine))

    def _next_group(self) -> list[_Item]:
        with self._wake:
            while not self._waiting and not self._closed:
                self._wake.wait()
            count = min(len(self._waiting), GROUP_MAX)
            return [self._waiting.popleft() for _ in range(count)]

    def _commit(self, group: Sequence[_Item]) -> None:
        try:
            with writing(self._engine, queue=Queue.ACCOUNT) as connection:
                plain = [item for item in group if item.entry is not None]
                entries = [item.entry for item in plain if item.entry is not None]
                recorded = ledger.record(connection, entries) if entries else []
                for item, result in zip(plain, recorded, strict=True):
                    item.result = result
                for item in group:
                    if item.job is not None:
                        _run_job(connection, item)
        except RetryError as error:
            LOG.warning("the account could not be written: %s", error.what)
            self._fail(group)
        except Exception:
            # Whatever it is: the writer lives on, and nobody is answered unaccounted.
            LOG.exception("the account could not be written")
            self._fail(group)
        else:
            self.written += len(group)

    def _fail(self, group: Sequence[_Item]) -> None:
        with self._wake:
            self.failed += len(group)
        for item in group:
            item.error = CatalogBusyError("the account could not be written")


def _run_job(connection: Connection, item: _Item) -> None:
    """Run one job inside a savepoint: its failure undoes its own writes only."""
    savepoint = connection.begin_nested()
    try:
        item.result = item.job(connection) if item.job else None
    except TanadaError as error:
        savepoint.rollback()
        item.error = error
    except SQLAlchemyError:
        raise
    except Exception as error:
        LOG.exception("a job of the account failed")
        savepoint.rollback()
        item.error = error
    else:
        savepoint.commit()


def _deliver(items: Sequence[_Item]) -> None:
    for item in items:
        if item.future.cancelled():
            continue
        if item.error is not None:
            item.future.set_exception(item.error)
        else:
            item.future.set_result(item.result)
