"""`tanada jobs list | run`: what schedulers call, and people too."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.platform import (
    EXIT_REFUSED,
    EXIT_RETRY,
    DatabaseOption,
    JsonOption,
    Platform,
    RootOption,
    emit,
    examples,
    run,
)

group = typer.Typer(
    help="Scheduled work: the one list, and running a job of it now.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the group `jobs`."""
    app.add_typer(group, name="jobs")


@group.command("list", epilog=examples("tanada jobs list", "tanada jobs list --json"))
@run
def list_(*, as_json: JsonOption = False) -> None:
    """List the jobs with schedule (cron, UTC), timeout, retries and parameters."""
    from pipelines.jobs import JOBS

    rows = [job.as_json() for job in JOBS.values()]
    if not as_json:
        shown = ("name", "schedule", "timeout_minutes", "retries", "parameters", "does")
        rows = [
            {key: row[key] for key in shown} | {"parameters": list(row["parameters"])}
            for row in rows
        ]
    emit(rows, as_json=as_json)


@group.command(
    "run",
    epilog=examples(
        "tanada jobs run verify --param deep=true",
        "tanada jobs run ingest --param sector=factory --param day=2026-11-22 --json",
    ),
)
@run
def run_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of tanada jobs list.")],
    *,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one job now. Safe beside a scheduled run of the same job."""
    from pipelines import jobs

    given = dict(_pair(text) for text in param or [])
    with Platform.from_environment(root=root, database_url=database_url) as platform:
        document = jobs.run(platform, name, given)
    emit({"job": name, "parameters": given, **document}, as_json=as_json)
    codes = {jobs.WELL: 0, jobs.REFUSED: EXIT_REFUSED, jobs.RETRY: EXIT_RETRY}
    raise typer.Exit(codes[document["outcome"]])


def _pair(text: str) -> tuple[str, str]:
    """`key=value` -> (key, value).

    Raises:
        WrongUseError: it is none.
    """
    from schemas.errors import WrongUseError

    key, found, value = text.partition("=")
    if not (key and found):
        raise WrongUseError("not a parameter", expected="--param KEY=VALUE", found=text[:80])
    return key, value
