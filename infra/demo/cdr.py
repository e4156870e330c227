"""Little-endian CDR (XCDR1), written column by column or message by message.

Topics whose layout never changes are written as strided numpy copies, one per field for all
messages together; topics of varying layout go through writers compiled once per type.
Source: OMG DDS-XTypes 7.4.1 (plain CDR), as ROS 2 middlewares use it.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from infra.demo.ros2_messages import PRIMITIVES, Field, fields_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Tree = Mapping[str, Any]
    Put = Callable[[bytearray, Any], None]

HEADER: Final = b"\x00\x01\x00\x00"
_LENGTH: Final = struct.Struct("<I")


class _Layout:
    """Where each value of one constant message layout lies."""

    def __init__(self) -> None:
        self.size = len(HEADER)
        self.columns: list[tuple[int, str, Any, bool]] = []
        self.constants: list[tuple[int, bytes]] = [(0, HEADER)]

    def place(self, base: str, value: Any, *, many: bool) -> None:
        """Reserve room for a number (`many` false) or for a run of them."""
        code, width = PRIMITIVES[base]
        self.size += (len(HEADER) - self.size) % width
        array = np.asarray(value, dtype=f"<{code}")
        self.columns.append((self.size, f"<{code}", array, many))
        self.size += width * (array.shape[-1] if many else 1)

    def text(self, value: str) -> None:
        data = value.encode() + b"\0"
        self.place("uint32", len(data), many=False)
        self.constants.append((self.size, data))
        self.size += len(data)

    def field(self, field: Field, value: Any) -> None:
        if field.length is None:
            self.value(field.base, value)
            return
        if field.base in PRIMITIVES:
            array = np.asarray(value)
            if field.length == 0:
                self.place("uint32", array.shape[-1], many=False)
            # CDR aligns elements, so an empty sequence is followed by no padding.
            if array.shape[-1]:
                self.place(field.base, array, many=True)
            return
        if field.length == 0:
            self.place("uint32", len(value), many=False)
        for item in value:
            self.value(field.base, item)

    def value(self, base: str, value: Any) -> None:
        if base == "string":
            self.text(value)
        elif base in PRIMITIVES:
            self.place(base, value, many=False)
        else:
            for field in fields_of(base):
                self.field(field, value[field.name])


def encode_columns(type_name: str, tree: Tree, count: int) -> list[bytes]:
    """Serialise `count` messages of one layout.

    Args:
        type_name: `package/Name`.
        tree: Nested mappings by field name. A number: a scalar (the same in every message) or
            shape (count,). An array or sequence of numbers: shape (k,) for the same in every
            message, or (count, k). Strings and sequences of strings or messages: constant in
            number and length; the numbers inside may vary.
        count: Messages.

    Returns:
        One CDR payload per message, encapsulation header included.
    """
    if not count:
        return []
    layout = _Layout()
    layout.value(type_name, tree)
    out = np.zeros((count, layout.size), np.uint8)
    for offset, data in layout.constants:
        out[:, offset : offset + len(data)] = np.frombuffer(data, np.uint8)
    for offset, dtype, array, many in layout.columns:
        width = array.dtype.itemsize
        shape = (count, array.shape[-1]) if many else (count,)
        strides = (layout.size, width) if many else (layout.size,)
        np.ndarray(shape, dtype, out, offset, strides)[...] = array
    blob = out.tobytes()
    return [blob[i : i + layout.size] for i in range(0, count * layout.size, layout.size)]


def message_at(type_name: str, tree: Tree, index: int) -> dict[str, Any]:
    """Message `index` of a tree for `encode_columns`, as nested plain values."""

    def pick(field: Field, value: Any) -> Any:
        if field.base in PRIMITIVES:
            array = np.asarray(value, dtype=f"<{PRIMITIVES[field.base][0]}")
            deep = array.ndim == (1 if field.length is None else 2)
            return (array[index] if deep else array).tolist()
        if field.base == "string":
            return value
        if field.length is None:
            return message_at(field.base, value, index)
        return [message_at(field.base, item, index) for item in value]

    return {field.name: pick(field, tree[field.name]) for field in fields_of(type_name)}


def encode_message(type_name: str, value: Tree) -> bytes:
    """Serialise one message given as nested mappings by field name."""
    out = bytearray(HEADER)
    _struct(type_name)(out, value)
    return bytes(out)


def _put_text(out: bytearray, value: str) -> None:
    data = value.encode()
    out += b"\0" * (-len(out) % 4)
    out += _LENGTH.pack(len(data) + 1)
    out += data
    out += b"\0"


def _put_run(names: tuple[str, ...], base: str) -> Put:
    code, width = PRIMITIVES[base]
    pack = struct.Struct(f"<{len(names)}{code}").pack
    offset = len(HEADER)

    def put(out: bytearray, value: Any) -> None:
        out += b"\0" * ((offset - len(out)) % width)
        out += pack(*[value[name] for name in names])

    return put


def _put_numbers(name: str, base: str, *, counted: bool) -> Put:
    code, width = PRIMITIVES[base]
    offset = len(HEADER)

    def put(out: bytearray, value: Any) -> None:
        data = np.asarray(value[name], dtype=f"<{code}")
        if counted:
            out += b"\0" * (-len(out) % 4)
            out += _LENGTH.pack(data.size)
        if data.size:
            out += b"\0" * ((offset - len(out)) % width)
            out += data.tobytes()

    return put


def _put_items(name: str, inner: Put, *, counted: bool) -> Put:
    def put(out: bytearray, value: Any) -> None:
        items: Sequence[Any] = value[name]
        if counted:
            out += b"\0" * (-len(out) % 4)
            out += _LENGTH.pack(len(items))
        for item in items:
            inner(out, item)

    return put


def _put_one(name: str, inner: Put) -> Put:
    def put(out: bytearray, value: Any) -> None:
        inner(out, value[name])

    return put


@cache
def _struct(type_name: str) -> Put:
    """The writer of one message type; neighbouring numbers of one type are packed together."""
    steps: list[Put] = []
    run: list[str] = []
    run_base = ""
    for field in (*fields_of(type_name), None):
        number = field is not None and field.length is None and field.base in PRIMITIVES
        if run and not (number and field is not None and field.base == run_base):
            steps.append(_put_run(tuple(run), run_base))
            run = []
        if field is None:
            break
        if number:
            run.append(field.name)
            run_base = field.base
        else:
            steps.append(_step(field))

    def put(out: bytearray, value: Any) -> None:
        for step in steps:
            step(out, value)

    return put


def _step(field: Field) -> Put:
    if field.base in PRIMITIVES:
        return _put_numbers(field.name, field.base, counted=field.length == 0)
    inner = _put_text if field.base == "string" else _struct(field.base)
    if field.length is None:
        return _put_one(field.name, inner)
    return _put_items(field.name, inner, counted=field.length == 0)
