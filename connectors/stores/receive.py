"""Receiving: bytes lie durably in quarantine, and the recording is registered as `received`.

A recording is known by its content: the same files again, renamed or not, are the same recording
and nothing is doubled. What contradicts what is registered is refused, with both sides named.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, update

from connectors.stores.catalog import parties, recordings
from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.models import Recording, RecordingFile, Robot
from connectors.stores.durable import fsync_path, storing
from connectors.stores.landing import FileWriter, Landed, copy_hashed, land_sidecar
from connectors.stores.manifest import (
    NAME_LIMIT,
    FileEntry,
    checked,
    distinct,
    document,
    plain_name,
)
from connectors.stores.redaction import is_redacted
from schemas.errors import ConflictError, NotFoundError
from schemas.ids import recording_id
from schemas.sectors import sector as known_sector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from connectors.stores.root import Root
    from connectors.stores.seen import SeenFiles

__all__ = ["FileEntry", "Received", "Receiver"]


@dataclass(frozen=True, slots=True)
class Received:
    """What became of handing a recording in.

    Attributes:
        recording_id: Derived from organisation and content.
        state: Its state now.
        duplicate: Whether it was registered before; then nothing more is wanted.
        missing: Names of the files whose bytes are wanted still.
    """

    recording_id: str
    state: str
    duplicate: bool
    missing: list[str]


class Receiver:
    """Takes recordings in.

    Args:
        root: Where bytes lie.
        engine: The catalog.
        clock: Nanoseconds UTC.
        seen: Remembers what local files hashed to.
    """

    def __init__(
        self,
        root: Root,
        engine: Engine,
        clock: Callable[[], int],
        seen: SeenFiles | None = None,
    ) -> None:
        self._root = root
        self._engine = engine
        self._clock = clock
        self._seen = seen

    def begin(
        self,
        organisation: str,
        files: Sequence[FileEntry],
        robot: str,
        agreement: str,
        *,
        sector: str | None = None,
        name: str = "",
        start_time_ns: int | None = None,
    ) -> Received:
        """Announce a recording by its manifest, or take up one whose bytes did not all arrive.

        Args:
            organisation: Who contributes it.
            files: Its manifest.
            robot: Robot of that organisation.
            agreement: Agreement of that organisation that is in force.
            sector: Default: the robot's.
            name: What it is called; metadata only. Default: the first data file's name.
            start_time_ns: Start of a recording without a clock of its own.

        Raises:
            ConflictError: the same files stand under another robot or agreement, or one of them
                belongs to another recording of that organisation; both are named.
            NotFoundError: no such organisation, robot or agreement (or not in force).
            WrongUseError: the manifest or sector is none.
        """
        entries = checked(files)
        data = [entry for entry in entries if not entry.sidecar]
        key = recording_id(organisation, [(entry.size, entry.sha256) for entry in data])
        with writing(self._engine, organisation) as connection:
            parties.require_organisation(connection, organisation)
            known = _existing(connection, key, robot, agreement)
            if known is not None and known["state"] != "receiving":
                return Received(key, known["state"], duplicate=True, missing=[])
            _refuse_shared(connection, organisation, key, [entry.sha256 for entry in data])
            if known is not None:
                return Received(
                    key, "receiving", duplicate=False, missing=_resume(connection, known, entries)
                )
            row = {
                "id": key,
                "organisation_id": organisation,
                "robot_id": robot,
                "agreement_id": agreement,
                "agreement_version": parties.active_agreement(connection, organisation, agreement),
                "sector": _sector(connection, organisation, robot, sector),
                "name": plain_name(name or data[0].name),
                "start_time_ns": start_time_ns,
                "bytes": sum(entry.size for entry in data),
                "received_ns": self._clock(),
            }
            recordings.register(connection, row, [asdict(entry) for entry in entries])
        return Received(key, "receiving", duplicate=False, missing=[e.name for e in entries])

    def writer(self, recording: str, organisation: str, name: str) -> FileWriter:
        """Take the bytes of one announced file.

        Raises:
            ConflictError: the recording is complete already.
            NotFoundError: no such recording of that organisation, or no such file in it.
        """
        with reading(self._engine, organisation) as connection:
            row = recordings.get(connection, recording, organisation)
            file = next(
                (f for f in recordings.files_of(connection, recording) if f["name"] == name), None
            )
        if file is None:
            raise NotFoundError(
                "no such file in the manifest", subject=f"{name[:200]} of recording {recording}"
            )
        if row["state"] != "receiving":
            raise ConflictError(
                "the recording is complete already",
                subject=f"recording {recording}",
                expected="receiving",
                found=row["state"],
            )
        folder = self._root.quarantine(organisation, recording)
        self._root.store.make_folder(folder)
        landing = self._root.store.landing(folder, self._root.staging)

        def stored(landed: Landed) -> None:
            with writing(self._engine, organisation) as connection:
                _mark(connection, recording, file["original_sha256"] or file["sha256"], landed)

        # Of a sidecar stored without a person's name, the size as sent is not kept.
        size = file["size"] if file["original_sha256"] is None else None
        sha256 = file["original_sha256"] or file["sha256"]
        return FileWriter(folder, name, size, sha256, stored, landing=landing)

    def complete(self, recording: str, organisation: str) -> str:
        """Register a recording whose bytes are all there as `received`; returns its state.

        Repeated, it answers the state that the recording has reached.

        Raises:
            ConflictError: bytes are missing (the files are named), or one of the files came with
                another recording in the meantime.
            NotFoundError: no such recording of that organisation.
        """
        state, _ = self._complete(recording, organisation)
        return state

    def receive_paths(
        self,
        organisation: str,
        paths: Sequence[Path],
        robot: str,
        agreement: str,
        *,
        sidecars: Sequence[Path] = (),
        sector: str | None = None,
        name: str = "",
        start_time_ns: int | None = None,
    ) -> Received:
        """Receive one recording from local files, each read once.

        Raises: as `begin`, and
            NotFoundError: a file vanished.
            StoreUnavailableError: no space left; nothing is registered.
            WrongFormatError: a `meta.json` that cannot be redacted.
        """
        with self._staging() as staging:
            landed = [
                Landed(*copy_hashed(path, staging / str(index), self._seen))
                for index, path in enumerate(paths)
            ]
            beside = [_stage_sidecar(staging, path) for path in sidecars]
            entries = [
                FileEntry(file.name, part.size, part.original_sha256 or part.sha256, sidecar=side)
                for side, group, parts in ((False, paths, landed), (True, sidecars, beside))
                for file, part in zip(group, parts, strict=True)
            ]
            begun = self.begin(
                organisation,
                distinct(entries),
                robot,
                agreement,
                sector=sector,
                name=(name or (str(paths[0]) if paths else ""))[-NAME_LIMIT:],
                start_time_ns=start_time_ns,
            )
            if begun.duplicate:
                return begun
            folder, store = (
                self._root.quarantine(organisation, begun.recording_id),
                self._root.store,
            )
            store.make_folder(folder)
            for index, part in enumerate(landed):
                store.put(staging / str(index), folder / part.sha256, part.sha256)
            for part in beside:
                store.put(staging / part.sha256, folder / part.sha256, part.sha256, synced=True)
            with writing(self._engine, organisation) as connection:
                for part in (*landed, *beside):
                    _mark(connection, begun.recording_id, part.original_sha256 or part.sha256, part)
            state, registered = self._complete(begun.recording_id, organisation)
            return replace(begun, state=state, duplicate=not registered, missing=[])

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        folder = self._root.staging / f"receive-{secrets.token_hex(8)}"
        with storing(folder):
            folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _complete(self, recording: str, organisation: str) -> tuple[str, bool]:
        with writing(self._engine, organisation) as connection:
            parties.require_organisation(connection, organisation)
            row = recordings.get(connection, recording, organisation)
            if row["state"] != "receiving":
                return str(row["state"]), False
            files = recordings.files_of(connection, recording)
            if missing := [file["name"] for file in files if not file["stored"]]:
                raise ConflictError(
                    "bytes are missing still",
                    subject=f"recording {recording}",
                    found=", ".join(missing)[:500],
                    next_step="send these files, then complete again",
                )
            data = [file["sha256"] for file in files if not file["sidecar"]]
            _refuse_shared(connection, organisation, recording, data)
            now_ns = self._clock()
            folder = self._root.quarantine(organisation, recording)
            self._root.store.write(folder / "manifest.json", document(row, files, now_ns))
            recordings.set_state(connection, recording, "received", received_ns=now_ns)
            detail = {"files": len(files), "bytes": row["bytes"]}
            recordings.add_step(connection, recording, "receive", now_ns, detail=detail)
        return "received", True


# --- local files -------------------------------------------------------------------------------


def _stage_sidecar(staging: Path, path: Path) -> Landed:
    if is_redacted(path.name):
        content = path.read_bytes()
        return land_sidecar(staging, path.name, content, hashlib.sha256(content).hexdigest())
    part = staging / f"sidecar-{secrets.token_hex(4)}"
    size, sha256 = copy_hashed(path, part)
    fsync_path(part)
    part.rename(staging / sha256)
    return Landed(size, sha256)


# --- the catalog's side ------------------------------------------------------------------------


def _existing(
    connection: Connection, key: str, robot: str, agreement: str
) -> dict[str, Any] | None:
    row = (
        connection.execute(select(*Recording.__table__.columns).where(Recording.id == key))
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    for what, column, given in (
        ("robot", "robot_id", robot),
        ("agreement", "agreement_id", agreement),
    ):
        if row[column] != given:
            raise ConflictError(
                f"the same files are registered under another {what}",
                subject=f"recording {key}",
                expected=f"{what} {row[column]}",
                found=f"{what} {given}",
                next_step=f"hand it in under {what} {row[column]}, or withdraw it first",
            )
    return dict(row)


def _refuse_shared(
    connection: Connection, organisation: str, key: str, digests: Sequence[str]
) -> None:
    # One that is only announced does not own its files yet: the first to complete does.
    row = connection.execute(
        select(RecordingFile.recording_id, RecordingFile.sha256)
        .join(Recording, Recording.id == RecordingFile.recording_id)
        .where(
            RecordingFile.organisation_id == organisation,
            RecordingFile.sha256.in_(digests),
            RecordingFile.sidecar.is_(False),
            RecordingFile.recording_id != key,
            Recording.state != "receiving",
        )
        .limit(1)
    ).first()
    if row is not None:
        raise ConflictError(
            "a data file belongs to another recording already",
            subject=f"file {row.sha256}",
            expected=f"recording {row.recording_id}",
            found=f"recording {key}",
            next_step="hand in the same files together as before, or withdraw that recording",
        )


def _sector(connection: Connection, organisation: str, robot: str, given: str | None) -> str:
    row = connection.execute(
        select(Robot.sector, Robot.state).where(
            Robot.id == robot, Robot.organisation_id == organisation
        )
    ).first()
    if row is None or row.state != "active":
        raise NotFoundError(
            "no such active robot",
            subject=f"robot {robot} of {organisation}",
            next_step="tanada robot list, or tanada robot add",
        )
    return known_sector(given).id if given else str(row.sector)


def _resume(
    connection: Connection, known: dict[str, Any], entries: Sequence[FileEntry]
) -> list[str]:
    """Take the newer manifest, and keep what is stored of the older one."""
    stored = {
        file["original_sha256"] or file["sha256"]: file
        for file in recordings.files_of(connection, known["id"])
        if file["stored"]
    }
    connection.execute(delete(RecordingFile).where(RecordingFile.recording_id == known["id"]))
    rows = []
    for entry in entries:
        kept = ("size", "sha256", "original_sha256", "stored")
        file = stored.get(entry.sha256, {})
        rows.append(
            asdict(entry)
            | {"original_sha256": None, "stored": False}
            | {column: file[column] for column in kept if column in file}
        )
    recordings.add_files(connection, known["id"], known["organisation_id"], rows)
    return [row["name"] for row in rows if not row["stored"]]


def _mark(connection: Connection, recording: str, sent_sha256: str, landed: Landed) -> None:
    connection.execute(
        update(RecordingFile)
        .where(
            RecordingFile.recording_id == recording,
            func.coalesce(RecordingFile.original_sha256, RecordingFile.sha256) == sent_sha256,
        )
        .values(
            sha256=landed.sha256,
            size=landed.size,
            original_sha256=landed.original_sha256,
            stored=True,
        )
    )
