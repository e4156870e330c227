"""Bytes on their way in: hashed while they are written, durable before they count."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from connectors.stores.hashing import HashingFile
from connectors.stores.redaction import LIMIT_BYTES, is_redacted, redact
from connectors.stores.store import store_of
from schemas.errors import CorruptError, LimitExceededError, NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from connectors.stores.seen import SeenFiles
    from connectors.stores.store import Place


@dataclass(frozen=True, slots=True)
class Landed:
    """A file as it was stored.

    Attributes:
        size: Bytes stored.
        sha256: Of the bytes stored, lower-case hex.
        original_sha256: Of the bytes sent, where a person's name was dropped from them.
    """

    size: int
    sha256: str
    original_sha256: str | None = None


class FileWriter:
    """Takes one file of a recording that is being received.

    `write` its bytes in order, then `finish`; `abort` on the way leaves nothing. As a context
    manager it aborts unless it was finished.

    Args:
        folder: The recording's quarantine folder; the file is stored there under its SHA-256.
        name: Name in the manifest.
        size: Bytes that the manifest promises; None where only the digest is known still.
        sha256: Digest that the manifest promises.
        stored: Called once with what was stored, after it is durable.
        landing: Local folder for the bytes while they come in (`Store.landing`).
    """

    def __init__(
        self,
        folder: Place,
        name: str,
        size: int | None,
        sha256: str,
        stored: Callable[[Landed], None],
        *,
        landing: Path,
    ) -> None:
        self._folder = folder
        self._name = name
        self._size = size
        self._sha256 = sha256
        self._stored = stored
        self._written = 0
        self._part: HashingFile | None = None
        # What has to be redacted is small, and never touches the disk as it came.
        self._held: bytearray | None = None
        if not is_redacted(name):
            self._part = HashingFile(landing / f".part-{secrets.token_hex(8)}")
            return
        self._held = bytearray()
        if size is not None and size > LIMIT_BYTES:
            raise LimitExceededError(
                "a sidecar that has to be redacted is too large",
                subject=name,
                expected=f"at most {LIMIT_BYTES} B",
                found=f"{size} B",
            )

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append bytes.

        Raises:
            CorruptError: more than the manifest promises; nothing is kept.
            StoreUnavailableError: no space; nothing is kept.
        """
        limit = LIMIT_BYTES if self._size is None else self._size
        written = self._written + len(chunk)
        if written > limit:
            self.abort()
            raise self._mismatch("size", f"{limit} B", f"at least {written} B")
        self._written = written
        if self._held is not None:
            self._held += chunk
            return
        try:
            self._open_part().write(chunk)
        except BaseException:
            self.abort()
            raise

    def finish(self) -> Landed:
        """Check size and digest, bring the file to disk, and note it as stored.

        Raises:
            CorruptError: size or SHA-256 differ from the manifest; nothing is kept.
            StoreUnavailableError: no space; nothing is kept.
            WrongFormatError: a sidecar that cannot be redacted; nothing is kept.
        """
        try:
            if self._size is not None and self._written != self._size:
                raise self._mismatch("size", f"{self._size} B", f"{self._written} B")
            landed = self._land()
        finally:
            self.abort()
        self._stored(landed)
        return landed

    def abort(self) -> None:
        """Leave nothing behind; harmless after `finish` or twice."""
        self._held = None
        if self._part is not None:
            self._part.discard()
            self._part = None

    def _open_part(self) -> HashingFile:
        if self._part is None:
            raise WrongUseError("the file is finished or was given up", subject=self._name)
        return self._part

    def _land(self) -> Landed:
        if self._held is not None:
            content = bytes(self._held)
            found = hashlib.sha256(content).hexdigest()
            self._same(found)
            return land_sidecar(self._folder, self._name, content, found)
        part = self._open_part()
        found = part.hexdigest()
        self._same(found)
        part.sync()
        store_of(self._folder).put(part.path, self._folder / found, found, synced=True)
        return Landed(self._written, found)

    def _same(self, found: str) -> None:
        if found != self._sha256:
            raise self._mismatch("SHA-256", self._sha256, found)

    def _mismatch(self, what: str, expected: str, found: str) -> CorruptError:
        return CorruptError(
            f"the bytes received differ from the manifest: {what}",
            subject=self._name,
            expected=expected,
            found=found,
            next_step="send the file again",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.abort()


def land_sidecar(folder: Place, name: str, content: bytes, sha256: str) -> Landed:
    """Store a sidecar that may name a person, without the name, under its own digest."""
    kept = redact(content, name)
    own = hashlib.sha256(kept).hexdigest()
    store_of(folder).write(folder / own, kept, 0o600)
    return Landed(len(kept), own, sha256 if own != sha256 else None)


def copy_hashed(source: Path, target: Path, seen: SeenFiles | None = None) -> tuple[int, str]:
    """Copy a file once, hashing on the way; returns size and SHA-256.

    The last bytes are not on disk yet: see `fsync_path`.

    Args:
        source: The file.
        target: Must not exist.
        seen: Remembers what it hashed to.

    Raises:
        NotFoundError: the source vanished.
        StoreUnavailableError: no space for the target; nothing is kept.
    """
    try:
        reader = source.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise NotFoundError("the file vanished", subject=str(source)) from error
    with reader:
        begun_ns = 0 if seen is None else seen.clock()
        before = os.fstat(reader.fileno())
        copy = HashingFile(target)
        try:
            while count := reader.readinto(copy.room()):
                copy.took(count)
            sha256 = copy.hexdigest()
        except BaseException:
            copy.discard()
            raise
        copy.close()
        if seen is not None:
            seen.note(before, os.fstat(reader.fileno()), sha256, begun_ns)
    return copy.size, sha256
