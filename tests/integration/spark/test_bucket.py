"""A lake in a bucket under Spark: maintenance beside delta-rs, and a store that fails."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from pipelines.ingest import contribution, ingest
from pipelines.maintain import optimize, vacuum, verify
from pipelines.recover import recover
from pipelines.spark import maintain
from pipelines.spark.session import session_of
from pipelines.spark.tables import frame
from schemas.errors import WrongUseError
from schemas.tables import TABLES
from tests.integration.spark.rows import by_delta_rs, by_spark, ordered
from tests.servers.faults import Fault

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from connectors.settings import Settings
    from pipelines.cli.platform import Platform
    from tests.integration.spark.conftest import Cluster
    from tests.servers.faults import FaultProxy
    from tests.servers.minio import MinioServer

KEY = ("organisation", "day", "episode", "stream", "seq")


@pytest.fixture
def small(
    new_bucket_lake, platform_of, validator, make_logs, tmp_path: Path
) -> tuple[Platform, Platform]:
    """A lake of four commits, under the embedded engine and under Spark."""
    settings = new_bucket_lake()
    platform = platform_of("embedded", settings)
    for log in make_logs(tmp_path / "logs", 4, first_seed=51):
        ingest(platform, [log], contribution(platform), validator=validator)
    return platform, platform_of("spark", settings)


def test_spark_maintains_the_lake_beside_delta_rs(small, validator, make_logs, tmp_path: Path):
    embedded, spark = small
    before = {table: by_delta_rs(embedded, table) for table in ("imu", "streams", "episodes")}

    done = optimize(spark, ["imu", "streams"], z_order_by=["t_ns"])

    assert done["imu"] == {"added": 1, "removed": 4}
    assert {table: by_delta_rs(embedded, table) for table in before} == before
    # The same job wrote the manifest's entry of its commit.
    assert verify(embedded, deep=True).findings == []
    # The markers that keep every recording from being committed twice are there still.
    again = ingest(
        embedded,
        sorted((tmp_path / "logs").iterdir()),
        contribution(embedded),
        validator=validator,
    )
    assert {outcome.status for outcome in again.outcomes} == {"duplicate"}

    session = session_of(spark.settings)
    rows = frame(session, spark.root, "imu", spark.lake.pin()).toArrow().cast(TABLES["imu"].arrow)
    corrected = changed(rows.slice(0, 2), "frame_id", ["corrected", "corrected"])
    added = changed(rows.slice(2, 1), "seq", [1_000_000])
    changes = session.createDataFrame(pa.concat_tables([corrected, added]))
    assert maintain.merge(spark, "imu", changes, on=KEY) == {"updated": 2, "inserted": 1}
    # delta-rs goes on where Spark stopped.
    more = make_logs(tmp_path / "more", 1, first_seed=61)
    result = ingest(embedded, more, contribution(embedded), validator=validator)
    assert [outcome.status for outcome in result.outcomes] == ["accepted"]
    held = embedded.lake.read("imu", embedded.lake.pin())
    assert len(held) == len(before["imu"]) + 1 + result.outcomes[0].tables["imu"]
    assert held["frame_id"].to_pylist().count("corrected") == 2

    with pytest.raises(WrongUseError, match="some time to end"):
        vacuum(spark, ["imu"], retention_hours=1)
    assert vacuum(spark, ["imu"]) == {}
    operations = {one["operation"] for one in maintain.history(spark, "imu", 9)}
    assert {"OPTIMIZE", "MERGE", "WRITE"} <= operations
    assert ordered(held, "imu") == by_spark(session, spark, "imu")
    assert verify(embedded, deep=True).findings == []


def reached(process: subprocess.Popen[str], step: str) -> None:
    """Wait until a driver comes to a step, or ends."""
    next((line for line in process.stdout if line.startswith(step)), None)


def changed(rows: pa.Table, column: str, values: list[Any]) -> pa.Table:
    number = rows.schema.get_field_index(column)
    field = rows.schema.field(number)
    return rows.set_column(number, field, pa.array(values, field.type))


def test_both_engines_take_the_same_recordings_at_once_through_a_store_that_fails(
    *,
    before: FaultProxy,
    minio: MinioServer,
    cluster: Cluster,
    new_bucket_lake,
    platform_of,
    validator,
    make_logs,
    drive,
    tmp_path: Path,
):
    """Answers lost after the store did the work, 503, slow answers, a restart in between."""
    logs = make_logs(tmp_path / "logs", 8, first_seed=71)
    reference = platform_of("embedded")
    ingest(reference, logs, contribution(reference), validator=validator)
    settings: Settings = new_bucket_lake()
    through = replace(
        settings, s3_endpoint=before.url, batch_recordings=3, spark_master=cluster.master
    )
    seed = int.from_bytes(os.urandom(4))
    chance = random.Random(seed)
    faults = (Fault(lose_answer=True), Fault(status=503), Fault(delay_s=0.2))
    seen = restarts = 0

    def choose(_method: str, _path: str) -> Fault | None:
        nonlocal seen, restarts
        seen += 1
        if seen == 200:
            restarts += 1
            minio.stop()
            minio.start()
        return chance.choice(faults) if chance.random() < 0.05 else None

    runs = 0
    try:
        for _ in range(10):
            spark = drive(replace(through, engine="spark"), *logs)
            # Spark takes longer to start. No fault before its first decodes are on record.
            reached(spark, "step decode")
            embedded = drive(replace(through, scratch=str(tmp_path / "other")), *reversed(logs))
            reached(spark, "step pack")
            before.choose = choose
            for process in (spark, embedded):
                process.communicate(timeout=400)
            runs += 1
            if spark.returncode == embedded.returncode == 0:
                break
    finally:
        before.choose = lambda _m, _p: None
    assert (spark.returncode, embedded.returncode) == (0, 0)
    given = before.faults
    platform = platform_of("embedded", settings)
    recover(platform)
    with reading(platform.engine) as connection:
        engines = [
            step["detail"]["engine"]
            for row in recordings.listing(connection, limit=100).items
            for step in recordings.steps_of(connection, row["id"])
            if step["step"] == "decode"
        ]
    print(
        f"\nseed {seed}: {given} faults in {seen} requests, {restarts} restart, "
        f"{runs} runs, decoded by {engines}"
    )
    assert restarts == 1
    assert given > 20
    assert set(engines) == {"embedded", "spark"}
    for table in TABLES:
        assert by_delta_rs(platform, table) == by_delta_rs(reference, table), table
    assert verify(platform, deep=True).ok
