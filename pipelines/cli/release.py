"""`tanada release build | list | show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.platform import (
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.release.build import Release

group = typer.Typer(
    help="Releases: immutable versions of datasets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="What goes in.")]
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="Dataset id.")]


def register(app: typer.Typer) -> None:
    """Add the group `release`."""
    app.add_typer(group, name="release")


@group.command(
    epilog=examples("tanada release build recipe.yaml", "tanada release build recipe.yaml --json")
)
@run
def build(
    recipe: RecipeArgument,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse recordings without terms in force.")
    ] = False,
    engine: EngineOption = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a release from what is visible now; the same content makes no new version."""
    from pipelines.release.build import build as build_release
    from pipelines.release.recipe_file import load_recipe

    wanted = load_recipe(recipe)
    with Platform.from_environment(root=root, database_url=database_url, engine=engine) as platform:
        release = build_release(platform, wanted, strict=strict, progress=_reporter())
    for left in release.left_out:
        progress(f"left out: recording {left.recording_id}: {left.reason}")
    for episode, reason in sorted(release.dropped.items()):
        progress(f"no frames: episode {episode}: {reason}")
    if not release.created:
        progress(f"unchanged: version {release.version} has the same digest, none was made")
    emit(_document(release, whole=as_json), as_json=as_json)


def _document(release: Release, *, whole: bool) -> dict[str, Any]:
    facts = release.summary
    document = {
        "dataset": release.dataset,
        "version": release.version,
        "created": release.created,
        "digest": release.digest,
        "episodes": facts["episodes"],
        "frames": facts["frames"],
        "hours": round(facts["seconds"] / 3600, 3),
        "files": release.files,
        "bytes": release.bytes,
    }
    if whole:
        document |= {
            "summary": dict(facts),
            "left_out": [
                {"recording_id": left.recording_id, "reason": left.reason}
                for left in release.left_out
            ],
            "dropped": dict(release.dropped),
            "terms": release.terms.summary(),
        }
    return document


def _reporter() -> Callable[[str, int, int], None]:
    """Progress on stderr: each step once, episodes at every tenth."""
    shown: set[tuple[str, int]] = set()

    def report(step: str, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if (step, tenth) not in shown:
            shown.add((step, tenth))
            progress(f"{step}: {done} of {total}" if step == "episodes" else step)

    return report


@group.command("list", epilog=examples("tanada release list", "tanada release list arms --json"))
@run
def list_releases(
    dataset: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="Only of this dataset.")
    ] = None,
    *,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List releases, the newest of each dataset first."""
    from connectors.stores.catalog.database import reading
    from pipelines.release.publish import releases

    with (
        Platform.from_environment(root=root, database_url=database_url) as platform,
        reading(platform.engine) as connection,
    ):
        found = releases(connection, dataset)
    emit(
        [
            {
                "dataset": row["dataset"],
                "version": row["version"],
                "state": row["state"],
                "episodes": row["summary"].get("episodes"),
                "frames": row["summary"].get("frames"),
                "bytes": row["summary"].get("bytes"),
                "digest": row["digest"],
                "created_ns": row["created_ns"],
            }
            for row in found
        ],
        as_json=as_json,
    )


@group.command(epilog=examples("tanada release show arms", "tanada release show arms 2 --json"))
@run
def show(
    dataset: DatasetArgument,
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", help="Default: the newest.")
    ] = None,
    *,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one release: counts, terms, table versions, files."""
    from connectors.stores.catalog.database import reading
    from pipelines.release.publish import release_files, releases
    from schemas.errors import NotFoundError
    from schemas.licences import Terms

    with Platform.from_environment(root=root, database_url=database_url) as platform:
        with reading(platform.engine) as connection:
            found = releases(connection, dataset)
            rows = [r for r in found if version is None or r["version"] == version]
            if not rows:
                raise NotFoundError(
                    "no such release",
                    subject=f"{dataset} {version or ''}".strip(),
                    next_step="tanada release list",
                )
            files = release_files(connection, dataset, rows[0]["version"])
        folder = platform.root.release(dataset, rows[0]["version"])
    document = rows[0] | {
        "terms": Terms.model_validate(rows[0]["terms"]).summary(),
        "folder": str(folder),
        "files": files if as_json else [file["path"] for file in files],
    }
    emit(document, as_json=as_json)
