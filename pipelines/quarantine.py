"""What was refused: look at it, and have it tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading, writing
from schemas.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.cli.platform import Platform

RETRIABLE = frozenset({"quarantined", "failed"})


@dataclass(frozen=True, slots=True)
class Refused:
    """One recording that was refused, as lists show it."""

    recording_id: str
    organisation: str
    name: str
    state: str
    reasons: list[dict[str, Any]]
    bytes: int
    decided_ns: int | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


def refused(platform: Platform, organisation: str | None = None) -> Iterator[Refused]:
    """All quarantined and parked recordings, newest first."""
    for state in sorted(RETRIABLE, reverse=True):
        cursor = None
        while True:
            with reading(platform.engine) as connection:
                page = recordings.listing(
                    connection, organisation=organisation, state=state, cursor=cursor, limit=500
                )
            for row in page.items:
                yield _refused(row)
            cursor = page.next_cursor
            if cursor is None:
                break


def show(platform: Platform, recording_id: str) -> dict[str, Any]:
    """One refused recording with its files and steps.

    Raises:
        NotFoundError: no such recording.
    """
    with reading(platform.engine) as connection:
        row = recordings.get(connection, recording_id)
        files = recordings.files_of(connection, recording_id)
        steps = recordings.steps_of(connection, recording_id)
    folder = platform.root.quarantine(row["organisation_id"], recording_id)
    return _refused(row).as_json() | {
        "attempts": row["attempts"],
        "folder": str(folder),
        "files": [{k: f[k] for k in ("name", "size", "sha256", "sidecar")} for f in files],
        "steps": [{k: s[k] for k in ("step", "at_ns", "worker", "detail")} for s in steps],
    }


def retry(platform: Platform, recording_id: str) -> None:
    """Have a refused recording decoded and checked once more, by the next worker or ingest.

    Raises:
        ConflictError: it was not refused.
        NotFoundError: no such recording.
    """
    with writing(platform.engine) as connection:
        row = recordings.get(connection, recording_id)
        if row["state"] not in RETRIABLE:
            raise ConflictError(
                "only what was refused can be tried again",
                subject=f"recording {recording_id}",
                expected=" or ".join(sorted(RETRIABLE)),
                found=row["state"],
            )
        recordings.set_state(
            connection, recording_id, "received", attempts=0, reasons=[], decided_ns=None
        )
        recordings.add_step(connection, recording_id, "retry", platform.clock())


def _refused(row: dict[str, Any]) -> Refused:
    return Refused(
        recording_id=row["id"],
        organisation=row["organisation_id"],
        name=row["name"],
        state=row["state"],
        reasons=row["reasons"],
        bytes=row["bytes"],
        decided_ns=row["decided_ns"],
    )
