"""Medians and counts over long integer series in bounded memory.

A recording keeps its values exactly while all of its series together hold at most
`EXACT_VALUES`. Beyond that every series becomes a sparse histogram with 256 bins per power of
two, so a median is off by at most 0.2 % of itself. Which of the two applies, and the bins
themselves, depend on the values alone: the results are the same however they were batched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.check.columns import Ints

EXACT_VALUES: Final = 2_000_000
"""Values of one recording kept exactly: 16 MB, the gaps and lags of a million messages."""
SAMPLED_STAMPS: Final = 131_072
"""Stamps kept of one stream to compare its time line with another's."""
SLOT_NS: Final = 10_000_000_000
"""Stamps are kept or left out by whole slots of ten seconds."""

_PENDING: Final = 65_536
_JOINED: Final = 128
_MANTISSA_BITS: Final = 8
_SHIFT: Final = 52 - _MANTISSA_BITS


class _Pieces:
    """Arrays kept as they came; small ones are joined so that many of them cost no more."""

    def __init__(self) -> None:
        self._pieces: list[Ints] = []
        self._small = 0
        self.size = 0

    @property
    def values(self) -> Ints:
        if len(self._pieces) != 1:
            self._pieces = [np.concatenate(self._pieces)] if self._pieces else []
            self._small = 0
        return self._pieces[0] if self._pieces else np.empty(0, np.int64)

    def extend(self, values: Ints) -> None:
        self._pieces.append(values)
        self.size += len(values)
        self._small += 1
        if self._small == _JOINED:
            self._pieces[-_JOINED:] = [np.concatenate(self._pieces[-_JOINED:])]
            self._small = 0

    def replace(self, values: Ints) -> None:
        self._pieces, self._small, self.size = [values], 0, len(values)


def _bins(values: Ints) -> Ints:
    """Bin of each value: sign and the first bits of its magnitude as a float."""
    magnitude = np.abs(values).astype(np.float64).view(np.int64) >> _SHIFT
    return np.where(values < 0, -magnitude - 1, magnitude)


def _middle(bins: Ints) -> NDArray[np.float64]:
    """Value in the middle of each bin; 0 for the bin of 0."""
    magnitude = np.where(bins < 0, -bins - 1, bins)
    half = np.int64(1) << (_SHIFT - 1)
    middle = ((magnitude << _SHIFT) | np.where(magnitude > 0, half, 0)).view(np.float64)
    return np.where(bins < 0, -middle, middle)


class Budget:
    """How many values all series of one recording still keep exactly."""

    def __init__(self, values: int = EXACT_VALUES) -> None:
        self._left = values

    @property
    def exact(self) -> bool:
        """Whether the series still hold every value."""
        return self._left >= 0

    def take(self, values: int) -> None:
        """Count values in, whichever series they belong to."""
        self._left -= values


class Series:
    """Integers whose median and upper tail are asked for at the end."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._kept = _Pieces()
        self._bins: Ints = np.empty(0, np.int64)
        self._counts: Ints = np.empty(0, np.int64)

    def extend(self, values: Ints) -> None:
        """Add values; their order does not matter."""
        self._budget.take(len(values))
        self._kept.extend(values)
        if not self._budget.exact and self._kept.size > _PENDING:
            self.fold()

    def fold(self) -> None:
        """Turn what is kept exactly into histogram counts."""
        if not self._kept.size:
            return
        bins, counts = np.unique(_bins(self._kept.values), return_counts=True)
        self._kept.replace(np.empty(0, np.int64))
        merged, place = np.unique(np.concatenate((self._bins, bins)), return_inverse=True)
        totals = np.zeros(len(merged), np.int64)
        np.add.at(totals, place, np.concatenate((self._counts, counts)))
        self._bins, self._counts = merged, totals

    def median(self) -> int | None:
        """The median, rounded towards zero; None without values."""
        if self._budget.exact:
            return int(np.median(self._kept.values)) if self._kept.size else None
        self.fold()
        if not len(self._bins):
            return None
        middle = (int(self._counts.sum()) - 1) // 2
        place = int(np.searchsorted(np.cumsum(self._counts), middle, side="right"))
        return int(_middle(self._bins[place : place + 1])[0])

    def above(self, limit: int) -> int:
        """How many values are greater than `limit` (by bin once the series is a histogram)."""
        if self._budget.exact:
            return int(np.count_nonzero(self._kept.values > limit))
        self.fold()
        return int(self._counts[_middle(self._bins) > limit].sum())


class Stamps:
    """A stream's stamps in evenly chosen slots of ten seconds.

    A slot is kept where its number divides by `stride`, a power of two that doubles whenever more
    than `SAMPLED_STAMPS` are held; so what is kept depends on the stamps alone.
    """

    def __init__(self) -> None:
        self.stride = 1
        self._kept = _Pieces()

    def extend(self, stamps: Ints) -> None:
        """Add stamps, in any order."""
        self._kept.extend(self.thinned(stamps, self.stride))
        while self._kept.size > SAMPLED_STAMPS and self.stride < 1 << 40:
            self.stride *= 2
            self._kept.replace(self.thinned(self._kept.values, self.stride))

    @staticmethod
    def thinned(stamps: Ints, stride: int) -> Ints:
        """The stamps in slots that divide by `stride`."""
        # A view of a batch would keep the whole batch alive.
        return stamps.copy() if stride == 1 else stamps[stamps // SLOT_NS % stride == 0]

    def at(self, stride: int) -> Ints:
        """What is kept at a wider stride, sorted."""
        return np.sort(self.thinned(self._kept.values, stride))


def median_distance(stamps: Stamps, reference: Stamps) -> int | None:
    """Median distance of each stamp to the nearest of `reference`, in ns; None without either."""
    stride = max(stamps.stride, reference.stride)
    mine, other = stamps.at(stride), reference.at(stride)
    if not len(mine) or not len(other):
        return None
    after = np.searchsorted(other, mine)
    left = other[np.maximum(after - 1, 0)]
    right = other[np.minimum(after, len(other) - 1)]
    return int(np.median(np.minimum(np.abs(mine - left), np.abs(mine - right))))
