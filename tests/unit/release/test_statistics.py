"""Exact statistics: against numpy and polars, with nulls, slices and hard numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.release.statistics import QUANTILES, Described, describe, summarise

NUMBERS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60)


@given(NUMBERS)
def test_against_exact_fractions(values):
    found = summarise(np.array(values))
    exact = [Fraction(v) for v in values]
    mean = sum(exact) / len(exact)
    variance = sum((v - mean) ** 2 for v in exact) / len(exact)
    assert found["mean"] == pytest.approx(float(mean), rel=1e-15, abs=1e-300)
    assert found["std"] == pytest.approx(math.sqrt(variance), rel=1e-12, abs=1e-9)
    assert (found["min"], found["max"], found["count"]) == (min(values), max(values), len(values))
    for name, share in QUANTILES.items():
        place = Fraction(str(share)) * (len(values) - 1)
        low = math.floor(place)
        ordered = sorted(exact)
        high = min(low + 1, len(values) - 1)
        expected = ordered[low] + (ordered[high] - ordered[low]) * (place - low)
        assert found[name] == pytest.approx(float(expected), rel=1e-9, abs=1e-6)


def test_a_small_spread_on_a_large_offset_is_not_lost():
    values = 1e9 + np.tile([0.0, 1.0], 500_000)
    found = summarise(values)
    assert found["mean"] == 1e9 + 0.5
    assert found["std"] == pytest.approx(0.5, rel=1e-12)


def test_quantiles_are_those_of_all_rows_not_of_episodes(tmp_path):
    # A rare large value: the mean of the two files' q99 would be 0.5, the truth is near 0.
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(pa.table({"x": np.zeros(99_000)}), paths[0])
    pq.write_table(pa.table({"x": np.ones(900)}), paths[1])
    found = describe(paths, [Described("x", None)])["x"]
    assert found["q99"] == 0.0
    assert found["count"] == 99_900


def table(rows: int = 5000) -> pa.Table:
    rng = np.random.default_rng(5)
    vectors = rng.normal(0, 3, (rows, 7))
    vectors[::50, 2] = np.nan
    lists = pa.array(list(vectors), pa.list_(pa.float64()))
    mask = pa.array(rng.random(rows) < 0.1)
    lists = pa.compute.if_else(mask, pa.scalar(None, lists.type), lists)
    splits = np.where(rng.random(rows) < 0.7, "train", "test")
    flags = rng.random(rows) < 0.25
    scalar = pa.array(rng.normal(size=rows).astype(np.float32), mask=rng.random(rows) < 0.2)
    return pa.table({"v": lists, "split": splits, "flag": flags, "s": scalar, "n": np.arange(rows)})


@pytest.mark.parametrize("budget", [1, 100_000, 1 << 30])
@pytest.mark.parametrize("split", [None, "train"])
def test_files_groups_and_slices_change_nothing(tmp_path, budget, split):
    whole = table()
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(whole.slice(0, 1234), paths[0], row_group_size=100)
    pq.write_table(whole.slice(1234), paths[1], row_group_size=999)
    columns = [
        Described("v", 7),
        Described("flag", None),
        Described("s", None),
        Described("n", None),
    ]
    found = describe(paths, columns, split=split, budget_bytes=budget)
    rows = whole if split is None else whole.filter(pa.compute.equal(whole["split"], split))
    kept = rows["v"].drop_null()
    matrix = np.array(kept.to_pylist())
    assert found["v"]["missing"] == len(rows) - len(kept)
    for i in range(7):
        values = matrix[:, i][np.isfinite(matrix[:, i])]
        assert found["v"]["count"][i] == len(values)
        assert found["v"]["not_finite"][i] == len(matrix) - len(values)
        assert found["v"]["mean"][i] == pytest.approx(values.mean(), rel=1e-12)
        assert found["v"]["std"][i] == pytest.approx(values.std(), rel=1e-12)
        for name, share in QUANTILES.items():
            expected = pl.Series(values).quantile(share, interpolation="linear")
            assert found["v"][name][i] == pytest.approx(expected, rel=1e-12)
    assert found["flag"]["mean"] == np.mean(rows["flag"].to_numpy())
    assert found["n"]["q50"] == np.median(rows["n"].to_numpy())
    scalars = rows["s"].drop_null().to_numpy().astype(np.float64)
    assert found["s"]["mean"] == pytest.approx(scalars.mean(), rel=1e-12)
    assert found["s"]["missing"] == rows["s"].null_count


def test_nothing_gives_null_not_a_number(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": pa.array([None, float("nan")], pa.float64())}), path)
    found = describe([path], [Described("x", None)])["x"]
    assert (found["count"], found["missing"], found["not_finite"]) == (0, 1, 1)
    assert {found[key] for key in ("min", "max", "mean", "std", *QUANTILES)} == {None}
