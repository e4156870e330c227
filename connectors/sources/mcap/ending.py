"""The end of an MCAP file: footer, summary and checksums, or the finding that it was cut."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from connectors.sources.mcap import records as rec

if TYPE_CHECKING:
    from collections.abc import Callable

    from connectors.sources.mcap.window import FileWindow

_SUMMARY_BYTES: Final = 256 << 20
"""Largest summary section that is read."""
_CRC_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Ending:
    """What the end of the file says.

    Attributes:
        whole: Whether the file ends as it should; False = it was cut.
        data_stop: Where the data section ends: behind its data end record.
        statistics: Messages per channel id, or None.
    """

    whole: bool = False
    data_stop: int = 0
    statistics: dict[int, int] | None = None


def read_ending(window: FileWindow, on_record: Callable[[int, memoryview], None]) -> Ending:
    """Read footer and summary; schemas and channels go to `on_record`.

    Raises:
        CorruptError: a footer or summary that contradicts the file or its checksum.
    """
    at = window.size - rec.FOOTER_BYTES
    if at < len(rec.MAGIC):
        return Ending()
    tail = window.fresh(at, rec.FOOTER_BYTES)
    if tail[-len(rec.MAGIC) :] != rec.MAGIC:
        return Ending()
    opcode, length = rec.HEAD.unpack_from(tail)
    if opcode != rec.FOOTER or length != rec.FOOTER_BYTES - rec.HEAD.size - len(rec.MAGIC):
        raise window.corrupt(at, "no footer record before the closing magic")
    start, _, crc = rec.parse_footer(memoryview(tail)[rec.HEAD.size :])
    if start and not len(rec.MAGIC) < start <= at:
        raise window.corrupt(at, "a footer that points outside the file", found=str(start))
    if start and at - start > _SUMMARY_BYTES:
        raise window.corrupt(at, "a summary that is too large", found=f"{at - start} bytes")
    statistics = None
    if start:
        summary = memoryview(window.fresh(start, at - start))
        found = zlib.crc32(tail[: -len(rec.MAGIC) - _CRC_BYTES], zlib.crc32(summary))
        if crc and found != crc:
            raise window.corrupt(
                start, "wrong summary CRC", expected=f"{crc:#010x}", found=f"{found:#010x}"
            )
        statistics = _parse_summary(window, summary, start, on_record)
    return Ending(whole=True, data_stop=start or at, statistics=statistics)


def _parse_summary(
    window: FileWindow,
    summary: memoryview,
    start: int,
    on_record: Callable[[int, memoryview], None],
) -> dict[int, int] | None:
    statistics = None
    at = 0
    while at + rec.HEAD.size <= len(summary):
        opcode, length = rec.HEAD.unpack_from(summary, at)
        after = at + rec.HEAD.size + length
        if after > len(summary):
            break
        content = summary[at + rec.HEAD.size : after]
        try:
            if opcode in {rec.SCHEMA, rec.CHANNEL}:
                on_record(opcode, content)
            elif opcode == rec.STATISTICS:
                statistics = rec.parse_statistics(content)
        except rec.RecordError as error:
            raise window.corrupt(start + at, f"bad summary record: {error}") from error
        at = after
    if at != len(summary):
        raise window.corrupt(start + at, "the summary does not end where its records end")
    return statistics


def check_data_crc(window: FileWindow, end: int, expected: int) -> None:
    """Compare the CRC of all bytes before the data end record.

    Raises:
        CorruptError: they differ.
    """
    found, done = 0, 0
    while done < end:
        piece = window.fresh(done, min(1 << 20, end - done))
        if not piece:
            break
        found = zlib.crc32(piece, found)
        done += len(piece)
    if found != expected:
        raise window.corrupt(
            end, "wrong data section CRC", expected=f"{expected:#010x}", found=f"{found:#010x}"
        )
