"""Table-wide rules by Spark; Spark's own commits in log and manifest; who may write a folder."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.ingest import contribution, ingest
from pipelines.maintain import optimize, verify
from pipelines.spark import maintain
from pipelines.spark.checks import check
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
    assert failed(other, "streams", "imu") == {
        ("streams", "rows_complete"): 1,
        ("imu", "key_unique"): 6,
    }


@pytest.mark.parametrize("call", ["optimize", "vacuum", "merge"])
def test_spark_writes_no_table_in_a_folder(lake: Platform, call: str):
    arguments: dict[str, Any] = {"merge": {"changes": None, "on": ["episode"]}}.get(call, {})
    with pytest.raises(WrongUseError, match="on a folder Spark only reads"):
        getattr(maintain, call)(lake, "imu", **arguments)
    operations = {one["operation"] for one in maintain.history(lake, "imu", 10)}
    assert operations == {"CREATE TABLE", "WRITE"}


def test_on_a_folder_delta_rs_compacts_whatever_engine_is_set(lake: Platform):
    before = by_delta_rs(lake, "imu")
    assert optimize(lake, ["imu"]) == {"imu": {"added": 1, "removed": 2}}
    assert by_delta_rs(lake, "imu") == before
    assert verify(lake, deep=True).findings == []
    with pytest.raises(WrongUseError, match="put in an order by Spark"):
        optimize(lake, ["imu"], z_order_by=["t_ns"])
