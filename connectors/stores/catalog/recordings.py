"""Recordings in the catalog: states, steps, leases, and where their data went.

States: receiving → received → leased → (planned) → accepted | accepted_with_warnings |
quarantined; `failed` after too many attempts; `withdrawn` once taken out.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, insert, or_, select, tuple_, update

from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.models import (
    Delivery,
    Recording,
    RecordingFile,
    RecordingStep,
    Release,
    ReleaseRecording,
)
from schemas.errors import NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine

STATES: Final = (
    "receiving",
    "received",
    "leased",
    "planned",
    "accepted",
    "accepted_with_warnings",
    "quarantined",
    "failed",
    "withdrawn",
)
DECIDED: Final = frozenset({"accepted", "accepted_with_warnings", "quarantined", "withdrawn"})
"""States in which handing a recording in again changes nothing."""
_LOOKUP: Final = 500


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    # Databases cap the parameters of one statement.
    return (keys[at : at + _LOOKUP] for at in range(0, len(keys), _LOOKUP))


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `next_cursor` is None on the last one."""

    items: list[dict[str, Any]]
    next_cursor: str | None


def register(
    connection: Connection, row: Mapping[str, Any], files: Iterable[Mapping[str, Any]]
) -> None:
    """Insert a recording in state `receiving` and its files.

    Args:
        connection: Open transaction.
        row: Columns of `models.Recording`, without the state.
        files: Columns of `models.RecordingFile`, without recording and organisation.
    """
    connection.execute(insert(Recording).values(state="receiving", **row))
    add_files(connection, row["id"], row["organisation_id"], files)


def add_files(
    connection: Connection,
    recording_id: str,
    organisation: str,
    files: Iterable[Mapping[str, Any]],
) -> None:
    """Insert the files of a recording."""
    rows = [
        {"recording_id": recording_id, "organisation_id": organisation, **file} for file in files
    ]
    connection.execute(insert(RecordingFile), rows)


def set_state(connection: Connection, recording_id: str, state: str, **values: Any) -> None:
    """Change a recording's state and other columns; a final state ends its lease.

    Raises:
        NotFoundError: no such recording.
        WrongUseError: no such state.
    """
    _require_state(state)
    if state != "leased":
        values = {"lease_owner": None, "lease_until_ns": None} | values
    changed = connection.execute(
        update(Recording).where(Recording.id == recording_id).values(state=state, **values)
    )
    if changed.rowcount != 1:
        raise NotFoundError("no such recording", subject=f"recording {recording_id}")


def add_step(
    connection: Connection,
    recording_id: str,
    step: str,
    at_ns: int,
    worker: str = "",
    *,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Note one thing that happened to a recording."""
    row = {"recording_id": recording_id, "step": step, "at_ns": at_ns, "worker": worker}
    add_steps(connection, [row | {"detail": dict(detail or {})}])


def add_steps(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Note what happened to several recordings, in this order, as one statement.

    Args:
        connection: Open transaction.
        rows: Columns of `models.RecordingStep` but its number; all have the same ones.
    """
    if rows:
        connection.execute(insert(RecordingStep), list(rows))


def change_states(connection: Connection, was: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Change state and other columns of those recordings that are in one state, and end leases.

    Two statements for every 500 recordings, whatever their number.

    Args:
        connection: Open transaction that writes.
        was: State that they have to be in; others stay as they are.
        rows: `id`, `state` and other columns of `models.Recording`; all have the same ones.

    Returns:
        Ids of those that were changed, in the order given.

    Raises:
        WrongUseError: no such state.
    """
    for state in sorted({row["state"] for row in rows}):
        _require_state(state)
    table = Recording.__table__
    found = {
        key
        for part in _parts([row["id"] for row in rows])
        for key in connection.execute(
            select(Recording.id).where(Recording.id.in_(part), Recording.state == was)
        ).scalars()
    }
    changed = [row for row in rows if row["id"] in found]
    ended = {"lease_owner": None, "lease_until_ns": None}
    values = [
        {("key" if name == "id" else name): value for name, value in row.items()} | ended
        for row in changed
    ]
    if values:
        connection.execute(update(Recording).where(table.c.id == bindparam("key")), values)
    return [row["id"] for row in changed]


def _require_state(state: str) -> None:
    if state not in STATES:
        raise WrongUseError("no such state", found=state[:40], expected=", ".join(STATES))


# --- leases ------------------------------------------------------------------------------------


def lease(
    engine: Engine,
    worker: str,
    limit: int,
    now_ns: int,
    lease_ns: int,
    *,
    only: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Take waiting recordings for one worker: received, or leased by one whose lease ran out.

    All are of one organisation (that of the oldest), because a batch never mixes rivals.

    Args:
        engine: The catalog.
        worker: Name of the worker; stands in `lease_owner`.
        limit: Most recordings to take.
        now_ns: Now.
        lease_ns: How long the worker holds them unless it renews.
        only: Of these recordings, at most 500; None = of all.

    Returns:
        Rows of `models.Recording` after the change, oldest first; each with one attempt more.
    """
    waiting = or_(
        Recording.state == "received",
        and_(Recording.state == "leased", Recording.lease_until_ns <= now_ns),
    )
    if only is not None:
        waiting = and_(waiting, Recording.id.in_(only))
    order = (Recording.received_ns, Recording.id)
    with writing(engine) as connection:
        oldest = connection.execute(
            select(Recording.organisation_id).where(waiting).order_by(*order).limit(1)
        ).scalar_one_or_none()
        if oldest is None:
            return []
        ids = list(
            connection.execute(
                select(Recording.id)
                .where(waiting, Recording.organisation_id == oldest)
                .order_by(*order)
                .limit(limit)
            ).scalars()
        )
        for part in _parts(ids):
            connection.execute(
                update(Recording)
                .where(Recording.id.in_(part))
                .values(
                    state="leased",
                    lease_owner=worker,
                    lease_until_ns=now_ns + lease_ns,
                    attempts=Recording.attempts + 1,
                )
            )
        rows = [
            dict(row)
            for part in _parts(ids)
            for row in connection.execute(
                select(*Recording.__table__.columns).where(Recording.id.in_(part))
            ).mappings()
        ]
    return sorted(rows, key=lambda row: (row["received_ns"], row["id"]))


def renew_lease(
    connection: Connection, worker: str, recording_ids: Sequence[str], until_ns: int
) -> list[str]:
    """Hold recordings longer; returns those that this worker does hold still."""
    held = _held(connection, worker, recording_ids)
    for part in _parts(held):
        connection.execute(
            update(Recording).where(Recording.id.in_(part)).values(lease_until_ns=until_ns)
        )
    return held


def release_lease(
    connection: Connection,
    worker: str,
    recording_ids: Sequence[str],
    *,
    count_attempt: bool = True,
) -> list[str]:
    """Give recordings back as `received`; returns those that this worker did hold.

    Args:
        connection: Open transaction.
        worker: Who held them.
        recording_ids: Which.
        count_attempt: False where the recording is not to blame (no validator, database busy).
    """
    held = _held(connection, worker, recording_ids)
    attempts = Recording.attempts if count_attempt else Recording.attempts - 1
    for part in _parts(held):
        connection.execute(
            update(Recording)
            .where(Recording.id.in_(part))
            .values(state="received", lease_owner=None, lease_until_ns=None, attempts=attempts)
        )
    return held


def _held(connection: Connection, worker: str, recording_ids: Sequence[str]) -> list[str]:
    return [
        key
        for part in _parts(recording_ids)
        for key in connection.execute(
            select(Recording.id).where(
                Recording.id.in_(part),
                Recording.state == "leased",
                Recording.lease_owner == worker,
            )
        ).scalars()
    ]


# --- looking up --------------------------------------------------------------------------------


def known(engine: Engine, recording_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the catalog knows of these recordings, by id; unknown ones are absent."""
    columns = (
        Recording.id,
        Recording.state,
        Recording.robot_id,
        Recording.agreement_id,
        Recording.name,
        Recording.reasons,
        Recording.tables,
    )
    with reading(engine) as connection:
        return {
            row["id"]: dict(row)
            for part in _parts(recording_ids)
            for row in connection.execute(select(*columns).where(Recording.id.in_(part))).mappings()
        }


def standing(connection: Connection, recording_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """State, robot and agreement of recordings, by id; unknown ones are absent.

    One statement for every 500 of them.
    """
    columns = (Recording.id, Recording.state, Recording.robot_id, Recording.agreement_id)
    return {
        row["id"]: dict(row)
        for part in _parts(recording_ids)
        for row in connection.execute(select(*columns).where(Recording.id.in_(part))).mappings()
    }


def get(
    connection: Connection, recording_id: str, organisation: str | None = None
) -> dict[str, Any]:
    """One recording's row.

    Raises:
        NotFoundError: unknown, or of another organisation.
    """
    query = select(*Recording.__table__.columns).where(Recording.id == recording_id)
    if organisation is not None:
        query = query.where(Recording.organisation_id == organisation)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFoundError("no such recording", subject=f"recording {recording_id[:64]}")
    return dict(row)


def listing(
    connection: Connection,
    *,
    organisation: str | None = None,
    state: str | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Page:
    """A page of recordings, newest first.

    Raises:
        WrongUseError: the cursor is none of ours.
    """
    query = select(*Recording.__table__.columns)
    if organisation is not None:
        query = query.where(Recording.organisation_id == organisation)
    if state is not None:
        query = query.where(Recording.state == state)
    key = tuple_(Recording.received_ns, Recording.id)
    if cursor is not None:
        query = query.where(key < _position(cursor))
    query = query.order_by(Recording.received_ns.desc(), Recording.id.desc()).limit(limit + 1)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(rows, _cursor(rows[-1]) if more and rows else None)


def _cursor(row: Mapping[str, Any]) -> str:
    text = json.dumps([row["received_ns"], row["id"]])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _position(cursor: str) -> tuple[int, str]:
    try:
        received_ns, key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return int(received_ns), str(key)
    except (ValueError, TypeError, binascii.Error) as error:
        raise WrongUseError(
            "not a cursor of this list", next_step="pass next_cursor of the page before"
        ) from error


def files_of(connection: Connection, recording_id: str) -> list[dict[str, Any]]:
    """The files of a recording, by name."""
    return [
        dict(row)
        for row in connection.execute(
            select(*RecordingFile.__table__.columns)
            .where(RecordingFile.recording_id == recording_id)
            .order_by(RecordingFile.name)
        ).mappings()
    ]


def steps_of(connection: Connection, recording_id: str) -> list[dict[str, Any]]:
    """What happened to a recording, in order."""
    return [
        dict(row)
        for row in connection.execute(
            select(*RecordingStep.__table__.columns)
            .where(RecordingStep.recording_id == recording_id)
            .order_by(RecordingStep.id)
        ).mappings()
    ]


def releases_of(connection: Connection, recording_id: str) -> list[dict[str, Any]]:
    """Releases that hold a recording: dataset, version, state, rows."""
    query = (
        select(
            ReleaseRecording.dataset_id.label("dataset"),
            ReleaseRecording.version,
            Release.state,
            ReleaseRecording.rows,
        )
        .join(
            Release,
            and_(
                Release.dataset_id == ReleaseRecording.dataset_id,
                Release.version == ReleaseRecording.version,
            ),
        )
        .where(ReleaseRecording.recording_id == recording_id)
        .order_by(ReleaseRecording.dataset_id, ReleaseRecording.version)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def uses_of(connection: Connection, recording_id: str) -> list[dict[str, Any]]:
    """Deliveries from releases that hold a recording: recipient, dataset, version, path, bytes."""
    query = (
        select(
            Delivery.organisation_id.label("recipient"),
            Delivery.dataset_id.label("dataset"),
            Delivery.version,
            Delivery.path,
            Delivery.bytes,
            Delivery.first_ns,
            Delivery.last_ns,
        )
        .join(
            ReleaseRecording,
            and_(
                ReleaseRecording.dataset_id == Delivery.dataset_id,
                ReleaseRecording.version == Delivery.version,
            ),
        )
        .where(ReleaseRecording.recording_id == recording_id)
        .order_by(Delivery.first_ns, Delivery.path)
    )
    return [dict(row) for row in connection.execute(query).mappings()]
