"""The MCAP source: files of one recording in, Arrow batches per stream and table out."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from connectors.ros2.decode import Payloads
from connectors.source import Lost, Reading, Source, Summary
from connectors.sources.mcap import records as rec
from connectors.sources.mcap.container import McapFile
from connectors.sources.mcap.recording import in_order, missing, read_declared
from connectors.sources.mcap.streams import KNOWN_ENCODINGS, Streams
from schemas.errors import EmptyRecordingError, WrongFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from connectors.source import Limits, SourceFile, Stream, StreamBatch
    from connectors.sources.mcap.container import MessageGroup

_ROWS: Final = 8192
"""Messages that are worth a batch: shorter vectors cost numpy's call overhead."""


class McapSource(Source):
    """MCAP files (https://mcap.dev), whatever the robot framework; CDR is decoded."""

    name = "mcap"
    version = "1"

    def recognises(self, head: bytes, name: str) -> bool:
        """Whether the MCAP magic stands at the beginning."""
        del name
        return head.startswith(rec.MAGIC)

    def read(self, files: Sequence[SourceFile], limits: Limits) -> Reading:
        """Open a recording of one file or of several splits, with or without metadata.yaml.

        Raises:
            EmptyRecordingError: all data files have 0 bytes.
            WrongFormatError: metadata.yaml and storage disagree, or no topic's serialization is
                known.
            CorruptError: magic, footer or summary are wrong.
        """
        return McapReading(files, limits)


class McapReading(Reading):
    """One MCAP recording; see `McapSource.read`."""

    def __init__(self, files: Sequence[SourceFile], limits: Limits) -> None:
        data = [file for file in files if not file.sidecar]
        declared = read_declared([file for file in files if file.sidecar])
        self._declared = declared
        self._limits = limits
        self._summary = Summary()
        if not any(file.size for file in data):
            raise EmptyRecordingError(
                "all files have 0 bytes", subject=data[0].name if data else "no data file"
            )
        self._files = in_order([file for file in data if file.size], declared)
        for file in data:
            if not file.size:
                self._summary.lost.append(Lost(file.name, 0, 0, "the file has 0 bytes"))
        for name in missing(data, declared):
            reason = "named in metadata.yaml and not handed in"
            self._summary.lost.append(Lost(name, 0, 0, reason))
        self._streams = Streams(limits, declared.formats)
        for file in self._files:
            self._streams.begin_file(file)
            with _open(file, limits, self._streams):
                pass  # channels of the summary
        self._refuse_unknown()

    @property
    def streams(self) -> Sequence[Stream]:
        """All streams seen so far."""
        return [rows.stream for rows in self._streams.all]

    @property
    def summary(self) -> Summary:
        """Counts and losses."""
        return self._summary

    def batches(self) -> Iterator[StreamBatch]:
        """Yield all rows, file by file."""
        counted: dict[str, int] = {}
        for file in self._files:
            self._streams.begin_file(file)
            with _open(file, self._limits, self._streams) as mcap:
                for group in mcap.groups():
                    yield from self._group(group, file)
                for rows in self._streams.all:
                    yield from rows.flush(file.sha256)
                self._summary.lost += mcap.lost
                self._summary.unverified += mcap.unverified_parts()
                for channel, count in mcap.statistics.items():
                    rows_of = self._streams.of_channel(channel)
                    if rows_of is not None:
                        name = rows_of.stream.name
                        counted[name] = counted.get(name, 0) + count
        self._finish(counted)

    def _group(self, group: MessageGroup, file: SourceFile) -> Iterator[StreamBatch]:
        """Hand the messages of a group to their streams."""
        places = self._streams.places(group.channel)
        order = np.argsort(places, kind="stable")
        ends = np.cumsum(np.bincount(places, minlength=len(self._streams.all)))
        begin = 0
        for rows, end in zip(self._streams.all, ends.tolist(), strict=True):
            if end > begin:
                chosen = order[begin:end]
                payloads = Payloads(group.buffer, group.start[chosen], group.size[chosen])
                rows.add(payloads, group.log_ns[chosen], group.pub_ns[chosen])
                if rows.waiting >= _ROWS or rows.waiting_bytes * 4 >= self._limits.group_bytes:
                    yield from rows.flush(file.sha256)
                else:
                    rows.keep()
            begin = end
        kept = sum(rows.waiting_bytes for rows in self._streams.all)
        if kept >= self._limits.group_bytes:
            for rows in self._streams.all:
                yield from rows.flush(file.sha256)

    def _finish(self, counted: dict[str, int]) -> None:
        summary = self._summary
        self._refuse_unknown()
        summary.messages = {rows.stream.name: rows.messages for rows in self._streams.all}
        topics = Counter(self._streams.topics)
        summary.declared = dict(counted)
        for topic, count in self._declared.messages.items():
            # One topic in several streams: metadata.yaml cannot say how many each has.
            if topics[topic] == 1 or (count and not topics[topic]):
                summary.declared[topic] = count
        if not any(summary.messages.values()):
            raise EmptyRecordingError(
                "the recording holds no message",
                subject=self._files[0].name,
                found="; ".join(lost.reason for lost in summary.lost),
            )

    def _refuse_unknown(self) -> None:
        """Refuse a recording of which no topic's serialization is known."""
        found = {rows.stream.encoding for rows in self._streams.all}
        if found and not found & KNOWN_ENCODINGS:
            raise WrongFormatError(
                "no topic has a serialization that is known",
                subject=self._files[0].name,
                expected="cdr, json, protobuf, ros1, flatbuffer, cbor or msgpack",
                found=", ".join(sorted(found))[:200],
            )


@contextmanager
def _open(file: SourceFile, limits: Limits, streams: Streams) -> Iterator[McapFile]:
    descriptor = os.open(file.path, os.O_RDONLY)
    try:
        yield McapFile(file, limits, streams.record, descriptor)
    finally:
        os.close(descriptor)
