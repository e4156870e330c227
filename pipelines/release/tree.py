"""Write a release's files so that the same content always gives the same bytes, and digest them.

Nothing here reads a clock: Parquet files have fixed names and settings, JSON is canonical. Only
the Delta logs hold stamps and random ids; they are left out of the digest.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction, create_table_with_add_actions

from connectors.stores.durable import fsync_path, make_folder, storing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LOG: Final = "_delta_log"
GROUP_BYTES: Final = 32 << 20
GROUP_ROWS: Final = 1 << 17
FILE_BYTES: Final = 512 << 20
_MEDIA_TYPES: Final = {
    ".parquet": "application/vnd.apache.parquet",
    ".md": "text/markdown",
    ".json": "application/json",
    ".jpg": "image/jpeg",
    ".blob": "application/octet-stream",
}


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of a release: path below it, bytes, SHA-256, rows of a table file."""

    path: str
    size: int
    sha256: str
    rows: int | None
    media_type: str


class TableWriter:
    """Writes one table's rows into Parquet files `part-00000.parquet`, … and then its Delta log.

    Rows gather to row groups of about `GROUP_BYTES`; memory stays at one group.
    """

    def __init__(self, folder: Path, schema: pa.Schema, doc: str) -> None:
        self.folder = folder
        self.schema = schema
        self.doc = doc
        self.rows = 0
        self._parts: list[tuple[str, int]] = []
        self._waiting: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None
        self._file_rows = 0
        self._file_bytes = 0
        make_folder(folder)

    @property
    def files(self) -> list[Path]:
        """Parquet files written so far."""
        return [self.folder / name for name, _ in self._parts]

    def write(self, rows: pa.Table) -> None:
        """Append rows in their final order."""
        if rows.schema.names != self.schema.names:
            raise ValueError(f"columns {rows.schema.names} instead of {self.schema.names}")
        self._waiting.append(rows.cast(self.schema))
        self.rows += len(rows)
        size = sum(table.nbytes for table in self._waiting)
        if size >= GROUP_BYTES or sum(map(len, self._waiting)) >= GROUP_ROWS:
            self._flush(size)

    def _flush(self, size: int) -> None:
        table = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting = []
        if self._writer is None:
            name = f"part-{len(self._parts):05}.parquet"
            self._parts.append((name, 0))
            self._writer = pq.ParquetWriter(
                self.folder / name,
                self.schema,
                compression="zstd",
                use_dictionary=_dictionary_columns(self.schema),
                use_byte_stream_split=_split_columns(self.schema),
                write_page_index=True,
                store_schema=False,
            )
        with storing(self.folder):
            self._writer.write_table(table, row_group_size=max(len(table), 1))
        self._file_rows += len(table)
        self._file_bytes += size
        if self._file_bytes >= FILE_BYTES:
            self._end_file()

    def _end_file(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        name, _ = self._parts[-1]
        self._parts[-1] = (name, self._file_rows)
        self._file_rows = self._file_bytes = 0

    def close(self, name: str) -> None:
        """Finish the files and write the Delta log, version 0."""
        if self._waiting or not self._parts:
            self._waiting = self._waiting or [self.schema.empty_table()]
            self._flush(sum(table.nbytes for table in self._waiting))
        self._end_file()
        actions = [
            AddAction(
                part,
                (self.folder / part).stat().st_size,
                {},
                0,
                data_change=True,
                stats=json.dumps({"numRecords": rows}),
            )
            for part, rows in self._parts
        ]
        create_table_with_add_actions(
            str(self.folder),
            Schema.from_arrow(self.schema),
            actions,
            mode="error",
            name=name,
            description=self.doc,
        )
        found = DeltaTable(str(self.folder)).version()
        if found != 0:
            raise ValueError(f"{self.folder.name}: a new table has version {found}")


def _leaves(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [
        (f"{f.name}.list.element", f.type.value_type)
        if pa.types.is_list(f.type)
        else (f.name, f.type)
        for f in schema
    ]


def _split_columns(schema: pa.Schema) -> list[str]:
    return [path for path, kind in _leaves(schema) if pa.types.is_floating(kind)]


def _dictionary_columns(schema: pa.Schema) -> list[str]:
    return [path for path, kind in _leaves(schema) if pa.types.is_string(kind)]


def canonical_json(document: Any) -> bytes:
    """JSON with sorted keys and one final newline, a line per entry down to the second level.

    Deeper ones stay on one line: statistics of a laser scan hold ten thousand numbers.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return (_json_lines(document, 2) + "\n").encode()


def _json_lines(value: Any, levels: int) -> str:
    if levels and isinstance(value, dict):
        lines = (f"{json.dumps(k)}: {_json_lines(value[k], levels - 1)}" for k in sorted(value))
        return "{\n" + ",\n".join(lines) + "\n}"
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def seal(folder: Path) -> list[WrittenFile]:
    """Hash every file of a finished tree and bring files and folders to disk.

    Returns:
        The files by path.
    """
    written = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        fsync_path(path)
        name = path.relative_to(folder).as_posix()
        rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
        media_type = _MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(name)[0]
        written.append(
            WrittenFile(
                name, path.stat().st_size, sha256, rows, media_type or "application/octet-stream"
            )
        )
    for path in [*(p for p in folder.rglob("*") if p.is_dir()), folder]:
        fsync_path(path)
    return sorted(written, key=lambda file: file.path)


def release_digest(files: Iterable[WrittenFile]) -> str:
    r"""SHA-256 over the lines `sha256 size path\n` sorted, Delta logs left out."""
    lines = sorted(
        f"{file.sha256} {file.size} {file.path}\n"
        for file in files
        if LOG not in file.path.split("/")
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
