"""Message objects to Arrow columns, for readers that hand out one Python object per message."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from parquet_files import GROUP_BYTES, TableFiles

from infra.demo.ros2_messages import PRIMITIVES, Field, fields_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class ObjectTables:
    """Gathers objects per topic and turns a row group's worth of them into columns at once."""

    def __init__(self, files: TableFiles) -> None:
        self._files = files
        self._objects: dict[str, list[Any]] = {}
        self._times: dict[str, list[tuple[int, int]]] = {}
        self._bytes: dict[str, int] = {}
        self._types: dict[str, str] = {}
        self.messages: dict[str, int] = {}

    def add(self, topic: str, kind: str, times: tuple[int, int], value: Any, size: int) -> None:
        """Take one decoded message.

        Args:
            topic: Its topic.
            kind: Recorded type name, `package/msg/Name`.
            times: Log and publish time, ns.
            value: The message object.
            size: Bytes of its payload; decides when a row group is full.
        """
        if topic not in self._objects:
            self._objects[topic], self._times[topic], self._bytes[topic] = [], [], 0
            self._types[topic] = kind.replace("/msg/", "/")
            self.messages.setdefault(topic, 0)
        self._objects[topic].append(value)
        self._times[topic].append(times)
        self._bytes[topic] += size
        if self._bytes[topic] >= GROUP_BYTES:
            self._flush(topic)

    def close(self) -> None:
        """Write what is left."""
        for topic in list(self._objects):
            self._flush(topic)

    def _flush(self, topic: str) -> None:
        objects, times = self._objects.pop(topic), np.array(self._times.pop(topic), np.int64)
        columns = {"log_ns": pa.array(times[:, 0]), "pub_ns": pa.array(times[:, 1])}
        columns |= _columns("", self._types[topic], objects)
        self.messages[topic] += len(objects)
        self._files.add(topic, pa.RecordBatch.from_pydict(columns))


def _columns(prefix: str, kind: str, objects: Sequence[Any]) -> dict[str, pa.Array]:
    found: dict[str, pa.Array] = {}
    for field in fields_of(kind):
        name = f"{prefix}{field.name}"
        values = list(map(attrgetter(field.name), objects))
        if field.length is None and field.base not in PRIMITIVES and field.base != "string":
            found |= _columns(f"{name}.", field.base, values)
        else:
            found[name] = _column(field, values)
    return found


def _column(field: Field, values: list[Any]) -> pa.Array:
    if field.length is None:
        if field.base == "string":
            return pa.array(values, pa.string())
        return pa.array(np.array(values, _dtype(field.base)))
    if field.base == "uint8":
        return pa.array(list(map(memoryview, map(_octets, values))), pa.binary())
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, values), np.int32, len(values)), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), _items(field, values, int(offsets[-1])))


def _items(field: Field, values: list[Any], total: int) -> pa.Array:
    if field.base == "string":
        return pa.array(list(chain.from_iterable(values)), pa.string())
    if field.base in PRIMITIVES:
        dtype = _dtype(field.base)
        if values and isinstance(values[0], np.ndarray):
            return pa.array(np.concatenate(values).astype(dtype, copy=False))
        return pa.array(np.fromiter(chain.from_iterable(values), dtype, total))
    inner = _columns("", field.base, list(chain.from_iterable(values)))
    return pa.StructArray.from_arrays(list(inner.values()), names=list(inner))


def _octets(value: Any) -> Any:
    return value if isinstance(value, (bytes, np.ndarray)) else bytes(value)


def _dtype(base: str) -> np.dtype[Any]:
    return np.dtype(PRIMITIVES[base][0])
