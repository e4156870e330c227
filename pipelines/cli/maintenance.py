"""`tanada lake verify | optimize | vacuum` and `tanada notify`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.lake import group
from pipelines.cli.platform import (
    EXIT_REFUSED,
    DatabaseOption,
    EngineOption,
    JsonOption,
    Platform,
    RootOption,
    emit,
    examples,
    progress,
    run,
)

TablesArgument = Annotated[list[str] | None, typer.Argument(help="Tables; default: all.")]


def register(app: typer.Typer) -> None:
    """Add `notify`, and the commands of the group `lake`."""
    app.command(epilog=examples("tanada notify", "tanada notify --days 60 --json"))(notify)
    group.command(epilog=examples("tanada lake verify", "tanada lake verify --deep"))(verify)
    group.command(epilog=examples("tanada lake check imu --engine spark"))(check)
    group.command(
        epilog=examples(
            "tanada lake optimize",
            "tanada lake optimize --root s3://lake/main --engine spark --z-order-by t_ns",
        )
    )(optimize)
    group.command(epilog=examples("tanada lake vacuum --dry-run"))(vacuum)


@run
def notify(
    *,
    days: Annotated[int, typer.Option(min=1, help="How far ahead terms are looked at.")] = 30,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell stewards of terms that end soon; each matter once. For a scheduler, once a day."""
    from pipelines.notify import Notifier, expiring

    with Platform.from_environment(root=root, database_url=database_url) as platform:
        notifier = Notifier.of(platform.settings)
        rows = [
            {"kind": notice.kind, "title": notice.title, "sent": notifier.tell(notice)}
            for notice in expiring(platform, days)
        ]
    emit(rows, as_json=as_json)


@run
def verify(
    tables: TablesArgument = None,
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Read every data file.")] = False,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare tables with their manifests; names files, recordings and releases touched."""
    from pipelines.maintain import verify as verify_tables

    with Platform.from_environment(root=root, database_url=database_url) as platform:
        done = verify_tables(platform, tables or None, deep=deep)
    if as_json:
        emit(done.as_json(), as_json=True)
    else:
        emit([finding.as_json() for finding in done.findings], as_json=False)
        progress(f"{done.files} files, {done.bytes} bytes read: {'well' if done.ok else 'damaged'}")
    raise typer.Exit(0 if done.ok else EXIT_REFUSED)


@run
def check(
    tables: TablesArgument = None,
    *,
    engine: EngineOption = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask table-wide rules of all visible rows; needs Spark."""
    from pipelines.engine import SPARK
    from schemas.errors import WrongUseError

    with Platform.from_environment(root=root, database_url=database_url, engine=engine) as platform:
        if platform.settings.engine != SPARK:
            raise WrongUseError(
                "table-wide rules are computed by Spark",
                expected=SPARK,
                found=platform.settings.engine[:40],
                next_step="tanada lake check --engine spark",
            )
        from pipelines.spark.checks import check as check_tables

        found = check_tables(platform, tables or None)
    emit([one.as_json() for one in found], as_json=as_json)
    broken = any(not one.passed and one.severity == "error" for one in found)
    raise typer.Exit(EXIT_REFUSED if broken else 0)


@run
def optimize(
    tables: TablesArgument = None,
    *,
    z_order_by: Annotated[
        list[str] | None,
        typer.Option("--z-order-by", metavar="COLUMN", help="Bring near values together; Spark."),
    ] = None,
    engine: EngineOption = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compact small files; by Spark, where it is the engine and the lake lies in a bucket."""
    from pipelines.engine import SPARK
    from pipelines.maintain import optimize as optimize_tables
    from pipelines.maintain import require_bucket

    with Platform.from_environment(root=root, database_url=database_url, engine=engine) as platform:
        if engine == SPARK:
            require_bucket(platform, str(platform.root.path))
        done = optimize_tables(platform, tables or None, z_order_by=tuple(z_order_by or ()))
    emit([{"table": table, **metrics} for table, metrics in done.items()], as_json=as_json)


@run
def vacuum(
    tables: TablesArgument = None,
    *,
    retention_hours: Annotated[
        int, typer.Option("--retention-hours", help="How long removed files stay.")
    ] = 168,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which files.")] = False,
    engine: EngineOption = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove files that no version within the retention needs."""
    from pipelines.engine import SPARK
    from pipelines.maintain import require_bucket
    from pipelines.maintain import vacuum as vacuum_tables

    with Platform.from_environment(root=root, database_url=database_url, engine=engine) as platform:
        if engine == SPARK:
            require_bucket(platform, str(platform.root.path))
        done = vacuum_tables(
            platform, tables or None, retention_hours=retention_hours, dry_run=dry_run
        )
    rows = [{"table": table, "path": path} for table, paths in done.items() for path in paths]
    emit(rows, as_json=as_json)
