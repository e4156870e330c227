"""Metrics for Prometheus on a listener of their own, never on the one that partners reach.

Counts over all organisations would tell a rival how busy the others are, so no public route shows
them; the listener binds to the address that the operator names, loopback unless said otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schemas.errors import MissingDependencyError, StoreUnavailableError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

INSTALL: Final = "pip install 'tanada-platform[metrics]'"
_PORTS: Final = 65535


def parse_address(text: str) -> tuple[str, int]:
    """`host:port`, or a port alone on 127.0.0.1.

    Raises:
        WrongUseError: neither.
    """
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > _PORTS:
        raise WrongUseError(
            "not host:port", subject="metrics address", expected="127.0.0.1:9464", found=text[:80]
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def new_registry() -> CollectorRegistry:
    """An empty registry with this process's CPU, memory and descriptors.

    Raises:
        MissingDependencyError: prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "metrics need a package that is not installed",
            found=f"no module {error.name}",
            next_step=INSTALL,
        ) from error
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def serve_metrics(registry: CollectorRegistry, address: str) -> tuple[int, Callable[[], None]]:
    """Serve a registry at http://ADDRESS/metrics from a thread.

    Args:
        registry: What to show.
        address: As `parse_address` takes it; port 0 is a free one.

    Returns:
        The port, and what ends the listener.

    Raises:
        StoreUnavailableError: the address is taken.
    """
    from prometheus_client import start_http_server

    host, port = parse_address(address)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise StoreUnavailableError(
            "the metrics address cannot be listened on",
            subject=address,
            found=error.strerror or str(error),
            next_step="name another one with TANADA_METRICS_ADDRESS",
        ) from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    bound: tuple[Any, ...] = server.server_address
    return int(bound[1]), end
