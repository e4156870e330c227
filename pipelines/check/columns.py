"""Numeric columns of one Arrow batch as numpy arrays, row by row comparable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Column:
    """One column of floats, or of lists of floats, without copying it.

    Attributes:
        rows: Rows.
        values: All values, one after the other; a null stands as NaN.
        missing: Which values are null; None where none is.
        width: Values per row where all rows hold equally many (1 for plain columns), else None.
        offsets: Start of each row's values and the end of the last; None for plain columns.
    """

    def __init__(self, array: pa.Array) -> None:
        self.rows = len(array)
        self.width: int | None = 1
        self.offsets: NDArray[Any] | None = None
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            offsets = array.offsets.to_numpy(zero_copy_only=False)
            first, last = int(offsets[0]), int(offsets[-1])
            array = array.values.slice(first, last - first)
            self.offsets = offsets - first
            width = int(offsets[1]) - first
            even = width * self.rows == last - first and bool((np.diff(offsets) == width).all())
            self.width = width if even else None
        self.values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
        self.missing: Mask | None = None
        if array.null_count:
            self.missing = array.is_null().to_numpy(zero_copy_only=False)

    @property
    def matrix(self) -> NDArray[Any] | None:
        """The values as (rows, width), or None where rows differ in length."""
        return None if self.width is None else self.values.reshape(self.rows, self.width)

    @property
    def filled_matrix(self) -> NDArray[Any] | None:
        """Like `matrix`, with empty rows left out; None where the others differ in length."""
        if self.offsets is None or self.width is not None:
            return self.matrix
        lengths = np.diff(self.offsets)
        lengths = lengths[lengths > 0]
        if (lengths != lengths[0]).any():
            return None
        return self.values.reshape(len(lengths), int(lengths[0]))

    def row_of(self, index: int) -> int:
        """The row that holds the value at `index`."""
        if self.offsets is None:
            return index
        return int(np.searchsorted(self.offsets, index, side="right")) - 1

    def first_of_rows(self) -> NDArray[np.float64]:
        """First value of each row; NaN for empty rows."""
        matrix = self.matrix
        if matrix is not None and matrix.shape[1]:
            return matrix[:, 0].astype(np.float64)
        firsts = np.full(self.rows, np.nan)
        if self.offsets is not None and len(self.values):
            filled = np.diff(self.offsets) > 0
            firsts[filled] = self.values[self.offsets[:-1][filled]]
        return firsts

    def per_value(self, rows: Mask) -> Mask:
        """A mask over rows as a mask over values."""
        return rows if self.offsets is None else np.repeat(rows, np.diff(self.offsets))

    def row_bytes(self, row: int) -> bytes:
        """One row's values as bytes."""
        start, end = (row, row + 1) if self.offsets is None else self.offsets[row : row + 2]
        return self.values[start:end].tobytes()

    def filled(self, rows: Ints) -> Mask:
        """Which of the rows hold a value."""
        if self.offsets is None:
            return np.ones(len(rows), bool)
        return np.asarray(self.offsets[rows + 1] > self.offsets[rows])

    def repeats(self, rows: Ints | None) -> Ints:
        """Which of `rows` (None: all but the first) equal the row before, bit by bit."""
        bits = self.values.view(f"u{self.values.itemsize}")
        if self.width is None:
            return self._ragged_repeats(bits, rows)
        matrix = bits.reshape(self.rows, self.width)
        if self.width == 0:
            return np.arange(1, self.rows) if rows is None else rows
        # One value of each row rules nearly all rows out before whole rows are compared.
        probe = matrix[:, self.width // 2]
        if rows is None:
            rows = np.flatnonzero(probe[1:] == probe[:-1]) + 1
        else:
            rows = rows[probe[rows] == probe[rows - 1]]
        if self.width == 1 or not len(rows):
            return rows
        same: Mask = (matrix[rows] == matrix[rows - 1]).all(axis=1)
        return rows[same]

    def _ragged_repeats(self, bits: NDArray[Any], rows: Ints | None) -> Ints:
        offsets = np.asarray(self.offsets, np.int64)
        lengths = np.diff(offsets)
        rows = np.arange(1, self.rows) if rows is None else rows
        rows = rows[lengths[rows] == lengths[rows - 1]]
        length = lengths[rows]
        inside = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        mine = np.repeat(offsets[rows], length) + inside
        before = np.repeat(offsets[rows - 1], length) + inside
        different = np.repeat(np.arange(len(rows)), length)[bits[mine] != bits[before]]
        same = np.ones(len(rows), bool)
        same[different] = False
        return rows[same]


class Pictures:
    """A column of encoded pictures, comparable like `Column`."""

    def __init__(self, array: pa.Array) -> None:
        self.rows = len(array)
        self._array = array

    def row_bytes(self, row: int) -> bytes:
        """The picture's bytes."""
        return bytes(self._array[row].as_buffer() or b"")

    def filled(self, rows: Ints) -> Mask:
        """Which of the rows hold a byte."""
        sizes = pc.binary_length(self._array).to_numpy(zero_copy_only=False)
        return np.asarray(sizes[rows] > 0)

    def repeats(self, rows: Ints | None) -> Ints:
        """Which of `rows` (None: all but the first) equal the picture before them."""
        equal = pc.equal(self._array.slice(1), self._array.slice(0, self.rows - 1))
        same = (
            np.flatnonzero(pc.fill_null(equal, fill_value=False).to_numpy(zero_copy_only=False)) + 1
        )
        return same if rows is None else np.intersect1d(same, rows)
