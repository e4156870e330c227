"""Both engines give equal tables, verdicts and reasons; a recording is taken once across them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from pipelines.ingest import contribution, ingest
from pipelines.maintain import verify
from schemas.tables import TABLES
from tests.integration.spark.rows import by_delta_rs, by_spark, told

if TYPE_CHECKING:
    from tests.integration.spark.conftest import Both

pytestmark = pytest.mark.samples


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
