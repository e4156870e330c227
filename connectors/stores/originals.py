"""The bytes as they were handed in: in quarantine until accepted, then in raw for good."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connectors.source import SourceFile
from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from connectors.stores.store import store_of
from schemas.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from connectors.stores.root import Root
    from connectors.stores.store import Place
    from schemas.quality import Reason


@dataclass(frozen=True, slots=True)
class Original:
    """One file of a recording.

    Attributes:
        place: Where it lies now.
        name / size / sha256 / sidecar: As it was received.
    """

    place: Place
    name: str
    size: int
    sha256: str
    sidecar: bool

    def local(self, folder: Path) -> SourceFile:
        """The same as a local file: itself, or a checked copy.

        Args:
            folder: Existing local folder for the copy of what lies in an object store.

        Raises:
            DamagedError: it has another SHA-256 than the one received.
        """
        path = store_of(self.place).local(self.place, folder, self.sha256)
        return SourceFile(path, self.name, self.size, self.sha256, self.sidecar)


def of(root: Root, engine: Engine, recording_id: str) -> list[Original]:
    """The files of a recording, data files first, then by name.

    Args:
        root: Where they lie.
        engine: The catalog.
        recording_id: Whose.

    Raises:
        DamagedError: one is in neither quarantine nor raw, or has another size.
        NotFoundError: no such recording.
    """
    with reading(engine) as connection:
        organisation = recordings.get(connection, recording_id)["organisation_id"]
        rows = recordings.files_of(connection, recording_id)
    return [
        Original(
            _lies(root, organisation, recording_id, row),
            row["name"],
            row["size"],
            row["sha256"],
            row["sidecar"],
        )
        for row in sorted(rows, key=lambda row: (row["sidecar"], row["name"]))
    ]


def _lies(root: Root, organisation: str, recording_id: str, row: dict[str, Any]) -> Place:
    for path in (
        root.quarantine(organisation, recording_id) / row["sha256"],
        root.raw(organisation, row["sha256"]),
    ):
        if path.is_file() and path.stat().st_size == row["size"]:
            return path
    raise DamagedError(
        "an original is missing or has another size",
        subject=f"file {row['name']} of recording {recording_id}",
        expected=f"{row['size']} B, SHA-256 {row['sha256']}",
        next_step="hand the recording in again",
    )


def promote(root: Root, engine: Engine, recording_id: str) -> None:
    """Give a recording's files their place in `raw/`, durably; those in quarantine stay for now.

    Nothing is copied on a folder, and an object store copies by itself. Safe to repeat, and after
    a crash in the middle.

    Raises:
        DamagedError: an original is missing.
        StoreUnavailableError: the disk is full, or the store does not answer.
    """
    with reading(engine) as connection:
        organisation = recordings.get(connection, recording_id)["organisation_id"]
    for original in of(root, engine, recording_id):
        target = root.raw(organisation, original.sha256)
        if original.place != target:
            root.store.copy(original.place, target)


def clear_quarantine(root: Root, organisation: str, recording_id: str) -> None:
    """Remove a recording's quarantine folder, once it is accepted and its files are in raw."""
    root.store.remove_tree(root.quarantine(organisation, recording_id))


def write_reasons(
    root: Root, organisation: str, recording_id: str, reasons: Sequence[Reason]
) -> Place:
    """Write `reasons.json` beside the bytes of a quarantined recording."""
    folder = root.quarantine(organisation, recording_id)
    root.store.make_folder(folder)
    document = {"recording_id": recording_id, "reasons": [r.as_json() for r in reasons]}
    path = folder / "reasons.json"
    root.store.write(path, (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode())
    return path
