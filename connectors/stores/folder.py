"""A local folder as a store: temporary name, fsync, rename; links instead of copies."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Final

from connectors.stores.durable import (
    fsync_path,
    link_durable,
    make_folder,
    rename_durable,
    storing,
    write_durable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Folder:
    """The local file system; see `connectors.stores.store.Store` for what each method does.

    Local files that are put into it have to lie on the same file system.
    """

    def make_folder(self, place: Path) -> None:
        """Each new entry is on disk when this returns."""
        make_folder(place)

    def write(self, place: Path, content: bytes, mode: int = 0o644) -> None:
        """Temporary name, fsync, rename."""
        write_durable(place, content, mode)

    def put(self, source: Path, place: Path, sha256: str, *, synced: bool = False) -> None:
        """A second name for the same bytes."""
        del sha256
        if not synced:
            fsync_path(source)
        link_durable(source, place)

    def move_in(self, source: Path, place: Path, sha256: str) -> None:
        """Rename, once its content is on disk."""
        del sha256
        make_folder(place.parent)
        fsync_path(source)
        with storing(place):
            source.rename(place)

    def move_tree_in(self, folder: Path, place: Path, files: Mapping[str, str]) -> None:
        """Rename the folder whole."""
        del files
        rename_durable(folder, place)

    def copy(self, source: Path, place: Path) -> None:
        """A second name for the same bytes."""
        make_folder(place.parent)
        link_durable(source, place)

    def rename(self, source: Path, place: Path) -> None:
        """Rename; both folders are on disk afterwards."""
        make_folder(place.parent)
        rename_durable(source, place)

    def remove_tree(self, place: Path) -> None:
        """Remove a folder; its parent is on disk afterwards."""
        if place.exists():
            shutil.rmtree(place)
            fsync_path(place.parent)

    def sync(self, place: Path) -> None:
        """Sync the file or the folder's entries."""
        fsync_path(place)

    def local(self, place: Path, folder: Path, sha256: str) -> Path:
        """The file itself."""
        del folder, sha256
        return place

    def landing(self, place: Path, scratch: Path) -> Path:
        """The folder that the file goes into, so that it can be linked."""
        del scratch
        return place

    def reader(self, place: Path) -> DescriptorReader:
        """An open descriptor."""
        return DescriptorReader(place)

    def delta(self, place: Path) -> tuple[str, dict[str, str]]:
        """Its path, and no options."""
        return str(place), {}

    def arrow(self, place: Path) -> Any:
        """The path."""
        return place

    def arrow_files(self, place: Path) -> Any:
        """The local file system below the folder."""
        import pyarrow.fs as pf

        return pf.SubTreeFileSystem(str(place), pf.LocalFileSystem())


class DescriptorReader:
    """A file read by `pread`.

    Args:
        path: The file; a link is refused.

    Attributes:
        size: Bytes when it was opened.

    Raises:
        OSError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        self.size = os.fstat(self._descriptor).st_size

    def read_at(self, position: int, size: int) -> bytes:
        """Bytes from a position; fewer at the end of the file only."""
        return os.pread(self._descriptor, size, position)

    def close(self) -> None:
        """Close the descriptor; harmless twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


FOLDER: Final = Folder()
