"""What is shipped is what was measured, every assumption has a source, overrides are checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.demo.sectors import sector_spec
from pipelines.capacity.files import (
    ASSUMPTIONS,
    MEASUREMENTS,
    parsed_overrides,
    read_assumptions,
    read_measured,
)
from pipelines.capacity.inputs import SectorAssumptions, Stream
from pipelines.capacity.model import per_second, plan
from schemas.errors import NotFoundError, WrongUseError
from schemas.sectors import SECTORS
from schemas.tables import TABLES

RESULTS = Path(__file__).parents[2] / "bench" / "results"


def test_shipped_measurements_are_a_result_of_the_bench() -> None:
    shipped = json.loads(MEASUREMENTS.read_text("utf-8"))
    newest = max(RESULTS.glob("*-capacity.json"))
    assert json.loads(newest.read_text("utf-8")) == shipped


def test_every_measured_rate_says_how() -> None:
    document = json.loads(MEASUREMENTS.read_text("utf-8"))
    assert all(entry["how"] and entry["unit"] for entry in document["fixed"].values())
    measured = read_measured()
    assert document["date"] in measured.source
    for kind, rates in measured.kinds.items():
        assert rates.raw_bytes > 0, kind
        assert rates.tables <= TABLES.keys(), kind


def test_every_assumption_has_a_source_that_says_what_sort_it_is() -> None:
    assumed = read_assumptions()
    assert {sector.name for sector in assumed.sectors} == SECTORS.keys()
    assert sum(sector.share_of_robots for sector in assumed.sectors) == pytest.approx(1.0)
    sorts = ("assumed", "published: ", "the platform's ", "the demo's ", "message_schemas, ")
    for name, source in assumed.sources.items():
        assert source.startswith(sorts), name


@pytest.mark.parametrize("sector", sorted(SECTORS))
def test_kinds_add_up_to_what_a_sector_s_recording_was_measured_at(sector: str) -> None:
    """Rates per message, summed over the demo robot's topics, against its ingested recording.

    Pictures are left out: the demo draws every sector's scene at another size and quality.
    """
    document = json.loads(MEASUREMENTS.read_text("utf-8"))
    measured = read_measured()
    topics = sector_spec(sector).topics
    robot = SectorAssumptions(
        name=sector,
        share_of_robots=1,
        hours_per_day=1,
        days_per_year=1,
        handed_in=1,
        recording_seconds=60,
        robots_per_organisation=1,
        streams=tuple(Stream(topic.type_name, topic.rate_hz) for topic in topics),
    )
    found = per_second(robot, measured)
    seen = document["sectors"][sector]
    assert found.rows == pytest.approx(seen["rows"], rel=0.05)
    assert found.bytes_in - found.media_bytes == pytest.approx(
        seen["raw_bytes"] - seen["media_bytes"], rel=0.4
    )


def test_overrides_replace_values_and_are_named_as_given() -> None:
    overrides = parsed_overrides(["general.peak_factor=7", "sectors.*.hours_per_day=1"])
    assumed = read_assumptions(ASSUMPTIONS, overrides)
    assert assumed.general.peak_factor == 7
    assert {sector.hours_per_day for sector in assumed.sectors} == {1}
    assert assumed.sources["general.peak_factor"] == "given"
    assert assumed.sources["sectors.food.hours_per_day"] == "given"
    assert plan(assumed, read_measured(), 1000)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("general.moon=1", "general.moon"),
        ("general.peak_factor", "NAME=VALUE"),
        ("general.peak_factor=much", "finite"),
        ("general.peak_factor=nan", "finite"),
        ("general.peak_factor=-1", "finite"),
        ("general.range_bytes=0", "above 0"),
        ("sectors.food.recording_seconds=0", "above 0"),
        ("general.last_year=1999", "last year"),
    ],
)
def test_wrong_overrides_are_refused_by_name(given: str, said: str) -> None:
    with pytest.raises(WrongUseError, match=said):
        read_assumptions(ASSUMPTIONS, parsed_overrides([given]))


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_measured(tmp_path / "none.json")
    with pytest.raises(NotFoundError):
        read_assumptions(tmp_path / "none.yaml")
    wrong = tmp_path / "wrong.json"
    for text in ("[]", "{", '{"format": 1}', '{"format": 2}'):
        wrong.write_text(text, "utf-8")
        with pytest.raises(WrongUseError):
            read_measured(wrong)
    for text in ("[]", "general: {}", "a: [", "general: {first_year: 1}\nsectors: {}"):
        wrong.write_text(text, "utf-8")
        with pytest.raises(WrongUseError):
            read_assumptions(wrong)
