"""What the values of one stream in one table are like: finite, normed, within limits, alive.

Everything is measured over whole columns; a slower, exact look follows only where a fast one
found something (a sum that is not finite, a probe that repeats).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow.compute as pc

from pipelines.check.columns import Column, Pictures
from pipelines.check.measured import MEASURED, Measured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.check.columns import Ints, Mask

REPEATS: Final = 10
"""An extreme counts as a stop only when at least this many values sit exactly on it."""
_NOT_GIVEN: Final = -1.0
_BLOCK: Final = 512


class Findings:
    """A count of wrong values and the stamp of the first."""

    def __init__(self) -> None:
        self.count = 0
        self.at_ns: int | None = None


class Norms:
    """Largest deviation of a quaternion's norm from 1; not-finite ones are counted elsewhere."""

    def __init__(self) -> None:
        self.error: float | None = None
        self.at_ns: int | None = None

    def add(self, parts: Sequence[NDArray[np.float64]], t_ns: Ints) -> None:
        """Measure quaternions given as four columns."""
        square = parts[0] * parts[0]
        for part in parts[1:]:
            square += part * part
        low, high = float(square.min()), float(square.max())
        if not np.isfinite(high - low):
            finite = np.isfinite(square)
            square, t_ns = square[finite], t_ns[finite]
            if not len(square):
                return
            low, high = float(square.min()), float(square.max())
        error = max(abs(low**0.5 - 1.0), abs(high**0.5 - 1.0))
        if self.error is None or error > self.error:
            self.error = error
            self.at_ns = int(t_ns[np.argmax(np.abs(np.sqrt(square) - 1.0))])


class Extremes:
    """How often each value of a column sits on the smallest or largest one seen."""

    def __init__(self) -> None:
        self._low: NDArray[np.float64] | None = None
        self._high: NDArray[np.float64] | None = None
        self._at_low: Ints = np.empty(0, np.int64)
        self._at_high: Ints = np.empty(0, np.int64)
        self._rows = 0
        self._uneven = False

    def add(self, column: Column) -> None:
        """Measure a batch; rows without values are left out."""
        matrix = column.filled_matrix
        if matrix is None or (self._low is not None and matrix.shape[1] not in {0, len(self._low)}):
            self._uneven = True
        if matrix is None or self._uneven or not matrix.shape[1]:
            return
        low, high = _ends(matrix)
        if self._low is None or self._high is None:
            self._low, self._high = np.full((2, len(low)), np.nan)
            self._at_low, self._at_high = np.zeros((2, len(low)), np.int64)
        # Batches that stay inside the range, nearly all of them, are not counted through.
        for place in np.flatnonzero(~(low > self._low) & ~np.isnan(low)):
            if low[place] != self._low[place]:
                self._low[place], self._at_low[place] = low[place], 0
            self._at_low[place] += np.count_nonzero(matrix[:, place] == low[place])
        for place in np.flatnonzero(~(high < self._high) & ~np.isnan(high)):
            if high[place] != self._high[place]:
                self._high[place], self._at_high[place] = high[place], 0
            self._at_high[place] += np.count_nonzero(matrix[:, place] == high[place])
        self._rows += len(matrix)

    @property
    def share(self) -> float | None:
        """Largest share of one column's values on one of its extremes; None if not measured."""
        if self._uneven or self._low is None or self._high is None:
            return None
        most = np.maximum(self._at_low, self._at_high)
        stops = most[(self._low < self._high) & (most >= REPEATS)]
        return float(stops.max()) / self._rows if len(stops) else 0.0


def _ends(matrix: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest value per column, NaN left out unless there is nothing else."""
    low, high = _along_rows(np.minimum, matrix), _along_rows(np.maximum, matrix)
    if np.isnan(low).any():
        return _along_rows(np.fmin, matrix), _along_rows(np.fmax, matrix)
    return low, high


def _along_rows(pick: np.ufunc, matrix: NDArray[Any]) -> NDArray[np.float64]:
    rows, width = matrix.shape
    if width == 1:
        return np.array([pick.reduce(matrix[:, 0])], np.float64)
    block = min(max(_BLOCK // width, 1), rows)
    # Narrow matrices are reduced in blocks of rows: long inner loops are far cheaper.
    whole = rows // block * block
    wide = pick.reduce(matrix[:whole].reshape(-1, block * width), axis=0)
    found = pick.reduce(wide.reshape(block, width), axis=0)
    if whole < rows:
        found = pick(found, pick.reduce(matrix[whole:], axis=0))
    return np.asarray(found, np.float64)


class Run:
    """Longest run of consecutive messages whose samples are equal bit by bit."""

    def __init__(self) -> None:
        self.longest = 0
        self.at_ns: int | None = None
        self._length = 0
        self._start_ns = 0
        self._last = b""

    def add(self, columns: Sequence[Column | Pictures], t_ns: Ints) -> None:
        """Compare each row with the one before it, over batches too."""
        rows = columns[0].rows
        first, last = _signature(columns, 0), _signature(columns, rows - 1)
        same = np.zeros(rows, bool)
        same[0] = bool(first) and first == self._last
        self._last = last
        repeats: Ints | None = None
        for column in columns:
            if rows > 1 and (repeats is None or len(repeats)):
                repeats = column.repeats(repeats)
        if repeats is not None and len(repeats):
            filled = np.logical_or.reduce([column.filled(repeats) for column in columns])
            same[repeats[filled]] = True
        starts = np.flatnonzero(~same)
        before = int(starts[0]) if len(starts) else rows
        self._take(self._length + before, self._start_ns)
        if len(starts):
            lengths = np.diff(starts, append=rows)
            longest = int(np.argmax(lengths))
            self._take(int(lengths[longest]), int(t_ns[starts[longest]]))
            self._length, self._start_ns = int(lengths[-1]), int(t_ns[starts[-1]])
        else:
            self._length += rows

    def _take(self, length: int, start_ns: int) -> None:
        if length > self.longest:
            self.longest, self.at_ns = length, start_ns


def _signature(columns: Sequence[Column | Pictures], row: int) -> bytes:
    """Digest of one row's samples with their lengths; b"" for a row without any."""
    parts = [column.row_bytes(row) for column in columns]
    if not any(parts):
        return b""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


class JointLimits:
    """Positions beyond the limits that the robot declares, joint by joint.

    Args:
        limits: Joint name -> (lowest, highest) position, in rad or m.
    """

    def __init__(self, limits: Mapping[str, tuple[float, float]]) -> None:
        self._limits = limits
        self.beyond = Findings()
        self.known = False

    def add(self, names: pa.Array, position: Column, t_ns: Ints) -> None:
        """Check a batch; messages whose names and positions differ in number are left out."""
        lengths = pc.list_value_length(names).fill_null(0).to_numpy(zero_copy_only=False)
        offsets = np.asarray(position.offsets)
        paired = lengths == np.diff(offsets)
        coded = names.flatten().dictionary_encode()
        bounds = [self._limits.get(name) for name in coded.dictionary.to_pylist()]
        self.known = self.known or any(bounds)
        low = np.array([bound[0] if bound else -np.inf for bound in bounds])
        high = np.array([bound[1] if bound else np.inf for bound in bounds])
        joints = coded.indices.to_numpy(zero_copy_only=False)[np.repeat(paired, lengths)]
        values = position.values[position.per_value(paired)]
        beyond = (values < low[joints]) | (values > high[joints])
        if beyond.any():
            at = np.flatnonzero(position.per_value(paired))[int(np.argmax(beyond))]
            self.beyond.count += int(np.count_nonzero(beyond))
            if self.beyond.at_ns is None:
                self.beyond.at_ns = int(t_ns[position.row_of(int(at))])


class ValueMetrics:
    """Value metrics of one stream in one table.

    Args:
        table: Table name; tables unknown to `MEASURED` give no value metrics.
        limits: Joint limits of the robot.
    """

    def __init__(self, table: str, limits: Mapping[str, tuple[float, float]]) -> None:
        self._rule = MEASURED.get(table, Measured())
        self._table = table
        self.rows = 0
        self.non_finite = Findings()
        self.norms = Norms()
        self.run = Run()
        self.compared = False
        self.extremes = {name: Extremes() for name in self._rule.saturating}
        self.limits = JointLimits(limits) if limits and table == "joint_states" else None

    @property
    def checks_finite(self) -> bool:
        """Whether this table has columns that must be finite."""
        return bool(self._rule.finite or self._rule.or_nan or self._rule.finite_if_fix)

    def update(self, rows: pa.RecordBatch, t_ns: Ints) -> None:
        """Measure a batch of at least one row."""
        self.rows += rows.num_rows
        batch = _Batch(rows)
        with np.errstate(all="ignore"):
            self._finite(batch, t_ns)
            self._norms(batch, t_ns)
            for name, extremes in self.extremes.items():
                extremes.add(batch.column(name))
        compared = [batch.comparable(name) for name in self._rule.compared if name in batch]
        if compared:
            self.compared = True
            self.run.add(compared, t_ns)
        if self.limits is not None:
            self.limits.add(rows.column("names"), batch.column("position"), t_ns)

    def _finite(self, batch: _Batch, t_ns: Ints) -> None:
        rule = self._rule
        wrong: dict[str, Mask] = {}
        for names, allowed in ((rule.finite, np.isfinite), (rule.or_nan, _finite_or_nan)):
            for name in names:
                # NaN and infinity both survive a sum, so one pass clears a column.
                if not np.isfinite(batch.column(name).values.sum()):
                    wrong[name] = ~allowed(batch.column(name).values)
        for name in rule.finite_if_fix:
            wrong[name] = ~np.isfinite(batch.column(name).values) & batch.fixed()
        rows = []
        for name, mask in wrong.items():
            column = batch.column(name)
            given = batch.given(rule.not_given[name]) if name in rule.not_given else None
            found = mask if column.missing is None else mask & ~column.missing
            if given is not None:
                found = found & column.per_value(given)
            self.non_finite.count += int(np.count_nonzero(found))
            if found.any():
                rows.append(column.row_of(int(np.argmax(found))))
        if rows and self.non_finite.at_ns is None:
            self.non_finite.at_ns = int(t_ns[min(rows)])

    def _norms(self, batch: _Batch, t_ns: Ints) -> None:
        names = self._rule.quaternion
        if not names:
            return
        parts = [batch.column(name).values for name in names]
        covariance = self._rule.not_given.get(names[0])
        given = None if covariance is None else batch.given(covariance)
        if given is not None:
            parts, t_ns = [part[given] for part in parts], t_ns[given]
        if len(t_ns):
            self.norms.add(parts, t_ns)


def _finite_or_nan(values: NDArray[Any]) -> Mask:
    allowed: Mask = np.logical_not(np.isinf(values))
    return allowed


class _Batch:
    """A record batch whose columns become arrays once."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        self._rows = rows
        self._names = set(rows.schema.names)
        self._columns: dict[str, Column] = {}
        self._given: dict[str, Mask | None] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def column(self, name: str) -> Column:
        if name not in self._columns:
            self._columns[name] = Column(self._rows.column(name))
        return self._columns[name]

    def comparable(self, name: str) -> Column | Pictures:
        return Pictures(self._rows.column(name)) if name == "data" else self.column(name)

    def given(self, covariance: str) -> Mask | None:
        """Rows whose measurement is given; None where all are."""
        if covariance not in self._given:
            given = self.column(covariance).first_of_rows() != _NOT_GIVEN
            self._given[covariance] = None if given.all() else given
        return self._given[covariance]

    def fixed(self) -> Mask:
        """Rows with a satellite fix, or without a status."""
        status = self._rows.column("status").fill_null(0)
        return np.asarray(status.to_numpy(zero_copy_only=False) >= 0)
