"""Clean streams of every measured table, to be broken in one place at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.check.metrics import RecordingMetrics
from schemas.tables import COMMON, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

START_NS = 1_790_000_000_000_000_000
_GIVEN = {column.name for column in COMMON}


class Stream:
    """Columns of one stream, as a source and the decode stage hand them on."""

    def __init__(self, table: str, messages: int, rate_hz: float, per_message: int = 1) -> None:
        rng = np.random.default_rng(7)
        period = 1e9 / rate_hz
        t = (
            START_NS + np.arange(messages) * period + rng.uniform(0, period / 50, messages)
        ).astype(np.int64)
        rows = messages * per_message
        self.table = table
        self.columns: dict[str, Any] = {
            "t_ns": np.repeat(t, per_message),
            "log_ns": np.repeat(t + 150_000, per_message),
            "header_ns": np.repeat(t, per_message),
            "pub_ns": np.repeat(t + 50_000, per_message),
            "message": np.repeat(np.arange(messages), per_message),
        }
        self.types: dict[str, pa.DataType] = dict.fromkeys(self.columns, pa.int64())
        for column in TABLES[table].columns:
            if column.name not in _GIVEN:
                self.types[column.name] = column.type
                self.columns[column.name] = _clean(column.name, column.type, rows, rng)
        quaternion = [c for c in self.columns if c in _QUATERNIONS]
        norms = np.sqrt(sum(self.columns[c] ** 2 for c in quaternion)) if quaternion else 1.0
        for name in quaternion:
            self.columns[name] = self.columns[name] / norms
        if table == "video_frames":
            for name in ("blob", "offset", "size"):
                del self.columns[name], self.types[name]
            self.columns["data"] = [rng.bytes(40) for _ in range(rows)]
            self.types["data"] = pa.large_binary()

    def batch(self) -> pa.RecordBatch:
        arrays = [pa.array(self.columns[name], kind) for name, kind in self.types.items()]
        return pa.RecordBatch.from_arrays(arrays, names=list(self.types))


_QUATERNIONS = {f"{part}_{axis}" for part in ("orientation", "rotation") for axis in "xyzw"}


def _clean(name: str, kind: pa.DataType, rows: int, rng: np.random.Generator) -> Any:
    if name == "names":
        return [["shoulder", "elbow"]] * rows
    if "covariance" in name and pa.types.is_list(kind):
        return [[0.01] * 9] * rows
    if pa.types.is_list(kind):
        return rng.normal(size=(rows, 2)).tolist()
    if pa.types.is_floating(kind):
        return rng.normal(size=rows)
    value: Any = {pa.string(): "x", pa.bool_(): True, pa.binary(): b"x"}.get(kind, 0)
    return [value] * rows


@pytest.fixture
def stream() -> Callable[..., Stream]:
    def build(
        table: str, messages: int = 400, rate_hz: float = 100.0, per_message: int = 1
    ) -> Stream:
        return Stream(table, messages, rate_hz, per_message)

    return build


@pytest.fixture
def measure() -> Callable[..., dict[str, Any]]:
    def run(made: Stream, limits: dict[str, tuple[float, float]] | None = None) -> dict[str, Any]:
        metrics = RecordingMetrics(limits)
        metrics.update("/s", made.table, made.batch())
        return metrics.finish({"/s": len(made.columns["t_ns"])})["/s"]

    return run
