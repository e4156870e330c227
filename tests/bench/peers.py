"""The peers, each in its best configuration: log in, one Parquet file per topic out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from object_columns import ObjectTables
from parquet_files import TableFiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Counts = dict[str, int]


def rerun_reflection(log: Path, out: Path) -> Counts:
    """rerun-sdk, only its fastest decoder: every topic complete, by reflection."""
    return _rerun(log, out, ["ros2_reflection"])


def rerun_default(log: Path, out: Path) -> Counts:
    """rerun-sdk as it comes: its archetypes where it knows a type, reflection elsewhere."""
    return _rerun(log, out, None)


def _rerun(log: Path, out: Path, decoders: Sequence[str] | None) -> Counts:
    from rerun.chunk import McapReader

    files = TableFiles(out)
    counts: Counts = {}
    for chunk in McapReader(log, decoders=decoders).stream():
        batch = chunk.to_record_batch()
        if "message_log_time" not in batch.schema.names:
            continue  # channel and file properties, not messages
        topic = str(chunk.entity_path)
        names = [name for name in batch.schema.names if name != "rerun.controls.RowId"]
        if any(name.endswith(":message") for name in names):
            counts[topic] = counts.get(topic, 0) + batch.num_rows
        columns: dict[str, pa.Array] = {}
        for name in names:
            columns |= _plain(name, batch.column(name))
        files.add(f"{topic}/{_kind(names)}", pa.RecordBatch.from_pydict(columns))
    files.close()
    return counts


def _kind(names: Sequence[str]) -> str:
    """Chunks of one entity may hold different components; each kind is a table of its own."""
    return "+".join(name.replace(":", ".") for name in names if ":" in name) or "times"


def _plain(name: str, column: pa.Array) -> dict[str, pa.Array]:
    """A chunk's column without its wrapping, nothing copied.

    A message or a picture stands in a list of one; structs become columns; bytes become binary.
    """
    if name.endswith((":message", ":blob")) and pa.types.is_list(column.type):
        column = column.flatten()
    return dict(_flat(name.removesuffix(":message"), column))


def _flat(name: str, column: pa.Array) -> Any:
    kind = column.type
    if pa.types.is_struct(kind):
        for field, child in zip(kind, column.flatten(), strict=True):
            yield from _flat(f"{name}.{field.name}", child)
    elif pa.types.is_list(kind) and pa.types.is_uint8(kind.value_type):
        yield name, _binary(column)
    else:
        yield name, column


def _binary(column: pa.ListArray) -> pa.Array:
    """The same bytes as binary: a list's offsets are a binary's offsets."""
    offsets, values = column.offsets, column.values
    start = values.offset + offsets[0].as_py()
    stop = values.offset + offsets[-1].as_py()
    data = values.buffers()[1].slice(start, stop - start)
    moved = pa.compute.subtract(offsets, offsets[0])
    return pa.Array.from_buffers(pa.binary(), len(column), [None, moved.buffers()[1], data])


def rosbags(log: Path, out: Path) -> Counts:
    """Rosbags AnyReader: one object per message, arrays as numpy."""
    from rosbags.highlevel import AnyReader

    files = TableFiles(out)
    tables = ObjectTables(files)
    with AnyReader([log]) as reader:
        for connection, log_ns, raw in reader.messages():
            value = reader.deserialize(raw, connection.msgtype)
            tables.add(connection.topic, connection.msgtype, (log_ns, log_ns), value, len(raw))
    tables.close()
    files.close()
    return tables.messages


def mcap_ros2_support(log: Path, out: Path) -> Counts:
    """Foxglove's mcap and mcap-ros2-support: one object per message, arrays as lists."""
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    files = TableFiles(out)
    tables = ObjectTables(files)
    with log.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        for schema, channel, message, value in reader.iter_decoded_messages(log_time_order=False):
            if schema is None:
                continue
            times = (message.log_time, message.publish_time)
            tables.add(channel.topic, schema.name, times, value, len(message.data))
    tables.close()
    files.close()
    return tables.messages
