"""SQL over the lake: DuckDB on pinned datasets, without any access to files or network.

Every table shows the rows of visible recordings only. Message types without a signal table are
views as well, named after the type (`std_msgs/msg/String` → `std_msgs__String`); their payloads
are decoded in bulk when a query names them.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from connectors.ros2.decode import decode_messages
from schemas.errors import LimitExceededError, WrongUseError
from schemas.tables import COMMON, TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.stores.lake import Lake

_SETTINGS: Final[Mapping[str, str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
_OWN: Final = tuple(column.name for column in COMMON)
_DECODED_AT_ONCE: Final = 65_536
_PAYLOAD_LIMIT: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of a query.

    Attributes:
        rows: At most `limit` rows.
        truncated: Whether there were more.
        pinned: Versions of the tables that were read.
    """

    rows: pa.Table
    truncated: bool
    pinned: dict[str, int]


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message type that is shown decoded.

    Attributes:
        name: Name of the view.
        message_type: The type as recorded.
        schemas: schema_id -> schema text, for every layout that was recorded of it.
        decodable: Whether the schemas are of a kind that can be decoded.
    """

    name: str
    message_type: str
    schemas: Mapping[str, bytes]
    decodable: bool


def view_name(message_type: str) -> str:
    """Name of a message type's view: `std_msgs/msg/String` → `std_msgs__String`."""
    parts = [part for part in re.split(r"[/.:]+", message_type) if part not in {"", "msg"}]
    return re.sub(r"\W", "_", "__".join(parts)) or "_"


def message_views(lake: Lake, pinned: Mapping[str, int]) -> list[MessageView]:
    """Every message type that visible rows of `messages` have, by name of its view."""
    used = set(lake.read("messages", pinned, ["schema_id"])["schema_id"].unique().to_pylist())
    rows = lake.read("message_schemas", pinned, ["schema_id", "name", "encoding", "text"])
    schemas: dict[str, dict[str, bytes]] = {}
    encodings: dict[str, set[str]] = {}
    for row in rows.to_pylist():
        if row["schema_id"] in used:
            schemas.setdefault(row["name"], {})[row["schema_id"]] = row["text"]
            encodings.setdefault(row["name"], set()).add(row["encoding"])
    views = []
    taken = set(TABLES)
    for message_type in sorted(schemas):
        name = view_name(message_type)
        while name in taken:
            name += "_"
        taken.add(name)
        decodable = encodings[message_type] == {"ros2msg"}
        views.append(MessageView(name, message_type, schemas[message_type], decodable))
    return views


def decoded(lake: Lake, pinned: Mapping[str, int], view: MessageView) -> pa.Table:
    """Visible messages of one type: the common columns, then the message's own fields.

    A field named like a common column is called `message_<name>`. Where several layouts of the
    type were recorded, a field that one of them lacks is null there.

    Raises:
        LimitExceededError: the payloads are too many to be decoded at once.
        WrongUseError: the type cannot be decoded, or its layouts contradict each other.
    """
    if not view.decodable:
        raise WrongUseError(
            "messages of this type are kept as recorded; they cannot be shown decoded",
            subject=view.message_type,
            next_step="query the payloads in table messages",
        )
    wanted = pc.field("schema_id").isin(list(view.schemas))
    visible = pc.field("recording_id").isin(lake.visible(pinned))
    rows = lake.dataset("messages", pinned).to_table(
        [*_OWN, "schema_id", "payload"], filter=wanted & visible
    )
    if rows["payload"].nbytes > _PAYLOAD_LIMIT:
        raise LimitExceededError(
            "too many payloads to decode at once",
            subject=view.message_type,
            expected=f"at most {_PAYLOAD_LIMIT} B",
            found=f"{rows['payload'].nbytes} B",
            next_step="query table messages for fewer recordings",
        )
    parts = []
    for schema_id, text in view.schemas.items():
        part = rows.filter(pc.field("schema_id") == schema_id)
        parts += [
            _decoded_part(part.slice(at, _DECODED_AT_ONCE), view.message_type, text)
            for at in range(0, max(len(part), 1), _DECODED_AT_ONCE)
        ]
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise WrongUseError(
            "this type was recorded with layouts that contradict each other",
            subject=view.message_type,
            found=str(error)[:200],
            next_step="query the payloads in table messages",
        ) from error


def _decoded_part(rows: pa.Table, message_type: str, text: bytes) -> pa.Table:
    payloads = rows["payload"].combine_chunks()
    if isinstance(payloads, pa.ChunkedArray):
        payloads = pa.concat_arrays(payloads.chunks)
    try:
        fields = decode_messages(text, message_type, payloads)
    except ValueError as error:
        raise WrongUseError(
            "messages of this type cannot be decoded",
            subject=message_type,
            found=str(error)[:200],
            next_step="query the payloads in table messages",
        ) from error
    table = rows.select(_OWN)
    for name, column in zip(fields.schema.names, fields.columns, strict=True):
        table = table.append_column(f"message_{name}" if name in _OWN else name, column)
    return table


def query(lake: Lake, sql: str, *, limit: int = 1000, threads: int = 2) -> Answer:
    """Run one SELECT over the visible rows of all tables.

    Args:
        lake: The lake.
        sql: One statement; tables and views as `tanada lake tables` lists them.
        limit: Most rows to answer.
        threads: Threads that DuckDB may use.

    Raises:
        WrongUseError: no single SELECT, or DuckDB cannot run it.
    """
    pinned = lake.pin()
    visible = pc.field("recording_id").isin(lake.visible(pinned))
    settings: dict[str, Any] = {**_SETTINGS, "threads": threads}
    with closing(duckdb.connect(":memory:", config=settings)) as connection:
        for name in TABLES:
            connection.register(name, lake.dataset(name, pinned, where=visible))
        for view in message_views(lake, pinned):
            if re.search(rf"\b{re.escape(view.name)}\b", sql, re.IGNORECASE):
                connection.register(view.name, decoded(lake, pinned, view))
        connection.execute("SET lock_configuration=true")
        try:
            statements = connection.extract_statements(sql)
            if [s.type for s in statements] != [duckdb.StatementType.SELECT]:
                raise WrongUseError(
                    "only one SELECT at a time",
                    subject="query",
                    found=", ".join(s.type.name for s in statements) or "nothing",
                )
            rows = connection.sql(sql).limit(limit + 1).to_arrow_table()
        except duckdb.Error as error:
            raise WrongUseError(
                "DuckDB cannot run this query",
                subject="query",
                found=str(error).split("\n")[0][:300],
                next_step="tanada lake tables",
            ) from error
    return Answer(rows.slice(0, limit), len(rows) > limit, pinned)
