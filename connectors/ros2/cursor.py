"""Walk the CDR wire form of many messages in lock-step: one vector of cursors per group.

The walk visits the schema, not the messages. It records where every block and every tail lies;
values are gathered afterwards (`values.py`). Every read is bounds-checked against its own message
before it happens, so a wrong length word ends in `CursorError`, never in another message's bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from connectors.ros2.layout import Block, Layout, Tail

Vector: TypeAlias = np.ndarray
"""(n,) int64."""
TRAILING_BYTES: Final = 8
"""Most bytes behind the last field: writers pad messages to 4 or 8 bytes."""
_FEW: Final = 4
_MANY_STEPS: Final = 64
"""With so few messages left and so many items to go, items are walked one by one."""
WORD_BYTES: Final = 4
"""Size and alignment of a count."""
ITEMS_PER_PASS: Final = 1 << 20
"""Most items walked at once; more are split into several passes, which bounds memory."""


class CursorError(ValueError):
    """A message does not fit its definition.

    Attributes:
        base: Position of its first byte behind the encapsulation header, in the buffer.
        at: Offset inside the message.
        reason: What does not fit.
    """

    def __init__(self, base: int, at: int, reason: str) -> None:
        self.base, self.at, self.reason = base, at, reason
        super().__init__(f"{reason} at byte {at}")


class TooManyItemsError(ValueError):
    """More items than one pass may hold; fewer messages have to be walked at once."""


@dataclass(slots=True)
class Trace:
    """Where the blocks and tails of a layout lie, one entry per message or item.

    Attributes:
        at: Per block: positions of its start.
        count: Per block: elements of its tail (empty where it has none).
        data: Per block: positions of the tail's first element.
        items: By block: the items' own trace.
    """

    at: list[Vector]
    count: list[Vector]
    data: list[Vector]
    items: dict[int, Trace]


class Cursor:
    """Walks one group of messages.

    Args:
        buffer: (bytes,) uint8, holds all messages.
        big_endian: Byte order of length words.
        items: Most items of the whole group.
    """

    def __init__(
        self, buffer: np.ndarray, *, big_endian: bool = False, items: int = ITEMS_PER_PASS
    ) -> None:
        self._bytes = buffer
        self._words = np.ndarray(
            (max(len(buffer) - 3, 0),),
            ">u4" if big_endian else "<u4",
            buffer=buffer,
            strides=(1,),
        )
        self._items_left = items
        self._word = struct.Struct(">I" if big_endian else "<I")

    def walk(self, layout: Layout, base: Vector, end: Vector) -> Trace:
        """Walk whole messages.

        Args:
            layout: Of the message.
            base: (n,) int64, first byte behind each encapsulation header.
            end: (n,) int64, bytes from there to the message's end.

        Raises:
            CursorError: the first message found that does not fit.
            TooManyItemsError: more items than allowed.
        """
        parts = _Parts(layout)
        start = np.zeros_like(base)
        rest = end - self._layout(layout, parts, base=base, cursor=start, end=end)
        _check(rest <= TRAILING_BYTES, base, end - rest, "more bytes than its definition has")
        return parts.trace()

    def _layout(
        self, layout: Layout, parts: _Parts, *, base: Vector, cursor: Vector, end: Vector
    ) -> Vector:
        """Walk one layout from `cursor` on; the cursors behind it."""
        for index, block in enumerate(layout.blocks):
            if block.align > 1:
                cursor = (cursor + (block.align - 1)) & -block.align
            at = base + cursor
            parts.at[index].append(at)
            cursor = cursor + block.size
            _check(cursor <= end, base, cursor, "shorter than its definition")
            if block.tail is not None:
                count = self._count(block, block.tail, at)
                parts.count[index].append(count)
                if block.tail.bound is not None:
                    reason = f"more than {block.tail.bound} elements"
                    _check(count <= block.tail.bound, base, cursor, reason)
                if block.tail.item is not None:
                    items = parts.items[index]
                    cursor = self._items(
                        block.tail.item, items, count, base=base, cursor=cursor, end=end
                    )
                else:
                    data, cursor = self._elements(
                        block.tail, count, base=base, cursor=cursor, end=end
                    )
                    parts.data[index].append(data)
        return cursor

    def _count(self, block: Block, tail: Tail, at: Vector) -> Vector:
        if tail.fixed is not None:
            return np.full(len(at), tail.fixed, np.int64)
        words: Vector = self._words[at + (block.size - WORD_BYTES)].astype(np.int64)
        return words

    def _elements(
        self, tail: Tail, count: Vector, *, base: Vector, cursor: Vector, end: Vector
    ) -> tuple[Vector, Vector]:
        """Positions of a text's or primitive sequence's bytes, and the cursors behind them."""
        if tail.size > WORD_BYTES:
            # An empty sequence has no element that could need alignment.
            cursor = np.where(count > 0, (cursor + (tail.size - 1)) & -tail.size, cursor)
        data = base + cursor
        cursor = cursor + count * tail.size
        _check(cursor <= end, base, cursor, "a length word reaches beyond the message")
        if tail.kind == "text":
            last = self._bytes[np.maximum(data + (count - 1), 0)]
            _check((last == 0) | (count == 0), base, cursor, "text without a final NUL")
        return data, cursor

    def _items(
        self,
        item: Layout,
        parts: _Parts,
        count: Vector,
        *,
        base: Vector,
        cursor: Vector,
        end: Vector,
    ) -> Vector:
        """Walk the items of all messages in lock-step; the cursors behind them."""
        fits = count * max(item.minimum, 1) <= end - cursor
        _check(fits, base, cursor, "a sequence length reaches beyond the message")
        total = int(count.sum())
        self._items_left -= total
        if self._items_left < 0:
            raise TooManyItemsError
        if not total:
            return cursor
        if item.stride:
            return _strided(item, parts, count, base=base, cursor=cursor, end=end)
        order = np.argsort(-count, kind="stable")
        steps = np.arange(int(count.max()))
        active = np.searchsorted(-count[order], -steps, side="left")
        bases, ends, cursors = base[order], end[order], cursor[order]
        for step, rows in enumerate(active.tolist()):
            if rows <= _FEW and len(active) - step > _MANY_STEPS:
                for row, rest in enumerate((count[order[:rows]] - step).tolist()):
                    place = int(cursors[row])
                    for _ in range(rest):
                        place = self._scalar(
                            item, parts, base=int(bases[row]), cursor=place, end=int(ends[row])
                        )
                    cursors[row] = place
                break
            cursors[:rows] = self._layout(
                item, parts, base=bases[:rows], cursor=cursors[:rows], end=ends[:rows]
            )
        result = np.empty_like(cursor)
        result[order] = cursors
        return result

    def _scalar(self, layout: Layout, parts: _Parts, *, base: int, cursor: int, end: int) -> int:
        """Walk one item of one message: cheaper than a vector of one."""
        for index, block in enumerate(layout.blocks):
            cursor = (cursor + (block.align - 1)) & -block.align
            parts.loose_at[index].append(base + cursor)
            cursor += block.size
            if cursor > end:
                raise CursorError(base, cursor, "shorter than its definition")
            if block.tail is not None:
                cursor = self._scalar_tail(
                    block.tail, parts, index, base=base, cursor=cursor, end=end
                )
        return cursor

    def _scalar_tail(
        self, tail: Tail, parts: _Parts, index: int, *, base: int, cursor: int, end: int
    ) -> int:
        count = tail.fixed
        if count is None:
            (count,) = self._word.unpack_from(self._bytes.data, base + cursor - WORD_BYTES)
        parts.loose_count[index].append(count)
        if tail.bound is not None and count > tail.bound:
            raise CursorError(base, cursor, f"more than {tail.bound} elements")
        if tail.item is not None:
            if count * max(tail.item.minimum, 1) > end - cursor:
                raise CursorError(base, cursor, "a sequence length reaches beyond the message")
            self._items_left -= count
            if self._items_left < 0:
                raise TooManyItemsError
            for _ in range(count):
                cursor = self._scalar(
                    tail.item, parts.items[index], base=base, cursor=cursor, end=end
                )
            return cursor
        if tail.size > WORD_BYTES and count:
            cursor = (cursor + (tail.size - 1)) & -tail.size
        parts.loose_data[index].append(base + cursor)
        cursor += count * tail.size
        if cursor > end:
            raise CursorError(base, cursor, "a length word reaches beyond the message")
        if tail.kind == "text" and count and self._bytes[base + cursor - 1]:
            raise CursorError(base, cursor, "text without a final NUL")
        return cursor


def _strided(
    item: Layout, parts: _Parts, count: Vector, *, base: Vector, cursor: Vector, end: Vector
) -> Vector:
    """Items of constant size: their positions follow from the first one's."""
    block = item.blocks[0]
    first = (cursor + (block.align - 1)) & -block.align
    after = np.where(count > 0, first + (count - 1) * item.stride + block.size, cursor)
    _check(after <= end, base, after, "a sequence length reaches beyond the message")
    ends = np.cumsum(count)
    within = np.arange(int(ends[-1])) - np.repeat(ends - count, count)
    parts.at[0].append(np.repeat(base + first, count) + within * item.stride)
    return after


class _Parts:
    """Pieces of a trace, collected step by step and put into wire order at the end."""

    def __init__(self, layout: Layout) -> None:
        width = len(layout.blocks)
        self.at: list[list[Vector]] = [[] for _ in range(width)]
        self.count: list[list[Vector]] = [[] for _ in range(width)]
        self.data: list[list[Vector]] = [[] for _ in range(width)]
        # What single items add: plain integers, made into one piece at the end.
        self.loose_at: list[list[int]] = [[] for _ in range(width)]
        self.loose_count: list[list[int]] = [[] for _ in range(width)]
        self.loose_data: list[list[int]] = [[] for _ in range(width)]
        self.items = {
            index: _Parts(block.tail.item)
            for index, block in enumerate(layout.blocks)
            if block.tail and block.tail.item
        }

    def trace(self) -> Trace:
        """Join the pieces; positions ascend with the order of messages, so sorting restores it."""
        at = _join(self.at, self.loose_at)
        count = _join(self.count, self.loose_count)
        data = _join(self.data, self.loose_data)
        first = at[0]
        if not (first[1:] >= first[:-1]).all():
            order = np.argsort(first, kind="stable")
            at, count, data = (
                [piece[order] if len(piece) else piece for piece in pieces]
                for pieces in (at, count, data)
            )
        items = {index: parts.trace() for index, parts in self.items.items()}
        return Trace(at, count, data, items)


def _join(pieces: list[list[Vector]], loose: list[list[int]]) -> list[Vector]:
    """One vector per block."""
    result = []
    for vectors, numbers in zip(pieces, loose, strict=True):
        parts = [*vectors, np.array(numbers, np.int64)] if numbers else vectors
        if len(parts) == 1:
            result.append(parts[0])
        else:
            result.append(np.concatenate(parts) if parts else np.empty(0, np.int64))
    return result


def _check(good: np.ndarray, base: Vector, at: Vector, reason: str) -> None:
    if not good.all():
        bad = int(np.argmin(good))
        raise CursorError(int(base[bad]), int(at[bad]), reason)
