"""Table-wide rules by Spark; Spark's own commits in log and manifest; who may write a folder."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.commit.log import versions
from pipelines.commit.manifest import Manifest
from pipelines.ingest import contribution, ingest
from pipelines.maintain import verify
from pipelines.spark import maintain
from pipelines.spark.checks import check
from pipelines.spark.tables import address
from schemas.errors import WrongUseError
from tests.integration.spark.rows import by_delta_rs

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.cli.platform import Platform


@pytest.fixture(scope="module")
def lake(platform_of, validator, make_logs, tmp_path_factory) -> Platform:
    platform = platform_of("spark")
    for number in range(2):  # two commits, so that there is something to compact
        logs = make_logs(tmp_path_factory.mktemp("logs"), 2, first_seed=41 + 2 * number)
        ingest(platform, logs, contribution(platform), validator=validator)
    return platform


def failed(platform: Platform, *tables: str) -> dict[tuple[str, str], int]:
    found = check(platform, tables)
    assert {one.table for one in found} == set(tables)
    return {(one.table, one.rule): one.failed for one in found if not one.passed}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_table_wide_rules_hold_and_find_rows_that_were_doubled(
    session: Any, lake: Platform, platform_of, tmp_path: Path
):
    del session
    damaged = tmp_path / "damaged"
    shutil.copytree(lake.root.path, damaged)
    other = platform_of("spark", damaged)
    imu = DeltaTable(str(other.root.table("imu")))
    rows = imu.to_pyarrow_table()
    write_deltalake(imu, rows.slice(0, 3), mode="append")

    # One stream's rows are there twice; every other stream, rule and table holds.
    assert failed(other, "streams", "imu", "wrenches") == {
        ("streams", "rows_complete"): 1,
        ("imu", "key_unique"): 6,
    }


@pytest.mark.parametrize("call", ["optimize", "vacuum", "merge"])
def test_spark_writes_no_table_in_a_folder(session: Any, lake: Platform, call: str):
    table = address(lake.root, "imu")
    arguments: dict[str, Any] = {"merge": {"changes": None, "on": ["episode"]}}.get(call, {})
    with pytest.raises(WrongUseError, match="on a folder Spark only reads"):
        getattr(maintain, call)(session, table, **arguments)
    operations = {one["operation"] for one in maintain.history(session, table, 10)}
    assert operations == {"CREATE TABLE", "WRITE"}


def test_the_manifest_covers_what_spark_committed(
    session: Any, lake: Platform, platform_of, tmp_path: Path
):
    """In a copy that nobody else writes: what Spark may do to a lake on S3."""
    from delta.tables import DeltaTable as SparkTable

    copied = tmp_path / "copy"
    shutil.copytree(lake.root.path, copied)
    platform = platform_of("embedded", copied)
    folder = platform.root.table("imu")
    before = by_delta_rs(platform, "imu")
    SparkTable.forPath(session, str(folder)).optimize().executeZOrderBy("t_ns")
    head = versions(folder)[-1]
    found = {finding.what for finding in verify(platform).findings}
    assert found == {"manifest_missing", "file_surplus"}  # no entry names Spark's file yet

    assert Manifest(folder).extend(head) == 1

    entry = Manifest(folder).entry(head)
    assert len(entry["added"]) == 1
    assert all(item["sha256"] for item in entry["added"])
    # Hadoop leaves a checksum file of its own beside what it writes into a folder.
    left = verify(platform, deep=True).findings
    assert all(one.what == "file_surplus" and one.path.endswith(".crc") for one in left)
    assert by_delta_rs(platform, "imu") == before
    data = folder / entry["added"][0]["path"]
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(bytes(content))
    damaged = [one for one in verify(platform, ["imu"], deep=True).findings if one not in left]
    assert [(one.what, one.path) for one in damaged] == [
        ("file_changed", entry["added"][0]["path"])
    ]
