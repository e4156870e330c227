"""One MCAP file read front to back, in groups of unpacked messages.

The file's own order is followed record by record; the summary at its end is used only to check
counts and to know channels early. So files without a summary, without chunks or cut in the middle
take the same path as whole ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from connectors.source import Lost
from connectors.sources.mcap import records as rec
from connectors.sources.mcap.chunks import indexed_messages, message_heads, unpack, walk_records
from connectors.sources.mcap.ending import check_data_crc, read_ending
from connectors.sources.mcap.window import WINDOW_BYTES, FileWindow
from schemas.errors import CorruptError, LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from connectors.source import Limits, SourceFile


@dataclass(frozen=True, slots=True)
class MessageGroup:
    """Messages of one file, in file order, over one buffer that the next group reuses.

    Attributes:
        buffer: (bytes,) uint8.
        start: (n,) int64, first byte of each payload in the buffer.
        size: (n,) int64, bytes of each payload.
        channel: (n,) uint16, channel ids.
        log_ns: (n,) int64.
        pub_ns: (n,) int64.
    """

    buffer: np.ndarray
    start: np.ndarray
    size: np.ndarray
    channel: np.ndarray
    log_ns: np.ndarray
    pub_ns: np.ndarray


@dataclass(slots=True)
class _Filling:
    """The buffer being filled, and where message records lie in it."""

    buffer: np.ndarray
    used: int = 0
    at: list[np.ndarray] = field(default_factory=list)
    heads: list[np.ndarray] = field(default_factory=list)

    def add(self, at: np.ndarray, heads: np.ndarray, size: int) -> None:
        """Take messages at offsets from `used`, in the next `size` bytes."""
        self.at.append(at + self.used)
        self.heads.append(heads)
        self.used += size

    def room(self, size: int) -> np.ndarray:
        """The next `size` bytes."""
        if self.used + size > len(self.buffer):
            kept = self.buffer[: self.used].copy()
            self.buffer = np.empty(0, np.uint8)  # never two whole buffers at once
            self.buffer = np.empty(self.used + size, np.uint8)
            self.buffer[: self.used] = kept
        return self.buffer[self.used : self.used + size]


@dataclass(slots=True)
class _Chunk:
    """An unpacked chunk whose message indexes are still to come."""

    at: int
    size: int
    offsets: list[np.ndarray] = field(default_factory=list)


class McapFile:
    """Reads one file.

    Args:
        file: The file.
        limits: Memory bounds.
        on_record: Called with (opcode, content) of every schema and channel record.
        descriptor: Open descriptor of the file.

    Raises:
        CorruptError: magic, footer or summary are wrong.
    """

    def __init__(
        self,
        file: SourceFile,
        limits: Limits,
        on_record: Callable[[int, memoryview], None],
        descriptor: int,
    ) -> None:
        # A packed chunk may be a little larger than its content; nothing else comes near.
        self._window = FileWindow(file, descriptor, limits.chunk_bytes * 2 + WINDOW_BYTES)
        self._limits, self._on_record = limits, on_record
        self._filling = _Filling(np.empty(0, np.uint8))
        self._pending: _Chunk | None = None
        self._chunks = self._unchecked = self._bare = 0
        self._seen: dict[int, int] = {}
        self._data_crc = 0
        self.lost: list[Lost] = []
        magic = self._window.read(0, len(rec.MAGIC))
        if bytes(magic) != rec.MAGIC:
            raise self._window.corrupt(0, "no MCAP magic", expected=rec.MAGIC.hex())
        self._ending = read_ending(self._window, on_record)

    @property
    def statistics(self) -> dict[int, int]:
        """Messages per channel id as the file declares them."""
        return self._ending.statistics or {}

    def unverified_parts(self) -> list[str]:
        """Parts that no checksum covers, as text; valid once `groups` is exhausted."""
        if self._data_crc:
            return []
        parts = []
        if self._unchecked:
            parts.append(f"{self._window.name}: {self._unchecked} of {self._chunks} chunks")
        if self._bare:
            parts.append(f"{self._window.name}: {self._bare} messages outside chunks")
        return parts

    def groups(self) -> Iterator[MessageGroup]:
        """Yield all messages, up to `limits.group_bytes` (or one chunk) at a time.

        Raises:
            CorruptError: structure, checksum or counts are wrong.
            LimitExceededError: a chunk or record is larger than allowed.
        """
        self._filling = _Filling(np.empty(self._limits.group_bytes, np.uint8))
        at = len(rec.MAGIC)
        while True:
            head = self._window.read(at, rec.HEAD.size)
            if len(head) < rec.HEAD.size:
                self._cut(at, "the file ends inside a record" if head else "no data end record")
                break
            opcode, length = rec.HEAD.unpack(head)
            after = at + rec.HEAD.size + length
            if after > self._window.size:
                self._cut(at, "the file ends inside a record")
                break
            if opcode == rec.DATA_END:
                self._data_end(at, length)
                break
            if opcode == rec.MESSAGE_INDEX:
                self._message_index(at, length)
                at = after
                continue
            self._finish_chunk()
            if opcode in {rec.CHUNK, rec.MESSAGE}:
                size = self._unpacked_size(at, length) if opcode == rec.CHUNK else length
                if self._filling.used and self._filling.used + size > self._limits.group_bytes:
                    yield from self._flush()
            if opcode == rec.MESSAGE:
                at = self._messages(at, length)
                continue
            if opcode == rec.CHUNK:
                self._chunk(at, length)
            else:
                self._other(at, opcode, length)
            at = after
        self._finish_chunk()
        yield from self._flush()
        self._check_counts()

    def _content(self, at: int, length: int) -> memoryview:
        return self._window.read(at, rec.HEAD.size + length)[rec.HEAD.size :]

    def _cut(self, at: int, reason: str) -> None:
        if self._ending.whole:
            raise self._window.corrupt(at, "a record reaches beyond the end of the file")
        self.lost.append(Lost(self._window.name, at, self._window.size, reason))

    def _bad_chunk(self, at: int, reason: str) -> CorruptError:
        return self._window.corrupt(at, f"chunk {self._chunks}: {reason}")

    def _unpacked_size(self, at: int, length: int) -> int:
        """Bytes that the chunk at `at` declares, within the limit; its data are not read yet."""
        try:
            size = rec.chunk_size(self._content(at, min(length, rec.CHUNK_FIXED_BYTES)))
        except rec.RecordError as error:
            raise self._bad_chunk(at, str(error)) from error
        if size > self._limits.chunk_bytes:
            raise LimitExceededError(
                f"chunk {self._chunks} at byte {at} is larger than allowed",
                subject=self._window.name,
                expected=f"at most {self._limits.chunk_bytes} bytes unpacked",
                found=f"{size}",
                next_step="record with smaller chunks, or raise the limit",
            )
        return size

    def _chunk(self, at: int, length: int) -> None:
        content = self._content(at, length)
        try:
            head = rec.parse_chunk(content)
            stored = content[head.data : head.data + head.stored]
            unpack(head, stored, self._filling.room(head.size))
        except rec.RecordError as error:
            raise self._bad_chunk(at, str(error)) from error
        finally:
            self._window.shrink()
        self._unchecked += head.crc == 0
        self._pending = _Chunk(at, head.size)

    def _message_index(self, at: int, length: int) -> None:
        if self._pending is None:
            raise self._window.corrupt(at, "a message index without its chunk")
        try:
            self._pending.offsets.append(rec.parse_message_index(self._content(at, length)))
        except rec.RecordError as error:
            raise self._window.corrupt(at, str(error)) from error

    def _finish_chunk(self) -> None:
        """Find the messages of the chunk whose message indexes have all been read."""
        chunk, self._pending = self._pending, None
        if chunk is None:
            return
        data = self._filling.room(chunk.size)
        try:
            found = indexed_messages(data, chunk.offsets, self._on_record)
            if found is None:
                where = walk_records(data.data, 0, chunk.size, self._on_record)
                offsets = np.array(where, np.int64)
                found = offsets, message_heads(data, offsets)
        except rec.RecordError as error:
            raise self._bad_chunk(chunk.at, str(error)) from error
        self._filling.add(found[0], found[1], chunk.size)
        self._chunks += 1

    def _messages(self, at: int, length: int) -> int:
        """Take the run of unchunked messages at `at` as far as the window holds it."""
        self._content(at, length)
        window, begin = self._window.bytes, at - self._window.start
        free = self._limits.group_bytes - self._filling.used
        stop = begin
        offsets: list[int] = []
        while stop + rec.HEAD.size <= len(window):
            opcode, length = rec.HEAD.unpack_from(window, stop)
            after = stop + rec.HEAD.size + length
            if opcode != rec.MESSAGE or after > len(window):
                break
            if offsets and after - begin > free:
                break
            if length < rec.MESSAGE_FIXED:
                raise self._window.corrupt(
                    self._window.start + stop, "a message without its fields"
                )
            offsets.append(stop - begin)
            stop = after
        size = stop - begin
        room = self._filling.room(size)
        room[:] = np.frombuffer(window, np.uint8, size, begin)
        where = np.array(offsets, np.int64)
        self._filling.add(where, message_heads(room, where), size)
        self._bare += len(offsets)
        return self._window.start + stop

    def _other(self, at: int, opcode: int, length: int) -> None:
        if opcode in {rec.SCHEMA, rec.CHANNEL}:
            try:
                self._on_record(opcode, self._content(at, length))
            except rec.RecordError as error:
                raise self._window.corrupt(at, str(error)) from error
        elif opcode not in rec.SKIPPED and opcode < rec.FIRST_PRIVATE:
            raise self._window.corrupt(at, f"opcode {opcode:#04x} may not stand here")

    def _data_end(self, at: int, length: int) -> None:
        if length < rec.DATA_END_BYTES:
            raise self._window.corrupt(at, "a data end record without its CRC")
        if not self._ending.whole:
            reason = "the file ends inside its summary"
            self.lost.append(Lost(self._window.name, at, self._window.size, reason))
            return
        if at + rec.HEAD.size + length != self._ending.data_stop:
            raise self._window.corrupt(at, "a data end record that is not where the data end")
        content = self._content(at, length)
        self._data_crc = int.from_bytes(content[: rec.DATA_END_BYTES], "little")
        if self._data_crc:
            check_data_crc(self._window, at, self._data_crc)

    def _flush(self) -> Iterator[MessageGroup]:
        filling = self._filling
        if filling.at:
            at, heads = np.concatenate(filling.at), np.concatenate(filling.heads)
            if len(at):
                yield self._group(filling.buffer, at, heads)
        filling.at, filling.heads, filling.used = [], [], 0

    def _group(self, buffer: np.ndarray, at: np.ndarray, heads: np.ndarray) -> MessageGroup:
        channel = heads["channel"].copy()
        counts = np.bincount(channel)
        for number in np.flatnonzero(counts).tolist():
            self._seen[number] = self._seen.get(number, 0) + int(counts[number])
        log_ns, pub_ns = heads["log"].astype(np.int64), heads["pub"].astype(np.int64)
        if (log_ns < 0).any() or (pub_ns < 0).any():
            raise CorruptError(
                "a message time does not fit 63 bits of nanoseconds", subject=self._window.name
            )
        return MessageGroup(
            buffer,
            start=at + rec.MESSAGE_HEAD.itemsize,
            size=heads["length"].astype(np.int64) - rec.MESSAGE_FIXED,
            channel=channel,
            log_ns=log_ns,
            pub_ns=pub_ns,
        )

    def _check_counts(self) -> None:
        """Compare the messages seen with the statistics record, channel by channel."""
        if self._ending.statistics is None:
            return
        declared = {channel: count for channel, count in self.statistics.items() if count}
        for channel in sorted(declared.keys() | self._seen.keys()):
            if declared.get(channel) != self._seen.get(channel):
                raise CorruptError(
                    f"channel {channel} holds another number of messages than its statistics say",
                    subject=self._window.name,
                    expected=str(declared.get(channel, 0)),
                    found=str(self._seen.get(channel, 0)),
                )
