"""The plan's arithmetic against a case that was worked out by hand."""

from __future__ import annotations

import pytest

from pipelines.capacity.inputs import (
    Assumptions,
    Fixed,
    General,
    KindRates,
    Measured,
    SectorAssumptions,
    Stream,
)
from pipelines.capacity.limits import standing
from pipelines.capacity.model import plan
from schemas.errors import WrongUseError

FIXED = Fixed(
    cpu_seconds_per_recording=0.1,
    cpu_seconds_per_batch=1.0,
    raw_objects_per_recording=1.0,
    commit_seconds_per_table=0.04,
    commit_seconds_per_table_and_recording=0.001,
    commit_seconds_per_marker=1e-6,
    commit_seconds_per_file=1e-5,
    files_per_table_and_batch=1.0,
    catalog_rows_per_recording=7.0,
    catalog_bytes_per_recording=4000.0,
    catalog_transactions_per_recording=3.0,
    catalog_transactions_per_second=10.0,
    checkpoint_bytes_per_marker=70.0,
    checkpoint_bytes_per_file=200.0,
    entry_bytes_per_marker=10.0,
    entry_bytes_per_file=100.0,
    marker_seconds_per_marker=1e-6,
    open_seconds_per_file=1e-5,
)
MEASURED = Measured(
    source="by hand",
    kinds={"a/A": KindRates(100.0, 50.0, 0.0, 1.0, 0.001, frozenset({"imu"}))},
    fixed=FIXED,
    how={"catalog_transactions_per_second": "by hand"},
)
GENERAL = General(
    first_year=2030,
    last_year=2030,
    robots=100,
    peak_factor=2,
    batch_recordings=100,
    batch_bytes=1e12,
    table_file_bytes=1e8,
    catalog_tables_per_batch=4,
    log_retention_days=36.5,
    versions_per_checkpoint=10,
    part_bytes=1e7,
    range_bytes=1e6,
    gets_per_commit=10,
    price_storage_gb_month=0.1,
    price_put_1000=0.01,
    price_get_1000=0.001,
    price_core_hour=0.6,
    limit_markers_per_table=1e6,
    limit_checkpoint_bytes=1e9,
    limit_open_seconds=10,
    limit_put_per_second=3500,
    limit_get_per_second=5500,
    limit_objects_per_prefix=1e8,
    host_cores=64,
    host_bits_per_second=1e10,
    host_disk_bytes=1e14,
)
SECTOR = SectorAssumptions(
    name="factory",
    share_of_robots=1.0,
    hours_per_day=1,
    days_per_year=100,
    handed_in=0.5,
    recording_seconds=60,
    robots_per_organisation=50,
    streams=(Stream("a/A", 10.0, 2.0),),
)
SOURCES = {f"general.{name}": "by hand" for name in General.__slots__}
ASSUMED = Assumptions(GENERAL, (SECTOR,), SOURCES)


def test_one_sector_and_year_by_hand() -> None:
    (year,) = plan(ASSUMED, MEASURED, 100)
    total = year.total
    # 100 robots x 3,600 s x 100 days x 0.5 = 18e6 s of recording; 60 s each.
    assert total.recordings == 300_000
    # 20 messages a second of 100 B, 50 B in tables.
    assert total.bytes_in == pytest.approx(36e9)
    assert total.rows == pytest.approx(360e6)
    assert total.table_bytes == pytest.approx(18e9)
    # Two organisations, 100 days: 1,500 recordings a day each, 15 batches of 100.
    assert total.batches == total.versions == pytest.approx(3_000)
    assert total.commits == pytest.approx(15_000)  # 1 + 4 tables
    assert total.files_written == pytest.approx(15_180)  # and 180 of 100 MB
    assert total.files_kept == pytest.approx(1_180)  # 200 partitions x 5, and 180
    assert total.files_kept_busiest == pytest.approx(380)
    # 300,000 originals, the files, 15,000 entries and manifests, 1,500 checkpoints.
    assert total.objects == pytest.approx(300_000 + 15_180 + 31_500)
    assert total.puts == pytest.approx(600_000 + 3_600 + 15_180 + 31_500)
    assert total.gets == pytest.approx(36_000 + 300_000 + 150_000)
    assert total.log_bytes == pytest.approx(300_000 * 5 * 10 + 15_180 * 100)
    assert total.catalog_rows == pytest.approx(2_103_000)
    assert total.catalog_transactions == pytest.approx(900_000)
    assert total.worker_hours == pytest.approx((360_000 + 30_000 + 3_000) / 3600)
    assert total.stored_bytes == pytest.approx(54e9)
    assert total.cost_storage == pytest.approx(27 * 0.1 * 12)
    assert total.cost_requests == pytest.approx(650.28 * 0.01 + 486 * 0.001)
    assert total.cost_compute == pytest.approx(393_000 / 3600 * 0.6)
    assert total.cost == pytest.approx(32.4 + 6.9888 + 65.5)


def test_the_lake_by_hand() -> None:
    (year,) = plan(ASSUMED, MEASURED, 100)
    lake = year.lake
    assert (lake.markers, lake.files, lake.versions) == pytest.approx((300_000, 380, 3_000))
    assert lake.checkpoint_bytes == pytest.approx(300_000 * 70 + 380 * 200)
    # A tenth of the year's 3,000 versions is kept, every tenth with a checkpoint.
    assert lake.checkpoints_kept_bytes == pytest.approx(30 * lake.checkpoint_bytes)
    assert lake.look_up_seconds == pytest.approx(0.3)
    assert lake.open_seconds == pytest.approx(0.0038)
    assert lake.commit_seconds == pytest.approx(0.04 + 0.1 + 0.3 + 0.0038)


def test_limits_by_hand() -> None:
    found = {broken.limit.name: broken for broken in standing(ASSUMED, MEASURED, 100)}
    catalog = found["catalog_transactions"]
    # 3,000 recordings a robot x 3 transactions x peak 2 over 31,536,000 s, against 10 a second.
    assert catalog.use == pytest.approx(100 * 18_000 / 31_536_000)
    assert catalog.robots == pytest.approx(17_520, rel=1e-6)
    assert catalog.year is None
    markers = found["markers_per_table"]
    assert markers.robots == pytest.approx(1e6 / 3_000, rel=1e-6)
    assert found["host_disk"].robots == pytest.approx(1e14 / 54e9 * 100, rel=1e-6)
    ordered = [broken.robots for broken in standing(ASSUMED, MEASURED, 100) if broken.robots]
    assert ordered == sorted(ordered)


def test_a_limit_names_the_first_year_in_which_it_is_passed() -> None:
    several = Assumptions(
        General(**{n: getattr(GENERAL, n) for n in General.__slots__} | {"last_year": 2033}),
        (SECTOR,),
        SOURCES,
    )
    found = {b.limit.name: b for b in standing(several, MEASURED, 400)}
    # 100, 200, 300 … robots: 0.3, 0.9 and 1.8 million markers.
    assert found["markers_per_table"].year == 2032
    assert found["markers_per_table"].use == pytest.approx(3e6)


def test_few_robots_make_one_small_batch_a_day() -> None:
    (year,) = plan(ASSUMED, MEASURED, 0.01)
    # 30 recordings a year of one organisation, less than one a day: each is a batch.
    assert year.total.batches == pytest.approx(30)


def test_large_recordings_fill_a_batch_by_bytes() -> None:
    small = Assumptions(
        General(**{n: getattr(GENERAL, n) for n in General.__slots__} | {"batch_bytes": 1.2e6}),
        (SECTOR,),
        SOURCES,
    )
    (year,) = plan(small, MEASURED, 100)
    assert year.total.batches == pytest.approx(30_000)  # ten of 120,000 B


def test_unknown_kinds_and_sectors_are_refused_by_name() -> None:
    strange = SectorAssumptions(
        **{n: getattr(SECTOR, n) for n in SectorAssumptions.__slots__}
        | {"streams": (Stream("b/B", 1.0),)}
    )
    with pytest.raises(WrongUseError, match="b/B"):
        plan(Assumptions(GENERAL, (strange,), SOURCES), MEASURED, 1)
    with pytest.raises(WrongUseError, match="moon"):
        plan(ASSUMED, MEASURED, 1, ["moon"])
