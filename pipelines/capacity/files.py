"""Reads what was measured and what is assumed from their files, and applies overrides."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from pipelines.capacity.inputs import (
    Assumptions,
    Fixed,
    General,
    KindRates,
    Measured,
    SectorAssumptions,
    Stream,
)
from schemas.errors import NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEASUREMENTS: Final = Path(__file__).with_name("measurements.json")
ASSUMPTIONS: Final = Path(__file__).with_name("assumptions.yaml")
FORMAT: Final = 1
_MEASURE: Final = "write one with tests/bench/capacity.py"
_SCALARS: Final = tuple(
    f.name for f in fields(SectorAssumptions) if f.name not in {"name", "streams"}
)


def read_measured(path: Path = MEASUREMENTS) -> Measured:
    """Measured rates of a result of `tests/bench/capacity.py`.

    Raises:
        NotFoundError: the file cannot be read.
        WrongUseError: it is none, or lacks a rate.
    """
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise WrongUseError(
                "measurements of another format",
                subject=path.name,
                expected=str(FORMAT),
                found=str(document["format"])[:40],
                next_step=_MEASURE,
            )
        kinds = {kind: _rates(kind, rates) for kind, rates in document["kinds"].items()}
        entries = {f.name: document["fixed"][f.name] for f in fields(Fixed)}
        fixed = Fixed(**{name: _number(entry["value"], name) for name, entry in entries.items()})
        how = {name: str(entry["how"]) for name, entry in entries.items()}
        machine = document["machine"]
        source = (
            f"{document['source']}, {document['date']}, {machine['cores']} x {machine['cpu']}, "
            f"load {machine['load_before']} before and {machine['load_after']} after"
        )
    except OSError as error:
        raise NotFoundError(
            "the measurements cannot be read", subject=path.name, next_step=_MEASURE
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise WrongUseError(
            "no measurements, or not all of them",
            subject=path.name,
            found=repr(error)[:200],
            next_step=_MEASURE,
        ) from error
    return Measured(source, kinds, fixed, how)


def read_assumptions(
    path: Path = ASSUMPTIONS, overrides: Mapping[str, float] | None = None
) -> Assumptions:
    """Assumptions with their sources; overrides replace values by dotted name.

    Args:
        path: YAML as `assumptions.yaml`.
        overrides: Such as `{"general.peak_factor": 2.0}`; `sectors.*.NAME` is every sector's.

    Raises:
        NotFoundError: the file cannot be read.
        WrongUseError: it lacks a value, or an override names none.
    """
    try:
        document = yaml.safe_load(path.read_bytes())
        values, sources = _flat(document)
        wanted = dict(overrides or {})
        names = [str(name) for name in document["sectors"]]
        for name, value in _spread(wanted, names).items():
            if name not in values:
                raise WrongUseError(
                    "no such assumption",
                    subject=name,
                    expected="general.NAME, sectors.SECTOR.NAME or sectors.*.NAME",
                    next_step=f"the names stand in {path.name}",
                )
            values[name], sources[name] = value, "given"
        general = General(**{f.name: values[f"general.{f.name}"] for f in fields(General)})
        sectors = tuple(
            SectorAssumptions(
                name=name,
                streams=_streams(document["sectors"][name]["streams"]),
                **{scalar: values[f"sectors.{name}.{scalar}"] for scalar in _SCALARS},
            )
            for name in names
        )
    except OSError as error:
        raise NotFoundError("the assumptions cannot be read", subject=path.name) from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WrongUseError(
            "no assumptions, or not all of them", subject=path.name, found=repr(error)[:200]
        ) from error
    _check(general, sectors)
    return Assumptions(general, sectors, sources)


def parsed_overrides(given: Sequence[str]) -> dict[str, float]:
    """`NAME=VALUE` texts as numbers.

    Raises:
        WrongUseError: no such form, or no finite number.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise WrongUseError("not NAME=VALUE", subject="--set", found=text[:80])
        found[name.strip()] = _number(value, name)
    return found


def _rates(kind: str, rates: Mapping[str, Any]) -> KindRates:
    numbers = {f.name: rates[f.name] for f in fields(KindRates) if f.name != "tables"}
    checked = {name: _number(value, f"{kind} {name}") for name, value in numbers.items()}
    return KindRates(**checked, tables=frozenset(map(str, rates["tables"])))


def _flat(document: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Dotted name -> value, and -> source, of everything but streams."""
    values, sources = {}, {}
    parts = {"general": document["general"]} | {
        f"sectors.{name}": part for name, part in document["sectors"].items()
    }
    for prefix, part in parts.items():
        for name, entry in part.items():
            if name == "streams":
                continue
            values[f"{prefix}.{name}"] = _number(entry["value"], f"{prefix}.{name}")
            sources[f"{prefix}.{name}"] = str(entry["source"])
        for stream in part.get("streams", ()):
            sources[f"{prefix}.streams.{stream['kind']}"] = str(stream["source"])
    return values, sources


def _spread(overrides: Mapping[str, float], sectors: Sequence[str]) -> dict[str, float]:
    """Overrides with `sectors.*` written out."""
    found: dict[str, float] = {}
    for name, value in overrides.items():
        if name.startswith("sectors.*."):
            rest = name.removeprefix("sectors.*.")
            found |= {f"sectors.{sector}.{rest}": value for sector in sectors}
        else:
            found[name] = value
    return found


def _streams(entries: Sequence[Mapping[str, Any]]) -> tuple[Stream, ...]:
    return tuple(
        Stream(
            str(e["kind"]), _number(e["rate_hz"], "rate_hz"), _number(e.get("count", 1), "count")
        )
        for e in entries
    )


def _number(value: object, name: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise WrongUseError(
            "not a finite number of at least 0", subject=name, found=str(value)[:40]
        )
    return number


def _check(general: General, sectors: Sequence[SectorAssumptions]) -> None:
    """Refuse what the arithmetic cannot divide by.

    Raises:
        WrongUseError: naming the value.
    """
    divisors = {
        f"general.{f.name}": getattr(general, f.name)
        for f in fields(General)
        if f.name != "robots" and not f.name.startswith("price_")
    }
    for sector in sectors:
        for name in ("recording_seconds", "robots_per_organisation", "days_per_year"):
            divisors[f"sectors.{sector.name}.{name}"] = getattr(sector, name)
    for name, value in divisors.items():
        if value <= 0:
            raise WrongUseError("must be above 0", subject=name, found=f"{value:g}")
    if general.last_year < general.first_year:
        raise WrongUseError("the last year is before the first", subject="general.last_year")
