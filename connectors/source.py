"""The contract between a format's reader and the pipeline.

A source reads one format and yields Arrow record batches per stream. It decides nothing about
time lines, ids or quality: `pipelines.decode` adds the common columns, `pipelines.check` judges.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a recording, already received.

    Attributes:
        path: Where to read it.
        name: Name the contributor gave it, with folders; metadata only.
        size: Bytes.
        sha256: Lower-case hex digest; also the `file_id` of its rows.
        sidecar: Whether it is metadata beside the data (metadata.yaml, meta.json).
    """

    path: Path
    name: str
    size: int
    sha256: str
    sidecar: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What one recording may use while it is decoded.

    Attributes:
        group_bytes: Uncompressed bytes decoded together; bounds memory.
        chunk_bytes: Largest uncompressed chunk; a larger one is refused.
        message_elements: Most elements of one message's sequences, nested ones added.
        schema_bytes: Largest schema text.
        schema_depth: Deepest nesting of a schema.
    """

    group_bytes: int = 16 << 20
    chunk_bytes: int = 64 << 20
    message_elements: int = 4_000_000
    schema_bytes: int = 1 << 20
    schema_depth: int = 32


@dataclass(frozen=True, slots=True)
class Stream:
    """One topic, channel or camera as the recording declares it.

    Attributes:
        name: Unique within the recording.
        tables: Tables its rows go to; the same messages may feed several (odometry).
        message_type: Type name, or None where the channel has no schema.
        encoding: Message encoding, e.g. "cdr".
        schema_id: `schemas.ids.schema_id`, or None.
        schema_name / schema_encoding / schema_text: The schema as recorded.
        source_units: The source's own units per column where they differ from SI.
        metadata: Channel metadata as recorded (QoS …).
        note: Why it is kept raw although its type has a signal table, if so.
    """

    name: str
    tables: tuple[str, ...]
    message_type: str | None
    encoding: str
    schema_id: str | None = None
    schema_name: str = ""
    schema_encoding: str = ""
    schema_text: bytes = b""
    source_units: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class StreamBatch:
    """Rows of one stream for one table, in file order.

    Attributes:
        stream: `Stream.name`.
        table: Table name.
        file_id: SHA-256 of the file they come from.
        rows: Arrow batch with exactly `TABLES[table].own_arrow`, preceded by `log_ns`,
            `header_ns`, `pub_ns` (int64, null where there is none) and `message` (int64: position
            of the row's message in its stream, in file order from 0, counted over all files).
            For `video_frames` the columns `blob`, `offset` and `size` are absent and a column
            `data` (large_binary) holds the picture instead: storing it is not the source's work.
    """

    stream: str
    table: str
    file_id: str
    rows: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Lost:
    """A byte range that could not be read because the file was cut."""

    file: str
    start: int
    end: int
    reason: str


@dataclass(slots=True)
class Summary:
    """What a source knows once `batches` is exhausted.

    Attributes:
        messages: Messages yielded, per stream (streams declared without any message: 0).
        declared: Messages that the file (or metadata.yaml) declares, per stream, where it does.
        lost: Byte ranges lost to a cut.
        unverified: Parts without a checksum (CRC 0), as text.
    """

    messages: dict[str, int] = field(default_factory=dict)
    declared: dict[str, int] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)


class Reading(ABC):
    """One recording being read; used once, by one thread."""

    @property
    @abstractmethod
    def streams(self) -> Sequence[Stream]:
        """All streams, also those without a message; complete once `batches` is exhausted."""

    @abstractmethod
    def batches(self) -> Iterator[StreamBatch]:
        """Yield the rows, file by file in the recording's order; memory bounded by the limits.

        Raises:
            CorruptError: a checksum or structure is wrong (a cut end is not: see `Summary.lost`).
            EmptyRecordingError: well-formed (or 0 bytes), and no message.
            LimitExceededError: more than the limits allow.
        """

    @property
    @abstractmethod
    def summary(self) -> Summary:
        """Counts and losses; valid once `batches` is exhausted."""


class Source(ABC):
    """One format. Stateless; found through `connectors.registry`."""

    name: str
    """Registry key, stored in `episodes.source`."""
    version: str
    """Raised whenever its rows change; stored in `episodes.decoder_version`."""

    @abstractmethod
    def recognises(self, head: bytes, name: str) -> bool:
        """Whether a file starting with `head` (first 4 KiB) is of this format, by content."""

    @abstractmethod
    def read(self, files: Sequence[SourceFile], limits: Limits) -> Reading:
        """Open the files of one recording (data files and sidecars), in any order.

        Raises:
            WrongFormatError: metadata and storage disagree, or nothing of it can be read.
        """
