"""Maintenance of the tables: verify, optimize, vacuum.

All three leave what open plans name alone, and never clean a log.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import ColumnProperties, CommitProperties, PostCommitHookProperties, WriterProperties
from deltalake.exceptions import CommitFailedError
from sqlalchemy import select

from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import CommitPlan, ReleaseRecording
from connectors.stores.store import below, matching
from connectors.stores.verified import Verification, write_verified
from pipelines.commit import Plan
from pipelines.commit.committer import settle
from pipelines.commit.log import checkpoint_path, entry_path, read_entry, versions
from pipelines.commit.manifest import START, Manifest, sha256_of
from pipelines.engine import SPARK
from pipelines.observe import FinishedVerification
from pipelines.staging import batches
from schemas.errors import (
    CommitConflictError,
    DamagedError,
    StoreUnavailableError,
    WrongUseError,
)
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from connectors.stores.store import Place
    from pipelines.cli.platform import Platform

RETENTION_HOURS: Final = 168
ATTEMPTS: Final = 10
_TARGET_BYTES: Final = 128 << 20


# --- verify ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was recorded.

    Attributes:
        table: Table name.
        path: File below the table's folder.
        what: log_changed, manifest_changed, manifest_missing, checkpoint_changed, file_missing,
            file_changed, size_changed or file_surplus.
        version: Version that it belongs to, where that can be said.
        recordings: Recordings it touches.
        releases: Releases that hold one of them, as `dataset@version`.
    """

    table: str
    path: str
    what: str
    version: int | None = None
    recordings: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Verified:
    """Result of `verify`.

    Attributes:
        findings: What is wrong; surplus files alone do no harm.
        files: Data files looked at.
        bytes: Bytes read of them (with `deep`).
    """

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return all(finding.what == "file_surplus" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        findings = [finding.as_json() for finding in self.findings]
        return {"ok": self.ok, "files": self.files, "bytes": self.bytes, "findings": findings}


def verify(
    platform: Platform, tables: Sequence[str] | None = None, *, deep: bool = False
) -> Verified:
    """Compare the tables with their manifests.

    Args:
        platform: The opened platform.
        tables: Which; None = all.
        deep: Read every data file and compare its SHA-256, not only its size.

    Raises:
        WrongUseError: no such table.
    """
    done = Verified()
    spared = _spared(platform)
    for table in _chosen(tables):
        for finding in _verify_table(platform, table, done, spared, deep=deep):
            held = finding.recordings or _recordings_of(platform, table, finding.path)
            releases = _releases_of(platform, held)
            done.findings.append(replace(finding, recordings=held, releases=releases))
    _tell(platform, done, whole=tables is None)
    return done


def _tell(platform: Platform, done: Verified, *, whole: bool) -> None:
    """Keep the outcome for metrics where every table was looked at, and tell the observers."""
    damaged = [
        {"table": finding.table, "what": finding.what}
        for finding in done.findings
        if finding.what != "file_surplus"
    ]
    now = platform.clock()
    if whole:
        # A full disk must not hide what was found.
        with suppress(StoreUnavailableError):
            write_verified(platform.root.path, Verification(now, len(damaged)))
    platform.observer.verified(FinishedVerification(now, done.files, damaged))


def _verify_table(
    platform: Platform, table: str, done: Verified, spared: set[str], *, deep: bool
) -> Iterator[Finding]:
    folder = platform.root.table(table)
    digests: dict[str, str | None] = {}
    yield from _verify_chain(folder, digests)
    try:
        actions = platform.lake.open(table).get_add_actions()
    except DamagedError as error:
        yield Finding(table, "_delta_log", f"unreadable: {error.found}")
        return
    live = dict(
        zip(
            (unquote(path) for path in actions.column("path").to_pylist()),
            actions.column("size_bytes").to_pylist(),
            strict=True,
        )
    )
    for path in sorted(digests.keys() | live.keys()):
        what = _verify_file(folder / path, live.get(path), digests.get(path), done, deep=deep)
        if what:
            yield Finding(table, path, what)
    for place in matching(folder, "organisation=*/day=*/*"):
        path = below(place, folder)
        if path not in digests and path not in live and not _is_spared(place.name, spared):
            yield Finding(table, path, "file_surplus")


def _verify_chain(folder: Place, digests: dict[str, str | None]) -> Iterator[Finding]:
    """Log entries, checkpoints and the manifest itself; fills path -> SHA-256."""
    manifest, table = Manifest(folder), folder.name
    known = versions(folder)
    previous = START
    for version in range((known[-1] if known else -1) + 1):
        path = manifest.path(version)
        entry = manifest.entry(version)
        name = below(path, folder)
        if entry is None:
            if version == known[-1] == 0:
                continue  # a new table: its first entry comes with its first rows
            yield Finding(table, name, "manifest_missing", version)
            previous = ""
            continue
        if previous and entry["previous"] != previous:
            yield Finding(table, name, "manifest_changed", version)
        previous = sha256_of(path)
        digests.update({item["path"]: item["sha256"] for item in entry["added"]})
        log = entry_path(folder, version)
        if log.exists() and sha256_of(log) != entry["log"]:
            yield Finding(table, below(log, folder), "log_changed", version)
        checkpoint, recorded = checkpoint_path(folder, version), manifest.checkpoint(version)
        if checkpoint.exists() and recorded and sha256_of(checkpoint) != recorded:
            yield Finding(table, below(checkpoint, folder), "checkpoint_changed", version)


def _verify_file(
    path: Place, size: int | None, digest: str | None, done: Verified, *, deep: bool
) -> str:
    """What is wrong with a data file, "" if nothing; size None = of an old version only."""
    if not path.exists():
        return "" if size is None else "file_missing"
    done.files += 1
    found = path.stat().st_size
    if size is not None and found != size:
        return "size_changed"
    if deep and digest is not None:
        done.bytes += found
        if sha256_of(path) != digest:
            return "file_changed"
    return ""


# --- optimize ----------------------------------------------------------------------------------


def on_spark(platform: Platform) -> bool:
    """Whether Spark is to commit: where the settings name it, and in a bucket only.

    On a folder its commits are not safe beside others, and delta-rs makes them whatever is set.
    """
    return platform.settings.engine == SPARK and not platform.root.is_local


def require_bucket(platform: Platform, subject: str) -> None:
    """Refuse a commit by Spark that was asked for by name.

    Raises:
        WrongUseError: the lake lies in a folder.
    """
    if platform.root.is_local:
        raise WrongUseError(
            "on a folder Spark only reads: its commits are not safe beside others",
            subject=subject,
            expected="a lake in a bucket",
            next_step="leave out --engine spark: delta-rs does it",
        )


def optimize(
    platform: Platform, tables: Sequence[str] | None = None, *, z_order_by: Sequence[str] = ()
) -> dict[str, dict[str, int]]:
    """Compact small files, partition by partition; rows and markers stay.

    Args:
        platform: The opened platform.
        tables: Which; None = all.
        z_order_by: Columns whose near values come to lie in the same files; Spark only.

    Returns:
        table -> files added and removed, where anything was done.

    Raises:
        CommitConflictError: other writers were first, too often.
        WrongUseError: no such table or column, or an order without Spark.
    """
    if z_order_by and not on_spark(platform):
        raise WrongUseError(
            "rows are put in an order by Spark, in a bucket",
            subject=f"z order by {', '.join(z_order_by)[:80]}",
            next_step="tanada lake optimize --engine spark --root s3://… --z-order-by t_ns",
        )
    chosen = _chosen(tables)
    known = {column.name for table in chosen for column in TABLES[table].columns}
    if unknown := [name for name in z_order_by if name not in known]:
        raise WrongUseError(
            "no such column in any of these tables",
            subject=unknown[0][:80],
            next_step="tanada lake tables",
        )
    done = {}
    for table in chosen:
        metrics = _compacted(platform, table, z_order_by)
        if metrics["removed"]:
            done[table] = metrics
    return done


def _compacted(platform: Platform, table: str, z_order_by: Sequence[str]) -> dict[str, int]:
    if on_spark(platform):
        from pipelines.spark import maintain as by_spark

        return by_spark.optimize(platform, table, z_order_by=z_order_by)
    return _compact(platform, table)


def _compact(platform: Platform, table: str) -> dict[str, int]:
    folder = platform.root.table(table)
    for _ in range(ATTEMPTS):
        snapshot = platform.lake.open(table)
        version = snapshot.version()
        try:
            metrics = snapshot.optimize.compact(
                target_size=_TARGET_BYTES,
                writer_properties=WriterProperties(
                    compression="ZSTD",
                    compression_level=1,
                    default_column_properties=ColumnProperties(dictionary_enabled=False),
                ),
                commit_properties=CommitProperties(max_commit_retries=0),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=True, cleanup_expired_logs=False
                ),
            )
        except CommitFailedError:
            continue
        for number in range(version + 1, snapshot.version() + 1):
            for action in read_entry(folder, number):
                if "add" in action:
                    path = folder / unquote(action["add"]["path"])
                    platform.root.store.sync(path)
                    platform.root.store.sync(path.parent)
            settle(platform.root, platform.lake, table, number, {})
        return {"added": metrics["numFilesAdded"], "removed": metrics["numFilesRemoved"]}
    raise CommitConflictError(
        "other writers committed first, too often",
        subject=f"table {table}",
        found=f"{ATTEMPTS} attempts",
        next_step="run it again when fewer workers are at work",
    )


# --- vacuum ------------------------------------------------------------------------------------


def vacuum(
    platform: Platform,
    tables: Sequence[str] | None = None,
    *,
    retention_hours: int = RETENTION_HOURS,
    dry_run: bool = False,
) -> dict[str, list[str]]:
    """Remove files that no version within the retention needs.

    Only files that a commit removed are candidates: what open plans name was never added, so it
    is out of reach.

    Args:
        platform: The opened platform.
        tables: Which; None = all.
        retention_hours: How long a removed file stays, at least 1.
        dry_run: Only say which.

    Returns:
        table -> paths below its folder.

    Raises:
        WrongUseError: no such table, or no retention at all.
    """
    if retention_hours < 1:
        raise WrongUseError(
            "readers need some time to end", expected="at least 1 hour", found=str(retention_hours)
        )
    done = {}
    for table in _chosen(tables):
        snapshot = platform.lake.open(table)
        by_spark = on_spark(platform)
        removed = snapshot.vacuum(
            retention_hours=retention_hours,
            dry_run=dry_run or by_spark,
            enforce_retention_duration=False,
            full=False,
        )
        if removed:
            done[table] = sorted(removed)
        if by_spark and not dry_run:
            from pipelines.spark.maintain import vacuum as vacuum_by_spark

            vacuum_by_spark(platform, table, retention_hours=retention_hours)
        head = versions(platform.root.table(table))[-1]
        if not Manifest(platform.root.table(table)).covers(head):
            settle(platform.root, platform.lake, table, head, {})
    return done


# --- what touches what -------------------------------------------------------------------------


def _chosen(tables: Sequence[str] | None) -> list[str]:
    chosen = list(TABLES) if tables is None else list(tables)
    if unknown := [table for table in chosen if table not in TABLES]:
        raise WrongUseError(
            "no such table", subject=unknown[0][:80], next_step="tanada lake tables"
        )
    return chosen


def _spared(platform: Platform) -> set[str]:
    """Batches whose files are not in any table yet, and need not be."""
    query = select(CommitPlan.id).where(CommitPlan.state == "open")
    with reading(platform.engine) as connection:
        plans = set(connection.execute(query).scalars())
    return plans | set(batches(platform.root))


def _is_spared(name: str, spared: set[str]) -> bool:
    return name.split("-", 1)[0] in spared


def _recordings_of(platform: Platform, table: str, path: str) -> tuple[str, ...]:
    """Recordings whose rows a file held: as planned, else as the file itself still says."""
    plan_id = Path(path).name.split("-", 1)[0]
    with reading(platform.engine) as connection:
        document = connection.execute(
            select(CommitPlan.document).where(CommitPlan.id == plan_id)
        ).scalar_one_or_none()
    if document is not None:
        for file in Plan.from_json(document).files:
            if file.table == table and file.path == path:
                return file.recordings
    place = platform.root.table(table) / path
    if place.suffix != ".parquet" or not place.exists():
        return ()
    try:
        file = pq.ParquetFile(platform.root.store.arrow(place))
        column = file.read(["recording_id"])["recording_id"]
    except (OSError, pa.ArrowException, KeyError):
        return ()
    return tuple(sorted(pc.unique(column).to_pylist()))


def _releases_of(platform: Platform, held: Sequence[str]) -> tuple[str, ...]:
    if not held:
        return ()
    query = select(ReleaseRecording.dataset_id, ReleaseRecording.version).distinct()
    with reading(platform.engine) as connection:
        rows = connection.execute(query.where(ReleaseRecording.recording_id.in_(held[:500]))).all()
    return tuple(sorted(f"{dataset}@{version}" for dataset, version in rows))
