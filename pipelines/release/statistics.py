"""Exact statistics of a release, over all its rows: no sketches, no means of means.

Quantiles are those of all values (linear between order statistics, as `numpy.quantile`); mean and
population standard deviation are summed in extended precision, in two passes. Memory is bounded:
a wide vector is read several times, a slice of its elements at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

QUANTILES: Final = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
BUDGET_BYTES: Final = 64 << 20
_BLOCK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Described:
    """One numeric column to describe.

    Attributes:
        name: Column of the frames.
        width: Elements of its vector; None = a scalar.
    """

    name: str
    width: int | None


def describe(
    files: Sequence[Path],
    columns: Sequence[Described],
    *,
    split: str | None = None,
    budget_bytes: int = BUDGET_BYTES,
) -> dict[str, dict[str, Any]]:
    """Statistics of each column over the rows of all files (or of one split).

    Values that are null or NaN or infinite are no measurements: `missing` counts rows without a
    value, `not_finite` values left out, `count` those that went in.

    Returns:
        Column -> {count, missing, not_finite, min, max, mean, std, q01, q10, q50, q90, q99};
        lists over the elements for vectors; null where nothing went in.
    """
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    step = max(1, budget_bytes // (8 * max(rows, 1)))
    result = {}
    for column in columns:
        parts: list[dict[str, Any]] = []
        width = 1 if column.width is None else column.width
        missing = 0
        for start in range(0, max(width, 1), step):
            stop = min(start + step, width)
            values, missing = _load(
                _chunks(files, column.name, split), column, slice(start, stop), rows
            )
            parts.extend(summarise(values[i]) for i in range(stop - start))
        result[column.name] = {"missing": missing} | _joined(parts, scalar=column.width is None)
    return result


def summarise(values: NDArray[np.float64]) -> dict[str, Any]:
    """Statistics of one element; `values` is reordered in place."""
    finite = np.isfinite(values)
    not_finite = int(len(values) - np.count_nonzero(finite))
    if not_finite:
        values = values[finite]
    count = len(values)
    if count == 0:
        nothing = dict.fromkeys(("min", "max", "mean", "std", *QUANTILES))
        return {"count": 0, "not_finite": not_finite} | nothing
    mean = _sum(values, np.longdouble(0), power=1) / count
    variance = _sum(values, mean, power=2) / count
    quantiles = np.quantile(values, list(QUANTILES.values()), overwrite_input=True)
    return {
        "count": count,
        "not_finite": not_finite,
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(mean),
        "std": float(np.sqrt(variance)),
    } | {name: float(q) for name, q in zip(QUANTILES, quantiles, strict=True)}


def _sum(values: NDArray[np.float64], offset: np.longdouble, power: int) -> np.longdouble:
    total = np.longdouble(0)
    for start in range(0, len(values), _BLOCK):
        # Extended precision, a block at a time: the whole column would take twice its memory.
        block = values[start : start + _BLOCK].astype(np.longdouble) - offset
        total += np.sum(block if power == 1 else block * block)
    return total


def _joined(parts: Sequence[dict[str, Any]], *, scalar: bool) -> dict[str, Any]:
    if scalar:
        return parts[0]
    return {key: [part[key] for part in parts] for key in parts[0]} if parts else {}


def _load(
    chunks: Iterator[pa.Array], column: Described, elements: slice, rows: int
) -> tuple[NDArray[np.float64], int]:
    """These elements of all rows that have a value, shape (elements, rows); rows without one."""
    values = np.empty((elements.stop - elements.start, rows), np.float64)
    filled = missing = 0
    for chunk in chunks:
        there = chunk.drop_null()
        missing += len(chunk) - len(there)
        if column.width is None:
            block = _as_float(there)[None, :]
        else:
            block = _as_float(there.flatten()).reshape(-1, column.width)[:, elements].T
        values[:, filled : filled + block.shape[1]] = block
        filled += block.shape[1]
    return values[:, :filled], missing


def _as_float(values: pa.Array) -> NDArray[np.float64]:
    if pa.types.is_boolean(values.type) or pa.types.is_decimal(values.type):
        values = values.cast(pa.int8() if pa.types.is_boolean(values.type) else pa.float64())
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float64)


def _chunks(files: Sequence[Path], name: str, split: str | None) -> Iterator[pa.Array]:
    wanted = [name] if split is None else [name, "split"]
    for path in files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=wanted)
                if split is not None:
                    table = table.filter(pc.equal(table["split"], split))
                yield from table.column(name).chunks
