"""Gather values at traced positions into Arrow arrays.

Two gatherers share one interface. `Scattered` reads each position from the buffer. `Uniform` is
for groups whose messages all have one shape: each message is copied once into a matrix row, and
every field is then a strided column of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.ros2.layout import BYTES_KINDS, Array, Group, Items, Scalar, Text, Values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.ros2.cursor import Trace, Vector
    from connectors.ros2.layout import Layout, Node

_CODES: Final[Mapping[str, str]] = {
    "bool": "u1",
    "byte": "u1",
    "char": "u1",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
    "float32": "f4",
    "float64": "f8",
}
_ARROW: Final[Mapping[str, pa.DataType]] = {
    "bool": pa.bool_(),
    "byte": pa.int16(),
    "char": pa.int16(),
    "int8": pa.int8(),
    "uint8": pa.int16(),
    "int16": pa.int16(),
    "uint16": pa.int32(),
    "int32": pa.int32(),
    "uint32": pa.int64(),
    "int64": pa.int64(),
    "uint64": pa.decimal128(20, 0),
    "float32": pa.float32(),
    "float64": pa.float64(),
}
_LAST_ASCII: Final = 0x7F
_WIDE: Final = 1 << 31
_WORDS: Final = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}


class Gatherer(ABC):
    """Reads values at positions that a trace gives."""

    big_endian: bool

    @abstractmethod
    def fixed(self, at: Vector, offset: int, size: int) -> np.ndarray:
        """`size` bytes at each position + offset, as uint8, one behind the other."""

    @abstractmethod
    def counts(self, count: Vector) -> np.ndarray:
        """Tail counts, one per message or item."""

    @abstractmethod
    def ranges(self, start: Vector, size: Vector) -> tuple[np.ndarray, np.ndarray]:
        """Ranges one behind the other: (uint8 bytes, int32 or int64 offsets of len + 1)."""


class Scattered(Gatherer):
    """Gathers from the buffer at any positions."""

    def __init__(self, buffer: np.ndarray, *, big_endian: bool = False) -> None:
        self._buffer = buffer
        self.big_endian = big_endian

    def fixed(self, at: Vector, offset: int, size: int) -> np.ndarray:
        """See `Gatherer`."""
        if not size or not len(at):
            return np.empty(0, np.uint8)
        # Overlapping elements: one copy per position, and no index matrix.
        view = np.ndarray(
            (len(self._buffer) - size + 1,),
            _WORDS.get(size, f"V{size}"),
            buffer=self._buffer,
            strides=(1,),
        )
        found: np.ndarray = view[at + offset].view(np.uint8)
        return found

    def counts(self, count: Vector) -> np.ndarray:
        """See `Gatherer`."""
        return count

    def ranges(self, start: Vector, size: Vector) -> tuple[np.ndarray, np.ndarray]:
        """See `Gatherer`."""
        return gather_ranges(self._buffer, start, size)


class Uniform(Gatherer):
    """Gathers from messages of one shape, `rows` of them as a (rows, bytes) matrix."""

    def __init__(self, matrix: np.ndarray, *, big_endian: bool = False) -> None:
        self._matrix = matrix
        self._rows = len(matrix)
        self.big_endian = big_endian

    def fixed(self, at: Vector, offset: int, size: int) -> np.ndarray:
        """See `Gatherer`."""
        if not size or not len(at):
            return np.empty(0, np.uint8)
        first = int(at[0]) + offset
        if len(at) == 1 or (np.diff(at) == size).all():
            return self._columns(first, size * len(at)).view(np.uint8)
        code = _WORDS.get(size, f"V{size}")
        out = np.empty((self._rows, len(at)), code)
        for index, position in enumerate(at.tolist()):
            out[:, index] = self._strided(position + offset, code)
        return out.reshape(-1).view(np.uint8)

    def counts(self, count: Vector) -> np.ndarray:
        """See `Gatherer`."""
        return np.tile(count, self._rows)

    def ranges(self, start: Vector, size: Vector) -> tuple[np.ndarray, np.ndarray]:
        """See `Gatherer`."""
        within = np.cumsum(size)
        total = int(within[-1]) if len(size) else 0
        kind = np.int32 if total * self._rows < _WIDE else np.int64
        bounds = np.zeros(len(size) * self._rows + 1, kind)
        per_row = np.arange(self._rows, dtype=kind) * total
        np.add.outer(per_row, within.astype(kind), out=bounds[1:].reshape(self._rows, -1))
        pieces = [
            self._matrix[:, begin : begin + length]
            for begin, length in zip(start.tolist(), size.tolist(), strict=True)
            if length
        ]
        if not pieces:
            return np.empty(0, np.uint8), bounds
        if len(pieces) == 1:
            begin, width = int(start[size > 0][0]), pieces[0].shape[1]
            return self._columns(begin, width).view(np.uint8), bounds
        return np.concatenate(pieces, axis=1).reshape(-1), bounds

    def _strided(self, position: int, code: str) -> np.ndarray:
        return np.ndarray(
            (self._rows,),
            code,
            buffer=self._matrix,
            offset=position,
            strides=self._matrix.strides[:1],
        )

    def _columns(self, position: int, width: int) -> np.ndarray:
        return self._strided(position, _WORDS.get(width, f"V{width}")).copy()


def gather_ranges(buffer: np.ndarray, start: Vector, size: Vector) -> tuple[np.ndarray, np.ndarray]:
    """Copy byte ranges together.

    Args:
        buffer: (bytes,) uint8.
        start: (n,) int64, ascending; ranges do not overlap.
        size: (n,) int64.

    Returns:
        (bytes,) uint8 and (n + 1,) offsets.
    """
    large = len(buffer) >= _WIDE
    bounds = np.empty(2 * len(start) + 1, np.int64 if large else np.int32)
    bounds[0:-1:2] = start
    bounds[1::2] = start + size
    bounds[-1] = bounds[-2] if len(start) else 0
    kind = pa.large_binary() if large else pa.binary()
    spans = pa.Array.from_buffers(
        kind, 2 * len(start), [None, pa.py_buffer(bounds), pa.py_buffer(buffer)]
    )
    # The even elements are the ranges, the odd ones the bytes between them.
    kept = spans.take(pa.array(np.arange(0, 2 * len(start), 2)))
    _, offsets, data = kept.buffers()
    out = np.frombuffer(offsets, bounds.dtype, len(start) + 1, kept.offset * bounds.itemsize)
    payload = (
        np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
    )
    return payload[int(out[0]) : int(out[-1])], out - out[0] if out[0] else out


class TextError(ValueError):
    """Strings are not UTF-8; `rows` are the messages that hold them (ascending)."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        super().__init__(f"{len(rows)} messages hold text that is not UTF-8")


class Columns:
    """Fields of a group of decoded messages (or items) as Arrow arrays, gathered when asked for.

    Args:
        layout: Of the message or item.
        trace: Where its blocks lie.
        gatherer: How to read them.
        rows: Messages or items.
        replace_text: Put U+FFFD for bytes that are not UTF-8, instead of raising.
    """

    def __init__(
        self,
        layout: Layout,
        trace: Trace,
        gatherer: Gatherer,
        rows: int,
        *,
        replace_text: bool = False,
    ) -> None:
        self._layout, self._trace, self._gatherer = layout, trace, gatherer
        self._replace = replace_text
        self.rows = rows

    def array(self, *path: str) -> pa.Array:
        """One field by path, whole messages as structs, as an Arrow array of `rows` values.

        Raises:
            TextError: a string is not UTF-8.
        """
        return self._array(self._node(path))

    def numbers(self, *path: str) -> np.ndarray:
        """A fixed primitive field as a numpy array in its own type, native byte order.

        Shape (rows,) or, for a fixed array, (rows, count).
        """
        node = self._node(path)
        if isinstance(node, Array):
            return self._fixed(node.block, node.offset, node.kind, node.count).reshape(
                self.rows, node.count
            )
        if not isinstance(node, Scalar):
            raise TypeError(f"{'.'.join(path)} is not a fixed primitive")
        return self._fixed(node.block, node.offset, node.kind, 1)

    def items(self, *path: str) -> tuple[np.ndarray, Columns]:
        """A sequence of messages: counts per row, and the items of all rows as columns."""
        node = self._node(path)
        if not isinstance(node, Items):
            raise TypeError(f"{'.'.join(path)} is not a sequence of messages")
        counts = self._gatherer.counts(self._trace.count[node.block])
        return counts, self._items(node, int(counts.sum()))

    def blobs(self, *path: str) -> tuple[np.ndarray, np.ndarray]:
        """A byte sequence: (uint8 bytes, (rows + 1,) offsets)."""
        node = self._node(path)
        if not isinstance(node, Values) or node.kind not in BYTES_KINDS:
            raise TypeError(f"{'.'.join(path)} is not a byte sequence")
        return self._ranges(node.block, 1)

    def _node(self, path: tuple[str, ...]) -> Node:
        node = self._layout.node
        for name in path:
            if not isinstance(node, Group):
                raise KeyError(name)
            node = node.fields[name]
        return node

    def _items(self, node: Items, rows: int) -> Columns:
        return Columns(
            node.item,
            self._trace.items[node.block],
            self._gatherer,
            rows,
            replace_text=self._replace,
        )

    def _array(self, node: Node) -> pa.Array:
        match node:
            case Scalar():
                return to_arrow(self._fixed(node.block, node.offset, node.kind, 1), node.kind)
            case Array():
                return self._fixed_array(node)
            case Text():
                return self._text(node)
            case Values():
                return self._values(node)
            case Items():
                return self._item_lists(node)
        return self._struct(node)

    def _struct(self, node: Group) -> pa.Array:
        if not node.fields:
            return pa.array([{}] * self.rows, pa.struct([]))
        arrays = [self._array(child) for child in node.fields.values()]
        fields = [
            pa.field(name, array.type) for name, array in zip(node.fields, arrays, strict=True)
        ]
        return pa.StructArray.from_arrays(arrays, fields=fields)

    def _item_lists(self, node: Items) -> pa.Array:
        offsets = offsets_of(self._gatherer.counts(self._trace.count[node.block]))
        try:
            items = self._items(node, int(offsets[-1])).array()
        except TextError as error:
            rows = np.searchsorted(offsets, error.rows, side="right") - 1
            raise TextError(np.unique(rows)) from None
        return list_array(offsets, items)

    def _fixed(self, block: int, offset: int, kind: str, count: int) -> np.ndarray:
        code = _CODES[kind]
        raw = self._gatherer.fixed(self._trace.at[block], offset, int(code[1]) * count)
        values = raw.view((">" if self._gatherer.big_endian else "<") + code)
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def _fixed_array(self, node: Array) -> pa.Array:
        values = self._fixed(node.block, node.offset, node.kind, node.count)
        offsets = np.arange(self.rows + 1, dtype=np.int64) * node.count
        if node.kind in BYTES_KINDS:
            return binary_array(values, offsets)
        return list_array(offsets, to_arrow(values, node.kind))

    def _ranges(self, block: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        trace = self._trace
        return self._gatherer.ranges(trace.data[block], trace.count[block] * size)

    def _values(self, node: Values) -> pa.Array:
        code = _CODES[node.kind]
        size = int(code[1])
        raw, offsets = self._ranges(node.block, size)
        if node.kind in BYTES_KINDS:
            return binary_array(raw, offsets)
        values = raw.view((">" if self._gatherer.big_endian else "<") + code)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        return list_array(offsets // size, to_arrow(values, node.kind))

    def _text(self, node: Text) -> pa.Array:
        trace = self._trace
        count = trace.count[node.block]
        raw, offsets = self._gatherer.ranges(trace.data[node.block], np.maximum(count - 1, 0))
        array = pa.Array.from_buffers(
            pa.string(),
            self.rows,
            [None, pa.py_buffer(_narrow(offsets)), pa.py_buffer(raw)],
        )
        if len(raw) and raw.max() > _LAST_ASCII:
            try:
                array.validate(full=True)
            except pa.ArrowInvalid:
                blobs = array.view(pa.binary()).to_pylist()
                if not self._replace:
                    bad = [row for row, blob in enumerate(blobs) if not _is_utf8(blob)]
                    raise TextError(np.array(bad)) from None
                array = pa.array([b.decode("utf-8", "replace") for b in blobs], pa.string())
        return array


def _is_utf8(blob: bytes) -> bool:
    try:
        blob.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def to_arrow(values: np.ndarray, kind: str) -> pa.Array:
    """Numbers of a ROS kind as the Arrow type that the lake has for it."""
    if kind == "bool":
        return pa.array(values != 0)
    if kind == "uint64":
        return pc.cast(pa.array(values), pa.decimal128(20, 0))
    target = _ARROW[kind]
    return pa.array(values.astype(target.to_pandas_dtype(), copy=False))


def list_array(offsets: np.ndarray, values: pa.Array) -> pa.Array:
    """List array with the element name that Delta uses."""
    kind = pa.list_(pa.field("element", values.type))
    return pa.ListArray.from_arrays(pa.array(_narrow(offsets)), values, type=kind)


def binary_array(values: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """Binary array over bytes that lie one behind the other."""
    buffers = [None, pa.py_buffer(_narrow(offsets)), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def offsets_of(counts: np.ndarray) -> np.ndarray:
    """(n + 1,) int64 offsets of lists with these lengths."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _narrow(offsets: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(offsets, dtype=np.int32)
