"""Which stamp is a stream's time, and the order of its messages.

`t_ns` is the header stamp where every one of the stream is non-zero and within a day of the log
time; else the publish time, under the same test; else the log time. `seq` is the position in the
stream by (log_ns, order in the file). Both depend on the whole stream, which is never held:
the first batch's clock and the file's order are taken on trust while the rows are written, and the
recording is read once more, with the facts, where a later batch proves them wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Int64 = NDArray[np.int64]

DAY_NS: Final = 86_400_000_000_000
_BOUNDS: Final = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is true of a whole stream.

    Attributes:
        clock: header, publish, log, or none where it has no stamp at all.
        seq: Position of each message by (log_ns, file order); None where the file is in order.
    """

    clock: str
    seq: Int64 | None = None


class StreamClock:
    """Follows one stream through one reading; 8 bytes a message.

    Args:
        known: The facts, when the stream is read again; None = speculate.
    """

    def __init__(self, known: Timeline | None = None) -> None:
        self._known = known
        self._chosen = known.clock if known else ""
        self._valid = {"header": True, "publish": True, "log": True}
        self._log: list[Int64] = []
        self._messages: list[Int64] = []
        self._last = int(_BOUNDS.min)
        self._next = 0
        self._ordered = True

    @property
    def failed(self) -> bool:
        """Whether the speculation is already known to be wrong."""
        return self._known is None and (not self._ordered or self._chosen != self._best())

    def times(self, rows: pa.RecordBatch) -> tuple[Int64, Int64]:
        """`t_ns` and `seq` of one batch, int64 each; notes what the batch says about the stream."""
        message = rows.column("message").to_numpy()
        stamps = {
            "header": _stamps(rows, "header_ns"),
            "publish": _stamps(rows, "pub_ns"),
            "log": _stamps(rows, "log_ns"),
        }
        if self._known is None:
            self._observe(message, stamps)
        chosen = stamps.get(self._chosen)
        if chosen is None:
            chosen = np.zeros(len(message), np.int64)
        seq = (
            message if self._known is None or self._known.seq is None else self._known.seq[message]
        )
        return chosen, seq

    def timeline(self) -> Timeline:
        """The facts, once the stream was read to its end."""
        if self._known is not None:
            return self._known
        return Timeline(self._best(), None if self._ordered else self._positions())

    def _observe(self, message: Int64, stamps: dict[str, Int64 | None]) -> None:
        log = stamps["log"]
        if log is None:
            self._valid["log"] = False
        for clock in ("header", "publish"):
            if self._valid[clock]:
                self._valid[clock] = _plausible(stamps[clock], log)
        if not self._chosen:
            self._chosen = self._best()
        # A message may have several rows, and feed two tables: count it once.
        new = message >= self._next
        if len(message) > 1:
            new[1:] &= message[1:] != message[:-1]
        if log is None or not new.any():
            return
        first_seen, log = message[new], log[new]
        self._next = int(first_seen[-1]) + 1
        self._ordered = bool(self._ordered and log[0] >= self._last and (log[1:] >= log[:-1]).all())
        self._last = int(log[-1])
        self._log.append(log)
        self._messages.append(first_seen)

    def _best(self) -> str:
        return next((clock for clock, valid in self._valid.items() if valid), "none")

    def _positions(self) -> Int64:
        known, log = np.concatenate(self._messages), np.concatenate(self._log)
        # A message without rows has no stamp of its own: it keeps its place behind the one before.
        filled = log[np.searchsorted(known, np.arange(self._next), side="right") - 1]
        seq = np.empty(self._next, np.int64)
        seq[np.argsort(filled, kind="stable")] = np.arange(self._next)
        return seq


def _stamps(rows: pa.RecordBatch, name: str) -> Int64 | None:
    column = rows.column(name)
    if column.null_count:
        return None
    stamps: Int64 = column.to_numpy()
    return stamps


def _plausible(stamps: Int64 | None, log: Int64 | None) -> bool:
    if stamps is None or not stamps.all():
        return False
    if log is None:
        return True
    log = np.clip(log, _BOUNDS.min + DAY_NS, _BOUNDS.max - DAY_NS)
    return bool(((stamps >= log - DAY_NS) & (stamps <= log + DAY_NS)).all())
