"""Messages of one stream, gathered until a batch is worth decoding, turned into table rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from connectors.ros2.decode import (
    HEADER_BYTES,
    EncapsulationError,
    MessageDecoder,
    PayloadError,
    Payloads,
    byte_order,
)
from connectors.ros2.definition import DefinitionError, parse_definition, short_name
from connectors.ros2.interfaces import expected_definition, has_header, same_fields
from connectors.ros2.tables import TARGETS, Stamps, table_rows, yielded_schema
from connectors.ros2.values import TextError, binary_array, gather_ranges
from connectors.source import Stream, StreamBatch
from schemas.errors import CorruptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from connectors.ros2.definition import Struct
    from connectors.ros2.tables import Target
    from connectors.source import Limits

_STAMP_END: Final = HEADER_BYTES + 8
_RAW: Final = "messages"


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of one stream: payloads and what the recorder knows of them."""

    payloads: Payloads
    stamps: Stamps

    def __len__(self) -> int:
        return len(self.payloads)

    def rows(self, chosen: np.ndarray) -> Batch:
        """Some of the messages, in ascending order."""
        return Batch(self.payloads.rows(chosen), self.stamps.rows(chosen))

    @property
    def bytes(self) -> int:
        """Bytes of all payloads."""
        return int(self.payloads.size.sum())


@lru_cache(maxsize=256)
def parsed(name: str, text: bytes, schema_bytes: int, depth: int) -> Struct:
    """`parse_definition`, once for all streams that share a schema.

    Raises:
        DefinitionError: see there.
    """
    return parse_definition(name, text, schema_bytes=schema_bytes, depth=depth)


class StreamDecoder:
    """Turns one stream's messages into rows of its tables.

    A type with a signal table is decoded if its schema has exactly the published fields; anything
    else is kept as it was recorded, in `messages`. Three cases put messages of a mapped type there
    too, so that nothing is dropped and nothing is changed: a schema that differs (said in the
    stream's note), payloads that are no plain CDR from the first to the last, and messages whose
    text is not UTF-8.

    Args:
        stream: As recorded; `tables` and `note` are filled in here.
        limits: Bounds for schemas and messages.
    """

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self._struct: Struct | None = None
        self._decoder: MessageDecoder | None = None
        self._plain: bool | None = None
        self._not_text = 0
        self._targets, note = self._prepare(stream, limits)
        tables = tuple(each.table for each in self._targets) or (_RAW,)
        self.stream = replace(stream, tables=tables, note=note)
        self._stamped = self._struct is not None and has_header(self._struct)

    def _prepare(self, stream: Stream, limits: Limits) -> tuple[Sequence[Target], str]:
        """Find the type's tables, and why it is kept raw if it is."""
        if stream.encoding != "cdr" or not stream.message_type:
            return (), ""
        if stream.schema_encoding != "ros2msg":
            return (), f"kept raw: schema encoding {stream.schema_encoding!r} is not ros2msg"
        short = short_name(stream.message_type)
        try:
            struct = parsed(
                stream.schema_name, stream.schema_text, limits.schema_bytes, limits.schema_depth
            )
        except DefinitionError as error:
            return (), f"kept raw: {error}"[:300]
        self._struct = struct
        expected = expected_definition(short)
        if expected is None:
            return (), ""
        if not same_fields(struct, expected):
            return (), f"kept raw: its fields are not those of the published {short}"
        self._decoder = MessageDecoder(struct, message_elements=limits.message_elements)
        return TARGETS[short], ""

    def decode(self, batch: Batch, file_id: str) -> Iterator[StreamBatch]:
        """Rows of all tables for some messages, in file order.

        Raises:
            CorruptError: a payload does not fit its definition.
            LimitExceededError: one message holds too many items.
        """
        if self._decoder is None:
            yield self._batch(_RAW, self._raw(batch), file_id)
            return
        big = self._order(batch)
        if big is None:
            yield self._batch(_RAW, self._raw(batch), file_id)
        else:
            yield from self._mapped(batch, big, file_id)

    def _order(self, batch: Batch) -> np.ndarray | None:
        """Byte orders of plain CDR, None for other payloads; a stream must not hold both."""
        big, first = None, 0
        try:
            big = byte_order(batch.payloads)
        except EncapsulationError as error:
            if not error.all:
                raise self._mixed(error.first, batch) from error
            first = error.first
        except PayloadError as error:
            raise self._corrupt(error, batch) from error
        plain = big is not None
        if self._plain is None and not plain:
            self._keep_raw("payloads are not plain CDR", only=True)
        if self._plain not in {None, plain}:
            raise self._mixed(first, batch)
        self._plain = plain
        return big

    def _mapped(self, batch: Batch, big: np.ndarray, file_id: str) -> Iterator[StreamBatch]:
        bad: np.ndarray | None = None
        good = batch
        while len(good):
            try:
                tables = self._tables(good, big)
                break
            except PayloadError as error:
                raise self._corrupt(error, good) from error
            except TextError as error:
                rest = np.setdiff1d(np.arange(len(good)), error.rows)
                refused = good.rows(error.rows)
                bad = _merge(bad, refused.stamps.message)
                good, big = good.rows(rest), big[rest]
        else:
            tables = {}
        for table, pieces in tables.items():
            for rows in pieces:
                yield self._batch(table, rows, file_id)
        if bad is not None:
            chosen = np.flatnonzero(np.isin(batch.stamps.message, bad))
            self._not_text += len(chosen)
            self._keep_raw(f"text of {self._not_text} messages is not UTF-8", only=False)
            yield self._batch(_RAW, self._raw(batch.rows(chosen)), file_id)

    def _tables(self, batch: Batch, big: np.ndarray) -> dict[str, list[pa.RecordBatch]]:
        """Decoded rows per table; rows of messages in several byte orders are put in order."""
        result: dict[str, list[pa.RecordBatch]] = {}
        order: list[np.ndarray] = []
        if self._decoder is None:
            return result
        for rows, columns in self._decoder.passes(batch.payloads, big):
            order.append(rows)
            stamps = batch.stamps.rows(rows)
            for target in self._targets:
                try:
                    piece = table_rows(target, columns, stamps)
                except TextError as error:
                    raise TextError(np.sort(rows[error.rows])) from None
                result.setdefault(target.table, []).append(piece)
        firsts = [int(rows[0]) for rows in order]
        lasts = [int(rows[-1]) for rows in order]
        if any(last > first for last, first in zip(lasts, firsts[1:], strict=False)):
            return {table: [_by_message(pieces)] for table, pieces in result.items()}
        return result

    def _raw(self, batch: Batch) -> pa.RecordBatch:
        payloads = batch.payloads
        raw, offsets = gather_ranges(payloads.buffer, payloads.start, payloads.size)
        count = len(batch)
        stream, stamps = self.stream, batch.stamps
        arrays = [
            pa.array(stamps.log_ns),
            self._header_ns(payloads),
            pa.array(stamps.pub_ns),
            pa.array(stamps.message),
            pa.nulls(count, pa.string())
            if stream.schema_id is None
            else pa.repeat(stream.schema_id, count),
            pa.repeat(stream.encoding, count),
            binary_array(raw, offsets),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=yielded_schema(_RAW))

    def _header_ns(self, payloads: Payloads) -> pa.Array:
        """Stamps of leading headers; null where there is none."""
        if not self._stamped:
            return pa.nulls(len(payloads), pa.int64())
        start, buffer = payloads.start, payloads.buffer
        plain = np.flatnonzero(payloads.size >= _STAMP_END)
        plain = plain[(buffer[start[plain]] == 0) & (buffer[start[plain] + 1] <= 1)]
        words = (
            np.ndarray((len(buffer) - 7,), "V8", buffer=buffer, strides=(1,))
            if len(plain)
            else None
        )
        result = np.zeros(len(payloads), np.int64)
        mask = np.ones(len(payloads), bool)
        if words is not None:
            raw = words[start[plain] + HEADER_BYTES]
            little = np.dtype([("sec", "<i4"), ("nanosec", "<u4")])
            pairs = raw.view(little)
            swapped = raw.view(little.newbyteorder(">"))
            big = buffer[start[plain] + 1] == 0
            sec = np.where(big, swapped["sec"], pairs["sec"]).astype(np.int64)
            nanosec = np.where(big, swapped["nanosec"], pairs["nanosec"]).astype(np.int64)
            result[plain] = sec * 1_000_000_000 + nanosec
            mask[plain] = False
        return pa.array(result, mask=mask)

    def _batch(self, table: str, rows: pa.RecordBatch, file_id: str) -> StreamBatch:
        return StreamBatch(self.stream.name, table, file_id, rows)

    def _keep_raw(self, reason: str, *, only: bool) -> None:
        tables = (_RAW,) if only else (*(t.table for t in self._targets), _RAW)
        self.stream = replace(self.stream, tables=tables, note=f"kept raw: {reason}")

    def _corrupt(self, error: PayloadError, batch: Batch) -> CorruptError:
        return CorruptError(
            f"message {int(batch.stamps.message[error.position])} does not fit its definition: "
            f"{error.reason} at byte {error.at + HEADER_BYTES} of its payload",
            subject=self.stream.name,
            expected=self.stream.message_type or "",
            found=f"{int(batch.payloads.size[error.position])} bytes",
        )

    def _mixed(self, position: int, batch: Batch) -> CorruptError:
        start = int(batch.payloads.start[position])
        return CorruptError(
            f"message {int(batch.stamps.message[position])} has another encapsulation than the "
            "stream's other messages",
            subject=self.stream.name,
            expected="one kind of encapsulation",
            found=batch.payloads.buffer[start : start + 2].tobytes().hex(),
        )


def _merge(one: np.ndarray | None, other: np.ndarray) -> np.ndarray:
    return other if one is None else np.concatenate([one, other])


def _by_message(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Several passes as one batch, in the order of messages."""
    table = pa.Table.from_batches(pieces)
    order = np.argsort(table["message"].to_numpy(), kind="stable")
    return table.take(pa.array(order)).combine_chunks().to_batches()[0]
