"""Both engines give equal tables, verdicts and reasons; a recording is taken once across them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from pipelines.ingest import contribution, ingest
from pipelines.maintain import verify
from pipelines.release.build import build
from pipelines.release.recipe_file import parse_recipe
from pipelines.spark.rows import JOB_GROUP
from pipelines.spark.session import session_of
from schemas.tables import TABLES
from tests.integration.spark.rows import by_delta_rs, by_spark, told

if TYPE_CHECKING:
    from pipelines.cli.platform import Platform
    from pipelines.ingest import IngestResult
    from tests.integration.spark.conftest import Both

pytestmark = pytest.mark.samples
RECIPE = b"""
dataset: at-work
title: Robots at work
description: What the tests recorded.
purposes: [pretraining]
rate_hz: 20
missing: drop_frame
features:
  camera: {table: video_frames, stream: /camera/compressed, align: hold, max_skew_ms: 150}
  joints:
    {table: joint_states, stream: /joint_states, columns: [position], align: linear,
     max_skew_ms: 50}
  wrench:
    {table: wrenches, stream: /wrench, columns: [force_x, force_y, force_z], align: nearest,
     max_skew_ms: 20}
  orientation:
    table: imu
    stream: /imu
    columns: [orientation_x, orientation_y, orientation_z, orientation_w]
    align: linear
    max_skew_ms: 20
  moved:
    {table: transforms, stream: /tf, columns: [translation_x], align: nearest, max_skew_ms: 50,
     where: {child_frame_id: base_link}, required: false}
"""


def test_verdicts_and_reasons_are_equal(both: Both):
    assert told(both.first) == told(both.second)
    statuses = [outcome.status for outcome in both.first.outcomes]
    print("\n", {status: statuses.count(status) for status in sorted(set(statuses))})
    assert {"accepted", "accepted_with_warnings", "quarantined"} <= set(statuses)


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_equal_as_delta_rs_and_as_spark_read_them(session: Any, both: Both, table: str):
    expected = by_delta_rs(both.embedded, table)
    assert by_delta_rs(both.spark, table) == expected
    assert by_spark(session, both.spark, table) == expected
    if table == "quality":  # the only one with rows of what was refused
        unseen = by_delta_rs(both.embedded, table, visible_only=False)
        assert len(unseen) > len(expected)
        assert by_spark(session, both.spark, table, visible_only=False) == unseen


def test_every_recording_names_its_executor(both: Both):
    for platform, engine in ((both.embedded, "embedded"), (both.spark, "spark")):
        processes = set()
        for key in {outcome.recording_id for outcome in both.first.outcomes} - {""}:
            with reading(platform.engine) as connection:
                steps = recordings.steps_of(connection, key)
            (detail,) = [step["detail"] for step in steps if step["step"] == "decode"]
            assert detail["engine"] == engine
            assert detail["host"] == os.uname().nodename
            assert detail["seconds"] > 0
            processes.add(detail["pid"])
        if engine == "embedded":
            assert processes == {os.getpid()}
        else:
            assert len(processes) == 2  # both executors took part, and never this process
            assert os.getpid() not in processes


@pytest.mark.parametrize("engine", ["embedded", "spark"])
def test_what_one_engine_took_is_a_duplicate_for_the_other(
    both: Both, platform_of, validator, engine: str
):
    other = both.spark if engine == "embedded" else both.embedded
    before = other.lake.pin()
    platform = platform_of(engine, other.root.path)

    again = ingest(platform, both.paths, contribution(platform), validator=validator)

    known = [o for o in again.outcomes if o.recording_id]
    assert {outcome.status for outcome in known} == {"duplicate"}
    assert other.lake.pin() == before
    assert verify(other, deep=True).findings == []


@pytest.fixture(scope="module")
def lake(both: Both, new_bucket_lake, platform_of, validator) -> tuple[Platform, IngestResult]:
    """What both engines took into folders, taken into a bucket by Spark."""
    platform = platform_of("spark", new_bucket_lake())
    return platform, ingest(platform, both.paths, contribution(platform), validator=validator)


def test_executors_without_a_shared_folder_give_equal_tables(both: Both, lake, session: Any):
    platform, result = lake
    assert told(result) == told(both.first)
    for table in TABLES:
        expected = by_delta_rs(both.embedded, table)
        assert by_delta_rs(platform, table) == expected
        if table in {"imu", "video_frames", "episodes"}:
            assert by_spark(session, platform, table) == expected
    assert pictures(platform) == pictures(both.embedded) != {}
    for key in {outcome.recording_id for outcome in result.outcomes} - {""}:
        with reading(platform.engine) as connection:
            steps = recordings.steps_of(connection, key)
        (detail,) = [step["detail"] for step in steps if step["step"] == "decode"]
        assert detail["engine"] == "spark"
        assert detail["pid"] != os.getpid()
    # What was handed over is gone, here and there.
    assert list((platform.root.path / "staging").rglob("*")) == []
    assert list(platform.root.staging.iterdir()) == []
    assert verify(platform, deep=True).findings == []


def pictures(platform: Platform) -> dict[str, bytes]:
    media = platform.root.path / "media"
    found = [place for place in media.rglob("*") if place.is_file()]
    return {str(place).removeprefix(str(media)): place.read_bytes() for place in found}


def test_what_spark_took_into_a_bucket_is_a_duplicate_for_the_embedded_engine(
    both: Both, lake, platform_of, validator
):
    platform = platform_of("embedded", lake[0].settings)
    before = platform.lake.pin()
    again = ingest(platform, both.paths, contribution(platform), validator=validator)
    assert {one.status for one in again.outcomes if one.recording_id} == {"duplicate"}
    assert platform.lake.pin() == before


def test_a_release_is_the_same_whoever_reads_its_rows(lake, platform_of):
    by_engine = platform_of("embedded", lake[0].settings), lake[0]
    session = session_of(lake[0].settings)
    for text in (RECIPE, RECIPE + b"splits: {fractions: {train: 0.5, test: 0.5}, seed: 3}\n"):
        recipe = parse_recipe(text)
        first, second = (build(platform, recipe) for platform in by_engine)
        assert first.created
        assert not second.created
        assert second.digest == first.digest
        assert second.summary == first.summary
        assert second.summary["frames"] > 10
    # And Spark did read them.
    assert len(session.sparkContext.statusTracker().getJobIdsForGroup(JOB_GROUP)) > 1
