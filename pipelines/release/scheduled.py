"""Build what a folder of recipes asks for; what has nothing new to read is left as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.jobs import OUTCOMES, REFUSED, RETRY, WELL
from pipelines.release.build import build
from pipelines.release.recipe_file import load_recipe
from schemas.errors import NotFoundError, RetryError, TanadaError, WrongUseError

if TYPE_CHECKING:
    from pipelines.cli.platform import Platform

ENDINGS = (".yaml", ".yml")


def build_recipes(platform: Platform, only: str | None = None) -> dict[str, Any]:
    """Build a release of every recipe file; one that is refused does not stop the others.

    Args:
        platform: The opened platform; its setting `recipes` names the folder.
        only: Name of one file in it; None = all.

    Returns:
        `releases`: per file the release, or `error`. `outcome`: the worst of them.

    Raises:
        NotFoundError: no such folder, or no such file in it.
        WrongUseError: no folder of recipes is configured, or `only` is a path.
    """
    releases = []
    worst = WELL
    for path in recipe_files(platform.settings.recipes, only):
        outcome, document = _build_one(platform, path)
        worst = max(worst, outcome, key=OUTCOMES.index)
        releases.append({"recipe": path.name, **document})
    return {"outcome": worst, "releases": releases}


def recipe_files(folder: str | None, only: str | None = None) -> list[Path]:
    """Files of the folder of recipes, by name; see `build_recipes` for what it raises."""
    if folder is None:
        raise WrongUseError(
            "no folder of recipes is configured", next_step="set TANADA_RECIPES to a folder"
        )
    top = Path(folder).expanduser().absolute()
    if not top.is_dir():
        raise NotFoundError("the folder of recipes does not exist", subject=str(top))
    if only is not None and Path(only).name != only:
        raise WrongUseError("name the file alone", subject="recipe", found=only[:200])
    found = sorted(p for p in top.iterdir() if p.suffix in ENDINGS and p.is_file())
    chosen = [path for path in found if only in (None, path.name)]
    if only is not None and not chosen:
        raise NotFoundError("no such recipe", subject=str(top / only))
    return chosen


def _build_one(platform: Platform, path: Path) -> tuple[str, dict[str, Any]]:
    try:
        release = build(platform, load_recipe(path), skip_unchanged=True)
    except TanadaError as error:
        outcome = RETRY if isinstance(error, RetryError) else REFUSED
        return outcome, {"error": {"kind": type(error).__name__, "what": str(error)}}
    return WELL, {
        "dataset": release.dataset,
        "version": release.version,
        "created": release.created,
        "digest": release.digest,
        "episodes": release.summary["episodes"],
        "frames": release.summary["frames"],
        "bytes": release.bytes,
        "left_out": len(release.left_out),
    }
