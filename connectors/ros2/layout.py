"""Compile a message definition into blocks of the CDR (XCDR1) wire form.

A block is a run of fixed fields that starts at one alignment, with at most one variable tail
(text, primitive sequence, or items) behind it. Walking blocks over many messages at once needs a
handful of array operations per block, whatever the number of messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from connectors.ros2.definition import PRIMITIVE_SIZES, DefinitionError, Field, Struct

MAX_ALIGNMENT: Final = 8
_MOST_NODES: Final = 20_000
_MOST_BYTES: Final = 1 << 31
BYTES_KINDS: Final = frozenset({"uint8", "byte", "char"})
"""Element types whose arrays are blobs."""


@dataclass(slots=True)
class Tail:
    """What follows a block: `count` elements, the count being the block's last four bytes.

    Attributes:
        kind: "text", "values" (primitives) or "items" (texts or messages).
        size: Bytes of one primitive element.
        item: Layout of one item.
        fixed: Count where it is part of the type (then there is no count word).
        bound: Largest count allowed, or None.
    """

    kind: str
    size: int = 1
    item: Layout | None = None
    fixed: int | None = None
    bound: int | None = None


@dataclass(slots=True)
class Block:
    """Fixed run: align the cursor to `align`, then `size` bytes, then the tail."""

    align: int
    size: int = 0
    tail: Tail | None = None


@dataclass(frozen=True, slots=True)
class Scalar:
    """A primitive at `offset` of block `block`."""

    block: int
    offset: int
    kind: str


@dataclass(frozen=True, slots=True)
class Array:
    """A fixed array of primitives."""

    block: int
    offset: int
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Text:
    """A string: the tail of its block."""

    block: int


@dataclass(frozen=True, slots=True)
class Values:
    """A sequence of primitives: the tail of its block."""

    block: int
    kind: str


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence or fixed array of strings or messages: the tail of its block."""

    block: int
    item: Layout


@dataclass(frozen=True, slots=True)
class Group:
    """A nested message, in place."""

    fields: dict[str, Node]


Node = Scalar | Array | Text | Values | Items | Group


@dataclass(slots=True)
class Layout:
    """Blocks of a message or item, and where each field lies in them.

    Attributes:
        blocks: In wire order.
        node: Root of the field tree (a `Group`, or a `Text` for items that are strings).
        minimum: Fewest bytes that it can take.
        stride: Distance of consecutive items of constant size, or 0 where items vary.
    """

    blocks: list[Block] = field(default_factory=list)
    node: Node = field(default_factory=lambda: Group({}))
    minimum: int = 0
    stride: int = 0


def compile_layout(struct: Struct) -> Layout:
    """Lay out a message whose first byte is aligned (the one after the encapsulation header).

    Raises:
        DefinitionError: more fields or bytes than any real message has.
    """
    compiler = _Compiler(MAX_ALIGNMENT, [0])
    return compiler.finish(compiler.group(struct))


class _Compiler:
    """Builds one layout; `known` is the alignment that the current block's start surely has."""

    def __init__(self, known: int, nodes: list[int]) -> None:
        self._layout = Layout([Block(1)])
        self._known = known
        self._nodes = nodes

    def finish(self, node: Node) -> Layout:
        layout = self._layout
        layout.node = node
        last = layout.blocks[-1]
        if len(layout.blocks) > 1 and last.size == 0 and last.tail is None:
            layout.blocks.pop()
        if layout.minimum > _MOST_BYTES:
            raise DefinitionError(f"a message of at least {layout.minimum} bytes")
        only = layout.blocks[0]
        if len(layout.blocks) == 1 and only.tail is None:
            layout.stride = -(-only.size // only.align) * only.align
        return layout

    def group(self, struct: Struct) -> Group:
        if not struct.fields:
            self._place(1, 1)  # IDL knows no empty struct: one dummy byte stands in for it
        return Group({item.name: self._field(item) for item in struct.fields})

    def text(self, bound: int | None) -> Text:
        return Text(self._tail(Tail("text", bound=None if bound is None else bound + 1)))

    def _field(self, item: Field) -> Node:
        self._nodes[0] += 1
        if self._nodes[0] > _MOST_NODES:
            raise DefinitionError(f"more than {_MOST_NODES} fields")
        if not item.array:
            if isinstance(item.type, Struct):
                return self.group(item.type)
            if item.type == "string":
                return self.text(item.text_bound)
            size = PRIMITIVE_SIZES[item.type]
            return Scalar(*self._place(size, size), item.type)
        if isinstance(item.type, str) and item.type in PRIMITIVE_SIZES:
            size = PRIMITIVE_SIZES[item.type]
            if item.size is not None:
                return Array(*self._place(size * item.size, size), item.type, item.size)
            return Values(self._tail(Tail("values", size, bound=item.bound)), item.type)
        inner = _Compiler(1, self._nodes)
        if isinstance(item.type, Struct):
            layout = inner.finish(inner.group(item.type))
        else:
            layout = inner.finish(inner.text(item.text_bound))
        return Items(
            self._tail(Tail("items", item=layout, fixed=item.size, bound=item.bound)), layout
        )

    def _place(self, size: int, align: int) -> tuple[int, int]:
        """Put `size` bytes at the next multiple of `align`; (block, offset in it)."""
        blocks = self._layout.blocks
        block = blocks[-1]
        if self._known % align:
            if block.size or block.tail:
                block = Block(align)
                blocks.append(block)
            block.align = align
            self._known = align
        offset = -(-block.size // align) * align
        self._layout.minimum += offset + size - block.size
        block.size = offset + size
        return len(blocks) - 1, offset

    def _tail(self, tail: Tail) -> int:
        if tail.fixed is None:
            self._place(4, 4)
        elif tail.item is not None:
            self._layout.minimum += tail.fixed * tail.item.minimum
        blocks = self._layout.blocks
        blocks[-1].tail = tail
        blocks.append(Block(1))
        self._known = 1
        return len(blocks) - 2
