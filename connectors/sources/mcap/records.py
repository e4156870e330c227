"""Records of the MCAP container (https://mcap.dev/spec): layouts and parsing of single records."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC: Final = b"\x89MCAP0\r\n"
HEAD: Final = struct.Struct("<BQ")
"""Opcode and length before every record's content."""

HEADER: Final = 0x01
FOOTER: Final = 0x02
SCHEMA: Final = 0x03
CHANNEL: Final = 0x04
MESSAGE: Final = 0x05
CHUNK: Final = 0x06
MESSAGE_INDEX: Final = 0x07
STATISTICS: Final = 0x0B
DATA_END: Final = 0x0F
SKIPPED: Final = frozenset({HEADER, 0x08, 0x09, 0x0A, STATISTICS, 0x0C, 0x0D, 0x0E})
"""Header, attachments, metadata and index records: they hold no message."""
FIRST_PRIVATE: Final = 0x80
"""From here on opcodes belong to applications and are passed over."""
DATA_END_BYTES: Final = 4

FOOTER_BYTES: Final = HEAD.size + 20 + len(MAGIC)
"""Footer record and closing magic: the last bytes of a whole file."""

MESSAGE_HEAD: Final = np.dtype(
    {
        "names": ["opcode", "length", "channel", "sequence", "log", "pub"],
        "formats": ["u1", "<u8", "<u2", "<u4", "<u8", "<u8"],
        "offsets": [0, 1, 9, 11, 15, 23],
        "itemsize": 31,
    }
)
"""A message record up to its payload."""
MESSAGE_FIXED: Final = 22
"""Bytes of a message record's content before its payload."""

_CHUNK_FIXED: Final = struct.Struct("<QQQ")
CHUNK_FIXED_BYTES: Final = _CHUNK_FIXED.size
"""Start time, end time and unpacked size, before a chunk's other fields."""
_FOOTER = struct.Struct("<QQI")
_INDEX = struct.Struct("<HI")
_STATISTICS = struct.Struct("<QHIIIIQQI")


class RecordError(ValueError):
    """A record's content does not have the fields that its opcode promises."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema record; id 0 is reserved for "none"."""

    id: int
    name: str
    encoding: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel record."""

    id: int
    schema: int
    topic: str
    encoding: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChunkHead:
    """A chunk record without its records; `data` is their offset inside the content."""

    size: int
    crc: int
    compression: str
    data: int
    stored: int


class _Fields:
    """Reads length-prefixed fields; every length is checked against the content."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self.at = 0

    def number(self, form: str) -> int:
        raw = self.raw(struct.calcsize(form))
        return int(struct.unpack(form, raw)[0])

    def raw(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self._content):
            raise RecordError(f"a length of {size} reaches beyond the record")
        value = bytes(self._content[self.at : end])
        self.at = end
        return value

    def text(self) -> str:
        raw = self.raw(self.number("<I"))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RecordError("a name is not UTF-8") from error

    def mapping(self) -> dict[str, str]:
        end = self.number("<I") + self.at
        result = {}
        while self.at < end:
            key = self.text()
            result[key] = self.text()
        return result


def parse_schema(content: memoryview) -> Schema:
    """Parse a schema record's content."""
    fields = _Fields(content)
    number = fields.number("<H")
    name, encoding = fields.text(), fields.text()
    if number == 0:
        raise RecordError("schema id 0 is reserved")
    return Schema(number, name, encoding, fields.raw(fields.number("<I")))


def parse_channel(content: memoryview) -> Channel:
    """Parse a channel record's content."""
    fields = _Fields(content)
    number, schema = fields.number("<H"), fields.number("<H")
    topic, encoding = fields.text(), fields.text()
    return Channel(number, schema, topic, encoding, fields.mapping())


def chunk_size(content: memoryview) -> int:
    """Bytes that a chunk says its records unpack to, from the beginning of its content."""
    if len(content) < CHUNK_FIXED_BYTES:
        raise RecordError("a chunk without its fields")
    return int(_CHUNK_FIXED.unpack_from(content)[2])


def parse_chunk(content: memoryview) -> ChunkHead:
    """Parse a chunk record's head."""
    fields = _Fields(content)
    _, _, size, crc = (fields.number(form) for form in ("<Q", "<Q", "<Q", "<I"))
    compression = fields.text()
    stored = fields.number("<Q")
    if fields.at + stored > len(content):
        raise RecordError("a chunk's records reach beyond it")
    return ChunkHead(size, crc, compression, fields.at, stored)


def parse_message_index(content: memoryview) -> np.ndarray:
    """Offsets (n,) int64 of one channel's messages inside their chunk, as recorded."""
    if len(content) < _INDEX.size:
        raise RecordError("a message index without its fields")
    _, size = _INDEX.unpack_from(content)
    if size % 16 or _INDEX.size + size > len(content):
        raise RecordError(f"a message index of {size} bytes")
    pairs = np.frombuffer(content, "<i8", size // 8, _INDEX.size)
    return pairs[1::2].copy()


def parse_statistics(content: memoryview) -> dict[int, int]:
    """Messages per channel id."""
    if len(content) < _STATISTICS.size:
        raise RecordError("statistics without their fields")
    *_, size = _STATISTICS.unpack_from(content)
    if size % 10 or _STATISTICS.size + size > len(content):
        raise RecordError(f"statistics with {size} bytes of counts")
    counts = np.frombuffer(
        content, np.dtype([("channel", "<u2"), ("count", "<u8")]), size // 10, _STATISTICS.size
    )
    return {int(row["channel"]): int(row["count"]) for row in counts}


def parse_footer(content: memoryview) -> tuple[int, int, int]:
    """(start of the summary or 0, start of the summary offsets or 0, CRC or 0)."""
    if len(content) < _FOOTER.size:
        raise RecordError("a footer without its fields")
    start, offsets, crc = _FOOTER.unpack_from(content)
    return start, offsets, crc
