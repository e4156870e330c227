"""Bytes of one MCAP file through a window of bounded size."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from schemas.errors import CorruptError, LimitExceededError

if TYPE_CHECKING:
    from connectors.source import SourceFile

WINDOW_BYTES: Final = 4 << 20


class FileWindow:
    """Reads ranges of a file with `pread`; a mapped file would count as resident memory.

    Args:
        file: Its name stands in errors.
        descriptor: Open descriptor of it.
        largest: Most bytes of one record.
    """

    def __init__(self, file: SourceFile, descriptor: int, largest: int) -> None:
        self.name = file.name
        self.size = os.fstat(descriptor).st_size
        self._descriptor, self._largest = descriptor, largest
        self.bytes = memoryview(b"")
        self.start = 0

    def read(self, at: int, size: int) -> memoryview:
        """`size` bytes at `at` (fewer at the end of the file); valid until the next call.

        Raises:
            LimitExceededError: more than the largest record allowed.
        """
        begin = at - self.start
        if begin < 0 or begin + size > len(self.bytes):
            if size > self._largest:
                raise LimitExceededError(
                    f"the record at byte {at} is larger than allowed",
                    subject=self.name,
                    expected=f"at most {self._largest} bytes",
                    found=f"{size} bytes",
                )
            wanted = max(size, min(WINDOW_BYTES, self.size - at))
            self.bytes = memoryview(b"")  # never two windows at once
            self.bytes = memoryview(self.fresh(at, wanted))
            self.start, begin = at, 0
        return self.bytes[begin : begin + size]

    def shrink(self) -> None:
        """Let go of a window that one large record has grown."""
        if len(self.bytes) > WINDOW_BYTES:
            self.bytes = memoryview(b"")

    def fresh(self, at: int, size: int) -> bytes:
        """`size` bytes at `at` (fewer at the end of the file), beside the window."""
        data = os.pread(self._descriptor, size, at)
        while len(data) < size:
            more = os.pread(self._descriptor, size - len(data), at + len(data))
            if not more:
                break
            data += more
        return data

    def corrupt(self, at: int, what: str, *, expected: str = "", found: str = "") -> CorruptError:
        """The error for something wrong at a byte of this file."""
        return CorruptError(
            f"{what} at byte {at}",
            subject=self.name,
            expected=expected,
            found=found,
            next_step="hand in the original file again",
        )
