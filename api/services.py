"""What the server runs on, opened once from settings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from anyio import to_thread

from api.account import Account
from api.auth import Authenticator
from api.listing import Listing
from api.metrics import ApiMetrics
from api.reads import Reads
from connectors.stores.catalog.database import Role, connect
from connectors.stores.receive import Receiver
from connectors.stores.root import Root
from connectors.telemetry.catalog_state import CatalogState
from connectors.telemetry.exposition import serve_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from connectors.settings import Settings

_T = TypeVar("_T")
ACCOUNT_WAIT_MS: Final = 1_000
"""How long an answer waits for a locked account before the caller is told to come back."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a request may need.

    Attributes:
        settings: Settings of the server.
        root: Where bytes lie.
        engine: The catalog database, one organisation at a time.
        gate_engine: The same, to look up who is calling.
        account_engine: The same, for the account's thread alone.
        clock: Now, ns UTC.
        reads: Short reads of the catalog.
        account: Decisions, audit and reservations.
        authenticator: Who is calling.
        listing: The catalog as each organisation may see it.
        receiver: Takes recordings in.
        metrics: Counts what the server does.
    """

    settings: Settings
    root: Root
    engine: Engine
    gate_engine: Engine
    account_engine: Engine
    clock: Callable[[], int]
    reads: Reads
    account: Account
    authenticator: Authenticator
    listing: Listing
    receiver: Receiver
    metrics: ApiMetrics
    active: Counter[str] = field(default_factory=Counter)
    """Deliveries under way, by grant."""
    listeners: list[Callable[[], None]] = field(default_factory=list)
    """What ends the listeners beside the server's own."""

    @property
    def https(self) -> bool:
        """Whether the server is reached by https."""
        return self.settings.url.startswith("https:")

    async def in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Run what touches the disk off the event loop."""
        return await to_thread.run_sync(function, *arguments)

    def start(self) -> None:
        """Start what runs beside the requests.

        Raises:
            StoreUnavailableError: the metrics address is taken.
        """
        if self.settings.metrics_address:
            # Counting reads the catalog from the listener's threads, not from the event loop.
            # Not bound to an organisation: it counts the whole platform.
            whole = connect(self.settings.database_url or self.root.database_url)
            self.listeners.append(whole.dispose)
            state = CatalogState(whole, self.clock, self.root.path)
            self.metrics.registry.register(state)
            _port, end = serve_metrics(self.metrics.registry, self.settings.metrics_address)
            self.listeners.append(end)
        self.account.start()

    def close(self) -> None:
        """Write what waits, and give everything back."""
        while self.listeners:
            self.listeners.pop()()
        self.account.close()
        self.account_engine.dispose()
        self.gate_engine.dispose()
        self.engine.dispose()


def open_services(settings: Settings, clock: Callable[[], int]) -> Services:
    """Open root and database.

    Raises:
        NotFoundError: there is no lake at the root.
        WrongUseError: the database URL is none.
    """
    root = Root.open(settings.root, settings.access)
    url = settings.database_url or root.database_url
    engine = connect(url, role=Role.API)
    gate_engine = connect(url, role=Role.GATE)
    account_engine = connect(url, role=Role.ACCOUNT, wait_ms=ACCOUNT_WAIT_MS)
    reads = Reads(engine)
    account = Account(account_engine)
    return Services(
        settings=settings,
        root=root,
        engine=engine,
        gate_engine=gate_engine,
        account_engine=account_engine,
        clock=clock,
        reads=reads,
        account=account,
        authenticator=Authenticator(Reads(gate_engine), account, root.pepper(), clock),
        listing=Listing(),
        receiver=Receiver(root, engine, clock),
        metrics=ApiMetrics(account),
    )
