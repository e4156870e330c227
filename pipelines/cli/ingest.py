"""`tanada ingest | worker | recover | withdraw` and `tanada quarantine list | show | retry`."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from pipelines.cli.platform import (
    DatabaseOption,
    JsonOption,
    Platform,
    RootOption,
    emit,
    examples,
    progress,
    run,
)

WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes that decode. [env: TANADA_WORKERS]"),
]
OrganisationOption = Annotated[
    str | None, typer.Option("--organisation", help="Default: the only one.")
]
quarantine = typer.Typer(
    help="What was refused, and why.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "tanada ingest day1.mcap",
            "tanada ingest recordings/ --robot arm-3 --agreement pilot --workers 2 --json",
        )
    )(ingest)
    app.command(epilog=examples("tanada worker", "tanada worker --once"))(worker)
    app.command(epilog=examples("tanada recover"))(recover)
    app.command(epilog=examples("tanada withdraw 4be0…"))(withdraw)
    app.add_typer(quarantine, name="quarantine")


@run
def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files, and folders to search.")],
    *,
    organisation: OrganisationOption = None,
    robot: Annotated[str | None, typer.Option(help="Default: the only one.")] = None,
    agreement: Annotated[str | None, typer.Option(help="Default: the only one.")] = None,
    sector: Annotated[str | None, typer.Option(help="Default: the robot's.")] = None,
    start_time: Annotated[
        str | None,
        typer.Option("--start-time", help="Start of recordings without a clock, ISO 8601."),
    ] = None,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read large files that look unchanged, too.")
    ] = False,
    workers: WorkersOption = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Receive recordings, decode and check them, and commit what is accepted."""
    from pathlib import Path

    from pipelines.cli.watch import shown_on_stderr
    from pipelines.ingest import contribution
    from pipelines.ingest import ingest as ingest_paths

    with Platform.from_environment(
        root=root, database_url=database_url, workers=workers
    ) as platform:
        under = contribution(
            platform,
            organisation,
            robot,
            agreement,
            sector=sector,
            start_time_ns=None if start_time is None else _instant(start_time),
        )
        files = [Path(path) for path in paths]
        with shown_on_stderr(quiet=as_json) as watch:
            result = ingest_paths(platform, files, under, watch=watch, rehash=rehash)
    if as_json:
        emit(result.as_json(), as_json=True)
    raise typer.Exit(result.exit_code)


@run
def worker(
    *,
    once: Annotated[bool, typer.Option("--once", help="End when nothing waits.")] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port",
            min=0,
            max=65535,
            help="Metrics on 127.0.0.1, this port. [env: TANADA_METRICS_ADDRESS]",
        ),
    ] = None,
    workers: WorkersOption = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Process recordings that were received; SIGTERM ends it after the batch at work."""
    from connectors.telemetry.logs import configure
    from pipelines.cli.watch import LogWatch, metrics_served, shown_on_stderr
    from pipelines.worker import work

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    address = None if metrics_port is None else f"127.0.0.1:{metrics_port}"
    opened = Platform.from_environment(
        root=root, database_url=database_url, workers=workers, metrics_address=address
    )
    configure(opened.settings)
    logged = opened.settings.log_format.lower() == "json"
    with (
        opened as platform,
        metrics_served(platform),
        LogWatch() if logged else shown_on_stderr(quiet=as_json) as watch,
    ):
        decided = work(platform, once=once, stopped=stopped, watch=watch)
    emit({"decided": decided}, as_json=as_json)


@run
def recover(
    *,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Finish what a crash interrupted; safe at any time."""
    from pipelines.recover import recover as recover_platform

    with Platform.from_environment(root=root, database_url=database_url) as platform:
        done = recover_platform(platform)
    emit(done.as_json(), as_json=as_json)


@run
def withdraw(
    recording: Annotated[str, typer.Argument(help="Recording id.")],
    *,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a recording out: new reads stop at once, releases that hold it are withdrawn."""
    from pipelines.withdraw import withdraw as withdraw_recording

    with Platform.from_environment(root=root, database_url=database_url) as platform:
        done = withdraw_recording(platform, recording)
    emit(done.as_json(), as_json=as_json)


@quarantine.command("list", epilog=examples("tanada quarantine list"))
@run
def list_(
    *,
    organisation: OrganisationOption = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was refused, newest first."""
    from pipelines.quarantine import refused

    with Platform.from_environment(root=root, database_url=database_url) as platform:
        rows = [one.as_json() for one in refused(platform, organisation)]
    if not as_json:
        rows = [row | {"reasons": [reason["rule"] for reason in row["reasons"]]} for row in rows]
    emit(rows, as_json=as_json)


@quarantine.command(epilog=examples("tanada quarantine show 4be0…"))
@run
def show(
    recording: Annotated[str, typer.Argument(help="Recording id.")],
    *,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one refused recording: reasons, files, steps."""
    from pipelines.quarantine import show as show_refused

    with Platform.from_environment(root=root, database_url=database_url) as platform:
        document = show_refused(platform, recording)
    emit(document, as_json=as_json)


@quarantine.command(epilog=examples("tanada quarantine retry 4be0… && tanada worker --once"))
@run
def retry(
    recording: Annotated[list[str], typer.Argument(help="Recording ids.")],
    *,
    root: RootOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Have refused recordings tried again by the next worker."""
    from pipelines.quarantine import retry as retry_refused

    with Platform.from_environment(root=root, database_url=database_url) as platform:
        for one in recording:
            retry_refused(platform, one)
    progress(f"{len(recording)} given back; next: tanada worker --once")


def _instant(text: str) -> int:
    """ISO 8601 -> ns UTC; a time without an offset is UTC.

    Raises:
        WrongUseError: not ISO 8601.
    """
    import datetime as dt

    from schemas.errors import WrongUseError

    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongUseError(
            "not a time", subject="--start-time", expected="2026-11-22T09:00:00+09:00", found=text
        ) from error
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return int((at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(microseconds=1)) * 1000
