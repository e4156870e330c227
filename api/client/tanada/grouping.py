"""Which local files are handed in together as one recording.

A folder with a `metadata.yaml` (rosbag2) is one recording of the files that it lists; numbered
splits `NAME_0.mcap`, `NAME_1.mcap` … are one; every other data file is one. `metadata.yaml` and
`meta.json` go along. The catalog judges by content: the endings only keep other files at home.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from tanada.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SIDECARS: Final = frozenset({"metadata.yaml", "meta.json"})
_ENDINGS: Final = frozenset(
    {".mcap", ".db3", ".bag", ".mp4", ".mkv", ".h264", ".h265", ".hdf5", ".h5", ".dcm", ".ulg"}
)
_MAGICS: Final = (b"\x89MCAP0\r\n", b"#ROSBAG V", b"SQLite format 3\x00")
_SPLIT: Final = re.compile(r"(?P<stem>.+)_(?P<number>\d+)")
_LISTED: Final = re.compile(r"(?P<indent> *)relative_file_paths:\s*(?P<inline>\[[^\]]*\])?\s*")
_ITEM: Final = re.compile(r" *- +(?P<name>.+?)\s*")
_METADATA_LIMIT: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one recording: what to call it, its data files in order, metadata beside them."""

    path: Path
    files: tuple[Path, ...]
    sidecars: tuple[Path, ...] = ()

    def name_of(self, file: Path) -> str:
        """Name of a file in the manifest: its path below the recording's folder, in NFC."""
        folder = self.path if self.path.is_dir() else self.path.parent
        return unicodedata.normalize("NFC", file.relative_to(folder).as_posix())


def find(paths: Sequence[Path], note: Callable[[str], None]) -> list[Group]:
    """Recordings at and below the paths, in a stable order.

    Args:
        paths: Files, each a recording whatever its ending, and folders, searched below.
        note: Told of every file that is left out.

    Raises:
        WrongUseError: a path does not exist, or nothing is found below it.
    """
    found: dict[tuple[Path, ...], Group] = {}
    for path in paths:
        groups = list(_at(path, note))
        if not groups:
            raise WrongUseError(
                f"no recording in {path}",
                next_step="name a file itself to hand it in whatever its ending",
            )
        for group in groups:
            found.setdefault(tuple(file.absolute() for file in group.files), group)
    return list(found.values())


def _at(path: Path, note: Callable[[str], None]) -> Iterator[Group]:
    if path.is_dir():
        for folder, below, _ in os.walk(path):
            below.sort()
            yield from _in_folder(Path(folder), note)
    elif path.is_file():
        yield Group(path, (path,))
    else:
        raise WrongUseError(f"no such file or folder: {path}")


def _in_folder(folder: Path, note: Callable[[str], None]) -> list[Group]:
    plain = [path for path in sorted(folder.iterdir()) if not path.is_dir()]
    data = [path for path in plain if _is_data(path)]
    sidecars = tuple(path for path in plain if path.name in SIDECARS and path.is_file())
    for path in plain:
        if path not in data and (path not in sidecars or not data):
            note(f"{path}: left out, not a recording")
    bag: list[Group] = []
    if data and folder / "metadata.yaml" in sidecars:
        names = listed_files(folder / "metadata.yaml")
        files = [path for name in names for path in data if path.name == name] or data
        bag = [Group(folder, tuple(files), sidecars)]
        data = [path for path in data if path not in files]
    groups = _splits(data)
    beside = () if bag or len(groups) > 1 else sidecars
    return bag + [Group(files[0], files, beside) for files in groups]


def _is_data(path: Path) -> bool:
    if path.is_symlink() or not path.is_file() or path.name in SIDECARS:
        return False
    if path.suffix.lower() in _ENDINGS:
        return True
    with path.open("rb") as file:
        return file.read(16).startswith(_MAGICS)


def listed_files(metadata: Path) -> list[str]:
    """File names under `relative_file_paths` of a rosbag2 `metadata.yaml`; none if unreadable.

    Reads the two forms in which rosbag2 and its tools write the list (a block of `- name` lines,
    or `[a, b]`), so that the client needs no YAML library.
    """
    try:
        if metadata.stat().st_size > _METADATA_LIMIT:
            return []
        lines = metadata.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    for number, line in enumerate(lines):
        if match := _LISTED.fullmatch(line):
            if match["inline"]:
                names = match["inline"].strip("[]").split(",")
            else:
                names = list(_block(lines[number + 1 :]))
            return [PurePosixPath(name.strip().strip("'\"")).name for name in names if name.strip()]
    return []


def _block(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        match = _ITEM.fullmatch(line)
        if match is None:
            return
        yield match["name"]


def _splits(paths: Sequence[Path]) -> list[tuple[Path, ...]]:
    numbered: dict[tuple[str, str], dict[int, Path]] = {}
    for path in paths:
        if match := _SPLIT.fullmatch(path.stem):
            numbered.setdefault((match["stem"], path.suffix), {})[int(match["number"])] = path
    groups = [
        tuple(splits[number] for number in sorted(splits))
        for splits in numbered.values()
        if 0 in splits
    ]
    grouped = {path for group in groups for path in group}
    return sorted(groups + [(path,) for path in paths if path not in grouped])
