"""Which sample stands for which frame, on int64 nanoseconds. Pure, and array operations only.

Everywhere here `t` is the stream's sample times (int64 ns, strictly increasing) and `grid` the
frames' times (int64 ns, increasing). `skew_ns` = sample time - frame time: negative = from the
past. `tests/property/test_alignment.py` holds it against a scalar reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from schemas.recipe import Align

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

    Int64 = NDArray[np.int64]
    Bool = NDArray[np.bool_]
    Floats = NDArray[np.float64]

SECOND_NS = 1_000_000_000
# Below this angle between two quaternions sin(angle) loses digits; a chord is exact enough there.
_NEARLY_PARALLEL = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class Matches:
    """For each frame: the sample (or two neighbours) that its value comes from.

    Attributes:
        index: Sample used, the earlier one of two; -1 = none, the value is missing.
        after: The later neighbour of an interpolated value; equal to `index` otherwise.
        skew_ns: Time of the nearest sample used minus the frame's time; 0 where missing.
        held: The value is no new measurement: the frame before used the same sample, or it is
            interpolated. False where missing.
    """

    index: Int64
    after: Int64
    skew_ns: Int64
    held: Bool

    @property
    def present(self) -> Bool:
        """Where there is a value."""
        return self.index >= 0


def frame_times(start_ns: int, end_ns: int, rate_hz: Fraction) -> Int64:
    """Times start + floor(k * 10^9 / rate) for k = 0, 1, … that are not after `end_ns`.

    Exact in int64 for any length: the period's whole and broken nanoseconds are counted apart.
    """
    if end_ns < start_ns:
        return np.empty(0, np.int64)
    numerator, denominator = rate_hz.numerator, rate_hz.denominator
    whole, broken = divmod(SECOND_NS * denominator, numerator)
    # k is the greatest with floor(k * period) <= length, so k * period < length + 1.
    count = ((end_ns - start_ns + 1) * numerator - 1) // (SECOND_NS * denominator) + 1
    k = np.arange(count, dtype=np.int64)
    return start_ns + k * whole + k * broken // numerator


def match(align: Align, t: Int64, grid: Int64, max_skew_ns: int | None) -> Matches:
    """Find each frame's sample by `align`; `max_skew_ns` None = any (hold only)."""
    if len(t) == 0:
        nothing = np.full(len(grid), -1, np.int64)
        return Matches(nothing, nothing, np.zeros_like(grid), np.zeros(len(grid), np.bool_))
    limit = np.iinfo(np.int64).max if max_skew_ns is None else max_skew_ns
    if align is Align.LINEAR:
        return _linear(t, grid, limit)
    before = np.searchsorted(t, grid, side="right") - 1
    index = _nearest(t, grid, before) if align is Align.NEAREST else before
    skew = t[np.maximum(index, 0)] - grid
    found = (index >= 0) & (np.abs(skew) <= limit)
    index = np.where(found, index, -1)
    return Matches(index, index, np.where(found, skew, 0), _repeated(index))


def _nearest(t: Int64, grid: Int64, before: Int64) -> Int64:
    last = len(t) - 1
    after = np.minimum(before + 1, last)
    to_before = grid - t[np.maximum(before, 0)]
    to_after = t[after] - grid
    takes_after = (before < 0) | ((before < last) & (to_after < to_before))
    return np.where(takes_after, after, before)


def _linear(t: Int64, grid: Int64, limit: int) -> Matches:
    before = np.searchsorted(t, grid, side="right") - 1
    clipped = np.maximum(before, 0)
    exact = (before >= 0) & (t[clipped] == grid)
    after = np.minimum(clipped + 1, len(t) - 1)
    between = (before >= 0) & (after > clipped) & (t[after] - t[clipped] <= limit) & ~exact
    found = exact | between
    index = np.where(found, before, -1)
    to_before, to_after = t[clipped] - grid, t[after] - grid
    skew = np.where(to_after < -to_before, to_after, to_before)
    return Matches(
        index,
        np.where(between, after, index),
        np.where(between, skew, 0),
        between | _repeated(np.where(exact, before, -1)),
    )


def _repeated(index: Int64) -> Bool:
    held = np.zeros(len(index), np.bool_)
    held[1:] = (index[1:] == index[:-1]) & (index[1:] >= 0)
    return held


def interpolate(
    values: NDArray[np.floating],
    t: Int64,
    grid: Int64,
    matches: Matches,
    quaternions: Sequence[int] = (),
) -> NDArray[np.floating]:
    """Values of the frames that have one, by `Align.LINEAR`.

    Computed in float64 and given in the samples' own type. A frame at a sample's time gets the
    sample bit for bit; every other value lies between its neighbours. A neighbour that is not
    finite gives NaN, and so does a quaternion without length.

    Args:
        values: Samples, shape (samples, width).
        t: Sample times.
        grid: Frame times.
        matches: Result of `match` for the same times.
        quaternions: First columns of x, y, z, w runs, interpolated along the shorter arc.

    Returns:
        Shape (frames with a value, width).
    """
    present = matches.present
    first, second = matches.index[present], matches.after[present]
    result = values[first].copy()
    mixed = second != first
    first, second = first[mixed], second[mixed]
    weight = (grid[present][mixed] - t[first]) / (t[second] - t[first])
    a, b = values[first].astype(np.float64), values[second].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        blend = np.clip(
            a * (1.0 - weight[:, None]) + b * weight[:, None], np.minimum(a, b), np.maximum(a, b)
        )
        blend[~(np.isfinite(a) & np.isfinite(b))] = np.nan
        for column in quaternions:
            part = slice(column, column + 4)
            blend[:, part] = _slerp(a[:, part], b[:, part], weight)
    result[mixed] = blend
    return result


def _slerp(a: Floats, b: Floats, weight: Floats) -> Floats:
    """Unit quaternions (n, 4) between `a` and `b`, along the shorter arc; NaN without length."""
    with np.errstate(invalid="ignore", divide="ignore"):
        a = a / np.linalg.norm(a, axis=1, keepdims=True)
        b = b / np.linalg.norm(b, axis=1, keepdims=True)
        cosine = np.sum(a * b, axis=1)
        # q and -q are one rotation.
        b = np.where(cosine[:, None] < 0, -b, b)
        cosine = np.minimum(np.abs(cosine), 1.0)
        angle = np.arccos(cosine)
        near = cosine > _NEARLY_PARALLEL
        sine = np.where(near, 1.0, np.sin(angle))
        from_a = np.where(near, 1.0 - weight, np.sin((1.0 - weight) * angle) / sine)
        from_b = np.where(near, weight, np.sin(weight * angle) / sine)
        mixed = a * from_a[:, None] + b * from_b[:, None]
        return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float64)
