"""`tanada init` and `tanada upgrade`, and the commands for parties and terms."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from pipelines.cli import parties
from pipelines.cli.platform import (
    DatabaseOption,
    JsonOption,
    RootOption,
    emit,
    examples,
    progress,
    run,
    settings_of,
)


def register(app: typer.Typer) -> None:
    """Add init, upgrade, settings, and the groups for parties and terms."""
    app.command("init", epilog=examples("tanada init --organisation 'Tanada Programme' --json"))(
        init
    )
    app.command("upgrade", epilog=examples("tanada upgrade"))(upgrade)
    app.command("settings", epilog=examples("tanada settings --json"))(settings)
    parties.register(app)


@run
def init(
    *,
    organisation: Annotated[
        str, typer.Option("--organisation", help="Name of the organisation that runs it.")
    ],
    sector: Annotated[
        str, typer.Option("--sector", help="Sector of the robot 'default'.")
    ] = "factory",
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a platform: root, catalog, tables, operator with terms for its own use, admin key.

    The key is shown once. Where a platform stands already, nothing is changed (exit code 2).
    """
    from connectors.stores.initialise import initialise

    settings = settings_of(root=root, database_url=database_url)
    made = initialise(
        settings.root,
        organisation,
        time.time_ns,
        database_url=settings.database_url,
        sector=sector,
        access=settings.access,
    )
    emit(asdict(made), as_json=as_json)
    progress("keep the key: it is stored nowhere and not shown again")


@run
def upgrade(
    *, root: RootOption = None, database_url: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Move an older root forward: catalog schema and tables that are new. Safe to repeat."""
    from connectors.stores.catalog.database import connect, migrate
    from connectors.stores.lake import Lake
    from connectors.stores.root import FORMAT_VERSION, Root

    settings = settings_of(root=root, database_url=database_url)
    opened = Root.open(settings.root, settings.access)
    engine = connect(settings.database_url or opened.database_url)
    try:
        migrate(engine)
    finally:
        engine.dispose()
    made = Lake(opened).create_all()
    emit(
        {"root": str(opened.path), "format_version": FORMAT_VERSION, "tables_made": made},
        as_json=as_json,
    )


@run
def settings(*, as_json: JsonOption = False) -> None:
    """List every setting: its environment variable, its value here, what it does."""
    from connectors.settings import SECRET, SETTINGS

    chosen = settings_of()
    rows = []
    for setting in SETTINGS:
        value = getattr(chosen, setting.name)
        shown = "***" if setting.name in SECRET and value else value
        rows.append({"environment": setting.env, "value": shown, "meaning": setting.doc})
    emit(rows, as_json=as_json)
