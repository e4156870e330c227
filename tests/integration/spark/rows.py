"""Rows of a lake in a fixed order, as delta-rs and as Spark read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.spark.tables import frame
from schemas.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.cli.platform import Platform
    from pipelines.ingest import IngestResult

# What differs between two runs over the same recordings, and says so.
PER_RUN = frozenset({"check_run", "checked_ns", "received_ns"})
ORDER = ("recording_id", "stream", "seq", "item", "rule", "schema_id", "episode", "observed")


def ordered(rows: pa.Table, table: str) -> list[dict[str, Any]]:
    """Every row with its values as text: NaN equals NaN, and nothing is rounded."""
    columns = [c.name for c in TABLES[table].columns if c.name not in PER_RUN]
    rows = rows.select(columns).cast(
        TABLES[table].arrow.remove_metadata().empty_table().select(columns).schema
    )
    rows = rows.sort_by([(name, "ascending") for name in ORDER if name in columns])
    return [{name: repr(value) for name, value in row.items()} for row in rows.to_pylist()]


def by_delta_rs(platform: Platform, table: str, *, visible_only: bool = True) -> list[Any]:
    pinned = platform.lake.pin()
    return ordered(platform.lake.read(table, pinned, visible_only=visible_only), table)


def by_spark(session: Any, platform: Platform, table: str, *, visible_only: bool = True) -> list:
    pinned = platform.lake.pin()
    rows = frame(session, platform.root, table, pinned, visible_only=visible_only)
    return ordered(rows.toArrow(), table)


def told(result: IngestResult) -> list[tuple[Any, ...]]:
    return [(o.path, o.recording_id, o.status, o.reasons, o.tables) for o in result.outcomes]
