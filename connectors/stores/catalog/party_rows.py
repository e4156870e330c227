"""What all parties and terms have in common: insert, list, show, revoke."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from connectors.stores.catalog.models import (
    Agreement,
    Base,
    Dataset,
    Grant,
    Key,
    Member,
    Organisation,
    Robot,
)
from schemas.errors import ConflictError, NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection
    from sqlalchemy.orm import InstrumentedAttribute

MODELS: Final[Mapping[str, type[Base]]] = {
    "org": Organisation,
    "member": Member,
    "key": Key,
    "robot": Robot,
    "agreement": Agreement,
    "dataset": Dataset,
    "grant": Grant,
}
"""Kind, as the commands name it -> its table."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def insert_row(
    connection: Connection, model: type[Base], row: Mapping[str, Any], subject: str
) -> None:
    """Insert one row.

    Raises:
        ConflictError: its id is taken.
    """
    try:
        with connection.begin_nested():
            connection.execute(insert(model).values(**row))
    except IntegrityError as error:
        raise ConflictError("that id is taken", subject=subject) from error


def checked_name(name: str, kind: str) -> str:
    """The name, if it can stand in paths and addresses.

    Raises:
        WrongUseError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise WrongUseError(
            f"not usable as the id of a {kind}",
            subject=repr(name[:80]),
            expected="at most 60 letters, digits, '.', '_', '-'; a letter or digit first",
        )
    return name


def listing(
    connection: Connection,
    kind: str,
    *,
    organisation: str | None = None,
    state: str | None = None,
) -> list[dict[str, Any]]:
    """All rows of a kind, oldest first; of keys never the digest.

    Args:
        connection: Open transaction.
        kind: Key of `MODELS`.
        organisation: Only those that belong to it.
        state: Only those in it: active, revoked, superseded …
    """
    query = _visible(kind)
    model = MODELS[kind]
    if organisation is not None:
        query = query.where(_owner(kind) == organisation)
    rows = [_shown(row) for row in connection.execute(query.order_by(_created(model))).mappings()]
    return [row for row in rows if state is None or row["state"] == state]


def show(
    connection: Connection, kind: str, key: str, *, organisation: str | None = None
) -> dict[str, Any]:
    """One row; of an agreement the newest version, with all versions named.

    Raises:
        NotFoundError: no such row, or it belongs to another organisation.
        WrongUseError: several organisations have a robot of that id: say which.
    """
    model: Any = MODELS[kind]
    query = _visible(kind).where(model.id == key)
    if organisation is not None:
        query = query.where(_owner(kind) == organisation)
    if kind == "agreement":
        query = query.order_by(model.version.desc())
    rows = [_shown(row) for row in connection.execute(query).mappings()]
    if not rows:
        raise NotFoundError(
            f"no such {kind}", subject=f"{kind} {key[:80]}", next_step=f"tanada {kind} list"
        )
    if kind == "agreement":
        versions = [{"version": r["version"], "state": r["state"]} for r in reversed(rows)]
        return rows[0] | {"versions": versions}
    if len(rows) > 1:
        raise WrongUseError(
            f"several organisations have a {kind} of that id",
            subject=f"{kind} {key}",
            found=", ".join(sorted(row["organisation_id"] for row in rows)),
            next_step="pass --organisation",
        )
    return rows[0]


def revoke(
    connection: Connection,
    kind: str,
    key: str,
    clock: Callable[[], int],
    *,
    organisation: str | None = None,
) -> dict[str, Any]:
    """End a party or terms: nothing is deleted, its state says so. Twice is the same as once.

    Revoking an organisation or member makes their keys invalid at once; revoking an agreement
    ends all its versions for new contributions (what it covered is taken out by `withdraw`).

    Raises:
        ConflictError: the operator's own organisation.
        NotFoundError: no such row.
    """
    row = show(connection, kind, key, organisation=organisation)
    if row["state"] == "revoked":
        return row
    if kind == "org" and row["operator"]:
        raise ConflictError("the operator's own organisation stays", subject=f"org {key}")
    model: Any = MODELS[kind]
    changes: dict[str, Any] = {} if kind == "key" else {"state": "revoked"}
    if kind in {"key", "grant"}:
        changes["revoked_ns"] = clock()
    if kind == "agreement":
        changes["ended_ns"] = clock()
    change = update(model).where(model.id == key).values(**changes)
    if kind == "robot":
        change = change.where(model.organisation_id == row["organisation_id"])
    if kind == "agreement":
        change = change.where(model.state.in_(("active", "expired")))
    connection.execute(change)
    return show(connection, kind, key, organisation=row["organisation_id"])


def _visible(kind: str) -> Select[Any]:
    model = MODELS[kind]
    columns = [column for column in model.__table__.columns if column.name != "digest"]
    if kind == "key":
        return select(*columns, Member.organisation_id).join(Member, Member.id == Key.member_id)
    if kind == "org":
        return select(*columns, Organisation.id.label("organisation_id"))
    return select(*columns)


def _owner(kind: str) -> InstrumentedAttribute[str]:
    if kind == "key":
        return Member.organisation_id
    if kind == "org":
        return Organisation.id
    model: Any = MODELS[kind]
    owner: InstrumentedAttribute[str] = model.organisation_id
    return owner


def _created(model: Any) -> InstrumentedAttribute[int]:
    created: InstrumentedAttribute[int] = model.created_ns
    return created


def _shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    document = {str(key): value for key, value in row.items()}
    if "state" not in document:
        document["state"] = "revoked" if document["revoked_ns"] is not None else "active"
    return document
