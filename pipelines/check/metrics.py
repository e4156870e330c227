"""Fused metrics of every stream of one recording, taken while it is decoded.

Results do not depend on how the rows were batched. Medians are exact for recordings of up to a
million messages and off by at most 0.2 % beyond (see `series`); everything else is always exact,
except `sync_offset_ns`, which looks at evenly chosen slots of ten seconds of long recordings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.compute as pc

from pipelines.check.series import Budget, Series, Stamps, median_distance
from pipelines.check.values import ValueMetrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from pipelines.check.columns import Ints, Mask

GAP_PERIODS: Final = 3
"""A distance of more than this many median periods is a gap."""
CAMERAS: Final = "video_frames"
REFERENCE: Final = "joint_states"
METRICS: Final = (
    "rate_hz",
    "gap_median_ns",
    "gap_max_ns",
    "gap_max_at_ns",
    "gaps",
    "duplicates",
    "out_of_order",
    "lag_median_ns",
    "lag_max_ns",
    "non_finite",
    "norm_error_max",
    "limit_violations",
    "stuck_share",
    "saturated_share",
    "sync_offset_ns",
)
"""Metric columns of `streams`."""
PLACES: Final = (
    "duplicates_at_ns",
    "out_of_order_at_ns",
    "lag_max_at_ns",
    "non_finite_at_ns",
    "norm_error_max_at_ns",
    "limit_violations_at_ns",
    "stuck_share_at_ns",
)
"""Where a metric was first, or most, out of the ordinary; for reasons, not stored in `streams`."""

Number = int | float | None


class TimeMetrics:
    """Time metrics of one stream; each message is counted once."""

    def __init__(self, budget: Budget) -> None:
        self.messages = 0
        self.places: dict[str, int] = {}
        self._steps = Series(budget)
        self._lags = Series(budget)
        self._first_ns = self._last_ns = self._previous_ns = 0
        self._gap_max: int | None = None
        self._gap_max_at: int | None = None
        self._duplicates = self._out_of_order = 0
        self._lag_max: int | None = None

    def update(self, t_ns: Ints) -> None:
        """Add messages in file order."""
        if not self.messages:
            self._first_ns = self._last_ns = int(t_ns[0])
            before = t_ns[:-1]
            steps = np.diff(t_ns)
        else:
            before = np.concatenate(([self._previous_ns], t_ns[:-1]))
            steps = t_ns - before
        self.messages += len(t_ns)
        self._previous_ns = int(t_ns[-1])
        self._first_ns = min(self._first_ns, int(t_ns.min()))
        self._last_ns = max(self._last_ns, int(t_ns.max()))
        if len(steps):
            self._step(steps, before)

    def _step(self, steps: Ints, before: Ints) -> None:
        longest = int(np.argmax(steps))
        if steps[longest] > (self._gap_max or 0):
            self._gap_max, self._gap_max_at = int(steps[longest]), int(before[longest])
        if steps.min() > 0:
            self._steps.extend(steps)
            return
        same, back = np.flatnonzero(steps == 0), np.flatnonzero(steps < 0)
        self._duplicates += len(same)
        self._out_of_order += len(back)
        for name, found in (("duplicates_at_ns", same), ("out_of_order_at_ns", back)):
            if len(found):
                self.places.setdefault(name, int((before + steps)[found[0]]))
        self._steps.extend(steps[steps > 0])

    def lag(self, t_ns: Ints, log_ns: Ints, header_ns: Ints) -> None:
        """Add the messages that carry both a log time and a header stamp."""
        lags = log_ns - header_ns
        size = np.abs(lags)
        largest = int(np.argmax(size))
        if self._lag_max is None or size[largest] > self._lag_max:
            self._lag_max = int(size[largest])
            self.places["lag_max_at_ns"] = int(t_ns[largest])
        self._lags.extend(lags)

    def results(self) -> dict[str, Number]:
        """Metric columns on time, by name."""
        median = self._steps.median()
        span = self._last_ns - self._first_ns
        return {
            "rate_hz": (self.messages - 1) * 1e9 / span if span > 0 else None,
            "gap_median_ns": median,
            "gap_max_ns": self._gap_max,
            "gap_max_at_ns": self._gap_max_at,
            "gaps": None if median is None else self._steps.above(GAP_PERIODS * median),
            "duplicates": self._duplicates,
            "out_of_order": self._out_of_order,
            "lag_median_ns": self._lags.median(),
            "lag_max_ns": self._lag_max,
        }


class _StreamMetrics:
    def __init__(self, budget: Budget) -> None:
        self.time = TimeMetrics(budget)
        self.tables: dict[str, ValueMetrics] = {}
        self.stamps: Stamps | None = None
        self.counted = -1

    def results(self) -> dict[str, Number]:
        tables = list(self.tables.values())
        norms = [t.norms for t in tables if t.norms.error is not None]
        worst = max(norms, key=lambda norm: norm.error or 0.0, default=None)
        finite = [t.non_finite for t in tables if t.checks_finite]
        limits = [t.limits.beyond for t in tables if t.limits is not None and t.limits.known]
        runs = [(t.run.longest / t.rows, t.run) for t in tables if t.compared]
        # A message that feeds two tables repeats only where both parts of it do.
        share, run = min(runs, key=lambda pair: pair[0], default=(0.0, None))
        repeated = run is not None and run.longest > 1
        shares = [e.share for t in tables for e in t.extremes.values() if e.share is not None]
        values: dict[str, Number] = {
            "non_finite": sum(found.count for found in finite) if finite else None,
            "norm_error_max": worst.error if worst else None,
            "limit_violations": sum(found.count for found in limits) if limits else None,
            "stuck_share": None if run is None else share * repeated,
            "saturated_share": max(shares, default=None),
            "sync_offset_ns": None,
        }
        places = {
            "non_finite_at_ns": next((f.at_ns for f in finite if f.count), None),
            "norm_error_max_at_ns": worst.at_ns if worst else None,
            "limit_violations_at_ns": next((f.at_ns for f in limits if f.count), None),
            "stuck_share_at_ns": run.at_ns if run is not None and repeated else None,
        }
        return self.time.results() | values | self.time.places | places


class RecordingMetrics:
    """Metrics of one recording, stream by stream.

    Args:
        joint_limits: Joint name -> (lowest, highest) position in rad or m, as the robot's
            registration declares them; empty = not checked.
    """

    def __init__(self, joint_limits: Mapping[str, tuple[float, float]] | None = None) -> None:
        self._joint_limits = dict(joint_limits or {})
        self._budget = Budget()
        self._streams: dict[str, _StreamMetrics] = {}

    def update(self, stream: str, table: str, rows: pa.RecordBatch) -> None:
        """Measure rows of one stream in file order; any batch size gives the same results.

        A message with several rows (transforms), or one that feeds two tables (odometry), is
        counted once in the metrics on time.

        Args:
            stream: Stream name.
            table: Table that the rows go to.
            rows: Columns t_ns, log_ns, header_ns, message (int64; log_ns and header_ns may be
                null) and the table's own columns; for `video_frames` the picture in `data`.
        """
        if not rows.num_rows:
            return
        state = self._streams.get(stream)
        if state is None:
            state = self._streams[stream] = _StreamMetrics(self._budget)
        t_ns: Ints = rows.column("t_ns").to_numpy(zero_copy_only=False)
        self._count(state, table, rows, t_ns)
        if table not in state.tables:
            state.tables[table] = ValueMetrics(table, self._joint_limits)
        state.tables[table].update(rows, t_ns)

    def _count(self, state: _StreamMetrics, table: str, rows: pa.RecordBatch, t_ns: Ints) -> None:
        message: Ints = rows.column("message").to_numpy(zero_copy_only=False)
        last = int(message[-1])
        if last <= state.counted:
            return
        new = None
        if int(message[0]) <= state.counted or last - int(message[0]) != len(message) - 1:
            new = np.diff(message, prepend=state.counted) > 0
            new &= message > state.counted
        state.counted = last
        stamps = t_ns if new is None else t_ns[new]
        state.time.update(stamps)
        lagging = _lag_stamps(rows, new)
        if lagging is not None:
            state.time.lag(*lagging)
        if table in {CAMERAS, REFERENCE}:
            if state.stamps is None:
                state.stamps = Stamps()
            state.stamps.extend(stamps)

    def finish(self, declared: Mapping[str, int] | None = None) -> dict[str, dict[str, Number]]:
        """All streams' metrics; call it once, after the last batch.

        Args:
            declared: Messages that the recording declares per stream. Streams without a message
                get an entry too; comparing the counts is the verdict's work.

        Returns:
            stream -> `METRICS` (None = not measured or not applicable) and `PLACES` where found.
        """
        results: dict[str, dict[str, Number]] = {
            name: dict.fromkeys(METRICS) for name in declared or ()
        }
        for name, state in self._streams.items():
            results[name] = state.results()
        self._synchronise(results)
        return results

    def _synchronise(self, results: dict[str, dict[str, Number]]) -> None:
        """Median distance of each camera to the reference: joints, else the fullest camera."""
        timed = {name: s for name, s in self._streams.items() if s.stamps is not None}
        joints = [name for name, s in timed.items() if REFERENCE in s.tables]
        if len(timed) <= 1:
            return
        reference = min(joints or timed, key=lambda name: (-timed[name].time.messages, name))
        other = timed[reference].stamps
        for name, state in timed.items():
            if name != reference and CAMERAS in state.tables and state.stamps and other:
                results[name]["sync_offset_ns"] = median_distance(state.stamps, other)


def _lag_stamps(rows: pa.RecordBatch, new: Mask | None) -> tuple[Ints, Ints, Ints] | None:
    """Stamps, log and header times of the messages that carry both; 0 means an unset header."""
    log, header = rows.column("log_ns"), rows.column("header_ns")
    length = len(header)
    if length in {header.null_count, log.null_count}:
        return None
    both = new
    if header.null_count or log.null_count:
        valid = pc.and_(header.is_valid(), log.is_valid()).to_numpy(zero_copy_only=False)
        both = valid if both is None else both & valid
        header, log = header.fill_null(0), log.fill_null(0)
    headers: Ints = header.to_numpy(zero_copy_only=False)
    if headers.min() <= 0:
        both = headers > 0 if both is None else both & (headers > 0)
    logs: Ints = log.to_numpy(zero_copy_only=False)
    stamps: Ints = rows.column("t_ns").to_numpy(zero_copy_only=False)
    if both is None:
        return stamps, logs, headers
    return (stamps[both], logs[both], headers[both]) if both.any() else None
