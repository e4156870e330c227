"""Durable files on a local folder: nothing is acknowledged before data and folder are on disk."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from schemas.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNAVAILABLE: Final = {errno.EIO, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE}
_NO_LINKS: Final = {errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK}


@contextmanager
def storing(path: object) -> Iterator[None]:
    """Turn a full or failing disk below this into `StoreUnavailableError`.

    Raises:
        StoreUnavailableError: no space, quota used up, input/output error or read-only.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StoreUnavailableError(
                "no space left to write", subject=str(path), next_step="free space, then try again"
            ) from error
        if error.errno in _UNAVAILABLE:
            raise StoreUnavailableError(
                "the disk does not take the bytes",
                subject=str(path),
                found=os.strerror(error.errno or 0),
            ) from error
        raise


def fsync_path(path: Path) -> None:
    """Bring a file's or folder's content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with storing(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents; each new entry is on disk when this returns."""
    missing: list[Path] = []
    folder = path
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        with storing(folder):
            folder.mkdir(exist_ok=True)
        fsync_path(folder.parent)


def write_durable(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a small file so that it is either wholly there or not at all; replaces an older one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with storing(path):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    fsync_path(path.parent)


def rename_durable(source: Path, target: Path) -> None:
    """Move a file whose content is already on disk; both folders are on disk afterwards."""
    with storing(target):
        source.rename(target)
    fsync_path(target.parent)
    if source.parent != target.parent:
        fsync_path(source.parent)


def link_durable(source: Path, target: Path) -> None:
    """Give a file whose content is already on disk a second name; an existing target stays.

    Where the file system has no hard links, the bytes are copied instead.
    """
    with storing(target):
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _copy(source, target)
    fsync_path(target.parent)


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        shutil.copyfile(source, temporary)
        fsync_path(temporary)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
