"""Writers of a recording's staged files: one Parquet file per table, one blob file per stream.

Every file's SHA-256 is computed while it is written, so that it is never read again for it.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.decode.report import BlobFile, StagedFile
from schemas.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

ROW_GROUP_BYTES: Final = 16 << 20
CONSTANTS: Final = ("episode", "stream", "recording_id", "file_id")
_CONSTANT: Final = pa.dictionary(pa.int32(), pa.string())


def staged_schema(table: str) -> pa.Schema:
    """Schema of the batches that a table's writer takes: constant columns as dictionaries.

    On disk they are plain strings: the dictionary only spares the writer hashing every row.
    """
    fields = [
        pa.field(field.name, _CONSTANT, field.nullable)
        if field.name in CONSTANTS
        else field.remove_metadata()
        for field in TABLES[table].file_arrow
    ]
    return pa.schema(fields)


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Writer options of every data file of the lake.

    zstd 1, no dictionary on numbers (twice the time, no smaller), page checksums on (the format
    has no others), no Arrow schema in the footer (the table's own schema is the only truth).
    """
    strings = [f.name for f in schema if pa.types.is_string(f.type) or f.type == _CONSTANT]
    # Stamps and positions barely change from row to row: a fifth less time, a tenth smaller.
    # Not BYTE_STREAM_SPLIT for floats, an eighth smaller: Spark's vectorised reader refuses it.
    encodings = {f.name: "DELTA_BINARY_PACKED" for f in schema if pa.types.is_int64(f.type)}
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": strings,
        "column_encoding": encodings,
        "write_page_checksum": True,
        "store_schema": False,
        "write_statistics": [f.name for f in schema if not pa.types.is_nested(f.type)],
    }


class _HashedFile:
    """A file that only grows, and hashes what it is given."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._digest = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Append; the whole of it, also where the system call takes a part."""
        view = memoryview(data).cast("B")
        self._digest.update(view)
        written = 0
        while written < len(view):
            written += self._file.write(view[written:]) or 0
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        """Bytes written so far."""
        return self.size

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Close; more than once is fine."""
        self._file.close()
        self.closed = True

    @property
    def sha256(self) -> str:
        """Digest of everything written."""
        return self._digest.hexdigest()


class TableFile:
    """The staged Parquet file of one table; buffers one row group.

    Args:
        folder: Staging folder of the recording.
        table: Table name.
    """

    def __init__(self, folder: Path, table: str) -> None:
        self.table = table
        self.rows = 0
        self.buffered = 0
        self.path = folder / f"{table}.parquet"
        self._schema = staged_schema(table)
        self._file = _HashedFile(self.path)
        self._writer = pq.ParquetWriter(self._file, self._schema, **parquet_options(self._schema))
        self._stamped = TABLES[table].has_messages
        self._batches: list[pa.RecordBatch] = []
        self._t_min: int | None = None
        self._t_max: int | None = None

    def append(self, batch: pa.RecordBatch, t_ns: np.ndarray[Any, Any] | None = None) -> None:
        """Add rows of `staged_schema`; written once they fill a row group."""
        if t_ns is not None and len(t_ns):
            low, high = int(t_ns.min()), int(t_ns.max())
            self._t_min = low if self._t_min is None else min(self._t_min, low)
            self._t_max = high if self._t_max is None else max(self._t_max, high)
        self._batches.append(batch)
        self.buffered += batch.nbytes
        self.rows += batch.num_rows
        if self.buffered >= ROW_GROUP_BYTES:
            self.flush()

    def append_table(self, rows: pa.Table) -> None:
        """Add rows with plain or dictionary strings, as read back from a file or made here."""
        for batch in rows.cast(self._schema).to_batches():
            t_ns = batch.column("t_ns").to_numpy() if self._stamped else None
            self.append(batch, t_ns)

    def flush(self) -> None:
        """Write what is buffered as one row group."""
        if not self._batches:
            return
        table = pa.Table.from_batches(self._batches, self._schema).unify_dictionaries()
        self._batches, self.buffered = [], 0
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def finish(self) -> StagedFile:
        """Write the footer; the file may then be moved or packed."""
        self.flush()
        self._writer.close()
        self._file.close()
        return StagedFile(
            self.table,
            self.path.name,
            self.rows,
            self._file.size,
            self._file.sha256,
            self._t_min,
            self._t_max,
        )


class BlobWriter:
    """The pictures of one stream, appended to one file.

    Args:
        folder: Staging folder of the recording.
        stream: Stream name.
        media: Folder below the root where it will lie, as `media/<organisation>/<recording>`.
    """

    def __init__(self, folder: Path, stream: str, media: str) -> None:
        self.stream = stream
        self.path = folder / f"{stream_slug(stream)}.blob"
        self.blob = f"{media}/{self.path.name}"
        self._file = _HashedFile(self.path)

    def append(self, data: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Append pictures (large_binary, no nulls); returns their offset and size (int64, B)."""
        offsets = np.frombuffer(data.buffers()[1], np.int64)[data.offset :][: len(data) + 1]
        start = self._file.size
        if offsets[-1] > offsets[0]:
            self._file.write(memoryview(data.buffers()[2])[offsets[0] : offsets[-1]])
        return pa.array(offsets[:-1] - offsets[0] + start), pa.array(np.diff(offsets))

    def finish(self) -> BlobFile:
        """Close it; it may then be moved."""
        self._file.close()
        return BlobFile(self.stream, self.path.name, self.blob, self._file.size, self._file.sha256)


def stream_slug(stream: str) -> str:
    """File name for a stream: readable, and never the same for two streams.

    `/camera/compressed` becomes `camera-compressed-` and eight hex digits of its name's SHA-256.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", stream.lower()).strip("-")[:60]
    digest = hashlib.sha256(stream.encode()).hexdigest()[:8]
    return f"{readable}-{digest}" if readable else digest
