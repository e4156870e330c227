"""The bytes as they were handed in: in quarantine until accepted, then in raw for good."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from connectors.source import SourceFile
from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from schemas.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from connectors.stores.root import Root
    from connectors.stores.store import Place
    from schemas.quality import Reason


def source_files(root: Root, engine: Engine, recording_id: str, folder: Path) -> list[SourceFile]:
    """The files of a recording as local files, data files first, then by name.

    Args:
        root: Where they lie.
        engine: The catalog.
        recording_id: Whose.
        folder: Existing local folder for copies of what lies in an object store.

    Raises:
        DamagedError: one is in neither quarantine nor raw, or has another size or content.
        NotFoundError: no such recording.
    """
    files = []
    for row, place in _originals(root, engine, recording_id):
        path = root.store.local(place, folder, row["sha256"])
        files.append(SourceFile(path, row["name"], row["size"], row["sha256"], row["sidecar"]))
    return files


def _originals(
    root: Root, engine: Engine, recording_id: str
) -> Iterator[tuple[dict[str, Any], Place]]:
    with reading(engine) as connection:
        recording = recordings.get(connection, recording_id)
        rows = recordings.files_of(connection, recording_id)
    for row in sorted(rows, key=lambda row: (row["sidecar"], row["name"])):
        yield row, _lies(root, recording["organisation_id"], recording_id, row)


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
    for row, place in _originals(root, engine, recording_id):
        target = root.raw(organisation, row["sha256"])
        if place != target:
            root.store.copy(place, target)


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
