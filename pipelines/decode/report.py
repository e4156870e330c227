"""What decoding one recording produced: the only thing that crosses back from the child.

The child writes it as JSON beside its staged files. The checks judge it, the committer plans with
it, and nothing else of the child's memory is ever trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from connectors.source import Lost
from schemas.quality import Reason

Metrics = Mapping[str, int | float | None]
"""Metric columns of `streams` (rate_hz … sync_offset_ns) by name."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One Parquet file of one table, without the partition columns.

    Attributes:
        table: Table name.
        path: File name below the recording's staging folder.
        rows: Rows in it.
        bytes: Size.
        sha256: Lower-case hex digest of the whole file.
        t_min / t_max: Smallest and largest `t_ns`, None for tables without it.
    """

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str
    t_min: int | None = None
    t_max: int | None = None


@dataclass(frozen=True, slots=True)
class BlobFile:
    """Pictures of one stream, one after the other.

    Attributes:
        stream: Stream name.
        path: File name below the recording's staging folder.
        blob: Path below the root where it will lie; what `video_frames.blob` says.
        bytes: Size.
        sha256: Lower-case hex digest of the whole file.
    """

    stream: str
    path: str
    blob: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream as it was read; becomes a row of `streams` and one row for the validator.

    Attributes:
        name: Unique within the recording.
        tables: Tables that hold its rows.
        message_type: Type name, or None where it was recorded without a schema.
        encoding: Message encoding.
        schema_id: Key into message_schemas, or None.
        clock: What t_ns is: header, publish, log or none.
        frame_id: Coordinate frame, None where there are several or none.
        source_units: The source's own units by column.
        metadata: Channel metadata as recorded.
        note: Why it was kept raw, if it was.
        messages: Messages read.
        declared: Messages that the file declares, or None.
        rows: Rows written, by table.
        start_ns / end_ns: First and last t_ns.
        metrics: Metric columns of `streams`.
    """

    name: str
    tables: tuple[str, ...]
    message_type: str | None
    encoding: str
    schema_id: str | None = None
    clock: str = "log"
    frame_id: str | None = None
    source_units: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    messages: int = 0
    declared: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    start_ns: int | None = None
    end_ns: int | None = None
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """Everything known about one recording after its decode, successful or not.

    Attributes:
        recording_id: Recording id.
        organisation: Organisation id.
        episode: Episode id of its rows.
        source / decoder_version: Who decoded it; "" where no source recognised it.
        day: UTC day of the partition, ISO form.
        start_ns / end_ns: First and last t_ns of the streams with a clock.
        log_start_ns / log_end_ns: First and last log time.
        messages: Messages read.
        streams: Every stream, also those without a message.
        files: Staged Parquet files, at most one per table.
        blobs: Staged blob files.
        lost: Byte ranges lost to a cut.
        unverified: Parts without a checksum, as text.
        reasons: Why decoding stopped, with severity error; empty = it was read to its end.
        seconds / cpu_seconds: Time it took, all passes.
        check_seconds: CPU seconds of these that the fused metrics took.
        peak_bytes: Peak resident memory of the child.
        passes: Times the recording was read: 1, or 2 where the speculation failed.
    """

    recording_id: str
    organisation: str
    episode: str = ""
    source: str = ""
    decoder_version: str = ""
    day: str = ""
    start_ns: int | None = None
    end_ns: int | None = None
    log_start_ns: int | None = None
    log_end_ns: int | None = None
    messages: int = 0
    streams: tuple[StreamReport, ...] = ()
    files: tuple[StagedFile, ...] = ()
    blobs: tuple[BlobFile, ...] = ()
    lost: tuple[Lost, ...] = ()
    unverified: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    check_seconds: float = 0.0
    peak_bytes: int = 0
    passes: int = 1

    @property
    def ok(self) -> bool:
        """Whether the recording was read to its end (a cut end counts as its end)."""
        return not self.reasons

    @property
    def tables(self) -> dict[str, int]:
        """Rows per table."""
        return {file.table: file.rows for file in self.files}

    def as_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is its inverse."""
        return asdict(self) | {"reasons": [reason.as_json() for reason in self.reasons]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DecodeReport:
        """Inverse of `as_json`, also after a trip through JSON text."""
        streams = [
            StreamReport(**(stream | {"tables": tuple(stream["tables"])}))
            for stream in value["streams"]
        ]
        nested = {
            "streams": tuple(streams),
            "files": tuple(StagedFile(**file) for file in value["files"]),
            "blobs": tuple(BlobFile(**blob) for blob in value["blobs"]),
            "lost": tuple(Lost(**lost) for lost in value["lost"]),
            "unverified": tuple(value["unverified"]),
            "reasons": tuple(Reason.from_json(reason) for reason in value["reasons"]),
        }
        return cls(**{**value, **nested})
