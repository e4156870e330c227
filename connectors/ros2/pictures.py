"""Codec and size of JPEG and PNG pictures from their headers; nothing is decoded."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

_PNG: Final = np.frombuffer(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", np.uint8)
_PNG_HEAD: Final = 24
_JPEG: Final = np.frombuffer(b"\xff\xd8\xff", np.uint8)
_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers (ITU-T T.81, table B.1); the others in this range are tables."""
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_PREFIX: Final = 0xFF
_NOT_A_SEGMENT: Final = frozenset({0xDA, 0xFF})
"""Start of scan (no frame header came), and fill bytes."""
_LARGEST_SIDE: Final = 1 << 31
_MOST_SEGMENTS: Final = 64
_CODECS: Final = ("unknown", "jpeg", "png")


def describe_pictures(raw: np.ndarray, offsets: np.ndarray) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Codec, width and height of each picture.

    Args:
        raw: (bytes,) uint8, pictures one behind the other.
        offsets: (n + 1,) integers.

    Returns:
        string ("jpeg", "png" or "unknown"), int32 and int32 arrays of n; null sizes where the
        header does not say.
    """
    starts = offsets[:-1].astype(np.int64)
    sizes = np.diff(offsets).astype(np.int64)
    codec = np.zeros(len(starts), np.int8)
    width = np.zeros(len(starts), np.int64)
    height = np.zeros(len(starts), np.int64)
    png = _begins(raw, starts, sizes, _PNG, _PNG_HEAD)
    codec[png] = 2
    width[png] = _big_endian(raw, starts[png] + 16, 4)
    height[png] = _big_endian(raw, starts[png] + 20, 4)
    jpeg = _begins(raw, starts, sizes, _JPEG, len(_JPEG))
    codec[jpeg] = 1
    left = np.flatnonzero(jpeg)
    while len(left):
        first = int(left[0])
        picture = raw[starts[first] : starts[first] + sizes[first]]
        segments, frame = _jpeg_segments(picture)
        alike = left
        for position, head in segments:
            alike = alike[sizes[alike] > position + 9]
            at = starts[alike] + position
            alike = alike[_big_endian(raw, at, 4) == head]
        if frame is not None and len(alike):
            height[alike] = _big_endian(raw, starts[alike] + frame + 5, 2)
            width[alike] = _big_endian(raw, starts[alike] + frame + 7, 2)
            left = np.setdiff1d(left, alike, assume_unique=True)
        else:
            left = left[1:]
    known = (width > 0) & (height > 0) & (width < _LARGEST_SIDE) & (height < _LARGEST_SIDE)
    names = pa.DictionaryArray.from_arrays(pa.array(codec), pa.array(_CODECS)).cast(pa.string())
    return (
        names,
        pa.array(np.where(known, width, 0).astype(np.int32), mask=~known),
        pa.array(np.where(known, height, 0).astype(np.int32), mask=~known),
    )


def _begins(
    raw: np.ndarray, starts: np.ndarray, sizes: np.ndarray, magic: np.ndarray, least: int
) -> np.ndarray:
    result = sizes >= least
    rows = np.flatnonzero(result)
    for index, byte in enumerate(magic.tolist()):
        rows = rows[raw[starts[rows] + index] == byte]
    result[:] = False
    result[rows] = True
    return result


def _big_endian(raw: np.ndarray, at: np.ndarray, size: int) -> np.ndarray:
    value = np.zeros(len(at), np.int64)
    for index in range(size):
        value = (value << 8) | raw[at + index]
    return value


def _jpeg_segments(picture: np.ndarray) -> tuple[list[tuple[int, int]], int | None]:
    """Marker segments up to the frame header: [(position, marker and length)], its position."""
    segments: list[tuple[int, int]] = []
    at = 2
    while at + 9 < len(picture) and len(segments) < _MOST_SEGMENTS:
        head = int.from_bytes(picture[at : at + 4].tobytes(), "big")
        marker, length = head >> 16 & 0xFF, head & 0xFFFF
        if head >> 24 != _PREFIX or marker in _STANDALONE or marker in _NOT_A_SEGMENT:
            return segments, None
        segments.append((at, head))
        if marker in _FRAME_MARKERS:
            return segments, at
        at += 2 + length
    return segments, None
