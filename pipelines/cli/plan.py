"""`tanada plan`: what so many robots would need, and which limit breaks first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pipelines.cli.platform import JsonOption, emit, examples, progress, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipelines.capacity.limits import Broken
    from pipelines.capacity.model import Figures, Year

_STEP: Final = 1000.0
_PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E")
_BYTES: Final = frozenset({"bytes_in", "table_bytes", "media_bytes", "log_bytes", "stored_bytes"})
_SHOWN: Final = {
    "robots": "robots",
    "recordings": "recordings",
    "bytes_in": "bytes in",
    "rows": "rows",
    "stored_bytes": "stored",
    "objects": "objects",
    "commits": "commits",
    "versions": "versions",
    "files_kept_busiest": "files/table",
    "markers": "markers/table",
    "log_bytes": "log",
    "catalog_rows": "catalog rows",
    "worker_hours": "worker h",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "tanada plan --robots 10e6",
            "tanada plan --robots 1e5 --sector factory --set sectors.factory.hours_per_day=24",
            "tanada plan --from tests/bench/results/2026-11-25-capacity.json --json",
        )
    )(plan)


@run
def plan(
    *,
    robots: Annotated[
        float | None, typer.Option(min=0, help="Robots of all sectors in the last year.")
    ] = None,
    sector: Annotated[
        list[str] | None, typer.Option(help="Only this sector's part of them; may be repeated.")
    ] = None,
    measurements: Annotated[
        str | None, typer.Option("--from", help="Measurements; default: those that are shipped.")
    ] = None,
    assumptions: Annotated[
        str | None, typer.Option(help="Assumptions, YAML; default: those that are shipped.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another value for an assumption."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Plan capacity: bytes, objects, commits, cost by sector and year, and the first limit."""
    from pathlib import Path

    from pipelines.capacity import files, model
    from pipelines.capacity.limits import standing

    measured = files.read_measured(Path(measurements) if measurements else files.MEASUREMENTS)
    assumed = files.read_assumptions(
        Path(assumptions) if assumptions else files.ASSUMPTIONS,
        files.parsed_overrides(override or []),
    )
    count = assumed.general.robots if robots is None else robots
    years = model.plan(assumed, measured, count, sector or None)
    limits = standing(assumed, measured, count, sector or None)
    if as_json:
        document = {
            "robots": count,
            "measured": measured.source,
            "assumptions": dict(assumed.sources),
            "years": model.as_json(years),
            "limits": [limit.as_json() for limit in limits],
            "first_limit": limits[0].limit.name if limits[0].robots is not None else None,
        }
        emit(document, as_json=True)
        return
    _show(years, limits)
    progress(f"measured: {measured.source}")
    progress("assumed: pipelines/capacity/assumptions.yaml; --json lists every source")


def _show(years: Sequence[Year], limits: Sequence[Broken]) -> None:
    last = years[-1]
    emit([{"year": year.year} | _figures(year.total) for year in years], as_json=False)
    _blank()
    rows = [{f"{last.year}": name} | _figures(part) for name, part in last.sectors.items()]
    emit(rows, as_json=False)
    _blank()
    emit([_cost(str(year.year), year.total) for year in years], as_json=False)
    _blank()
    emit([_limit(limit) for limit in limits], as_json=False)
    _blank()
    emit(_first(limits), as_json=False)


def _blank() -> None:
    typer.echo()


def _figures(figures: Figures) -> dict[str, str]:
    return {
        title: amount(getattr(figures, name), "B" if name in _BYTES else "")
        for name, title in _SHOWN.items()
    }


def _cost(name: str, figures: Figures) -> dict[str, str]:
    return {
        "USD a year": name,
        "storage": amount(figures.cost_storage),
        "requests": amount(figures.cost_requests),
        "compute": amount(figures.cost_compute),
        "sum": amount(figures.cost),
    }


def _limit(broken: Broken) -> dict[str, Any]:
    return {
        "limit": broken.limit.name,
        "scope": broken.limit.scope,
        "breaks at robots": "-" if broken.robots is None else amount(broken.robots),
        "in": broken.year,
        "use": amount(broken.use),
        "capacity": amount(broken.capacity),
        "of": broken.limit.what,
    }


def _first(limits: Sequence[Broken]) -> Mapping[str, str]:
    """The first limit, then the first of each other scope: what breaks once that is changed."""
    said: dict[str, str] = {}
    for broken in limits:
        if broken.robots is None or broken.limit.scope in said:
            continue
        said[broken.limit.scope] = (
            f"{broken.limit.name}, up to {amount(broken.robots)} robots ({broken.source}); "
            f"then: {broken.limit.change}"
        )
    named = {f"first limit of the {scope}": text for scope, text in said.items()}
    return {"first limit": limits[0].limit.name} | named if named else {"first limit": "none"}


def amount(value: float, unit: str = "") -> str:
    """Three significant digits with a decimal prefix."""
    at = 0
    while abs(value) >= _STEP - 0.5 and at < len(_PREFIXES) - 1:
        value, at = value / _STEP, at + 1
    digits = 3 if value else 1
    text = f"{value:.{digits}g}"
    return f"{text} {_PREFIXES[at]}{unit}".rstrip()
