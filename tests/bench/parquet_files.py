"""Parquet as every contender writes it: 16 MB row groups, zstd, dictionaries on strings only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP_BYTES: Final = 16 << 20


def leaves(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """Parquet column paths and types of a schema's leaves."""

    def walk(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
        if pa.types.is_struct(kind):
            for field in kind:
                yield from walk(f"{path}.{field.name}", field.type)
        elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            yield from walk(f"{path}.list.{kind.value_field.name}", kind.value_type)
        else:
            yield path, kind

    for field in schema:
        yield from walk(field.name, field.type)


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with the settings that all contenders share; pictures are stored as they are."""
    found = list(leaves(schema))
    texts = [name for name, kind in found if pa.types.is_string(kind)]
    codecs = {name: "none" if _is_blob(kind) else "zstd" for name, kind in found}
    return pq.ParquetWriter(
        path, schema, compression=codecs, use_dictionary=texts or False, store_schema=False
    )


def _is_blob(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class TableFiles:
    """One Parquet file per key; batches are gathered until they fill a row group."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[str, list[pa.RecordBatch]] = {}
        self._bytes: dict[str, int] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}

    def add(self, key: str, batch: pa.RecordBatch) -> None:
        """Take one batch; all batches of a key have one schema."""
        self._waiting.setdefault(key, []).append(batch)
        self._bytes[key] = self._bytes.get(key, 0) + batch.nbytes
        if self._bytes[key] >= GROUP_BYTES:
            self._write(key)

    def close(self) -> None:
        """Write what is left and close all files."""
        for key in list(self._waiting):
            self._write(key)
        for writer in self._writers.values():
            writer.close()

    def _write(self, key: str) -> None:
        batches = self._waiting.pop(key)
        self._bytes[key] = 0
        table = pa.Table.from_batches(batches)
        if key not in self._writers:
            name = key.strip("/").replace("/", "__") or "root"
            self._writers[key] = open_writer(self._folder / f"{name}.parquet", table.schema)
        self._writers[key].write_table(table, row_group_size=max(1, table.num_rows))
