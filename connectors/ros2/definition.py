"""Parser of `ros2msg` schema texts (ROS 2 interface definitions, nested types joined by `===`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIMITIVE_SIZES: Final[Mapping[str, int]] = {
    "bool": 1,
    "byte": 1,
    "char": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "float32": 4,
    "float64": 8,
}
"""Bytes of each fixed primitive; `byte` and `char` are unsigned 8-bit in ROS 2."""

_BUILT_IN: Final = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec",
    "builtin_interfaces/Duration": "int32 sec\nuint32 nanosec",
}
_SEPARATOR = re.compile(r"^={3,}[ \t\r]*$", re.MULTILINE)
_FIELD = re.compile(
    r"(?P<type>[A-Za-z][\w/]*)(?:<=(?P<text_bound>\d+))?"
    r"(?P<array>\[(?:(?P<bounded><=)?(?P<size>\d+))?\])?"
    r"\s+(?P<name>[A-Za-z]\w*)\s*(?P<rest>.*)",
    re.DOTALL,
)
_LARGEST = 1 << 31


class DefinitionError(ValueError):
    """The text is no ros2msg definition, or one that cannot be decoded in bulk (wstring …)."""


@dataclass(frozen=True, slots=True)
class Struct:
    """A message type.

    Attributes:
        name: `package/Type`.
        fields: In wire order; empty for a message without fields.
    """

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        name: As written.
        type: Primitive name, "string", or a nested message.
        array: Whether it is an array or sequence.
        size: Fixed array length; None for a sequence.
        bound: Most elements of a bounded sequence, else None.
        text_bound: Most bytes of a bounded string, else None.
    """

    name: str
    type: str | Struct
    array: bool = False
    size: int | None = None
    bound: int | None = None
    text_bound: int | None = None


def short_name(name: str) -> str:
    """`package/msg/Type` as `package/Type`, the form used inside definitions."""
    parts = name.split("/")
    return f"{parts[0]}/{parts[-1]}" if len(parts) > 1 else name


def parse_definition(
    name: str, text: bytes, *, schema_bytes: int = 1 << 20, depth: int = 32
) -> Struct:
    """Parse a schema text with its nested types.

    Args:
        name: Type name of the root, e.g. "sensor_msgs/msg/Imu".
        text: UTF-8 text; an empty one is a message without fields.
        schema_bytes: Largest text.
        depth: Deepest nesting.

    Raises:
        DefinitionError: not parsable, incomplete, recursive, too large or too deep.
    """
    if len(text) > schema_bytes:
        raise DefinitionError(f"schema text of {len(text)} bytes is over {schema_bytes}")
    try:
        plain = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DefinitionError("schema text is not UTF-8") from error
    first, *rest = _SEPARATOR.split(plain)
    root = short_name(name)
    texts = dict(_BUILT_IN)
    for part in rest:
        head, _, body = part.strip().partition("\n")
        label, _, nested = head.strip().partition(":")
        if label != "MSG" or not nested.strip():
            raise DefinitionError(f"a nested definition starts with {head[:80]!r}, not 'MSG:'")
        texts[short_name(nested.strip())] = body
    texts[root] = first
    return _Resolver(texts, depth).struct(root, 0)


class _Resolver:
    """Parses definitions on demand and puts nested types in place."""

    def __init__(self, texts: dict[str, str], depth: int) -> None:
        self._texts = texts
        self._depth = depth
        self._done: dict[str, Struct] = {}
        self._open: set[str] = set()

    def struct(self, name: str, depth: int) -> Struct:
        if name in self._done:
            return self._done[name]
        if name in self._open:
            raise DefinitionError(f"{name} contains itself")
        if depth > self._depth:
            raise DefinitionError(f"nested deeper than {self._depth}")
        self._open.add(name)
        fields = []
        for line in self._texts[name].splitlines():
            field = self._field(line, name, depth)
            if field is not None:
                fields.append(field)
        names = [field.name for field in fields]
        if len(set(names)) != len(names):
            raise DefinitionError(f"{name} names a field twice")
        self._open.discard(name)
        self._done[name] = Struct(name, tuple(fields))
        return self._done[name]

    def _field(self, line: str, owner: str, depth: int) -> Field | None:
        line = line.strip()
        if not line or line.startswith("#"):
            return None
        match = _FIELD.fullmatch(line)
        if match is None:
            raise DefinitionError(f"{owner}: not a field: {line[:80]!r}")
        rest = match["rest"]
        if rest.startswith("=") and not match["array"]:
            return None  # a constant takes no bytes
        size = int(match["size"]) if match["size"] else None
        if size is not None and size > _LARGEST:
            raise DefinitionError(f"{owner}: array of {size} elements")
        return Field(
            name=match["name"],
            type=self._type(match["type"], owner, depth),
            array=match["array"] is not None,
            size=None if match["bounded"] else size,
            bound=size if match["bounded"] else None,
            text_bound=int(match["text_bound"]) if match["text_bound"] else None,
        )

    def _type(self, name: str, owner: str, depth: int) -> str | Struct:
        if name == "string" or name in PRIMITIVE_SIZES:
            return name
        if name == "wstring":
            raise DefinitionError(f"{owner}: wstring has no single wire form")
        if "/" in name:
            candidates = [short_name(name)]
        else:
            # Same package first; unqualified names from elsewhere ("Header") are an old habit.
            candidates = [f"{owner.partition('/')[0]}/{name}"]
            candidates += [key for key in self._texts if key.rpartition("/")[2] == name]
        for candidate in candidates:
            if candidate in self._texts:
                return self.struct(candidate, depth + 1)
        raise DefinitionError(f"{owner}: type {name} is not defined")
