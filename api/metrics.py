"""Metrics of the server. No label names an organisation, member or recording: rivals would show.

They are served on a listener of their own (`connectors.telemetry.exposition`), never by a route.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.routing import Mount

from connectors.telemetry.exposition import new_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric
    from starlette.types import Scope

    from api.account import Account

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
UNMATCHED: Final = "unmatched"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ApiMetrics:
    """Counts what the server does.

    Args:
        account: The account, whose queue and failures are shown.
    """

    def __init__(self, account: Account) -> None:
        self.registry = new_registry()
        given: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter(
            "tanada_http_requests",
            "Requests by route template",
            ["method", "route", "status"],
            **given,
        )
        self._seconds = Histogram(
            "tanada_http_request_seconds",
            "Time from a request's head to the end of its answer",
            ["method", "route"],
            buckets=SECONDS,
            **given,
        )
        self._decisions = Counter(
            "tanada_decisions",
            "Access and licence decisions",
            ["action", "outcome"],
            **given,
        )
        self._delivered = Counter(
            "tanada_delivered_bytes", "Bytes of release files handed over", **given
        )
        self.registry.register(_AccountState(account))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered.

        Args:
            method: HTTP method; an unknown one is counted as `other`.
            route: Route template, as `route_of` names it.
            status: HTTP status.
            seconds: From its head to the end of the answer.
        """
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, status).inc()
        self._seconds.labels(known, route).observe(seconds)

    def decided(self, action: str, *, permit: bool) -> None:
        """One decision was recorded."""
        self._decisions.labels(action, "permit" if permit else "deny").inc()

    def delivered(self, count: int) -> None:
        """So many bytes of a release file went out."""
        self._delivered.inc(count)


class _AccountState(Collector):
    """What waits for the account, and how often it could not be written."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def collect(self) -> Iterator[Metric]:
        """Read when Prometheus asks."""
        yield GaugeMetricFamily(
            "tanada_audit_waiting", "Entries that wait to be written", value=self._account.waiting
        )
        yield CounterMetricFamily(
            "tanada_audit_entries",
            "Entries and jobs that were written",
            value=self._account.written,
        )
        yield CounterMetricFamily(
            "tanada_audit_failures",
            "Entries and jobs that could not be written, and whose answers were withheld",
            value=self._account.failed,
        )


def route_of(scope: Scope) -> str:
    """The template of the route that took a request, never the address that was asked for."""
    route = scope.get("route")
    if route is None:
        root = scope.get("app_root_path", "")
        path = scope.get("root_path", "").removeprefix(root)
        known = (
            {r.path for r in scope["app"].routes if isinstance(r, Mount)} if "app" in scope else ()
        )
        return path if path and path in known else UNMATCHED
    return str(getattr(route, "path", UNMATCHED))
