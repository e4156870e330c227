"""Make a finished tree a release: rename it whole, then one transaction in the catalog.

Readers ask the catalog, so a crash in between leaves a folder that nobody sees; the next build
of the dataset clears it away.

In a bucket a tree is no single rename, and no lock is seen by other machines. So a build claims
its version by a conditional put before the first file goes up; whoever comes second takes the next
number. A claimed version is never claimed again, so two trees never mix.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, insert, select, update

from connectors.stores.catalog import models
from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.parties import operator_id
from connectors.stores.durable import make_folder
from connectors.stores.object_path import ObjectPath
from pipelines.release.select import READABLE
from pipelines.release.tree import LOG
from schemas.errors import CatalogBusyError, ConflictError, GoneError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from connectors.stores.root import Root
    from connectors.stores.store import Place
    from pipelines.release.tree import WrittenFile
    from schemas.recipe import Recipe

_PART: Final = 500
_ABANDONED_NS: Final = 24 * 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A finished tree and what the catalog is to say of it.

    Attributes:
        recipe: The recipe.
        digest: Digest of the tree.
        pinned: Table -> version.
        terms: Document of the release's terms.
        summary: For lists and facets.
        files: Every file of the tree.
        recordings: (recording, agreement, version, frames) of what is in it.
    """

    recipe: Recipe
    digest: str
    pinned: Mapping[str, int]
    terms: Mapping[str, Any]
    summary: Mapping[str, Any]
    files: Sequence[WrittenFile]
    recordings: Sequence[tuple[str, str, int, int]]


@contextmanager
def building(root: Root, dataset: str) -> Iterator[Path]:
    """An empty working folder, while nobody else on this machine builds this dataset.

    Raises:
        CatalogBusyError: another process builds it.
    """
    lock = _lock(root, dataset)
    make_folder(lock.parent)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    folder = root.staging / f"release-{dataset}"
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CatalogBusyError(
                "another process builds this dataset",
                subject=f"dataset {dataset}",
                next_step="try again when it is done",
            ) from error
        # What a build left that was killed.
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock(root: Root, dataset: str) -> Path:
    place = root.release(dataset, 0).with_name(".lock")
    if isinstance(place, Path):
        return place
    return root.staging.with_name(f"{root.staging.name}-locks") / f"{dataset}.lock"


def newest(engine: Engine, dataset: str) -> tuple[int, str] | None:
    """(version, digest) of the newest published release."""
    query = (
        select(models.Release.version, models.Release.digest)
        .where(models.Release.dataset_id == dataset, models.Release.state == "published")
        .order_by(models.Release.version.desc())
        .limit(1)
    )
    with reading(engine) as connection:
        row = connection.execute(query).first()
    return None if row is None else (row.version, row.digest)


def newest_release(engine: Engine, dataset: str) -> dict[str, Any] | None:
    """The row of the newest published release, and how many files it has (`files`)."""
    with reading(engine) as connection:
        rows = [r for r in releases(connection, dataset) if r["state"] == "published"]
        if not rows:
            return None
        return rows[0] | {"files": len(release_files(connection, dataset, rows[0]["version"]))}


def releases(connection: Connection, dataset: str | None = None) -> list[dict[str, Any]]:
    """Releases with their rows' columns, by dataset, the newest first."""
    row = models.Release
    query = select(
        row.dataset_id.label("dataset"),
        row.version,
        row.state,
        row.digest,
        row.summary,
        row.pinned,
        row.terms,
        row.created_ns,
        row.withdrawn_ns,
    ).order_by(row.dataset_id, row.version.desc())
    if dataset is not None:
        query = query.where(row.dataset_id == dataset)
    return [dict(found) for found in connection.execute(query).mappings()]


def release_files(connection: Connection, dataset: str, version: int) -> list[dict[str, Any]]:
    """Files of one release: path, size, sha256, rows, media_type."""
    row = models.ReleaseFile
    query = (
        select(row.path, row.size, row.sha256, row.rows, row.media_type)
        .where(row.dataset_id == dataset, row.version == version)
        .order_by(row.path)
    )
    return [dict(found) for found in connection.execute(query).mappings()]


def publish(root: Root, engine: Engine, folder: Path, draft: Draft, now_ns: int) -> int:
    """Give the tree its place and its rows; returns the version. Call it inside `building`.

    Raises:
        GoneError: a recording was withdrawn while the release was built.
        ConflictError: the dataset belongs to nobody here, or was revoked.
    """
    dataset = draft.recipe.dataset
    query = select(func.max(models.Release.version)).where(models.Release.dataset_id == dataset)
    with reading(engine) as connection:
        version = (connection.execute(query).scalar_one_or_none() or 0) + 1
    if not root.is_local:
        version = _claimed(root, engine, dataset, version, now_ns)
    target = root.release(dataset, version)
    # Left by a crash after the rename: the catalog does not know it.
    root.store.remove_tree(target)
    try:
        root.store.move_tree_in(folder, target, _in_order(draft.files))
        with writing(engine) as connection:
            _require_readable(connection, draft)
            _put_dataset(connection, draft, now_ns)
            _put_release(connection, draft, version, now_ns)
    except BaseException:
        _drop(target)
        raise
    return version


def _in_order(files: Sequence[WrittenFile]) -> dict[str, str]:
    """Path -> SHA-256; logs come last, so that a table is there wholly or not at all."""
    ordered = sorted(files, key=lambda file: (LOG in file.path.split("/"), file.path))
    return {file.path: file.sha256 for file in ordered}


def _drop(target: Place) -> None:
    if isinstance(target, Path):
        shutil.rmtree(target, ignore_errors=True)
        return
    # The first error is the one to tell; what stays is nobody's, and the next build removes it.
    with suppress(StoreUnavailableError):
        target.store.remove_tree(target)


def _claimed(root: Root, engine: Engine, dataset: str, version: int, now_ns: int) -> int:
    """The first version from this one on that no other build has claimed; it is ours now."""
    claims = root.release(dataset, 0).with_name(".claims")
    if not isinstance(claims, ObjectPath):
        raise TypeError("only builds into a bucket claim their version")
    with reading(engine) as connection:
        known = {row["version"] for row in releases(connection, dataset)}
    for claim in claims.iterdir():
        old = now_ns - claim.stat().st_mtime_ns > _ABANDONED_NS
        if old and int(claim.name) not in known:
            root.store.remove_tree(root.release(dataset, int(claim.name)))
    while not claims.store.create(claims / str(version), secrets.token_hex(16).encode()):
        version += 1
    return version


def _require_readable(connection: Connection, draft: Draft) -> None:
    """Withdrawal hides a recording in the catalog first: look again, in this transaction."""
    ids = [row[0] for row in draft.recordings]
    agreements = sorted({row[1] for row in draft.recordings})
    gone: set[str] = set()
    for start in range(0, len(ids), _PART):
        query = select(models.Recording.id).where(
            models.Recording.id.in_(ids[start : start + _PART]),
            models.Recording.state.not_in(READABLE),
        )
        gone.update(connection.execute(query).scalars())
    for start in range(0, len(agreements), _PART):
        revoked = select(models.Agreement.id).where(
            models.Agreement.id.in_(agreements[start : start + _PART]),
            models.Agreement.state == "revoked",
        )
        gone.update(connection.execute(revoked).scalars())
    if gone:
        raise GoneError(
            "withdrawn while the release was built",
            subject=f"dataset {draft.recipe.dataset}",
            found=", ".join(sorted(gone)[:3]),
            next_step="build again: tanada release build RECIPE.yaml",
        )


def _put_dataset(connection: Connection, draft: Draft, now_ns: int) -> None:
    recipe = draft.recipe
    values: dict[str, Any] = {
        "title": recipe.title,
        "description": recipe.description,
        "sectors": sorted(draft.summary["sectors"]),
        "recipe": recipe.model_dump(mode="json"),
    }
    known = models.Dataset.id == recipe.dataset
    state = connection.execute(select(models.Dataset.state).where(known)).scalar_one_or_none()
    if state is None:
        publisher = operator_id(connection)
        if publisher is None:
            raise ConflictError("no operator publishes this", subject=f"dataset {recipe.dataset}")
        values |= {"id": recipe.dataset, "organisation_id": publisher, "created_ns": now_ns}
        connection.execute(insert(models.Dataset).values(state="active", **values))
    elif state != "active":
        raise ConflictError(
            "the dataset is not active", subject=f"dataset {recipe.dataset}", found=state
        )
    else:
        connection.execute(update(models.Dataset).where(known).values(**values))


def _put_release(connection: Connection, draft: Draft, version: int, now_ns: int) -> None:
    key: dict[str, Any] = {"dataset_id": draft.recipe.dataset, "version": version}
    connection.execute(
        insert(models.Release).values(
            **key,
            digest=draft.digest,
            state="published",
            recipe=draft.recipe.model_dump(mode="json"),
            pinned=dict(draft.pinned),
            terms=dict(draft.terms),
            summary=dict(draft.summary),
            created_ns=now_ns,
        )
    )
    connection.execute(insert(models.ReleaseFile), [key | asdict(file) for file in draft.files])
    connection.execute(
        insert(models.ReleaseRecording),
        [
            {
                **key,
                "recording_id": recording,
                "agreement_id": agreement,
                "agreement_version": agreed,
                "rows": rows,
            }
            for recording, agreement, agreed, rows in draft.recordings
        ],
    )
