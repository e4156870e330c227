"""Which files below a folder belong together as one recording.

* A folder with a `metadata.yaml` (rosbag2) is one recording of the files that it lists.
* Numbered splits `NAME_0.mcap`, `NAME_1.mcap` … in one folder are one recording.
* Every other data file is one recording.

`metadata.yaml` and `meta.json` go along as sidecars. What a file is, is found later by content;
the endings here only keep licences and read-me files from being handed in.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import yaml

from schemas.errors import NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

SIDECARS: Final = frozenset({"metadata.yaml", "meta.json"})
_ENDINGS: Final = frozenset(
    {".mcap", ".db3", ".bag", ".mp4", ".mkv", ".h264", ".h265", ".hdf5", ".h5", ".dcm", ".ulg"}
)
_MAGICS: Final = (b"\x89MCAP0\r\n", b"#ROSBAG V", b"SQLite format 3\x00")
_SPLIT: Final = re.compile(r"(?P<stem>.+)_(?P<number>\d+)")
_METADATA_LIMIT: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """Files to hand in as one recording.

    Attributes:
        path: What to call it: the folder, or its only (or first) file.
        files: Data files, in their order.
        sidecars: Metadata beside them.
    """

    path: Path
    files: tuple[Path, ...]
    sidecars: tuple[Path, ...] = ()


def is_sidecar(name: str) -> bool:
    """Whether a file of that name is metadata beside the data, whatever the sender says."""
    return PurePosixPath(name).name in SIDECARS


def find_recordings(
    paths: Sequence[Path], note: Callable[[str], None] = lambda _text: None
) -> list[Candidate]:
    """Find the recordings at and below the paths, in a stable order.

    Args:
        paths: Files (each one recording, whatever its name) and folders (searched below;
            symbolic links in them are not followed).
        note: Told of every file that is left out, and why.

    Raises:
        NotFoundError: a path does not exist.
        WrongUseError: nothing is found below a folder.
    """
    found: list[Candidate] = []
    for path in paths:
        if path.is_dir():
            below = [c for folder in _folders(path) for c in _in_folder(folder, note)]
            if not below:
                raise WrongUseError(
                    "no recording in this folder",
                    subject=str(path),
                    expected="files such as " + ", ".join(sorted(_ENDINGS)),
                    next_step="name a file itself to hand it in whatever its ending",
                )
            found += below
        elif path.is_file():
            found.append(Candidate(path, (path,)))
        else:
            raise NotFoundError("no such file or folder", subject=str(path))
    unique: dict[tuple[Path, ...], Candidate] = {}
    for candidate in found:
        unique.setdefault(tuple(file.absolute() for file in candidate.files), candidate)
    return list(unique.values())


def _folders(top: Path) -> Iterable[Path]:
    for folder, below, _ in os.walk(top):
        below.sort()
        yield Path(folder)


def _in_folder(folder: Path, note: Callable[[str], None]) -> list[Candidate]:
    data: list[Path] = []
    sidecars: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file():
            note(f"{path}: left out, not a plain file")
        elif path.name in SIDECARS:
            sidecars.append(path)
        elif _is_data(path):
            data.append(path)
        else:
            note(f"{path}: left out, not a recording")
    if not data:
        for path in sidecars:
            note(f"{path}: left out, no recording beside it")
        return []
    listed: list[Path] = []
    if folder / "metadata.yaml" in sidecars:
        names = _listed(folder / "metadata.yaml")
        listed = [path for name in names for path in data if path.name == name] or data
    rest = [path for path in data if path not in listed]
    bag = [Candidate(folder, tuple(listed), tuple(sidecars))] if listed else []
    groups = _splits(rest)
    beside = () if bag or len(groups) > 1 else tuple(sidecars)
    return bag + [Candidate(group[0], group, beside) for group in groups]


def _is_data(path: Path) -> bool:
    if path.suffix.lower() in _ENDINGS:
        return True
    with path.open("rb") as file:
        return file.read(16).startswith(_MAGICS)


def _listed(metadata: Path) -> list[str]:
    # A metadata.yaml that cannot be read is the source's to judge, with all files of the folder.
    try:
        if metadata.stat().st_size > _METADATA_LIMIT:
            return []
        document = yaml.safe_load(metadata.read_bytes())
        names = document["rosbag2_bagfile_information"]["relative_file_paths"]
        return [PurePosixPath(str(name)).name for name in names]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return []


def _splits(paths: Sequence[Path]) -> list[tuple[Path, ...]]:
    numbered: dict[tuple[str, str], dict[int, Path]] = {}
    for path in paths:
        if match := _SPLIT.fullmatch(path.stem):
            numbered.setdefault((match["stem"], path.suffix), {})[int(match["number"])] = path
    groups: list[tuple[Path, ...]] = []
    grouped: set[Path] = set()
    for splits in numbered.values():
        if 0 in splits:
            group = tuple(splits[number] for number in sorted(splits))
            groups.append(group)
            grouped.update(group)
    groups += [(path,) for path in paths if path not in grouped]
    return sorted(groups)
