"""Which large files of this machine were hashed before, so that they need not be read again.

A cache and nothing else: it says what a file's SHA-256 is, never whether a recording is known: that
stays the catalog's to say. Lost or damaged, it costs the time of reading once more.

A file is told by device, inode, size, and the times of its last change of content (mtime) and of
anything (ctime), in ns. No program can set ctime: whoever puts mtime back, renames or replaces a
file leaves another one. What changed just before it was hashed gets no entry, because one more
change could fall into the same tick of the clock. File systems that make inodes or ctime up (some
network mounts) can hide a change that keeps size and mtime; `tanada ingest --rehash` reads all.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTLED_NS: Final = 3_000_000_000
"""How long a file has to be unchanged before it is hashed: FAT counts in steps of two seconds."""
_BUSY_SECONDS: Final = 2.0
_KEPT: Final = 1000
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS files (
  device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, sha256 TEXT,
  PRIMARY KEY (device, inode)
) WITHOUT ROWID
"""
_ASK: Final = (
    "SELECT sha256 FROM files WHERE device=? AND inode=? AND size=? AND mtime_ns=? AND ctime_ns=?"
)
_NOTE: Final = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)"


class SeenFiles:
    """The cache of one root on this machine; used by one thread.

    Args:
        path: Its local file, made where there is none.
        clock: Nanoseconds UTC, the clock of this machine's files.
    """

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self.clock = clock
        self._waiting: list[tuple[int | str, ...]] = []
        self._connection: sqlite3.Connection | None = None
        # A cache that cannot be used is none: everything is read, as without it.
        with suppress(sqlite3.Error, OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(_TABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def digest(self, found: os.stat_result) -> str | None:
        """SHA-256 of a file that is exactly as it was when it was hashed, else None."""
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(_ASK, _identity(found)).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else str(row[0])

    def note(
        self, before: os.stat_result, after: os.stat_result, sha256: str, begun_ns: int
    ) -> None:
        """Remember what a file hashed to.

        Args:
            before: Of the open file, before its first byte was read.
            after: The same, after its last.
            sha256: What was read, lower-case hex.
            begun_ns: When reading began.
        """
        settled = max(before.st_mtime_ns, before.st_ctime_ns) + SETTLED_NS <= begun_ns
        if _identity(before) != _identity(after) or not settled:
            return
        self._waiting.append((*_identity(after), sha256))
        if len(self._waiting) >= _KEPT:
            self._write()

    def close(self) -> None:
        """Write what is held back, and close the file; harmless twice."""
        self._write()
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._connection is None or not waiting:
            return
        with suppress(sqlite3.Error):
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_NOTE, waiting)
            self._connection.execute("COMMIT")


def _identity(found: os.stat_result) -> tuple[int, int, int, int, int]:
    # SQLite's integers are signed: device and inode may use all 64 bits.
    device, inode = (
        value - (1 << 64) if value >> 63 else value for value in (found.st_dev, found.st_ino)
    )
    return device, inode, found.st_size, found.st_mtime_ns, found.st_ctime_ns
