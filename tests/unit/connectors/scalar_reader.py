"""A slow reader of CDR messages, one value at a time: the yardstick for the bulk decoder."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from rosbags.interfaces import Nodetype

if TYPE_CHECKING:
    from tests.unit.connectors.foreign import Types

CODES = {
    "bool": "B", "byte": "B", "char": "B", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H",
    "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip
BLOBS = {"byte", "char", "uint8"}


class BadMessageError(ValueError):
    """The message does not fit its definition."""


class ScalarReader:
    def __init__(self, types: Types, payload: bytes) -> None:
        self.fields = types.store.fielddefs
        if len(payload) < 4:
            raise BadMessageError("no header")
        self.order = ">" if payload[1] == 0 else "<"
        self.data = payload[4:]
        self.at = 0

    def message(self, name: str) -> dict[str, Any]:
        result = self.struct(name)
        if len(self.data) - self.at > 8:
            raise BadMessageError("too long")
        return result

    def struct(self, name: str) -> dict[str, Any]:
        result = {field: self.value(kind) for field, kind in self.fields[name][1]}
        result.pop("structure_needs_at_least_one_member", None)
        return result

    def base(self, kind: str, count: int | None = None) -> Any:
        code = CODES[kind]
        size = struct.calcsize("<" + code)
        if count != 0:
            self.at = -(-self.at // size) * size
        end = self.at + size * (1 if count is None else count)
        if end > len(self.data):
            raise BadMessageError("too short")
        values = struct.unpack(
            f"{self.order}{1 if count is None else count}{code}", self.data[self.at : end]
        )
        self.at = end
        if kind == "bool":
            values = tuple(bool(value) for value in values)
        if count is None:
            return values[0]
        return bytes(values) if kind in BLOBS else list(values)

    def text(self, bound: int) -> str:
        size = self.base("uint32")
        if bound and size > bound + 1:
            raise BadMessageError("bound")
        end = self.at + size
        if end > len(self.data):
            raise BadMessageError("too short")
        raw = self.data[self.at : end]
        self.at = end
        if raw[-1:] not in {b"", b"\x00"}:
            raise BadMessageError("no NUL")
        return raw[:-1].decode("utf-8", "replace")

    def value(self, kind: Any) -> Any:
        node, detail = kind
        if node == Nodetype.NAME:
            return self.struct(detail)
        if node == Nodetype.BASE:
            return self.text(detail[1]) if detail[0] == "string" else self.base(detail[0])
        inner, size = detail
        count = size
        if node == Nodetype.SEQUENCE:
            count = self.base("uint32")
            if size and count > size:
                raise BadMessageError("bound")
        if inner[0] == Nodetype.BASE and inner[1][0] != "string":
            if count * struct.calcsize(CODES[inner[1][0]]) > len(self.data):
                raise BadMessageError("too short")
            return self.base(inner[1][0], count)
        if count > len(self.data):
            raise BadMessageError("too short")
        return [self.value(inner) for _ in range(count)]
