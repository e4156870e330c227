"""Metrics of a worker. No label names an organisation, member or recording: rivals would show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter, Gauge, Histogram

from connectors.telemetry.catalog_state import CatalogState
from connectors.telemetry.exposition import new_registry, serve_metrics
from pipelines.observe import Observer

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from pipelines.cli.platform import Platform
    from pipelines.observe import FinishedBatch, FinishedRelease, FinishedVerification

DECODE_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)
COMMIT_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
NS: Final = 1e9


class WorkerMetrics(Observer):
    """Counts what a worker does.

    Args:
        registry: Where the metrics are kept.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        given: dict[str, Any] = {"registry": registry}
        self._verdicts = Counter(
            "tanada_verdicts",
            "Recordings decided by this worker",
            ["verdict"],
            **given,
        )
        self._rules = Counter(
            "tanada_quarantine_rules", "Rules that recordings were refused for", ["rule"], **given
        )
        self._decodes = Histogram(
            "tanada_decode_seconds",
            "Wall-clock time of decoding one recording",
            buckets=DECODE_SECONDS,
            **given,
        )
        self._decode_failures = Counter(
            "tanada_decode_failures", "Decodes that failed for a reason of the platform's", **given
        )
        self._commits = Histogram(
            "tanada_commit_seconds",
            "Time to bring a batch into one table, attempts and durability included",
            ["table"],
            buckets=COMMIT_SECONDS,
            **given,
        )
        self._conflicts = Counter(
            "tanada_commit_conflicts",
            "Commits that another writer was faster than",
            ["table"],
            **given,
        )
        self._rows = Counter("tanada_committed_rows", "Rows committed", ["table"], **given)
        self._leases = Gauge("tanada_leases_held", "Recordings that this worker holds", **given)
        self._starts = Gauge(
            "tanada_validator_starts", "Starts of the validator process by this worker", **given
        )
        self._last = Gauge(
            "tanada_last_success_timestamp_seconds",
            "When a job of this process ended well last",
            ["job"],
            **given,
        )

    def decoded(self, seconds: float, *, well: bool) -> None:
        """Observe it."""
        self._decodes.observe(seconds)
        if not well:
            self._decode_failures.inc()

    def committed(self, table: str, version: int, seconds: float) -> None:
        """Observe it."""
        del version
        self._commits.labels(table).observe(seconds)

    def conflicted(self, table: str) -> None:
        """Count it."""
        self._conflicts.labels(table).inc()

    def leased(self, held: int) -> None:
        """Show it."""
        self._leases.set(held)

    def validator_started(self, starts: int) -> None:
        """Show it."""
        self._starts.set(starts)

    def batch_finished(self, batch: FinishedBatch) -> None:
        """Count verdicts, rules and rows."""
        for outcome in batch.outcomes:
            self._verdicts.labels(outcome.status).inc()
            if outcome.status == "quarantined":
                for rule in {reason.rule for reason in outcome.reasons}:
                    self._rules.labels(rule).inc()
            for table, rows in outcome.tables.items():
                self._rows.labels(table).inc(rows)
        self._last.labels("ingest").set(batch.finished_ns / NS)

    def released(self, release: FinishedRelease) -> None:
        """Note when."""
        self._last.labels("release").set(release.finished_ns / NS)

    def verified(self, verification: FinishedVerification) -> None:
        """Note when it found no damage."""
        if not verification.damaged:
            self._last.labels("verify").set(verification.finished_ns / NS)


def serve_worker_metrics(platform: Platform, address: str) -> tuple[int, Callable[[], None]]:
    """Observe a platform's work, and serve what is seen.

    Args:
        platform: The opened platform.
        address: `host:port`.

    Returns:
        The port, and what ends the listener.

    Raises:
        StoreUnavailableError: the address is taken.
        WrongUseError: it is none.
    """
    registry = new_registry()
    platform.observer.add(WorkerMetrics(registry))
    registry.register(CatalogState(platform.engine, platform.clock, platform.root.path))
    return serve_metrics(registry, address)
