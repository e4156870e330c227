"""`tanada serve`: the server as a command. A composition root: the environment enters here.

Nothing heavy is imported before the command runs.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated, Final

import typer

from schemas.errors import MissingDependencyError, RetryError, TanadaError, WrongUseError

EXIT_REFUSED: Final = 1
EXIT_WRONG_USE: Final = 2
EXIT_RETRY: Final = 3
STOP_SECONDS: Final = 20


def register(app: typer.Typer) -> None:
    """Add the server's command to the `tanada` command."""
    app.command("serve")(serve)


def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 8000,
    root: Annotated[
        str | None, typer.Option("--root", help="Folder of the lake. [env: TANADA_ROOT]")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option("--database-url", help="Catalog database. [env: TANADA_DATABASE_URL]"),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="How the server is reached. [env: TANADA_URL]")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port",
            min=0,
            max=65535,
            help="Metrics on 127.0.0.1, this port. [env: TANADA_METRICS_ADDRESS]",
        ),
    ] = None,
) -> None:
    """Serve the catalog: the API under /v1 and the web pages."""
    address = None if metrics_port is None else f"127.0.0.1:{metrics_port}"
    try:
        _serve(host, port, root=root, database_url=database_url, url=url, metrics_address=address)
    except TanadaError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(_exit_code(error)) from error


def _serve(host: str, port: int, **flags: str | None) -> None:
    from connectors.settings import Settings
    from connectors.telemetry.logs import configure

    settings = Settings.from_environment(os.environ, **flags)
    configure(settings)
    try:
        import uvicorn

        from api.app import create_app
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "the server's packages are not installed",
            found=f"no module {error.name}",
            next_step="pip install 'tanada-platform[api]'",
        ) from error
    app = create_app(settings, time.time_ns)
    # Forwarded addresses would let a caller choose the network that its terms are asked about.
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        proxy_headers=False,
        server_header=False,
        ws="none",
        # One line a request is ours, without addresses; the server's own go the same way.
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    uvicorn.Server(config).run()


def _exit_code(error: TanadaError) -> int:
    if isinstance(error, RetryError):
        return EXIT_RETRY
    wrong_use = isinstance(error, WrongUseError | MissingDependencyError)
    return EXIT_WRONG_USE if wrong_use else EXIT_REFUSED
