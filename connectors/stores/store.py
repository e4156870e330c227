"""What the platform needs of a place that keeps bytes; a folder and an object store give it.

A place is a `pathlib.Path` of a folder, or an `ObjectPath` of a bucket: both can be walked, listed
and read in the same way. What has to be durable, conditional or moved goes through the `Store`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from connectors.stores.folder import FOLDER
from connectors.stores.object_path import ObjectPath

if TYPE_CHECKING:
    from collections.abc import Mapping


Place: TypeAlias = Path | ObjectPath
SCHEME: Final = "s3://"
_P_contra = TypeVar("_P_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Access:
    """How an object store is reached, and what a root in one keeps on this machine.

    Attributes:
        endpoint: URL of the store; "" = Amazon's own.
        access_key / secret_key: Credentials.
        region: Region of the bucket.
        secret_key_file: Local file with the pepper of keys and pseudonyms: it never lies in the
            bucket, whose readers would then hold it together with the hashes.
        scratch: Local folder for work in progress; None = one below the system's temporary folder.
    """

    endpoint: str = ""
    access_key: str = ""
    secret_key: str = ""
    region: str = "us-east-1"
    secret_key_file: str | None = None
    scratch: str | None = None

    def __repr__(self) -> str:
        secret = {"access_key", "secret_key"}
        shown = (
            f"{f.name}={'***' if f.name in secret else repr(getattr(self, f.name))}"
            for f in fields(self)
        )
        return f"Access({', '.join(shown)})"


class Reader(Protocol):
    """A file opened for ranged reads.

    Attributes:
        size: Bytes of the file when it was opened.
    """

    size: int

    def read_at(self, position: int, size: int) -> bytes:
        """Bytes from a position; fewer at the end of the file only.

        Raises:
            StoreUnavailableError: the store does not answer.
        """

    def close(self) -> None:
        """Give it back; harmless twice."""


class Store(Protocol[_P_contra]):
    """One kind of store; `_P_contra` is its kind of place.

    Every method that writes returns when the bytes are durable, unless it says otherwise, and
    raises `StoreUnavailableError` where the store does not take them now.
    """

    def make_folder(self, place: _P_contra) -> None:
        """Make a folder with its parents, where the store has folders at all."""

    def write(self, place: _P_contra, content: bytes, mode: int = 0o644) -> None:
        """Write a small file wholly or not at all; replaces an older one."""

    def put(self, source: Path, place: _P_contra, sha256: str, *, synced: bool = False) -> None:
        """Store a local file, which stays where it is; an equal one that is there may stay.

        Args:
            source: The local file.
            place: Where to.
            sha256: Of its content; a store behind a network checks it on the way.
            synced: Whether its content is on the local disk already.
        """

    def move_in(self, source: Path, place: _P_contra, sha256: str) -> None:
        """Store a local file, which is gone afterwards; `sync` its new folder in the end."""

    def move_tree_in(self, folder: Path, place: _P_contra, files: Mapping[str, str]) -> None:
        """Store a local folder of files that are on disk already; it is gone afterwards.

        Args:
            folder: The local folder.
            place: Where to; nothing lies there.
            files: Path below it -> SHA-256, in the order in which they should appear.
        """

    def copy(self, source: _P_contra, place: _P_contra) -> None:
        """Give stored bytes a second place; an existing one may stay."""

    def rename(self, source: _P_contra, place: _P_contra) -> None:
        """Move a stored file to another place."""

    def remove_tree(self, place: _P_contra) -> None:
        """Remove everything below a place; it may be gone already."""

    def sync(self, place: _P_contra) -> None:
        """Bring a file or folder to disk that something else wrote."""

    def local(self, place: _P_contra, folder: Path, sha256: str) -> Path:
        """A stored file as a local one: itself, or a checked copy in an existing local folder.

        Raises:
            DamagedError: the copy has another SHA-256.
            FileNotFoundError: there is no such file.
        """

    def landing(self, place: _P_contra, scratch: Path) -> Path:
        """Local folder where a file may be written before it is `put` at a place."""

    def reader(self, place: _P_contra) -> Reader:
        """Open a file for ranged reads; a folder follows no link at its end.

        Raises:
            OSError: there is no such file.
        """

    def delta(self, place: _P_contra) -> tuple[str, dict[str, str]]:
        """URI and storage options of a Delta table for delta-rs."""

    def arrow(self, place: _P_contra) -> Any:
        """What `pyarrow` opens to read one file at random."""

    def arrow_files(self, place: _P_contra) -> Any:
        """Arrow file system whose root is a folder of the store."""


def store_of(place: Place) -> Store[Any]:
    """The store that a place belongs to."""
    return FOLDER if isinstance(place, Path) else place.store


def below(place: Place, folder: Place) -> str:
    """The path from a folder down to a place in it, with `/`.

    Raises:
        ValueError: it does not lie below it.
    """
    text = str(place)
    if not text.startswith(f"{folder}/"):
        raise ValueError(f"{place} is not below {folder}")
    return text[len(f"{folder}/") :]


def matching(folder: Place, pattern: str) -> list[Place]:
    """Files below a folder whose path fits a shell pattern, sorted."""
    found: list[Place] = list(folder.glob(pattern))
    return sorted(found, key=str)
