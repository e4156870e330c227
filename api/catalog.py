"""Queries over the catalog database for datasets, releases and what became of recordings.

Functions take an open connection and return plain values. Terms come as the text that is stored,
so that a decision can be looked up by it without parsing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, and_, cast, func, or_, select

from connectors.stores.catalog.models import (
    Dataset,
    Delivery,
    Grant,
    Organisation,
    Recording,
    RecordingFile,
    Release,
    ReleaseFile,
    ReleaseRecording,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """One grant of the caller's organisation; `terms` as stored text."""

    id: str
    state: str
    terms: str
    terms_version: int


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """One release; `terms` as stored text."""

    dataset_id: str
    version: int
    digest: str
    state: str
    terms: str
    summary: dict[str, Any]
    created_ns: int
    withdrawn_ns: int | None


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """One dataset with the grants that the asking organisation holds, and its newest release."""

    id: str
    organisation_id: str
    title: str
    description: str
    sectors: tuple[str, ...]
    created_ns: int
    grants: tuple[GrantRecord, ...]
    latest: ReleaseRecord | None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a release."""

    path: str
    size: int
    sha256: str
    rows: int | None
    media_type: str


_RELEASE = (
    Release.dataset_id,
    Release.version,
    Release.digest,
    Release.state,
    cast(Release.terms, Text).label("terms"),
    Release.summary,
    Release.created_ns,
    Release.withdrawn_ns,
)
_FILE = (
    ReleaseFile.path,
    ReleaseFile.size,
    ReleaseFile.sha256,
    ReleaseFile.rows,
    ReleaseFile.media_type,
)


def datasets_of(
    connection: Connection, organisation: str, dataset: str | None = None
) -> list[DatasetRecord]:
    """Active datasets that an organisation publishes or was ever granted, by id.

    Args:
        connection: Open connection.
        organisation: Who asks.
        dataset: Only this one.
    """
    grants = _grants(connection, organisation, dataset)
    granted = select(Grant.dataset_id).where(Grant.organisation_id == organisation)
    query = (
        select(
            Dataset.id,
            Dataset.organisation_id,
            Dataset.title,
            Dataset.description,
            Dataset.sectors,
            Dataset.created_ns,
        )
        .where(or_(Dataset.id.in_(granted), Dataset.organisation_id == organisation))
        .where(Dataset.state == "active")
        .order_by(Dataset.id)
    )
    if dataset is not None:
        query = query.where(Dataset.id == dataset)
    rows = connection.execute(query).all()
    latest = _latest(connection, dataset) if rows else {}
    return [
        DatasetRecord(
            row.id,
            row.organisation_id,
            row.title,
            row.description,
            tuple(row.sectors),
            row.created_ns,
            tuple(grants.get(row.id, ())),
            latest.get(row.id),
        )
        for row in rows
    ]


def _grants(
    connection: Connection, organisation: str, dataset: str | None
) -> dict[str, list[GrantRecord]]:
    """Grants that an organisation ever got, oldest first, by dataset.

    A query of its own: joined to the datasets, SQLite would walk all grants for each of them.
    """
    query = (
        select(
            Grant.dataset_id,
            Grant.id,
            Grant.state,
            cast(Grant.terms, Text).label("terms"),
            Grant.terms_version,
        )
        .where(Grant.organisation_id == organisation)
        .order_by(Grant.created_ns, Grant.id)
    )
    if dataset is not None:
        query = query.where(Grant.dataset_id == dataset)
    found: dict[str, list[GrantRecord]] = {}
    for row in connection.execute(query):
        record = GrantRecord(row.id, row.state, row.terms, row.terms_version)
        found.setdefault(row.dataset_id, []).append(record)
    return found


def _latest(connection: Connection, dataset: str | None) -> dict[str, ReleaseRecord]:
    """The newest published release of each dataset."""
    newest = (
        select(Release.dataset_id, func.max(Release.version).label("version"))
        .where(Release.state == "published")
        .group_by(Release.dataset_id)
    )
    if dataset is not None:
        newest = newest.where(Release.dataset_id == dataset)
    chosen = newest.subquery()
    query = select(*_RELEASE).join(
        chosen,
        and_(
            chosen.c.dataset_id == Release.dataset_id,
            chosen.c.version == Release.version,
        ),
    )
    return {row.dataset_id: ReleaseRecord(*row) for row in connection.execute(query)}


def release_of(connection: Connection, dataset: str, version: int) -> ReleaseRecord | None:
    """One version of a dataset that was published, even if it is withdrawn now."""
    row = connection.execute(
        select(*_RELEASE).where(
            Release.dataset_id == dataset,
            Release.version == version,
            Release.state != "building",
        )
    ).one_or_none()
    return ReleaseRecord(*row) if row is not None else None


def releases_of(connection: Connection, dataset: str) -> list[ReleaseRecord]:
    """All versions of a dataset, newest first, withdrawn ones included."""
    query = (
        select(*_RELEASE)
        .where(Release.dataset_id == dataset, Release.state != "building")
        .order_by(Release.version.desc())
    )
    return [ReleaseRecord(*row) for row in connection.execute(query)]


def file_totals(connection: Connection, dataset: str, version: int) -> tuple[int, int]:
    """Number of files of a release, and their bytes together."""
    row = connection.execute(
        select(func.count(), func.coalesce(func.sum(ReleaseFile.size), 0)).where(
            *_of_release(dataset, version)
        )
    ).one()
    return int(row[0]), int(row[1])


def files_of(
    connection: Connection, dataset: str, version: int, after: str | None, limit: int
) -> list[FileRecord]:
    """Files of a release by path, at most `limit`, behind the path `after`."""
    wanted = _of_release(dataset, version)
    if after is not None:
        wanted = (*wanted, ReleaseFile.path > after)
    query = select(*_FILE).where(*wanted).order_by(ReleaseFile.path).limit(limit)
    return [FileRecord(*row) for row in connection.execute(query)]


def file_of(connection: Connection, dataset: str, version: int, path: str) -> FileRecord | None:
    """One file of a release."""
    row = connection.execute(
        select(*_FILE).where(*_of_release(dataset, version), ReleaseFile.path == path)
    ).one_or_none()
    return FileRecord(*row) if row is not None else None


def _of_release(dataset: str, version: int) -> tuple[ColumnElement[bool], ...]:
    return (ReleaseFile.dataset_id == dataset, ReleaseFile.version == version)


# --- contributions -----------------------------------------------------------------------------


def upload_of(
    connection: Connection, organisation: str, recording: str, name: str
) -> tuple[int, str] | None:
    """Declared size and state of one file of an organisation's own recording."""
    row = connection.execute(
        select(RecordingFile.size, Recording.state)
        .join(Recording, Recording.id == RecordingFile.recording_id)
        .where(
            RecordingFile.recording_id == recording,
            RecordingFile.name == name,
            Recording.organisation_id == organisation,
        )
    ).one_or_none()
    return (int(row.size), str(row.state)) if row is not None else None


def releases_holding(
    connection: Connection, recordings: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """For each recording the releases that hold it: dataset, version, state, rows."""
    query = (
        select(
            ReleaseRecording.recording_id,
            ReleaseRecording.dataset_id,
            ReleaseRecording.version,
            ReleaseRecording.rows,
            Release.state,
        )
        .join(
            Release,
            and_(
                Release.dataset_id == ReleaseRecording.dataset_id,
                Release.version == ReleaseRecording.version,
            ),
        )
        .where(ReleaseRecording.recording_id.in_(recordings), Release.state != "building")
        .order_by(ReleaseRecording.dataset_id, ReleaseRecording.version)
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.recording_id, []).append(
            {
                "dataset": row.dataset_id,
                "version": row.version,
                "state": row.state,
                "rows": row.rows,
            }
        )
    return found


def held_by_releases(
    connection: Connection, organisation: str, recording: str | None = None
) -> set[tuple[str, int, str]]:
    """Dataset, version and recording for each of an organisation's recordings in a release."""
    query = (
        select(ReleaseRecording.dataset_id, ReleaseRecording.version, ReleaseRecording.recording_id)
        .join(Recording, Recording.id == ReleaseRecording.recording_id)
        .where(Recording.organisation_id == organisation)
    )
    if recording is not None:
        query = query.where(Recording.id == recording)
    return {(row[0], row[1], row[2]) for row in connection.execute(query)}


def uses_of(
    connection: Connection, organisation: str, recording: str | None = None
) -> list[dict[str, Any]]:
    """Deliveries from releases that hold recordings of an organisation, newest first.

    Args:
        connection: Open connection.
        organisation: The contributor.
        recording: Only releases that hold this recording.

    Returns:
        recipient (id), recipient_name, dataset, version, path, bytes, first_ns, last_ns and the
        grant's terms as text, one entry per recipient, grant and file.
    """
    holding = (
        select(ReleaseRecording.dataset_id, ReleaseRecording.version)
        .join(Recording, Recording.id == ReleaseRecording.recording_id)
        .where(Recording.organisation_id == organisation)
        .distinct()
    )
    if recording is not None:
        holding = holding.where(Recording.id == recording)
    held = holding.subquery()
    query = (
        select(
            Delivery.organisation_id.label("recipient"),
            Organisation.legal_name.label("recipient_name"),
            Delivery.dataset_id.label("dataset"),
            Delivery.version,
            Delivery.path,
            Delivery.bytes,
            Delivery.first_ns,
            Delivery.last_ns,
            cast(Grant.terms, Text).label("terms"),
        )
        .join(
            held,
            and_(
                held.c.dataset_id == Delivery.dataset_id,
                held.c.version == Delivery.version,
            ),
        )
        .join(Organisation, Organisation.id == Delivery.organisation_id)
        .join(Grant, Grant.id == Delivery.grant_id, isouter=True)
        .order_by(Delivery.last_ns.desc(), Delivery.dataset_id, Delivery.path)
    )
    return [dict(row) for row in connection.execute(query).mappings()]
