"""Which files make one recording, in which order, and what its metadata.yaml declares."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import yaml

from schemas.errors import WrongFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from connectors.source import SourceFile

METADATA_BYTES: Final = 1 << 20
"""Largest metadata.yaml that is read."""
_ROOT: Final = "rosbag2_bagfile_information"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a metadata.yaml says.

    Attributes:
        paths: File names of the splits in order, without folders.
        messages: Messages per topic.
        formats: Serialization format per topic.
    """

    paths: tuple[str, ...] = ()
    messages: Mapping[str, int] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)


def read_declared(sidecars: Sequence[SourceFile]) -> Declared:
    """Parse the recording's metadata.yaml, if there is one.

    Raises:
        WrongFormatError: too large, or not what rosbag2 writes.
    """
    for sidecar in sidecars:
        if PurePosixPath(sidecar.name).name != "metadata.yaml":
            continue
        if sidecar.size > METADATA_BYTES:
            raise _wrong(sidecar, f"{sidecar.size} bytes", f"at most {METADATA_BYTES}")
        try:
            document = yaml.safe_load(sidecar.path.read_bytes())
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise _wrong(sidecar, type(error).__name__, "YAML") from error
        return _declared(sidecar, document)
    return Declared()


def _declared(sidecar: SourceFile, document: Any) -> Declared:
    try:
        bag = document[_ROOT]
        storage = str(bag.get("storage_identifier") or "mcap")
        paths = tuple(
            PurePosixPath(str(path)).name for path in bag.get("relative_file_paths") or ()
        )
        messages, formats = {}, {}
        for entry in bag.get("topics_with_message_count") or ():
            topic = entry["topic_metadata"]
            name = str(topic["name"])
            messages[name] = int(entry["message_count"])
            formats[name] = str(topic.get("serialization_format") or "")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _wrong(sidecar, f"{type(error).__name__}: {error}"[:200], _ROOT) from error
    if storage != "mcap":
        raise _wrong(sidecar, f"storage {storage[:40]!r}", "storage 'mcap'")
    return Declared(paths, messages, formats)


def _wrong(sidecar: SourceFile, found: str, expected: str) -> WrongFormatError:
    return WrongFormatError(
        "metadata.yaml does not describe this recording",
        subject=sidecar.name,
        expected=expected,
        found=found,
    )


def in_order(files: Sequence[SourceFile], declared: Declared) -> list[SourceFile]:
    """Files in the order of metadata.yaml; those it does not name follow by split number."""
    places = {name: place for place, name in enumerate(declared.paths)}

    def key(file: SourceFile) -> tuple[int, list[tuple[int, str]], str]:
        name = PurePosixPath(file.name).name
        return places.get(name, len(places)), _natural(file.name), file.sha256

    return sorted(files, key=key)


def missing(files: Sequence[SourceFile], declared: Declared) -> list[str]:
    """Splits that metadata.yaml names and that were not handed in."""
    given = {PurePosixPath(file.name).name for file in files}
    return [name for name in declared.paths if name not in given]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts split 10 behind split 9."""
    return [
        (int(part), "") if part.isdigit() else (-1, part)
        for part in re.split(r"([0-9]{1,18})", name)
    ]
