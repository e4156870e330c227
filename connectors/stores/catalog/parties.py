"""Parties and terms: organisations, members, keys, robots, agreements, datasets, grants.

Every function takes an open transaction. Nothing is deleted: `revoke_*` changes the state, and
what was decided or delivered before stays explicable.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select, update

from connectors.stores.catalog.keys import Principal, authenticate, digest_key, issue_key
from connectors.stores.catalog.models import (
    Agreement,
    Dataset,
    Grant,
    Member,
    Organisation,
    Robot,
)
from connectors.stores.catalog.party_rows import (
    checked_name,
    insert_row,
    listing,
    revoke,
    show,
)
from schemas.errors import ConflictError, NotFoundError, WrongUseError
from schemas.ids import organisation_id
from schemas.sectors import sector as known_sector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    Clock = Callable[[], int]

__all__ = [
    "ROLES",
    "Principal",
    "active_agreement",
    "add_agreement",
    "add_dataset",
    "add_grant",
    "add_member",
    "add_organisation",
    "add_robot",
    "authenticate",
    "default_agreement",
    "digest_key",
    "issue_key",
    "listing",
    "operator_id",
    "require_organisation",
    "revoke",
    "show",
]
ROLES: Final = ("partner", "engineer", "steward", "model", "auditor", "admin")


# --- organisations -----------------------------------------------------------------------------


def add_organisation(
    connection: Connection,
    *,
    name: str,
    clock: Clock,
    organisation: str | None = None,
    operator: bool = False,
    country: str = "JP",
    corporate_number: str | None = None,
) -> str:
    """Register a legal party; its id is the slug of `organisation`, else of its name.

    Raises:
        ConflictError: that id is taken, or there is an operator already.
        WrongUseError: the name gives no id.
    """
    key = organisation_id(organisation or name)
    if operator and operator_id(connection) is not None:
        raise ConflictError("this platform has an operator already", subject=key)
    row = {
        "id": key,
        "legal_name": name,
        "operator": operator,
        "country": country,
        "corporate_number": corporate_number,
        "created_ns": clock(),
    }
    insert_row(connection, Organisation, row, f"organisation {key}")
    return key


def operator_id(connection: Connection) -> str | None:
    """Id of the organisation that runs this platform, or None before `tanada init`."""
    return connection.execute(
        select(Organisation.id).where(Organisation.operator.is_(True))
    ).scalar_one_or_none()


def require_organisation(connection: Connection, organisation: str) -> None:
    """Check that an organisation exists and is active.

    Raises:
        NotFoundError: unknown, or revoked.
    """
    query = select(Organisation.state).where(Organisation.id == organisation)
    state = connection.execute(query).scalar_one_or_none()
    if state != "active":
        raise NotFoundError(
            "no such active organisation",
            subject=f"organisation {organisation}",
            next_step="tanada org list",
        )


# --- members ----------------------------------------------------------------------------------


def add_member(
    connection: Connection,
    *,
    organisation: str,
    name: str,
    roles: Iterable[str],
    clock: Clock,
    kind: str = "machine",
) -> str:
    """Register a person or machine of an organisation; returns its id.

    Raises:
        NotFoundError: no such active organisation.
        WrongUseError: no roles, or an unknown one.
    """
    wanted = sorted(set(roles))
    if unknown := sorted(set(wanted) - set(ROLES)):
        raise WrongUseError(
            "no such role", subject=", ".join(unknown)[:100], expected=", ".join(ROLES)
        )
    if not wanted:
        raise WrongUseError("a member needs a role", expected=", ".join(ROLES))
    if kind not in {"machine", "person"}:
        raise WrongUseError("no such kind of member", found=kind[:40], expected="machine, person")
    require_organisation(connection, organisation)
    member = f"m-{secrets.token_hex(8)}"
    row = {
        "id": member,
        "organisation_id": organisation,
        "name": name,
        "kind": kind,
        "roles": wanted,
        "created_ns": clock(),
    }
    insert_row(connection, Member, row, f"member {member}")
    return member


# --- robots ------------------------------------------------------------------------------------


def add_robot(
    connection: Connection,
    *,
    organisation: str,
    robot: str,
    sector: str,
    clock: Clock,
    kind: str = "unknown",
    site: str | None = None,
    joint_limits: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """Register a robot of an organisation.

    Args:
        connection: Open transaction.
        organisation: Its owner.
        robot: Its id, unique within the owner.
        sector: Of `schemas.sectors.SECTORS`.
        clock: Nanoseconds UTC.
        kind: Its type or model.
        site: Where it works; competitive.
        joint_limits: Joint name -> (lower, upper) in rad or m.

    Raises:
        ConflictError: the organisation has a robot of that id.
        NotFoundError: no such active organisation.
        WrongUseError: unknown sector, or limits that are none.
    """
    known_sector(sector)
    require_organisation(connection, organisation)
    row = {
        "id": checked_name(robot, "robot"),
        "organisation_id": organisation,
        "type": kind,
        "sector": sector,
        "site": site,
        "joint_limits": _limits(joint_limits or {}),
        "created_ns": clock(),
    }
    insert_row(connection, Robot, row, f"robot {robot} of {organisation}")
    return robot


def _limits(given: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    limits = {}
    for joint, pair in given.items():
        try:
            lower, upper = (float(value) for value in pair)
        except (TypeError, ValueError):
            lower, upper = 1.0, 0.0
        if not lower <= upper:
            raise WrongUseError(
                "not the limits of a joint",
                subject=f"joint {joint}",
                expected="[lower, upper] in rad or m",
                found=str(pair)[:80],
            )
        limits[str(joint)] = [lower, upper]
    return limits


# --- agreements --------------------------------------------------------------------------------


def add_agreement(
    connection: Connection,
    *,
    organisation: str,
    title: str,
    terms: Mapping[str, Any],
    clock: Clock,
    agreement: str | None = None,
    kind: str = "provision_licence",
    document_sha256: str | None = None,
) -> tuple[str, int]:
    """Register terms under which an organisation contributes; returns id and version.

    An id that the organisation has already gets a new version, which supersedes the old one.

    Args:
        connection: Open transaction.
        organisation: Who contributes.
        title: What it is called.
        terms: Document of `schemas.licences.Terms`, validated by the caller.
        clock: Nanoseconds UTC.
        agreement: Its id; default: a random one.
        kind: provision_licence, transfer, joint_use or platform.
        document_sha256: Of the signed paper.

    Raises:
        ConflictError: the id belongs to another organisation, or was revoked.
        NotFoundError: no such active organisation.
    """
    require_organisation(connection, organisation)
    key = checked_name(agreement, "agreement") if agreement else f"a-{secrets.token_hex(6)}"
    newest = (
        connection.execute(
            select(Agreement.version, Agreement.organisation_id, Agreement.state)
            .where(Agreement.id == key)
            .order_by(Agreement.version.desc())
        )
        .mappings()
        .first()
    )
    now_ns = clock()
    if newest is not None:
        if newest["organisation_id"] != organisation or newest["state"] == "revoked":
            raise ConflictError(
                "this agreement's id is taken, or it was revoked", subject=f"agreement {key}"
            )
        connection.execute(
            update(Agreement)
            .where(Agreement.id == key, Agreement.state == "active")
            .values(state="superseded", ended_ns=now_ns)
        )
    version = 1 if newest is None else newest["version"] + 1
    row = {
        "id": key,
        "version": version,
        "organisation_id": organisation,
        "kind": kind,
        "title": title,
        "terms": _labelled(terms, key),
        "document_sha256": document_sha256,
        "created_ns": now_ns,
    }
    insert_row(connection, Agreement, row, f"agreement {key}")
    return key, version


def _labelled(terms: Mapping[str, Any], key: str) -> dict[str, Any]:
    # Messages about terms name them; without a label of their own, by the id they stand under.
    return {**terms, "label": terms.get("label") or key}


def active_agreement(connection: Connection, organisation: str, agreement: str) -> int:
    """Version of an agreement that is in force.

    Raises:
        NotFoundError: the organisation has no such agreement in force.
    """
    version = connection.execute(
        select(func.max(Agreement.version)).where(
            Agreement.id == agreement,
            Agreement.organisation_id == organisation,
            Agreement.state == "active",
        )
    ).scalar_one_or_none()
    if version is None:
        raise NotFoundError(
            "no such agreement in force",
            subject=f"agreement {agreement} of {organisation}",
            next_step="tanada agreement list",
        )
    return int(version)


def default_agreement(connection: Connection, organisation: str) -> str:
    """The only agreement of an organisation that is in force.

    Raises:
        WrongUseError: there is none, or several: the message names them.
    """
    found = connection.execute(
        select(Agreement.id)
        .where(Agreement.organisation_id == organisation, Agreement.state == "active")
        .order_by(Agreement.id)
    ).scalars()
    agreements = list(found)
    if len(agreements) != 1:
        raise WrongUseError(
            "say under which agreement it is contributed",
            subject=f"organisation {organisation}",
            expected="one agreement in force",
            found=", ".join(agreements) or "none",
            next_step="pass --agreement, or tanada agreement add",
        )
    return agreements[0]


# --- datasets and grants -----------------------------------------------------------------------


def add_dataset(
    connection: Connection,
    *,
    dataset: str,
    organisation: str,
    title: str,
    clock: Clock,
    description: str = "",
    sectors: Iterable[str] = (),
    recipe: Mapping[str, Any] | None = None,
) -> str:
    """Register a named recipe, published by an organisation.

    Raises:
        ConflictError: that id is taken.
        NotFoundError: no such active organisation.
        WrongUseError: unknown sector, or an id that is none.
    """
    require_organisation(connection, organisation)
    row = {
        "id": checked_name(dataset, "dataset"),
        "organisation_id": organisation,
        "title": title,
        "description": description,
        "sectors": [known_sector(key).id for key in sectors],
        "recipe": dict(recipe or {}),
        "created_ns": clock(),
    }
    insert_row(connection, Dataset, row, f"dataset {dataset}")
    return dataset


def add_grant(
    connection: Connection,
    *,
    dataset: str,
    organisation: str,
    terms: Mapping[str, Any],
    clock: Clock,
    agreement: str | None = None,
    grant: str | None = None,
) -> str:
    """Let an organisation use a dataset under terms; returns the grant's id.

    Raises:
        ConflictError: that id is taken.
        NotFoundError: no such dataset, organisation or agreement.
    """
    require_organisation(connection, organisation)
    show(connection, "dataset", dataset)
    if agreement is not None:
        active_agreement(connection, organisation, agreement)
    key = checked_name(grant, "grant") if grant else f"g-{secrets.token_hex(6)}"
    row = {
        "id": key,
        "dataset_id": dataset,
        "organisation_id": organisation,
        "agreement_id": agreement,
        "terms": _labelled(terms, key),
        "created_ns": clock(),
    }
    insert_row(connection, Grant, row, f"grant {key}")
    return key
