"""The bytes as they were handed in: in quarantine until accepted, then in raw for good."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from connectors.source import SourceFile
from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from connectors.stores.durable import fsync_path, link_durable, make_folder, write_durable
from schemas.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from connectors.stores.root import Root
    from schemas.quality import Reason


def source_files(root: Root, engine: Engine, recording_id: str) -> list[SourceFile]:
    """The files of a recording where they lie now, data files first, then by name.

    Raises:
        DamagedError: one is in neither quarantine nor raw, or has another size.
        NotFoundError: no such recording.
    """
    with reading(engine) as connection:
        recording = recordings.get(connection, recording_id)
        rows = recordings.files_of(connection, recording_id)
    files = []
    for row in sorted(rows, key=lambda row: (row["sidecar"], row["name"])):
        path = _lies(root, recording["organisation_id"], recording_id, row)
        files.append(SourceFile(path, row["name"], row["size"], row["sha256"], row["sidecar"]))
    return files


def _lies(root: Root, organisation: str, recording_id: str, row: dict[str, Any]) -> Path:
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
    """Link a recording's files into `raw/`, durably; the ones in quarantine stay for now.

    Safe to repeat, and after a crash in the middle.

    Raises:
        DamagedError: an original is missing.
        StoreUnavailableError: the disk is full.
    """
    with reading(engine) as connection:
        organisation = recordings.get(connection, recording_id)["organisation_id"]
    for file in source_files(root, engine, recording_id):
        target = root.raw(organisation, file.sha256)
        make_folder(target.parent)
        if file.path != target:
            link_durable(file.path, target)


def clear_quarantine(root: Root, organisation: str, recording_id: str) -> None:
    """Remove a recording's quarantine folder, once it is accepted and its files are in raw."""
    folder = root.quarantine(organisation, recording_id)
    if folder.exists():
        shutil.rmtree(folder)
        fsync_path(folder.parent)


def write_reasons(
    root: Root, organisation: str, recording_id: str, reasons: Sequence[Reason]
) -> Path:
    """Write `reasons.json` beside the bytes of a quarantined recording."""
    folder = root.quarantine(organisation, recording_id)
    make_folder(folder)
    document = {"recording_id": recording_id, "reasons": [r.as_json() for r in reasons]}
    path = folder / "reasons.json"
    write_durable(path, (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode())
    return path
