"""`tanada lake tables | query | history`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from connectors.stores.lake import Lake

group = typer.Typer(
    help="The lake: its tables, SQL over them, their history.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
"""Other modules of this package add their commands to it."""


def register(app: typer.Typer) -> None:
    """Add the group `lake`."""
    app.add_typer(group, name="lake")


@group.command(epilog=examples("tanada lake tables", "tanada lake tables --json"))
@run
def tables(
    *,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tables and decoded views, with their visible rows and what a row is."""
    with Platform.from_environment(root=root, database_url=database_url) as platform:
        rows = _tables(platform.lake)
    emit(rows, as_json=as_json)


def _tables(lake: Lake) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    from connectors.stores.query import message_views
    from schemas.tables import TABLES

    pinned = lake.pin()
    visible = pc.field("recording_id").isin(lake.visible(pinned))
    rows = [
        {
            "name": name,
            "version": pinned[name],
            "rows": lake.dataset(name, pinned).count_rows(filter=visible),
            "is": spec.doc,
        }
        for name, spec in TABLES.items()
    ]
    for view in message_views(lake, pinned):
        chosen = visible & pc.field("schema_id").isin(list(view.schemas))
        shown = "decoded view of" if view.decodable else "kept as recorded, not decodable:"
        rows.append(
            {
                "name": view.name,
                "version": pinned["messages"],
                "rows": lake.dataset("messages", pinned).count_rows(filter=chosen),
                "is": f"{shown} {view.message_type}",
            }
        )
    return rows


@group.command(
    epilog=examples(
        "tanada lake query 'SELECT stream, count(*) FROM imu GROUP BY ALL'",
        "tanada lake query 'SELECT data FROM std_msgs__String' --limit 10 --json",
    )
)
@run
def query(
    sql: Annotated[str, typer.Argument(metavar="SELECT", help="One SELECT, as DuckDB reads it.")],
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows to answer.")] = 1000,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one SELECT over the visible rows of tables and decoded views."""
    from connectors.stores.query import query as run_query

    with Platform.from_environment(root=root, database_url=database_url) as platform:
        answer = run_query(platform.lake, sql, limit=limit)
    rows = [{key: _plain(value) for key, value in row.items()} for row in answer.rows.to_pylist()]
    if as_json:
        columns = [{"name": f.name, "type": str(f.type)} for f in answer.rows.schema]
        emit(
            {
                "columns": columns,
                "rows": rows,
                "truncated": answer.truncated,
                "versions": answer.pinned,
            },
            as_json=True,
        )
    else:
        emit(rows, as_json=False, exact=True)
    if answer.truncated:
        progress(f"more rows exist than --limit {limit} shows")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no such numbers
        return None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


@group.command(epilog=examples("tanada lake history imu --limit 5"))
@run
def history(
    table: Annotated[str, typer.Argument(help="Name of the table.")],
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Newest first.")] = 20,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a table's commits, newest first."""
    with Platform.from_environment(root=root, database_url=database_url) as platform:
        commits = platform.lake.open(table).history(limit)
    rows = [
        {
            "version": commit.get("version"),
            "timestamp_ms": commit.get("timestamp"),
            "operation": commit.get("operation"),
            "metrics": commit.get("operationMetrics") or {},
        }
        for commit in commits
    ]
    emit(rows, as_json=as_json)
