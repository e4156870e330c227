"""Bulk decoding of CDR payloads for any ros2msg schema."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from connectors.ros2.cursor import (
    ITEMS_PER_PASS,
    WORD_BYTES,
    Cursor,
    CursorError,
    TooManyItemsError,
)
from connectors.ros2.definition import Struct, parse_definition
from connectors.ros2.layout import Layout, compile_layout
from connectors.ros2.values import Columns, Scattered, Uniform
from schemas.errors import LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connectors.ros2.cursor import Trace, Vector

HEADER_BYTES: Final = 4
"""Encapsulation header: two bytes of id, two of options."""
_LAST_XCDR1: Final = 1
"""Ids 0 (big-endian) and 1 (little-endian) are the plain CDR that ROS 2 writes."""


@dataclass(frozen=True, slots=True)
class Payloads:
    """Message payloads inside one buffer.

    Attributes:
        buffer: (bytes,) uint8.
        start: (n,) int64, first byte of each encapsulation header; ascending, no overlap.
        size: (n,) int64, bytes with that header.
    """

    buffer: np.ndarray
    start: Vector
    size: Vector

    def __len__(self) -> int:
        return len(self.start)

    def rows(self, chosen: slice | np.ndarray) -> Payloads:
        """A part of the messages, over the same buffer."""
        return Payloads(self.buffer, self.start[chosen], self.size[chosen])

    @staticmethod
    def of(array: pa.BinaryArray) -> Payloads:
        """The values of a binary array without nulls."""
        _, offsets, data = array.buffers()
        bounds = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4)
        buffer = (
            np.frombuffer(data, np.uint8)
            if data is not None and data.size
            else np.empty(0, np.uint8)
        )
        bounds = bounds.astype(np.int64)
        return Payloads(buffer, bounds[:-1], np.diff(bounds))


class EncapsulationError(ValueError):
    """Payloads are not plain CDR (XCDR2, parameter lists …)."""

    def __init__(self, first: int, share: float) -> None:
        self.first, self.all = first, share >= 1
        super().__init__(f"encapsulation of message {first} is not plain CDR")


@dataclass(frozen=True, slots=True)
class _Way:
    """How one pass reads: byte order, and what to do with text that is not UTF-8."""

    big_endian: bool = False
    replace_text: bool = False


class MessageDecoder:
    """Decodes payloads of one message type.

    Args:
        struct: The parsed definition.
        message_elements: Most items in sequences of one message.

    Raises:
        DefinitionError: more fields or bytes than any real message has.
    """

    def __init__(self, struct: Struct, *, message_elements: int = 4_000_000) -> None:
        self.struct = struct
        self._layout: Layout = compile_layout(struct)
        self._limit = message_elements

    def passes(
        self, payloads: Payloads, big_endian: np.ndarray, *, replace_text: bool = False
    ) -> Iterator[tuple[np.ndarray, Columns]]:
        """Decode; (rows, columns) per pass. Passes split rows by byte order and bound memory.

        Args:
            payloads: n messages.
            big_endian: (n,) bool, from `byte_order`.
            replace_text: Put U+FFFD for bytes that are not UTF-8.

        Raises:
            PayloadError: a payload does not fit the definition.
            LimitExceededError: one message holds more items than allowed.
        """
        if not len(payloads):
            return
        for order in (False, True):
            rows = np.flatnonzero(big_endian == order)
            if len(rows):
                group = payloads if len(rows) == len(payloads) else payloads.rows(rows)
                yield from self._split(group, rows, _Way(order, replace_text))

    def nothing(self) -> Columns:
        """No messages, which still have columns and types."""
        none = np.zeros(0, np.int64)
        return self._columns(Payloads(np.zeros(64, np.uint8), none, none), _Way())

    def _split(
        self, payloads: Payloads, rows: np.ndarray, way: _Way
    ) -> Iterator[tuple[np.ndarray, Columns]]:
        try:
            columns = self._columns(payloads, way)
        except TooManyItemsError:
            half = len(payloads) // 2
            if not half:
                raise LimitExceededError(
                    "one message holds more items than allowed",
                    subject=self.struct.name,
                    expected=f"at most {self._limit}",
                ) from None
            for part in (slice(half), slice(half, None)):
                yield from self._split(payloads.rows(part), rows[part], way)
            return
        except CursorError as error:
            base = payloads.start + HEADER_BYTES
            position = int(np.searchsorted(base, error.base, side="right")) - 1
            raise PayloadError(int(rows[position]), error) from error
        yield rows, columns

    def _columns(self, payloads: Payloads, way: _Way) -> Columns:
        base = payloads.start + HEADER_BYTES
        end = payloads.size - HEADER_BYTES
        uniform = self._uniform(payloads.buffer, base, end, way)
        if uniform is not None:
            trace, gatherer = uniform
            return Columns(self._layout, trace, gatherer, len(base), replace_text=way.replace_text)
        items = self._limit if len(base) == 1 else min(self._limit, ITEMS_PER_PASS)
        cursor = Cursor(payloads.buffer, big_endian=way.big_endian, items=items)
        trace = cursor.walk(self._layout, base, end)
        scattered = Scattered(payloads.buffer, big_endian=way.big_endian)
        return Columns(self._layout, trace, scattered, len(base), replace_text=way.replace_text)

    def _uniform(
        self, buffer: np.ndarray, base: Vector, end: Vector, way: _Way
    ) -> tuple[Trace, Uniform] | None:
        """Trace of the first message, if all messages have its shape."""
        size = int(end[0]) if len(end) else 0
        if len(base) <= 1 or size <= 0 or (end != size).any():
            return None
        view = np.ndarray((len(buffer) - size + 1,), f"V{size}", buffer=buffer, strides=(1,))
        first = np.frombuffer(view[base[:1]].tobytes(), np.uint8)
        cursor = Cursor(first, big_endian=way.big_endian, items=max(1, ITEMS_PER_PASS // len(base)))
        try:
            trace = cursor.walk(self._layout, np.zeros(1, np.int64), end[:1])
        except (CursorError, TooManyItemsError):
            return None  # the full walk says what is wrong, and where
        words, nuls = _guards(self._layout, trace)
        matrix = view[base].view(np.uint8).reshape(len(base), size)
        for position in words:
            column = np.ndarray((len(base),), "u4", buffer=matrix, offset=position, strides=(size,))
            if (column != column[0]).any():
                return None
        if any(matrix[:, position].any() for position in nuls):
            return None
        return trace, Uniform(matrix, big_endian=way.big_endian)


class PayloadError(ValueError):
    """Message `position` of the payloads does not fit its definition."""

    def __init__(self, position: int, cause: CursorError) -> None:
        self.position, self.at, self.reason = position, cause.at, cause.reason
        super().__init__(f"message {position}: {cause}")


def _guards(layout: Layout, trace: Trace) -> tuple[list[int], list[int]]:
    """Positions of all length words and final NULs of one traced message."""
    words: list[int] = []
    nuls: list[int] = []
    for index, block in enumerate(layout.blocks):
        tail = block.tail
        if tail is None:
            continue
        if tail.fixed is None:
            words += (trace.at[index] + (block.size - WORD_BYTES)).tolist()
        if tail.kind == "text":
            count = trace.count[index]
            nuls += (trace.data[index] + count - 1)[count > 0].tolist()
        if tail.item is not None:
            inner_words, inner_nuls = _guards(tail.item, trace.items[index])
            words += inner_words
            nuls += inner_nuls
    return words, nuls


def byte_order(payloads: Payloads) -> np.ndarray:
    """(n,) bool: whether each payload is big-endian.

    Raises:
        PayloadError: shorter than an encapsulation header.
        EncapsulationError: an id other than plain CDR.
    """
    short = payloads.size < HEADER_BYTES
    if short.any():
        position = int(np.argmax(short))
        raise PayloadError(position, CursorError(0, 0, "no encapsulation header"))
    high, low = payloads.buffer[payloads.start], payloads.buffer[payloads.start + 1]
    other = (high != 0) | (low > _LAST_XCDR1)
    if other.any():
        raise EncapsulationError(int(np.argmax(other)), float(other.mean()))
    big: np.ndarray = low == 0
    return big


@lru_cache(maxsize=64)
def _decoder(name: str, text: bytes) -> MessageDecoder:
    return MessageDecoder(parse_definition(name, text))


def decode_messages(schema_text: bytes, type_name: str, payloads: pa.BinaryArray) -> pa.RecordBatch:
    """Decode payloads of one ros2msg type, for views and comparisons.

    Unsigned integers are widened, byte arrays become binary, nested messages structs. Bytes of a
    string that are not UTF-8 are shown as U+FFFD; the payload keeps them.

    Args:
        schema_text: The schema as recorded.
        type_name: E.g. "diagnostic_msgs/msg/DiagnosticArray".
        payloads: CDR messages with their encapsulation headers, no nulls.

    Returns:
        One column per field, one row per payload.

    Raises:
        DefinitionError: the schema cannot be decoded in bulk.
        PayloadError, EncapsulationError: a payload does not fit.
        LimitExceededError: one message holds too many items.
    """
    decoder = _decoder(type_name, schema_text)
    structs, order = [], []
    data = Payloads.of(payloads)
    for rows, columns in decoder.passes(data, byte_order(data), replace_text=True):
        structs.append(columns.array())
        order.append(rows)
    if not structs:
        structs = [decoder.nothing().array()]
    whole = pa.concat_arrays(structs)
    if len(order) > 1:
        whole = whole.take(pa.array(np.argsort(np.concatenate(order))))
    return pa.RecordBatch.from_struct_array(whole)
