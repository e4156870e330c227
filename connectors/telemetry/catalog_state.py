"""What the catalog and the disk say, read when Prometheus asks.

The answer is kept for some seconds, so that several scrapers cost one look. No label names an
organisation, member or recording.
"""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Agreement, CommitPlan, Grant, Recording
from connectors.stores.catalog.recordings import STATES
from connectors.stores.verified import read_verified
from schemas.errors import TanadaError
from schemas.licences.instants import expiry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric
    from sqlalchemy import Connection, Engine

    from connectors.stores.store import Place

LOG: Final = logging.getLogger("tanada.telemetry")
KEPT_NS: Final = 10_000_000_000
NS: Final = 1_000_000_000
SOON_DAYS: Final = 30


class CatalogState(Collector):
    """Gauges of one platform.

    Args:
        engine: The catalog database.
        clock: Now, ns UTC.
        folder: The root; of one that is a folder the file system is watched, too. None: neither.
    """

    def __init__(self, engine: Engine, clock: Callable[[], int], folder: Place | None) -> None:
        self._engine = engine
        self._clock = clock
        self._folder = folder
        self._lock = threading.Lock()
        self._kept: tuple[int, list[Metric]] | None = None

    def describe(self) -> list[Metric]:
        """Nothing: registering must not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges; where the catalog does not answer, only that it does not."""
        with self._lock:
            now = self._clock()
            if self._kept is None or not 0 <= now - self._kept[0] < KEPT_NS:
                self._kept = (now, self._read(now))
            yield from self._kept[1]

    def _read(self, now: int) -> list[Metric]:
        found: list[Metric] = []
        up = 1
        try:
            with reading(self._engine) as connection:
                found += _recordings(connection, now)
                found += _terms(connection, now)
        except TanadaError as error:
            LOG.warning("the catalog could not be read for metrics: %s", error.what)
            found, up = [], 0
        found.append(_gauge("tanada_catalog_up", "1 while the catalog database answers", up))
        if isinstance(self._folder, Path):
            disk = shutil.disk_usage(self._folder)
            found += [
                _gauge("tanada_root_free_bytes", "Free space below the root", disk.free),
                _gauge("tanada_root_size_bytes", "Size of the root's file system", disk.total),
            ]
        if self._folder is not None:
            found += _verified(self._folder)
        return found


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _recordings(connection: Connection, now: int) -> list[Metric]:
    query = select(Recording.state, func.count()).group_by(Recording.state)
    counts = {state: count for state, count in connection.execute(query) if state in STATES}
    states = GaugeMetricFamily("tanada_recordings", "Recordings by state", labels=["state"])
    for state in STATES:
        states.add_metric([state], counts.get(state, 0))
    waiting = connection.execute(
        select(func.min(Recording.received_ns)).where(Recording.state == "received")
    ).scalar_one()
    accepted = connection.execute(
        select(func.max(Recording.decided_ns)).where(
            Recording.state.in_(("accepted", "accepted_with_warnings"))
        )
    ).scalar_one()
    opened = connection.execute(
        select(func.count(), func.min(CommitPlan.created_ns)).where(CommitPlan.state == "open")
    ).one()
    return [
        states,
        _gauge(
            "tanada_recording_oldest_waiting_seconds",
            "Age of the recording that has waited longest, 0 where none waits",
            _age(waiting, now),
        ),
        _gauge(
            "tanada_last_accepted_timestamp_seconds",
            "When a recording was accepted last, 0 where none was",
            (accepted or 0) / NS,
        ),
        _gauge("tanada_open_plans", "Commit plans that are not finished", opened[0]),
        _gauge(
            "tanada_open_plan_oldest_seconds",
            "Age of the oldest open plan, 0 where there is none",
            _age(opened[1], now),
        ),
    ]


def _age(since: int | None, now: int) -> float:
    return 0.0 if since is None else max(now - since, 0) / NS


def _terms(connection: Connection, now: int) -> list[Metric]:
    expiring = GaugeMetricFamily(
        "tanada_terms_expiring",
        f"Active terms that end within {SOON_DAYS} days",
        labels=["kind"],
    )
    soon = now + SOON_DAYS * 86_400 * NS
    kinds: tuple[tuple[str, Any], ...] = (("agreement", Agreement), ("grant", Grant))
    for kind, model in kinds:
        terms = connection.execute(select(model.terms).where(model.state == "active")).scalars()
        ends = [end for document in terms if (end := expiry_of(document)) is not None]
        expiring.add_metric([kind], sum(now < end <= soon for end in ends))
    return [expiring]


def _verified(folder: Place) -> list[Metric]:
    last = read_verified(folder)
    return [
        _gauge(
            "tanada_verify_last_timestamp_seconds",
            "When the lake was verified last, 0 where it never was",
            0.0 if last is None else last.at_ns / NS,
        ),
        _gauge(
            "tanada_verify_damaged_findings",
            "Damage that the last verification found",
            0 if last is None else last.damaged,
        ),
    ]
