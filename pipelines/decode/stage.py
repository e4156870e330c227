"""The decode stage: a source's batches become staged files with the common columns.

Runs inside the limited child. Memory is bounded by one group of the source and one row group per
table, whatever the recording's size.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.check.metrics import RecordingMetrics
from pipelines.decode.clock import StreamClock, Timeline
from pipelines.decode.report import DecodeReport, StreamReport
from pipelines.decode.staged import CONSTANTS, BlobWriter, TableFile, staged_schema
from schemas.errors import EmptyRecordingError
from schemas.ids import episode_id
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from connectors.source import Reading, Stream, StreamBatch
    from pipelines.decode.report import BlobFile, StagedFile

BUFFERED_BYTES: Final = 32 << 20
"""Row groups being filled, all tables together; beyond it the largest is written."""
_DECODED: Final = "data"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose rows they are.

    Attributes:
        recording_id / organisation: Ids.
        received_ns: When its bytes were received; gives the day where there is no log time.
        joint_limits: Joint name -> (lower, upper), in rad or m.
    """

    recording_id: str
    organisation: str
    received_ns: int
    joint_limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def stage(open_reading: Callable[[], Reading], folder: Path, subject: Subject) -> DecodeReport:
    """Decode a recording into staged files.

    Args:
        open_reading: Opens the recording; called again where the first pass's speculation failed.
        folder: Empty folder that receives the files.
        subject: Whose rows they are.

    Returns:
        The report, with times and memory still to be filled in by the caller.

    Raises:
        EmptyRecordingError: well-formed, and no message.
        QuarantineError: as the source says.
    """
    first = _Pass(open_reading(), folder, subject, None)
    first.run()
    if not first.failed:
        return first.report(passes=1)
    timelines = first.timelines()
    first.discard()
    second = _Pass(open_reading(), folder, subject, timelines)
    second.run()
    return second.report(passes=2)


class _StreamRows:
    """What the report says about one stream, gathered while its rows pass."""

    def __init__(self, known: Timeline | None) -> None:
        self.clock = StreamClock(known)
        self.rows: dict[str, int] = {}
        self.frame_ids: set[str | None] = set()
        self.first: int | None = None
        self.last: int | None = None

    def note(self, table: str, rows: pa.RecordBatch, t_ns: np.ndarray[Any, Any]) -> None:
        self.rows[table] = self.rows.get(table, 0) + rows.num_rows
        low, high = int(t_ns.min()), int(t_ns.max())
        self.first = low if self.first is None else min(self.first, low)
        self.last = high if self.last is None else max(self.last, high)
        if len(self.frame_ids) <= 1 and "frame_id" in rows.schema.names:
            self.frame_ids.update(pc.unique(rows.column("frame_id")).to_pylist())

    @property
    def frame_id(self) -> str | None:
        return next(iter(self.frame_ids)) if len(self.frame_ids) == 1 else None


class _Pass:
    """One reading of the recording."""

    def __init__(
        self,
        reading: Reading,
        folder: Path,
        subject: Subject,
        known: Mapping[str, Timeline] | None,
    ) -> None:
        self.failed = False
        self._reading = reading
        self._folder = folder
        self._subject = subject
        self._known = known
        self._media = f"media/{subject.organisation}/{subject.recording_id}"
        self._episode = episode_id(subject.recording_id)
        self._streams: dict[str, _StreamRows] = {}
        self._tables: dict[str, TableFile] = {}
        self._blobs: dict[str, BlobWriter] = {}
        self._metrics = RecordingMetrics(subject.joint_limits)
        self._check_seconds = 0.0
        self._log: tuple[int, int] | None = None
        self._constants: dict[tuple[str, int], pa.Array] = {}

    def run(self) -> None:
        """Read to the end; writes until the speculation fails, then only looks."""
        for batch in self._reading.batches():
            if batch.rows.num_rows:
                self._take(batch)

    def timelines(self) -> dict[str, Timeline]:
        """The facts of every stream that had rows."""
        return {name: rows.clock.timeline() for name, rows in self._streams.items()}

    def discard(self) -> None:
        """Remove what this pass wrote."""
        self._finish_files()
        self._finish_blobs()
        written = [table.path for table in self._tables.values()]
        for path in written + [blob.path for blob in self._blobs.values()]:
            path.unlink()

    def _take(self, batch: StreamBatch) -> None:
        stream = self._streams.get(batch.stream)
        if stream is None:
            known = self._known[batch.stream] if self._known else None
            stream = self._streams[batch.stream] = _StreamRows(known)
        t_ns, seq = stream.clock.times(batch.rows)
        self.failed = self.failed or stream.clock.failed
        if self.failed:
            return
        self._note_log(batch.rows.column("log_ns"))
        stream.note(batch.table, batch.rows, t_ns)
        self._measure(batch, t_ns)
        self._write(batch, t_ns, seq)

    def _note_log(self, log: pa.Array) -> None:
        if log.null_count == len(log):
            return
        low, high = pc.min_max(log).as_py().values()
        self._log = (min(low, self._log[0]), max(high, self._log[1])) if self._log else (low, high)

    def _measure(self, batch: StreamBatch, t_ns: np.ndarray[Any, Any]) -> None:
        started = time.process_time()
        fields = [pa.field("t_ns", pa.int64()), *batch.rows.schema]
        columns = [pa.array(t_ns), *batch.rows.columns]
        measured = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
        self._metrics.update(batch.stream, batch.table, measured)
        self._check_seconds += time.process_time() - started

    def _write(
        self, batch: StreamBatch, t_ns: np.ndarray[Any, Any], seq: np.ndarray[Any, Any]
    ) -> None:
        rows, table = batch.rows, batch.table
        constants = {
            "episode": self._episode,
            "stream": batch.stream,
            "recording_id": self._subject.recording_id,
            "file_id": batch.file_id,
        }
        given: dict[str, Any] = {"t_ns": pa.array(t_ns), "seq": pa.array(seq)}
        if _DECODED in rows.schema.names:
            blob = self._blobs.get(batch.stream)
            if blob is None:
                blob = BlobWriter(self._folder, batch.stream, self._media)
                self._blobs[batch.stream] = blob
            given["offset"], given["size"] = blob.append(rows.column(_DECODED))
            given["blob"] = pa.repeat(pa.scalar(blob.blob), rows.num_rows)
        schema = staged_schema(table)
        columns = []
        for name in schema.names:
            if name in CONSTANTS:
                columns.append(self._constant(constants[name], rows.num_rows))
            else:
                columns.append(given[name] if name in given else rows.column(name))
        writer = self._table(table)
        writer.append(pa.RecordBatch.from_arrays(columns, schema=schema), t_ns)
        if sum(t.buffered for t in self._tables.values()) > BUFFERED_BYTES:
            max(self._tables.values(), key=lambda t: t.buffered).flush()

    def _constant(self, value: str, length: int) -> pa.Array:
        # One array per value, sliced: a constant column costs nothing per row before it is written.
        size = 1 << max(length - 1, 1).bit_length()
        array = self._constants.get((value, size))
        if array is None:
            indices = pa.array(np.zeros(size, np.int32))
            array = pa.DictionaryArray.from_arrays(indices, pa.array([value]))
            self._constants[value, size] = array
        return array.slice(0, length)

    def _table(self, table: str) -> TableFile:
        if table not in self._tables:
            self._tables[table] = TableFile(self._folder, table)
        return self._tables[table]

    def report(self, passes: int) -> DecodeReport:
        """Finish the files; the report of a recording that was read to its end.

        Raises:
            EmptyRecordingError: no stream had a message.
        """
        summary, declared = self._reading.summary, list(self._reading.streams)
        messages = sum(summary.messages.values())
        if not messages:
            raise EmptyRecordingError(
                "the recording holds no message",
                subject=self._subject.recording_id,
                found=f"{len(declared)} streams",
            )
        started = time.process_time()
        metrics = self._metrics.finish(summary.declared)
        self._check_seconds += time.process_time() - started
        self._write_schemas(declared)
        reports = tuple(self._stream_report(stream, metrics) for stream in declared)
        timed = [report for report in reports if report.clock != "none"]
        log_start, log_end = self._log or (None, None)
        return DecodeReport(
            recording_id=self._subject.recording_id,
            organisation=self._subject.organisation,
            episode=self._episode,
            day=utc_day(self._subject.received_ns if log_start is None else log_start),
            start_ns=min((r.start_ns for r in timed if r.start_ns is not None), default=None),
            end_ns=max((r.end_ns for r in timed if r.end_ns is not None), default=None),
            log_start_ns=log_start,
            log_end_ns=log_end,
            messages=messages,
            streams=reports,
            files=self._finish_files(),
            blobs=self._finish_blobs(),
            lost=tuple(summary.lost),
            unverified=tuple(summary.unverified),
            check_seconds=self._check_seconds,
            passes=passes,
        )

    def _stream_report(self, stream: Stream, metrics: Mapping[str, Any]) -> StreamReport:
        summary, rows = self._reading.summary, self._streams.get(stream.name)
        return StreamReport(
            name=stream.name,
            tables=tuple(stream.tables),
            message_type=stream.message_type,
            encoding=stream.encoding,
            schema_id=stream.schema_id,
            clock=rows.clock.timeline().clock if rows else "none",
            frame_id=rows.frame_id if rows else None,
            source_units=dict(stream.source_units),
            metadata=dict(stream.metadata),
            note=stream.note,
            messages=summary.messages.get(stream.name, 0),
            declared=summary.declared.get(stream.name),
            rows=rows.rows if rows else {},
            start_ns=rows.first if rows else None,
            end_ns=rows.last if rows else None,
            metrics=dict(metrics.get(stream.name, {})),
        )

    def _write_schemas(self, streams: Sequence[Stream]) -> None:
        schemas = {s.schema_id: s for s in streams if s.schema_id is not None}
        if not schemas:
            return
        rows = list(schemas.values())
        length = len(rows)
        schema = staged_schema("message_schemas")
        columns = {
            "recording_id": self._constant(self._subject.recording_id, length),
            "schema_id": pa.array([s.schema_id for s in rows]),
            "name": pa.array([s.schema_name for s in rows]),
            "encoding": pa.array([s.schema_encoding for s in rows]),
            "text": pa.array([s.schema_text for s in rows], pa.binary()),
        }
        batch = pa.RecordBatch.from_arrays([columns[n] for n in schema.names], schema=schema)
        self._table("message_schemas").append(batch)

    def _finish_files(self) -> tuple[StagedFile, ...]:
        # In the order of the schema module, so that equal recordings give equal reports.
        return tuple(self._tables[name].finish() for name in TABLES if name in self._tables)

    def _finish_blobs(self) -> tuple[BlobFile, ...]:
        return tuple(self._blobs[name].finish() for name in sorted(self._blobs))


def utc_day(at_ns: int) -> str:
    """UTC day of a stamp, ISO form."""
    day = dt.date(1970, 1, 1) + dt.timedelta(days=at_ns // 86_400_000_000_000)
    return day.isoformat()
