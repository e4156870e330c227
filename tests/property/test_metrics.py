"""Metrics depend on the rows, never on how they were batched."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.check.metrics import RecordingMetrics
from pipelines.check.series import Budget, Series, Stamps, median_distance
from schemas.tables import COMMON, TABLES

START = 1_790_000_000_000_000_000
VALUES = np.array([0.0, 0.5, 1.0, -1.0, 3.0, np.nan, np.inf])
STREAMS = {
    "/joints": ("joint_states",),
    "/imu": ("imu",),
    "/tf": ("transforms",),
    "/odom": ("poses", "twists"),
    "/scan": ("scans",),
    "/fix": ("nav_sat",),
    "/camera": ("video_frames",),
}
_COMMON = {column.name for column in COMMON}


def _own(kind: pa.DataType, name: str, rng: np.random.Generator) -> Any:
    """One value: from few, so that repeats, NaN, nulls and extremes are common."""
    if name == "names":
        return rng.choice(["a", "b"], rng.integers(3)).tolist()
    if "covariance" in name and pa.types.is_list(kind):
        return [[], [-1.0, 0.0], [0.1, 0.0]][rng.integers(3)]
    if pa.types.is_list(kind):
        return rng.choice(VALUES[:3], rng.integers(3)).tolist()
    if pa.types.is_floating(kind):
        return None if rng.random() < 0.05 else float(rng.choice(VALUES, p=[0.5] + [0.5 / 6] * 6))
    if pa.types.is_integer(kind):
        return int(rng.integers(-1, 1))
    return {pa.bool_(): True, pa.large_binary(): bytes(rng.integers(2, size=1).tolist())}.get(
        kind, "x"
    )


def _stream(tables: tuple[str, ...], rng: np.random.Generator) -> dict[str, pa.RecordBatch]:
    """One stream's rows in each of its tables, over the same messages."""
    messages = int(rng.integers(1, 13))
    t = START + np.cumsum(rng.choice([-5, 0, 1, 2, 40], messages))
    header = [[None, 0, stamp, stamp - 7][rng.integers(4)] for stamp in t.tolist()]
    counts = rng.integers(1, 4, messages) if tables == ("transforms",) else 1
    message = np.repeat(np.arange(messages), counts)
    found = {}
    for table in tables:
        columns: dict[str, pa.Array] = {
            "t_ns": pa.array(t[message]),
            "log_ns": pa.array(t[message] + 3),
            "header_ns": pa.array([header[m] for m in message], pa.int64()),
            "pub_ns": pa.nulls(len(message), pa.int64()),
            "message": pa.array(message),
        }
        for column in TABLES[table].columns:
            if column.name not in _COMMON | {"blob", "offset", "size"}:
                values = [_own(column.type, column.name, rng) for _ in message]
                columns[column.name] = pa.array(values, column.type)
        if table == "video_frames":
            pictures = [_own(pa.large_binary(), "data", rng) for _ in message]
            columns["data"] = pa.array(pictures, pa.large_binary())
        found[table] = pa.RecordBatch.from_pydict(columns)
    return found


def _measured(recording: dict[str, dict[str, pa.RecordBatch]], cuts: list[int]) -> dict[str, Any]:
    metrics = RecordingMetrics({"a": (-0.9, 0.9)})
    for stream, tables in recording.items():
        edges = [0, *sorted(cuts), 1 << 30]
        for first, end in itertools.pairwise(edges):
            for table, rows in tables.items():
                if first < rows.num_rows:
                    piece = rows.slice(first, min(end, rows.num_rows) - first)
                    metrics.update(stream, table, piece)
    return metrics.finish({"/quiet": 3})


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.lists(st.integers(0, 36), max_size=12))
def test_any_batching_gives_the_same_metrics(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    recording = {stream: _stream(tables, rng) for stream, tables in STREAMS.items()}
    whole = _measured(recording, [])
    for edges in (cuts, list(range(40))):
        cut = _measured(recording, edges)
        for stream, expected in whole.items():
            assert cut[stream] == expected, (stream, edges)


INTS = st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=200)


@given(INTS, st.lists(st.integers(0, 200), max_size=5), st.integers(0, 400))
def test_median_is_exact_within_the_budget_and_close_beyond(
    values: list[int], cuts: list[int], budget: int
) -> None:
    whole, pieces = Series(Budget(budget)), Series(Budget(budget))
    whole.extend(np.array(values))
    for piece in np.split(np.array(values), sorted(cuts)):
        pieces.extend(piece)
    median = whole.median()
    assert median == pieces.median()
    assert median is not None
    assert whole.above(0) == pieces.above(0) == sum(value > 0 for value in values)
    if len(values) <= budget:
        assert median == int(np.median(values))
    else:
        lower = sorted(values)[(len(values) - 1) // 2]
        assert abs(median - lower) <= abs(lower) / 256 + 1


@given(INTS, INTS, st.lists(st.integers(0, 200), max_size=5))
def test_distance_to_the_nearest(first: list[int], second: list[int], cuts: list[int]) -> None:
    mine, other = Stamps(), Stamps()
    for piece in np.split(np.array(first), sorted(cuts)):
        mine.extend(piece)
    other.extend(np.array(second))
    expected = np.median([min(abs(a - b) for b in second) for a in first])
    assert median_distance(mine, other) == int(expected)
