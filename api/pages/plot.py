"""A line plot as SVG, drawn here: no script, colours from the style sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH: Final = 720.0
HEIGHT: Final = 290.0
LEFT: Final = 64.0
RIGHT: Final = 12.0
TOP: Final = 12.0
BOTTOM: Final = 30.0
TICKS: Final = 5
SERIES_MAX: Final = 8
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Tick:
    """One mark on an axis: where, and what it says."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its name, its number for the colour, and its points as SVG text."""

    name: str
    number: int
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """What the template needs to draw a plot; lengths in SVG units."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    omitted: int
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def draw(document: Mapping[str, Any]) -> Plot | None:
    """The plot of a release's `plot.json`.

    Args:
        document: {title, unit, series: [{name, t: [seconds], v: [values or null]}]}.

    Returns:
        None where it holds no finite point.
    """
    series = [(str(s["name"]), _points(s["t"], s["v"])) for s in document.get("series", [])]
    flat = [point for _, parts in series for part in parts for point in part]
    if not flat:
        return None
    across = _ticks(min(t for t, _ in flat), max(t for t, _ in flat))
    up = _ticks(min(v for _, v in flat), max(v for _, v in flat))
    shown = series[:SERIES_MAX]
    place = _Place(across, up)
    lines = tuple(
        Line(name, number, tuple(place.path(part) for part in parts))
        for number, (name, parts) in enumerate(shown)
    )
    return Plot(
        str(document.get("title", "")),
        str(document.get("unit", "")),
        lines,
        tuple(Tick(place.x(value), _label(value, across)) for value in across),
        tuple(Tick(place.y(value), _label(value, up)) for value in up),
        len(series) - len(shown),
    )


def _points(t: Sequence[Any], v: Sequence[Any]) -> list[list[tuple[float, float]]]:
    """Runs of finite points; a gap in the values is a gap in the line."""
    runs: list[list[tuple[float, float]]] = [[]]
    for time, value in zip(t, v, strict=False):
        if value is not None and time is not None and math.isfinite(time) and math.isfinite(value):
            runs[-1].append((float(time), float(value)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _ticks(low: float, high: float) -> list[float]:
    """Round values that enclose [low, high]."""
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    raw = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * s for s in _STEPS if power * s >= raw * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * n for n in range(first, last + 1)]


def _label(value: float, ticks: Sequence[float]) -> str:
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    largest = max(abs(tick) for tick in ticks)
    return f"{value:.2e}" if largest >= 1e6 or digits > 5 else f"{value + 0.0:,.{digits}f}"  # noqa: PLR2004


class _Place:
    """From values to SVG units."""

    def __init__(self, across: Sequence[float], up: Sequence[float]) -> None:
        self._t0, self._t1 = across[0], across[-1]
        self._v0, self._v1 = up[0], up[-1]

    def x(self, t: float) -> float:
        share = (t - self._t0) / (self._t1 - self._t0)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, v: float) -> float:
        share = (v - self._v0) / (self._v1 - self._v0)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(t)},{self.y(v)}" for t, v in points)
