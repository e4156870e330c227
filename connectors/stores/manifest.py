"""A recording's manifest: which files it consists of, as the contributor names them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from connectors.stores.grouping import is_sidecar
from schemas.errors import WrongUseError
from schemas.ids import SHA256_PATTERN

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_LIMIT: Final = 1000
_FILES_LIMIT: Final = 10_000
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One line of a recording's manifest.

    Attributes:
        name: Name or relative path, as the contributor calls it; metadata only.
        size: Bytes.
        sha256: Lower-case hex digest.
        sidecar: Metadata beside the data. `metadata.yaml` and `meta.json` always are.
    """

    name: str
    size: int
    sha256: str
    sidecar: bool = False


def checked(files: Sequence[FileEntry]) -> list[FileEntry]:
    """The manifest with plain names and with sidecars recognised.

    Raises:
        WrongUseError: no data file, too many files, a name twice, or an entry that is none.
    """
    if len(files) > _FILES_LIMIT:
        raise WrongUseError(
            "too many files for one recording", expected=f"≤ {_FILES_LIMIT}", found=str(len(files))
        )
    entries = [
        replace(file, name=plain_name(file.name), sidecar=file.sidecar or is_sidecar(file.name))
        for file in files
    ]
    for entry in entries:
        if entry.size < 0 or not SHA256_PATTERN.fullmatch(entry.sha256):
            raise WrongUseError(
                "a manifest entry needs a size and a lower-case hex SHA-256", subject=entry.name
            )
    if doubled := [name for name, n in Counter(e.name for e in entries).items() if n > 1]:
        raise WrongUseError("a name stands twice in the manifest", subject=", ".join(doubled)[:300])
    if all(entry.sidecar for entry in entries):
        raise WrongUseError("a recording needs at least one data file")
    return entries


def plain_name(name: str) -> str:
    """A name in Unicode's composed form, as it is stored; never used as a path.

    Raises:
        WrongUseError: empty, too long, or with control characters.
    """
    # A file system's name may hold bytes that are no UTF-8; no database takes them.
    plain = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    if not plain.strip() or len(plain) > NAME_LIMIT or _CONTROL.search(plain):
        raise WrongUseError(
            "not usable as a file's name",
            subject=repr(plain[:80]),
            expected=f"1 to {NAME_LIMIT} characters, no control characters",
        )
    return plain


def distinct(entries: Sequence[FileEntry]) -> list[FileEntry]:
    """Files of several folders may share a name: the later ones get a number before it."""
    seen: Counter[str] = Counter()
    named = []
    for entry in entries:
        seen[entry.name] += 1
        number = seen[entry.name]
        named.append(entry if number == 1 else replace(entry, name=f"{number}/{entry.name}"))
    return named


def document(row: dict[str, Any], files: list[dict[str, Any]], now_ns: int) -> bytes:
    """`manifest.json`, which lies beside the bytes: enough to register the recording anew."""
    keys = ("organisation_id", "robot_id", "agreement_id", "agreement_version", "sector", "name")
    content = {
        "recording_id": row["id"],
        **{key: row[key] for key in (*keys, "start_time_ns")},
        "received_ns": now_ns,
        "files": [
            {key: file[key] for key in ("name", "size", "sha256", "sidecar", "original_sha256")}
            for file in files
        ],
    }
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
