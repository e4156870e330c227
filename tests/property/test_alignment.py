"""Alignment against slow scalar references that share no code with it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.release.align import Matches, frame_times, interpolate, match
from schemas.recipe import Align

BASE = 1_790_000_000_000_000_000
TIMES = st.lists(st.integers(0, 400), min_size=0, max_size=40, unique=True).map(sorted)
GRID = st.lists(st.integers(0, 400), min_size=1, max_size=40, unique=True).map(sorted)
SKEW = st.integers(0, 120)
RATES = st.builds(Fraction, st.integers(1, 300_000), st.integers(1, 1001))


def as_times(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64) + BASE


def slow_nearest(t: list[int], at: int, limit: int) -> int | None:
    best = None
    for position, time in enumerate(t):
        if abs(time - at) <= limit and (best is None or abs(time - at) < abs(t[best] - at)):
            best = position
    return best


def slow_hold(t: list[int], at: int, limit: int | None) -> int | None:
    best = None
    for position, time in enumerate(t):
        if time <= at and (limit is None or at - time <= limit):
            best = position
    return best


def slow_linear(t: list[int], at: int, limit: int) -> tuple[int, int] | None:
    for position, time in enumerate(t):
        if time == at:
            return position, position
        if position and t[position - 1] < at < time and time - t[position - 1] <= limit:
            return position - 1, position
    return None


def check_marks(found: Matches, expected: list[int | None], t: list[int], grid: list[int]) -> None:
    previous: int | None = None
    for k, index in enumerate(expected):
        assert found.index[k] == (-1 if index is None else index)
        assert bool(found.present[k]) == (index is not None)
        assert found.skew_ns[k] == (0 if index is None else t[index] - grid[k])
        assert bool(found.held[k]) == (index is not None and index == previous)
        previous = index


@given(TIMES, GRID, SKEW)
def test_nearest_is_what_a_search_over_all_samples_finds(t, grid, limit):
    found = match(Align.NEAREST, as_times(t), as_times(grid), limit)
    check_marks(found, [slow_nearest(t, at, limit) for at in grid], t, grid)


@given(TIMES, GRID, st.none() | SKEW)
def test_hold_is_the_last_sample_and_never_from_the_future(t, grid, limit):
    found = match(Align.HOLD, as_times(t), as_times(grid), limit)
    check_marks(found, [slow_hold(t, at, limit) for at in grid], t, grid)
    assert (found.skew_ns <= 0).all()


@given(TIMES, GRID, SKEW, st.integers(0, 2**32))
def test_linear_lies_on_the_line_and_never_crosses_a_gap(t, grid, limit, seed):
    values = np.random.default_rng(seed).normal(0, 1e3, (len(t), 2))
    found = match(Align.LINEAR, as_times(t), as_times(grid), limit)
    rows = iter(interpolate(values, as_times(t), as_times(grid), found))
    previous = None
    for k, at in enumerate(grid):
        pair = slow_linear(t, at, limit)
        assert bool(found.present[k]) == (pair is not None)
        if pair is None:
            assert found.skew_ns[k] == 0
            assert not found.held[k]
            previous = None
            continue
        first, second = pair
        row = next(rows)
        if first == second:
            assert row.tobytes() == values[first].tobytes()
            assert bool(found.held[k]) == (previous == first)
            assert found.skew_ns[k] == 0
            previous = first
            continue
        previous = None
        assert found.held[k]
        share = Fraction(at - t[first], t[second] - t[first])
        distances = [t[first] - at, t[second] - at]
        assert found.skew_ns[k] == min(distances, key=abs)
        for got, a, b in zip(row, values[first], values[second], strict=True):
            exact = float(Fraction(a) * (1 - share) + Fraction(b) * share)
            assert got == pytest.approx(exact, rel=1e-12, abs=1e-9)
            assert min(a, b) <= got <= max(a, b)
    assert next(rows, None) is None


@given(RATES, st.integers(0, 3_000_000_000))
def test_frame_times_never_drift(rate, length):
    step = Fraction(1_000_000_000) / rate
    if length / step > 5_000:
        length = int(step * 5_000)
    times = frame_times(BASE, BASE + length, rate)
    expected = []
    k = 0
    while math.floor(k * step) <= length:
        expected.append(BASE + math.floor(k * step))
        k += 1
    assert times.tolist() == expected
    assert times.dtype == np.int64


def test_frame_times_are_exact_after_a_hundred_hours():
    rate = Fraction(30_000, 1001)
    times = frame_times(BASE, BASE + 360_000 * 10**9, rate)
    k = len(times) - 1
    assert times[k] == BASE + k * 1001 * 10**9 // 30_000
    assert times[k] <= BASE + 360_000 * 10**9 < BASE + (k + 1) * 1001 * 10**9 // 30_000


def test_frame_times_of_nothing():
    assert len(frame_times(BASE, BASE - 1, Fraction(30))) == 0
    assert frame_times(BASE, BASE, Fraction(30)).tolist() == [BASE]


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q = rng.normal(size=4)
    return q / np.linalg.norm(q)


def rotated(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Vector turned by a quaternion x, y, z, w."""
    u, w = q[:3], q[3]
    return v + 2 * np.cross(u, np.cross(u, v) + w * v)


def angle(q: np.ndarray, r: np.ndarray) -> float:
    # By the chord: the arc cosine of a cosine near 1 would lose half the digits.
    chord = min(np.linalg.norm(q - r), np.linalg.norm(q + r))
    return 4 * math.asin(min(1.0, chord / 2))


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 999), st.booleans())
def test_quaternions_turn_at_one_speed_along_the_shorter_arc(seed, part, flip):
    rng = np.random.default_rng(seed)
    a, b = random_rotation(rng), random_rotation(rng)
    values = np.stack([a, -b if flip else b])
    t, grid = np.array([BASE, BASE + 1000]), np.array([BASE + part])
    found = match(Align.LINEAR, t, grid, 1000)
    (got,) = interpolate(values, t, grid, found, quaternions=[0])
    whole = angle(a, b)
    assert np.linalg.norm(got) == pytest.approx(1.0, abs=1e-12)
    assert angle(a, got) == pytest.approx(whole * part / 1000, abs=1e-6)
    assert angle(got, b) == pytest.approx(whole * (1000 - part) / 1000, abs=1e-6)
    assert np.linalg.norm(rotated(got, np.array([1.0, 0, 0]))) == pytest.approx(1.0)


def test_half_a_turn_of_a_known_rotation():
    quarter = [0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)]  # 90 degrees about z
    t, grid = np.array([0, 10]), np.array([5])
    found = match(Align.LINEAR, t, grid, 10)
    values = np.array([[7.0, 0, 0, 0, 1.0], [9.0, *quarter]])
    (got,) = interpolate(values, t, grid, found, quaternions=[1])
    assert got[0] == 8.0
    assert got[1:] == pytest.approx([0, 0, math.sin(math.pi / 8), math.cos(math.pi / 8)])


def test_what_is_not_finite_is_not_invented():
    t, grid = np.array([0, 10, 20]), np.array([0, 5, 15])
    values = np.array([[1.0], [math.inf], [3.0]])
    got = interpolate(values, t, grid, match(Align.LINEAR, t, grid, 10))
    assert got[0, 0] == 1.0
    assert np.isnan(got[1:, 0]).all()
    zero = np.zeros((3, 4))
    assert np.isnan(interpolate(zero, t, grid, match(Align.LINEAR, t, grid, 10), [0])[1]).all()


def test_narrow_floats_stay_between_their_neighbours():
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1e-3, (1000, 1)).astype(np.float32)
    t = np.arange(1000, dtype=np.int64) * 7
    grid = np.arange(0, 6993, dtype=np.int64)
    found = match(Align.LINEAR, t, grid, 7)
    got = interpolate(values, t, grid, found)
    assert got.dtype == np.float32
    a, b = values[found.index], values[found.after]
    assert (np.minimum(a, b) <= got).all()
    assert (got <= np.maximum(a, b)).all()
