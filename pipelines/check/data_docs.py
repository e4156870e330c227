"""Data Docs of one organisation: a page per checked batch and sector, and an index.

Great Expectations' own renderers fill the pages; frame and style are ours, inlined, so that a
page needs no other file, no script and no network. No observed value of a failing stream stands
on a page, only which rule broke where: values are in the `quality` table, behind the licence.

The cost of a run does not grow with their number: a run writes its own folder, folders beyond the
newest `keep` are removed, and the index is drawn from the small summaries of those left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipelines.check.great import SectorRun

_PAGES: Final = resources.files("pipelines.check") / "pages"
_SUMMARY: Final = "summary.json"
_SHOWN_PLACES: Final = 20
_NS: Final = 1_000_000_000


def write_run(
    site: Path,
    organisation: str,
    batch: str,
    runs: Sequence[SectorRun],
    *,
    at_ns: int,
    keep: int,
) -> Path:
    """Write one run's pages and draw the index anew.

    Args:
        site: Folder of the organisation's Data Docs; made if missing.
        organisation: Organisation id.
        batch: Name of the batch.
        runs: What each sector's suite found.
        at_ns: When, ns UTC.
        keep: Runs to keep.

    Returns:
        The run's folder.

    Raises:
        OSError: the folder can't be written.
    """
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    moment = datetime.fromtimestamp(at_ns // _NS, UTC)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", batch)[:80]
    name = f"{moment:%Y%m%dT%H%M%S}.{at_ns % _NS:09d}Z-{safe}"
    folder = site / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    view = _view()
    pages = []
    for run in runs:
        failed = [result for result in run.results if not result["passed"]]
        errors = sum(result["severity"] == "error" for result in failed)
        page = {
            "sector": run.sector,
            "streams": run.streams,
            "recordings": run.recordings,
            "checked": len(run.results),
            "errors": errors,
            "warnings": len(failed) - errors,
        }
        html = view.render(
            ValidationResultsPageRenderer(run_info_at_end=True).render(run.validation),
            template="run.j2",
            organisation=organisation,
            batch=batch,
            moment=f"{moment:%Y-%m-%d %H:%M:%S} UTC",
            page=page,
            broken=_by_rule(failed),
        )
        # The suites are files of the platform, not pages of this site.
        html = re.sub(r'<a href="[^"]*/expectations/[^"]*"\s*>([^<]*)</a>', r"\1", html)
        _replace(folder / f"{run.sector}.html", html)
        pages.append(page)
    summary = {"batch": batch, "moment": f"{moment:%Y-%m-%d %H:%M:%S} UTC", "pages": pages}
    _replace(folder / _SUMMARY, json.dumps(summary))
    _write_index(site, organisation, keep, view)
    return folder


def _by_rule(failed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Broken rules, errors first, each with the places it broke at; no values."""
    rules: dict[tuple[str, str], dict[str, Any]] = {}
    for result in failed:
        key = (result["severity"], result["rule"])
        rule = rules.setdefault(key, {**result, "places": [], "more": 0})
        if len(rule["places"]) < _SHOWN_PLACES:
            rule["places"].append(result)
        else:
            rule["more"] += 1
    return [rules[key] for key in sorted(rules)]


def _view() -> Any:
    """Great Expectations' page view, with our templates before its own."""
    from great_expectations.render.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, FileSystemLoader

    view = DefaultJinjaPageView()
    view.env.loader = ChoiceLoader([FileSystemLoader(str(_PAGES)), view.env.loader])
    return view


def _write_index(site: Path, organisation: str, keep: int, view: Any) -> None:
    folders = sorted((site / "runs").iterdir(), key=lambda folder: folder.name, reverse=True)
    for old in folders[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    runs = []
    for folder in folders[:keep]:
        summary = folder / _SUMMARY
        if summary.is_file():
            runs.append(json.loads(summary.read_text(encoding="utf-8")) | {"folder": folder.name})
    template = view.env.get_template("index.j2")
    _replace(site / "index.html", template.render(organisation=organisation, runs=runs, keep=keep))


def _replace(path: Path, text: str) -> None:
    """Write whole or not at all; readers may be looking."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
