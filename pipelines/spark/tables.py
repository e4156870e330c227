"""The lake's tables as Spark frames, at pinned versions, in a folder or in a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.spark.session import require_delta
from schemas.errors import NotFoundError, WrongUseError
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.stores.bucket import Bucket
    from connectors.stores.root import Root


def address(session: Any, root: Root, table: str) -> str:
    """Where Spark finds a table; afterwards the session can reach it.

    Raises:
        NotFoundError: no such table.
    """
    if table not in TABLES:
        raise NotFoundError("no such table", subject=table[:80], next_step="tanada lake tables")
    place = root.table(table)
    if isinstance(place, Path):
        return str(place)
    _reach(session, place.store)
    return f"s3a://{place.store.bucket}/{place.key}"


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
    place = address(session, root, table)
    if table not in pinned:
        raise WrongUseError("the table is not pinned", subject=f"table {table}")
    return session.read.format("delta").option("versionAsOf", pinned[table]).load(place)


def _reach(session: Any, bucket: Bucket) -> None:
    """Tell Spark how a bucket is reached.

    Not with the session's properties: those stand on the command line of its JVM, where every user
    of the machine can read them.
    """
    access = bucket.access
    values = {
        "access.key": access.access_key,
        "secret.key": access.secret_key,
        "endpoint.region": access.region,
        "connection.ssl.enabled": str(bucket.secure).lower(),
        "path.style.access": str(bool(access.endpoint)).lower(),
    }
    if access.endpoint:
        values["endpoint"] = access.endpoint
    configuration = session.sparkContext._jsc.hadoopConfiguration()
    for name, value in values.items():
        configuration.set(f"fs.s3a.bucket.{bucket.bucket}.{name}", value)
