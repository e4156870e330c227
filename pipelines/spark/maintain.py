"""Maintenance of one table by Spark: order, vacuum, merge, history.

All but history commit. On a folder Spark's log store keeps writers apart within one JVM only, so
that a commit of delta-rs at the same time would be lost: there they are refused, and delta-rs is
the only writer. On S3 both engines commit by conditional put, and may write at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipelines.spark.session import require_delta
from schemas.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAFE: Final = "s3a://"
DEFAULT_RETENTION_HOURS: Final = 168


def optimize(
    session: Any,
    table: str,
    *,
    where: str | None = None,
    z_order_by: Sequence[str] = (),
) -> dict[str, int]:
    """Compact small files of the partitions that `where` names, rows near in `z_order_by` together.

    Args:
        session: The Spark session.
        table: Its address (`pipelines.spark.tables.address`).
        where: SQL over the partition columns; None = all partitions.
        z_order_by: Columns with statistics; none = compaction alone.

    Returns:
        Files added and removed.

    Raises:
        WrongUseError: the table lies in a folder.
    """
    builder = _writable(session, table).optimize()
    if where is not None:
        builder = builder.where(where)
    done = builder.executeZOrderBy(*z_order_by) if z_order_by else builder.executeCompaction()
    metrics = done.collect()[0]["metrics"]
    return {"added": metrics["numFilesAdded"], "removed": metrics["numFilesRemoved"]}


def vacuum(session: Any, table: str, *, retention_hours: int = DEFAULT_RETENTION_HOURS) -> None:
    """Remove files that a commit removed longer ago than the retention.

    LITE: only files that the log names. A full one lists the folder, and would take what open
    plans have placed and not committed yet.

    Raises:
        WrongUseError: the table lies in a folder, or the retention is shorter than Delta's own.
    """
    _writable(session, table)
    if retention_hours < DEFAULT_RETENTION_HOURS:
        raise WrongUseError(
            "readers and open plans need some time to end",
            expected=f"at least {DEFAULT_RETENTION_HOURS} hours",
            found=str(retention_hours),
        )
    session.sql(f"VACUUM delta.`{table}` LITE RETAIN {retention_hours:d} HOURS")


def merge(session: Any, table: str, changes: Any, *, on: Sequence[str]) -> dict[str, int]:
    """Late corrections: rows of `changes` replace those with the same key, or are added.

    Args:
        session: The Spark session.
        table: Its address.
        changes: Frame with the table's columns, at most one row for each key.
        on: Columns of the key, the partition columns among them: others are then not read.

    Returns:
        Rows updated and inserted.

    Raises:
        WrongUseError: the table lies in a folder.
    """
    target = _writable(session, table)
    condition = " AND ".join(f"held.`{name}` = new.`{name}`" for name in on)
    merging = target.alias("held").merge(changes.alias("new"), condition)
    merging.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
    (last,) = history(session, table, 1)
    metrics: Mapping[str, str] = last["metrics"]
    return {
        "updated": int(metrics["numTargetRowsUpdated"]),
        "inserted": int(metrics["numTargetRowsInserted"]),
    }


def history(session: Any, table: str, limit: int) -> list[dict[str, Any]]:
    """A table's commits, newest first, whichever engine made them."""
    from delta.tables import DeltaTable

    require_delta(session)
    rows = DeltaTable.forPath(session, table).history(limit).collect()
    return [
        {
            "version": row["version"],
            "operation": row["operation"],
            "metrics": dict(row["operationMetrics"] or {}),
        }
        for row in rows
    ]


def _writable(session: Any, table: str) -> Any:
    if not table.startswith(SAFE):
        raise WrongUseError(
            "on a folder Spark only reads: its commits are not safe beside others",
            subject=table[:200],
            expected=f"a table at {SAFE}…",
            next_step="leave out --engine spark: delta-rs does it",
        )
    from delta.tables import DeltaTable

    require_delta(session)
    return DeltaTable.forPath(session, table)
