"""Maintenance of one table by Spark: order, vacuum, merge, history.

All but history commit, and write the manifest's entries of what they committed. On a folder
Spark's log store keeps writers apart within one JVM only, so that a commit of delta-rs at the same
time would be lost: there they are refused, and delta-rs is the only writer. In a bucket both
engines commit by conditional put, and may write at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipelines.commit.committer import settle
from pipelines.commit.log import versions
from pipelines.maintain import require_bucket
from pipelines.spark.session import require_delta, session_of
from pipelines.spark.tables import address
from schemas.errors import WrongUseError
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipelines.cli.platform import Platform

DEFAULT_RETENTION_HOURS: Final = 168


def optimize(
    platform: Platform,
    table: str,
    *,
    where: str | None = None,
    z_order_by: Sequence[str] = (),
) -> dict[str, int]:
    """Compact small files partition by partition, rows near in `z_order_by` together.

    Args:
        platform: The opened platform.
        table: Which.
        where: SQL over the partition columns; None = all partitions.
        z_order_by: Columns with statistics (`t_ns`, `recording_id`); those that the table lacks
            are left out; none = compaction alone.

    Returns:
        Files added and removed.

    Raises:
        NotFoundError: no such table.
        WrongUseError: the table lies in a folder.
    """
    builder = _writable(platform, table).optimize()
    if where is not None:
        builder = builder.where(where)
    names = {column.name for column in TABLES[table].columns}
    order = [name for name in z_order_by if name in names]
    done = builder.executeZOrderBy(*order) if order else builder.executeCompaction()
    metrics = done.collect()[0]["metrics"]
    _settle(platform, table)
    return {"added": metrics["numFilesAdded"], "removed": metrics["numFilesRemoved"]}


def vacuum(
    platform: Platform, table: str, *, retention_hours: int = DEFAULT_RETENTION_HOURS
) -> None:
    """Remove files that a commit removed longer ago than the retention.

    LITE: only files that the log names. A full one lists the folder, and would take what open
    plans have placed and not committed yet.

    Raises:
        NotFoundError: no such table.
        WrongUseError: the table lies in a folder, or the retention is shorter than Delta's own.
    """
    _writable(platform, table)
    if retention_hours < DEFAULT_RETENTION_HOURS:
        raise WrongUseError(
            "readers and open plans need some time to end",
            expected=f"at least {DEFAULT_RETENTION_HOURS} hours",
            found=str(retention_hours),
        )
    session = session_of(platform.settings)
    place = address(session, platform.root, table)
    session.sql(f"VACUUM delta.`{place}` LITE RETAIN {retention_hours:d} HOURS")
    _settle(platform, table)


def merge(platform: Platform, table: str, changes: Any, *, on: Sequence[str]) -> dict[str, int]:
    """Late corrections: rows of `changes` replace those with the same key, or are added.

    Args:
        platform: The opened platform.
        table: Which.
        changes: Frame with the table's columns, at most one row for each key.
        on: Columns of the key, the partition columns among them: others are then not read.

    Returns:
        Rows updated and inserted.

    Raises:
        NotFoundError: no such table.
        WrongUseError: the table lies in a folder.
    """
    target = _writable(platform, table)
    condition = " AND ".join(f"held.`{name}` = new.`{name}`" for name in on)
    merging = target.alias("held").merge(changes.alias("new"), condition)
    merging.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
    _settle(platform, table)
    (last,) = history(platform, table, 1)
    metrics: Mapping[str, str] = last["metrics"]
    return {
        "updated": int(metrics["numTargetRowsUpdated"]),
        "inserted": int(metrics["numTargetRowsInserted"]),
    }


def history(platform: Platform, table: str, limit: int) -> list[dict[str, Any]]:
    """A table's commits, newest first, whichever engine made them.

    Raises:
        NotFoundError: no such table.
    """
    rows = _opened(platform, table).history(limit).collect()
    return [
        {
            "version": row["version"],
            "operation": row["operation"],
            "metrics": dict(row["operationMetrics"] or {}),
        }
        for row in rows
    ]


def _writable(platform: Platform, table: str) -> Any:
    require_bucket(platform, f"table {table[:80]}")
    return _opened(platform, table)


def _opened(platform: Platform, table: str) -> Any:
    from delta.tables import DeltaTable

    session = session_of(platform.settings)
    require_delta(session)
    return DeltaTable.forPath(session, address(session, platform.root, table))


def _settle(platform: Platform, table: str) -> None:
    """Cover what was committed, and whatever others committed before it."""
    head = versions(platform.root.table(table))[-1]
    settle(platform.root, platform.lake, table, head, {})
