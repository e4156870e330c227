"""A file that is hashed and brought to disk while it is being written.

Writing, hashing and the disk work side by side: taking bytes in costs little more than writing
them alone. Memory is two blocks, whatever the file's size.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from connectors.stores.durable import storing

if TYPE_CHECKING:
    from pathlib import Path

BLOCK: Final = 1 << 20
_SYNC_EVERY: Final = 16 << 20


class HashingFile:
    """A new file, mode 0600; used by one thread.

    Args:
        path: Must not exist.

    Attributes:
        path: Where it lies.
        size: Bytes taken so far.

    Raises:
        StoreUnavailableError: no space; from every method that writes.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self.path = path
        self._digest = hashlib.sha256()
        self._blocks = (memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK)))
        self._current = 0
        self._filled = 0
        self._written = 0
        self._synced = 0
        # Threads are started for files of more than one block only.
        self._pool: ThreadPoolExecutor | None = None
        self._hashing: Future[None] | None = None
        self._syncing: Future[None] | None = None
        with storing(path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def room(self) -> memoryview:
        """Where the next bytes go; tell with `took` how many were put there."""
        return self._blocks[self._current][self._filled :]

    def took(self, count: int) -> None:
        """Take the first `count` bytes of `room`."""
        self._filled += count
        self.size += count
        if self._filled == BLOCK:
            self._full_block()

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append bytes; the caller may reuse them afterwards."""
        view = memoryview(chunk).cast("B")
        while view:
            room = self.room()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            view = view[count:]
            self.took(count)

    def hexdigest(self) -> str:
        """Write out what is held back and answer the SHA-256 of everything."""
        self._wait(self._hashing)
        self._hashing = None
        if self._filled:
            rest = self._blocks[self._current][: self._filled]
            self._digest.update(rest)
            self._put(rest)
            self._filled = 0
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Bring the content to disk."""
        self._wait(self._syncing)
        with storing(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """End the threads and close the file; harmless twice."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        with suppress(OSError):
            self.path.unlink()

    def _full_block(self) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(2, thread_name_prefix="landing")
        block = self._blocks[self._current]
        self._wait(self._hashing)
        self._hashing = self._pool.submit(self._digest.update, block)
        self._put(block)
        self._current ^= 1
        self._filled = 0
        if self._written - self._synced >= _SYNC_EVERY and (
            self._syncing is None or self._syncing.done()
        ):
            self._wait(self._syncing)
            self._synced = self._written
            self._syncing = self._pool.submit(os.fdatasync, self._descriptor)

    def _put(self, block: memoryview) -> None:
        view = block
        with storing(self.path):
            while view:
                view = view[os.write(self._descriptor, view) :]
        self._written += len(block)

    def _wait(self, future: Future[None] | None) -> None:
        if future is not None:
            with storing(self.path):
                future.result()
