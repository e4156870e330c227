"""The plan never gets cheaper with more robots, and its parts add up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.capacity.files import read_assumptions, read_measured
from pipelines.capacity.limits import LIMITS, standing
from pipelines.capacity.model import FIGURES, plan

ASSUMED = read_assumptions()
MEASURED = read_measured()
NAMES = [sector.name for sector in ASSUMED.sectors]
ROBOTS = st.floats(min_value=0.01, max_value=1e9)


@settings(deadline=None, max_examples=30)
@given(ROBOTS, st.floats(min_value=1.0, max_value=1e4))
def test_more_robots_never_need_less(robots: float, factor: float) -> None:
    few = plan(ASSUMED, MEASURED, robots)
    many = plan(ASSUMED, MEASURED, robots * factor)
    for a, b in zip(few, many, strict=True):
        for name in (*FIGURES, "cost"):
            assert getattr(b.total, name) >= getattr(a.total, name) * (1 - 1e-9), name
        for limit in LIMITS:
            before = limit.use(a, ASSUMED, MEASURED)
            assert limit.use(b, ASSUMED, MEASURED) >= before * (1 - 1e-9), limit.name


@settings(deadline=None, max_examples=30)
@given(ROBOTS)
def test_sectors_planned_alone_add_up_to_the_whole(robots: float) -> None:
    whole = plan(ASSUMED, MEASURED, robots)
    alone = [plan(ASSUMED, MEASURED, robots, [name]) for name in NAMES]
    for at, year in enumerate(whole):
        for name in (*FIGURES, "cost"):
            parts = sum(getattr(years[at].total, name) for years in alone)
            assert parts == pytest.approx(getattr(year.total, name), rel=1e-9), name


@settings(deadline=None, max_examples=30)
@given(ROBOTS, st.sampled_from(NAMES))
def test_doubled_rates_double_the_bytes(robots: float, sector: str) -> None:
    def faster(assumed):
        return replace(
            assumed, streams=tuple(replace(s, rate_hz=s.rate_hz * 2) for s in assumed.streams)
        )

    doubled = replace(
        ASSUMED,
        sectors=tuple(faster(s) if s.name == sector else s for s in ASSUMED.sectors),
    )
    before = plan(ASSUMED, MEASURED, robots)[-1].sectors
    after = plan(doubled, MEASURED, robots)[-1].sectors
    for name in ("bytes_in", "rows", "table_bytes", "media_bytes", "stored_bytes"):
        assert getattr(after[sector], name) == pytest.approx(2 * getattr(before[sector], name))
        others = [other for other in NAMES if other != sector]
        assert all(getattr(after[o], name) == getattr(before[o], name) for o in others)


def test_a_limit_holds_just_below_its_number_of_robots_and_not_above() -> None:
    for broken in standing(ASSUMED, MEASURED, 1e6):
        if broken.robots is None:
            continue
        for factor, holds in ((1 - 1e-6, True), (1 + 1e-6, False)):
            years = plan(ASSUMED, MEASURED, broken.robots * factor)
            use = max(broken.limit.use(year, ASSUMED, MEASURED) for year in years)
            assert (use <= broken.capacity) is holds, broken.limit.name
