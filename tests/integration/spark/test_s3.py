"""On a real MinIO: the conditional-put log store, and maintenance by Spark beside delta-rs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs as pf
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.ingest import contribution, ingest
from pipelines.spark import maintain
from pipelines.spark.session import LOG_STORE
from schemas.errors import WrongUseError
from tests.integration.spark.conftest import JARS, REPOSITORY
from tests.integration.spark.rows import ordered
from tests.servers.minio import BUCKET

if TYPE_CHECKING:
    from tests.servers.minio import MinioServer

APPENDS = 25


def options(minio: MinioServer) -> dict[str, str]:
    """Storage options of delta-rs."""
    return {
        "AWS_ENDPOINT_URL": minio.endpoint,
        "AWS_ACCESS_KEY_ID": minio.access_key,
        "AWS_SECRET_ACCESS_KEY": minio.secret_key,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


def test_three_drivers_that_append_at_once_lose_no_commit(session: Any, minio: MinioServer):
    table = f"s3a://{BUCKET}/appended"
    session.createDataFrame([("first", 0)], "writer string, number long").write.format(
        "delta"
    ).save(table)
    script = str(Path(__file__).with_name("s3_writer.py"))
    writers = [
        subprocess.Popen(
            [sys.executable, script, table, str(JARS), f"driver-{number}", str(APPENDS)],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        for number in range(2)
    ]
    for number in range(APPENDS):
        rows = session.createDataFrame([("here", number)], "writer string, number long")
        rows.coalesce(1).write.format("delta").mode("append").save(table)
    assert [writer.wait(400) for writer in writers] == [0, 0]

    found = DeltaTable(f"s3://{BUCKET}/appended", storage_options=options(minio)).to_pyarrow_table()
    pairs = sorted(zip(*found.to_pydict().values(), strict=True))
    expected = [(w, n) for w in ("driver-0", "driver-1", "here") for n in range(APPENDS)]
    print(f"\n{found.num_rows} of {len(expected) + 1} rows")
    assert pairs == sorted([("first", 0), *expected])
    assert session.read.format("delta").load(table).count() == len(pairs)


def test_the_log_store_refuses_what_cannot_write_conditionally(session: Any, tmp_path: Path):
    jvm, configuration = session._jvm, session._jsc.hadoopConfiguration()
    log_store = getattr(jvm, LOG_STORE)(configuration)
    path = jvm.org.apache.hadoop.fs.Path(str(tmp_path / "00000000000000000000.json"))
    actions = jvm.java.util.ArrayList()
    actions.add("{}")
    with pytest.raises(Exception, match="no conditional put, so no safe commit"):
        log_store.write(path, actions.iterator(), False, configuration)
    assert list(tmp_path.iterdir()) == []


def test_the_log_store_tells_its_own_entry_from_another_writers(session: Any):
    """A PUT whose answer was lost is refused when it is sent again; it is no conflict."""
    jvm, configuration = session._jvm, session._jsc.hadoopConfiguration()
    log_store = getattr(jvm, LOG_STORE)(configuration)
    path = jvm.org.apache.hadoop.fs.Path(
        f"s3a://{BUCKET}/store/_delta_log/00000000000000000000.json"
    )

    def write(entry: str) -> None:
        actions = jvm.java.util.ArrayList()
        actions.add(entry)
        log_store.write(path, actions.iterator(), False, configuration)

    write('{"number": 0}')
    write('{"number": 0}')
    with pytest.raises(Exception, match=r"java\.nio\.file\.FileAlreadyExistsException"):
        write('{"number": 1}')
    lines = log_store.read(path, configuration)
    assert lines.next() == '{"number": 0}'
    assert not lines.hasNext()
    lines.close()


def test_spark_maintains_a_table_of_the_lake_beside_delta_rs(
    *, session: Any, minio: MinioServer, platform_of, validator, make_logs, tmp_path: Path
):
    platform = platform_of("embedded")
    logs = make_logs(tmp_path / "logs", 4, first_seed=51)
    for log in logs:
        ingest(platform, [log], contribution(platform), validator=validator)
    s3 = pf.S3FileSystem(
        access_key=minio.access_key,
        secret_key=minio.secret_key,
        endpoint_override=minio.endpoint,
    )
    folder = platform.root.table("imu")
    pf.copy_files(str(folder), f"{BUCKET}/imu", destination_filesystem=s3)
    table, day = f"s3a://{BUCKET}/imu", next(folder.glob("organisation=*/day=*")).name
    before = ordered(platform.lake.read("imu", platform.lake.pin()), "imu")

    done = maintain.optimize(
        session, table, where=f"day = '{day.removeprefix('day=')}'", z_order_by=["t_ns"]
    )

    assert done == {"added": 1, "removed": 4}
    held = DeltaTable(f"s3://{BUCKET}/imu", storage_options=options(minio))
    rows = held.to_pyarrow_table()
    assert ordered(rows, "imu") == before
    # The markers that keep every recording from being committed twice are there still.
    ids = rows["recording_id"].unique().to_pylist()
    assert [held.transaction_version(f"ing1/imu/{key}") for key in ids] == [1] * len(ids)

    corrected = rows.slice(0, 2).set_column(
        rows.schema.get_field_index("frame_id"), "frame_id", pa.array(["corrected", "corrected"])
    )
    added = (
        rows.slice(2, 1)
        .set_column(rows.schema.get_field_index("seq"), "seq", pa.array([1_000_000]))
        .cast(rows.schema)
    )
    changes = session.createDataFrame(pa.concat_tables([corrected, added]))
    key = ["organisation", "day", "episode", "stream", "seq"]
    assert maintain.merge(session, table, changes, on=key) == {"updated": 2, "inserted": 1}
    write_deltalake(  # delta-rs goes on where Spark stopped
        f"s3://{BUCKET}/imu", added, mode="append", storage_options=options(minio)
    )
    held = DeltaTable(f"s3://{BUCKET}/imu", storage_options=options(minio))
    frame_ids = held.to_pyarrow_table(columns=["frame_id"])["frame_id"].to_pylist()
    assert len(frame_ids) == len(before) + 2
    assert frame_ids.count("corrected") == 2

    with pytest.raises(WrongUseError, match="some time to end"):
        maintain.vacuum(session, table, retention_hours=1)
    maintain.vacuum(session, table)
    operations = [one["operation"] for one in maintain.history(session, table, 6)]
    assert {"OPTIMIZE", "MERGE", "WRITE"} <= set(operations)
    assert len(session.read.format("delta").load(table).collect()) == len(before) + 2
