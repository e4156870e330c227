"""Messages of a stream that wait until there are enough of them for one batch."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from connectors.ros2.decode import Payloads
from connectors.ros2.stream import Batch, StreamDecoder
from connectors.ros2.tables import Stamps
from connectors.ros2.values import binary_array, gather_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connectors.source import Limits, Stream, StreamBatch


class StreamRows:
    """One stream of a recording: counts its messages and hands them on in batches.

    numpy needs long vectors, so messages of rare topics are copied aside (`keep`) over several
    groups; those of frequent ones are decoded where they lie.

    Args:
        stream: As the recording declares it.
        limits: Bounds for schemas and messages.
    """

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self._limits = limits
        self._decoder = StreamDecoder(stream, limits)
        self._kept: list[tuple[pa.BinaryArray, Stamps]] = []
        self._fresh: Batch | None = None
        self.messages = 0
        self.waiting = 0
        self.waiting_bytes = 0

    @property
    def stream(self) -> Stream:
        """The stream with its tables and note."""
        return self._decoder.stream

    def add(self, payloads: Payloads, log_ns: np.ndarray, pub_ns: np.ndarray) -> None:
        """Take messages that follow the ones taken before; `keep` or `flush` before the next."""
        count = len(payloads)
        positions = np.arange(self.messages, self.messages + count)
        self._fresh = Batch(payloads, Stamps(log_ns, pub_ns, positions))
        self.messages += count
        self.waiting += count
        self.waiting_bytes += self._fresh.bytes

    def keep(self) -> None:
        """Copy fresh messages aside, because their buffer is about to be used again."""
        if self._fresh is not None:
            data = self._fresh.payloads
            raw, offsets = gather_ranges(data.buffer, data.start, data.size)
            self._kept.append((binary_array(raw, offsets), self._fresh.stamps))
            self._fresh = None

    def flush(self, file_id: str) -> Iterator[StreamBatch]:
        """Rows of everything that waits.

        Raises:
            CorruptError: a payload does not fit its definition.
            LimitExceededError: one message holds too many items.
        """
        if self._kept:
            self.keep()
            arrays, stamps = zip(*self._kept, strict=True)
            batch = Batch(
                Payloads.of(pa.concat_arrays(arrays)),
                Stamps(
                    np.concatenate([each.log_ns for each in stamps]),
                    np.concatenate([each.pub_ns for each in stamps]),
                    np.concatenate([each.message for each in stamps]),
                ),
            )
        elif self._fresh is not None:
            batch = self._fresh
        else:
            return
        self._kept, self._fresh = [], None
        self.waiting = self.waiting_bytes = 0
        for part in _parts(batch, self._limits.group_bytes):
            yield from self._decoder.decode(part, file_id)


def _parts(batch: Batch, most: int) -> Iterator[Batch]:
    """The batch in parts of about `most` bytes: a chunk may be larger than a group."""
    if batch.bytes <= most:
        yield batch
        return
    group = np.cumsum(batch.payloads.size) // max(most, 1)
    bounds = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(batch)]
    for begin, end in pairwise(bounds):
        yield batch.rows(np.arange(begin, end))
