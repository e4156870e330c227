"""Copy the pictures that a release's frames show into one file per episode and camera."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from connectors.stores.durable import storing
from connectors.stores.store import store_of
from schemas.errors import DamagedError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    import pyarrow as pa
    from numpy.typing import NDArray

    from connectors.stores.store import Place, Reader

_CHUNK_BYTES: Final = 8 << 20
JPEG_START: Final = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Copied:
    """Pictures of one camera of one episode.

    Attributes:
        offset / size: Per frame: where its picture lies in the new file; 0 where it has none.
        pictures: Distinct pictures copied.
        size_total: Bytes of the new file.
        sizes: (width, height) pairs that occur.
    """

    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    pictures: int
    size_total: int
    sizes: frozenset[tuple[int, int]]


def copy_pictures(
    root: Place, pictures: pa.Table, index: NDArray[np.int64], target: Path
) -> Copied:
    """Write the pictures that frames use, each once, in the order of time.

    Args:
        root: Folder that `blob` paths start from.
        pictures: `samples.PICTURE_COLUMNS` per sample.
        index: Sample of each frame; -1 = none.
        target: File to write; its folder exists.

    Raises:
        DamagedError: a blob file ends before a picture does, or is missing.
    """
    used = np.unique(index[index >= 0])
    chosen = pictures.take(used)
    blobs = chosen["blob"].to_pylist()
    source_offset = chosen["offset"].to_numpy()
    sizes = chosen["size"].to_numpy()
    starts = np.zeros(len(used), np.int64)
    np.cumsum(sizes[:-1], out=starts[1:])
    with storing(target), target.open("xb") as out, ExitStack() as opened:
        readers: dict[str, Reader] = {}
        for first, stop in _runs(blobs, source_offset, sizes):
            length, offset, blob = (
                int(sizes[first:stop].sum()),
                int(source_offset[first]),
                blobs[first],
            )
            if blob not in readers:
                readers[blob] = opened.enter_context(closing(_open(root / blob, offset, length)))
            _copy_range(readers[blob], blob, offset, length, out)
    place = np.searchsorted(used, index)
    there = index >= 0
    place = np.where(there, place, 0)
    wide = zip(chosen["width"].to_pylist(), chosen["height"].to_pylist(), strict=True)
    return Copied(
        offset=np.where(there, starts[place], 0) if len(used) else np.zeros_like(index),
        size=np.where(there, sizes[place], 0) if len(used) else np.zeros_like(index),
        pictures=len(used),
        size_total=int(sizes.sum()),
        sizes=frozenset((w, h) for w, h in wide if w is not None and h is not None),
    )


def _runs(
    blobs: list[str], offset: NDArray[np.int64], size: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Stretches of pictures that lie one behind the other in one file."""
    if not blobs:
        return []
    names = np.array(blobs)
    breaks = (offset[1:] != offset[:-1] + size[:-1]) | (names[1:] != names[:-1])
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(blobs)]
    return list(pairwise(edges))


def _open(blob: Place, offset: int, length: int) -> Reader:
    try:
        return store_of(blob).reader(blob)
    except FileNotFoundError as error:
        raise _damaged(blob.name, offset, length) from error


def _copy_range(source: Reader, name: str, offset: int, length: int, out: BinaryIO) -> None:
    while length:
        chunk = source.read_at(offset, min(length, _CHUNK_BYTES))
        if not chunk:
            raise _damaged(name, offset, length)
        out.write(chunk)
        offset += len(chunk)
        length -= len(chunk)


def _damaged(name: str, offset: int, length: int) -> DamagedError:
    return DamagedError(
        "pictures are missing from their file",
        subject=name.rsplit("/", 1)[-1],
        expected=f"{length} bytes from {offset}",
        found="the end of the file, or no file",
        next_step="tanada lake verify",
    )


def is_jpeg(path: Path, offset: int) -> bool:
    """Whether a picture starts as a JPEG does."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(len(JPEG_START)) == JPEG_START
