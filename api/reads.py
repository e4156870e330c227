"""Short reads of the catalog from `async` code, each bound to the organisation that asks.

A local SQLite read takes well under a millisecond: it runs on the event loop, because the hop to a
thread would cost several times more. A database behind a network is read from threads.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from connectors.stores.catalog.database import reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

_T = TypeVar("_T")


class Reads:
    """Runs functions that read, each in one consistent state.

    Args:
        engine: Engine of the catalog database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._local = engine.url.get_backend_name() == "sqlite"

    async def call(self, organisation: str | None, function: Callable[[Connection], _T]) -> _T:
        """What `function` returns for an open connection.

        Args:
            organisation: Whose rows it may see (on PostgreSQL, whatever it asks for); None for
                the look-up of who is calling, whose connections may read nothing else.
            function: Reads.

        Raises:
            CatalogBusyError: the database does not answer.
        """
        if self._local:
            return self._read(organisation, function)
        return await asyncio.to_thread(self._read, organisation, function)

    def _read(self, organisation: str | None, function: Callable[[Connection], _T]) -> _T:
        with reading(self._engine, organisation) as connection:
            return function(connection)
