"""Chunks of an MCAP file: unpacked within limits, checked, and their messages found."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import lz4.frame
import numpy as np
import zstandard

from connectors.sources.mcap.records import (
    CHANNEL,
    HEAD,
    MESSAGE,
    MESSAGE_FIXED,
    MESSAGE_HEAD,
    SCHEMA,
    RecordError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from connectors.sources.mcap.records import ChunkHead

    OnRecord = Callable[[int, memoryview], None]


_AT_ONCE: Final = 8 << 20
"""Larger chunks are unpacked piece by piece, without a second copy of the whole."""
_PIECE: Final = 1 << 20
_UNPACKER = zstandard.ZstdDecompressor()


def unpack(head: ChunkHead, stored: memoryview, room: np.ndarray) -> None:
    """Unpack a chunk's records into `room`, which is exactly as long as the chunk declares.

    Never more is unpacked than declared, whatever the compressed bytes say.

    Raises:
        RecordError: another length than declared, bad compressed bytes, or a wrong CRC.
    """
    out = room.data
    match head.compression:
        case "":
            if head.stored != head.size:
                raise RecordError(f"{head.stored} bytes stored, {head.size} declared")
            out[:] = stored
        case "zstd":
            _unzstd(stored, out)
        case "lz4":
            _unlz4(stored, out)
        case other:
            raise RecordError(f"compression {other[:40]!r} is not defined")
    if head.crc:
        found = zlib.crc32(out)
        if found != head.crc:
            raise RecordError(f"CRC {found:#010x} instead of {head.crc:#010x}")


def _unzstd(stored: memoryview, out: memoryview) -> None:
    try:
        if len(out) <= _AT_ONCE and zstandard.frame_content_size(stored) == len(out):
            data = _UNPACKER.decompress(stored, allow_extra_data=False)
            if len(data) != len(out):
                raise RecordError(f"{len(data)} bytes unpacked, {len(out)} declared")
            out[:] = data
            return
        reader = _UNPACKER.stream_reader(stored, read_across_frames=True)
        done = 0
        while done < len(out):
            step = reader.readinto(out[done:])
            if not step:
                break
            done += step
        extra = reader.read(1)
    except zstandard.ZstdError as error:
        raise RecordError(f"bad zstd data: {error}") from error
    if done != len(out) or extra:
        more = "or more " if extra else ""
        raise RecordError(f"{done + len(extra)} {more}bytes unpacked, {len(out)} declared")


def _unlz4(stored: memoryview, out: memoryview) -> None:
    unpacker = lz4.frame.LZ4FrameDecompressor()
    done = fed = 0
    try:
        while not unpacker.eof:
            # Fed in pieces, because it copies whatever it cannot use yet.
            piece = stored[fed : fed + _PIECE] if unpacker.needs_input else b""
            if unpacker.needs_input and not piece:
                break
            fed += len(piece)
            data = unpacker.decompress(piece, max_length=min(_AT_ONCE, len(out) - done + 1))
            if done + len(data) > len(out):
                raise RecordError(f"more bytes unpacked than the {len(out)} declared")
            out[done : done + len(data)] = data
            done += len(data)
    except (RuntimeError, EOFError) as error:
        raise RecordError(f"bad lz4 data: {error}") from error
    if done != len(out):
        raise RecordError(f"{done} bytes unpacked, {len(out)} declared")


def walk_records(data: memoryview, start: int, end: int, on_record: OnRecord) -> list[int]:
    """Offsets of the messages between two offsets; other records go to `on_record`.

    Python bytecode per record (about 0.4 µs): only for chunks without a usable index.

    Raises:
        RecordError: records do not fill the range exactly, or one may not stand in a chunk.
    """
    found = []
    at = start
    while at < end:
        if end - at < HEAD.size:
            raise RecordError(f"{end - at} bytes left over at {at}")
        opcode, length = HEAD.unpack_from(data, at)
        after = at + HEAD.size + length
        if after > end:
            raise RecordError(f"the record at {at} reaches beyond its chunk")
        if opcode == MESSAGE and length >= MESSAGE_FIXED:
            found.append(at)
        elif opcode in {SCHEMA, CHANNEL}:
            on_record(opcode, data[at + HEAD.size : after])
        else:
            raise RecordError(f"opcode {opcode:#04x} at {at}")
        at = after
    return found


def message_heads(buffer: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Heads of the message records at these offsets, as (n,) of `MESSAGE_HEAD`."""
    size = MESSAGE_HEAD.itemsize
    view = np.ndarray((max(len(buffer) - size + 1, 0),), f"V{size}", buffer=buffer, strides=(1,))
    heads: np.ndarray = view[at].view(MESSAGE_HEAD)
    return heads


def indexed_messages(
    data: np.ndarray, offsets: list[np.ndarray], on_record: OnRecord
) -> tuple[np.ndarray, np.ndarray] | None:
    """Message records of a chunk by its message indexes, proven to leave no message out.

    The records between the indexed ones are walked, so that every byte of the chunk belongs to a
    record that was seen.

    Returns:
        Sorted offsets (n,) int64 and heads (n,) of `MESSAGE_HEAD`, or None if the indexes do not
        describe the chunk.
    """
    at = np.sort(np.concatenate(offsets)) if offsets else np.empty(0, np.int64)
    if not len(at) or at[0] < 0 or at[-1] > len(data) - MESSAGE_HEAD.itemsize:
        return None
    heads = message_heads(data, at)
    length = heads["length"].astype(np.int64)
    if (heads["opcode"] != MESSAGE).any():
        return None
    if (length < MESSAGE_FIXED).any() or (length > len(data)).any():
        return None
    ends = at + HEAD.size + length
    starts = np.append(at[1:], len(data))
    if (ends > starts).any():
        return None
    gaps = [(0, int(at[0]))] + [
        (int(ends[index]), int(starts[index])) for index in np.flatnonzero(ends != starts)
    ]
    try:
        extra = [walk_records(data.data, start, end, on_record) for start, end in gaps]
    except RecordError:
        return None
    return None if any(extra) else (at, heads)
