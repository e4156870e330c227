from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.pages.plot import BOTTOM, HEIGHT, LEFT, RIGHT, SERIES_MAX, TOP, WIDTH, draw

VALUES = st.one_of(st.none(), st.floats(-1e12, 1e12))


def document(*series: list[float | None]) -> dict[str, Any]:
    return {
        "title": "state",
        "unit": "rad",
        "series": [
            {"name": f"s{n}", "t": list(range(len(v))), "v": v} for n, v in enumerate(series)
        ],
    }


@given(st.lists(st.lists(VALUES, max_size=30), max_size=10))
def test_every_point_lies_inside(series: list[list[float | None]]) -> None:
    plot = draw(document(*series))
    finite = [v for one in series for v in one if v is not None]
    if plot is None:
        assert not finite
        return
    points = [p.split(",") for line in plot.lines for part in line.parts for p in part.split()]
    for x, y in points:
        assert LEFT - 0.1 <= float(x) <= WIDTH - RIGHT + 0.1
        assert TOP - 0.1 <= float(y) <= HEIGHT - BOTTOM + 0.1
    assert len(plot.lines) == min(len(series), SERIES_MAX)
    assert plot.omitted == len(series) - len(plot.lines)


def test_a_gap_in_the_values_is_a_gap_in_the_line() -> None:
    plot = draw(document([0.0, 1.0, None, 2.0, float("nan"), 3.0]))
    assert plot is not None
    assert [part.count(",") for part in plot.lines[0].parts] == [2, 1, 1]


def test_ticks_are_round_and_labelled() -> None:
    plot = draw(document([-1.0, 1.0]))
    assert plot is not None
    assert [tick.label for tick in plot.up] == ["-1.0", "-0.5", "0.0", "0.5", "1.0"]
    level = draw(document([3.0, 3.0]))
    assert level is not None
    assert len(level.up) > 2


def test_nothing_to_draw() -> None:
    assert draw(document()) is None
    assert draw({"series": []}) is None
    assert draw(document([None, None])) is None
