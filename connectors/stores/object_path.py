"""A place in a bucket that is walked, listed and read as a `pathlib.Path` is.

Only what the platform uses of that interface. A folder is a prefix: it exists while something
lies below it. What is missing raises `FileNotFoundError`, as a folder's files do.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from connectors.stores.bucket import Bucket

_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Stat:
    """What is known of an object.

    Attributes:
        st_size: Bytes.
        st_mtime_ns: When it was written, ns UTC.
    """

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True, slots=True, order=True)
class ObjectPath:
    """One key, or the prefix of keys below it.

    Attributes:
        key: Segments joined by `/`, without one at either end.
        store: The bucket.
    """

    key: str
    store: Bucket = field(repr=False, compare=False)
    _listed: Stat | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"s3://{self.store.bucket}/{self.key}"

    def __truediv__(self, name: str | PurePosixPath) -> ObjectPath:
        segments = str(name).split("/")
        if any(segment in {"", ".", ".."} for segment in segments):
            raise ValueError(f"not a path below {self}: {name!r}")
        return ObjectPath(f"{self.key}/{name}" if self.key else str(name), self.store)

    @property
    def name(self) -> str:
        """The last segment."""
        return self.key.rsplit("/", 1)[-1]

    @property
    def parts(self) -> tuple[str, ...]:
        """All segments."""
        return tuple(self.key.split("/"))

    @property
    def suffix(self) -> str:
        """The last segment's ending, with its dot."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> ObjectPath:
        """The place that this one lies in."""
        return ObjectPath(self.key.rpartition("/")[0], self.store)

    def with_name(self, name: str) -> ObjectPath:
        """A place beside this one."""
        return self.parent / name

    def relative_to(self, other: ObjectPath) -> PurePosixPath:
        """The path from another place down to this one.

        Raises:
            ValueError: it does not lie below it.
        """
        return PurePosixPath(self.key).relative_to(PurePosixPath(other.key))

    def is_relative_to(self, other: ObjectPath) -> bool:
        """Whether this one lies below another place."""
        return PurePosixPath(self.key).is_relative_to(PurePosixPath(other.key))

    def stat(self) -> Stat:
        """Size and age; as listed, where it came from a listing.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return self._listed or self.store.stat(self)

    def is_file(self) -> bool:
        """Whether there is an object of this key."""
        try:
            self.store.stat(self)
        except FileNotFoundError:
            return False
        return True

    def exists(self) -> bool:
        """Whether there is an object of this key, or one below it."""
        return self.is_file() or next(self.store.listing(f"{self.key}/", limit=1), None) is not None

    def iterdir(self) -> Iterator[ObjectPath]:
        """What lies directly in it, objects and prefixes."""
        yield from self.store.listing(f"{self.key}/", recursive=False)

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects below it whose path fits; prefixes are none."""
        fixed = []
        for segment in pattern.split("/"):
            if _WILD.search(segment):
                fixed.append(_WILD.split(segment, maxsplit=1)[0])
                break
            fixed.append(segment)
        fits = re.compile(_expression(pattern)).fullmatch
        for found in self.store.listing(f"{self.key}/" + "/".join(fixed)):
            if fits(found.relative_to(self).as_posix()):
                yield found

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Objects at any depth below it whose name fits."""
        yield from self.glob(f"**/{pattern}")

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open it for reading at random.

        Raises:
            FileNotFoundError: there is no such object.
        """
        if mode != "rb":
            raise ValueError(f"objects are opened for reading only, not {mode!r}")
        return cast("BinaryIO", io.BufferedReader(_Raw(self), 1 << 20))

    def read_bytes(self) -> bytes:
        """The whole content.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return self.store.read(self)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole content as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> int:
        """Put a small object, which replaces an older one."""
        self.store.write(self, content)
        return len(content)

    def write_text(self, content: str, encoding: str = "utf-8") -> int:
        """Put a small object of text."""
        return self.write_bytes(content.encode(encoding))

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the object.

        Raises:
            FileNotFoundError: there is none.
        """
        if not missing_ok:
            self.store.stat(self)
        self.store.delete(self)

    def mkdir(self, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a prefix is there when something lies below it."""
        del mode, parents, exist_ok


class _Raw(io.RawIOBase):
    """An object as a seekable raw stream."""

    def __init__(self, place: ObjectPath) -> None:
        super().__init__()
        self._reader = place.store.reader(place)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reader.size}
        self._position = max(0, start[whence] + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        content = self._reader.read_at(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def _expression(pattern: str) -> str:
    """A shell pattern as a regular expression; `**` is any number of segments."""
    parts = []
    for segment in pattern.split("/"):
        if segment == "**":
            parts.append("(?:[^/]+/)*")
            continue
        text = re.escape(segment).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        parts.append(text + "/")
    return "".join(parts).removesuffix("/")
