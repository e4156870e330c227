"""The lake's tables as Spark frames, at pinned versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.spark.session import require_delta
from schemas.errors import NotFoundError, WrongUseError
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.stores.root import Root


def address(root: Root, table: str) -> str:
    """Where Spark finds a table.

    Raises:
        NotFoundError: no such table.
    """
    if table not in TABLES:
        raise NotFoundError("no such table", subject=table[:80], next_step="tanada lake tables")
    return str(root.table(table))


def frame(
    session: Any,
    root: Root,
    table: str,
    pinned: Mapping[str, int],
    *,
    visible_only: bool = True,
) -> Any:
    """A table at its pinned version, as a Spark frame with the columns of its definition.

    Args:
        session: The Spark session.
        root: Where the lake lies.
        table: Its name.
        pinned: Result of `Lake.pin`.
        visible_only: Only rows of recordings that the pinned `episodes` shows.

    Raises:
        MissingDependencyError: the session was started without Delta's jars.
        NotFoundError: no such table.
        WrongUseError: the table is not pinned.
    """
    require_delta(session)
    rows = _at(session, root, table, pinned)
    if not visible_only:
        return rows
    shown = _at(session, root, "episodes", pinned).select("recording_id").distinct()
    return rows.join(shown, "recording_id", "left_semi").select(*rows.columns)


def _at(session: Any, root: Root, table: str, pinned: Mapping[str, int]) -> Any:
    place = address(root, table)
    if table not in pinned:
        raise WrongUseError("the table is not pinned", subject=f"table {table}")
    return session.read.format("delta").option("versionAsOf", pinned[table]).load(place)
