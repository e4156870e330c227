"""Keys of members: 256 random bits, shown once, kept as a keyed hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from connectors.stores.catalog.models import Key, Member, Organisation
from connectors.stores.catalog.party_rows import insert_row
from schemas.errors import NotFoundError, UnauthenticatedError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    Clock = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling.

    Attributes:
        member_id: The member whose key it is.
        organisation_id: Its organisation.
        roles: Of `parties.ROLES`.
        operator: Whether that organisation runs this platform.
        key_id: Public prefix of the key.
    """

    member_id: str
    organisation_id: str
    roles: frozenset[str]
    operator: bool
    key_id: str


def digest_key(pepper: bytes, secret: str) -> str:
    """HMAC-SHA256 of a key's secret part: what is stored of it, in hex."""
    return hmac.new(pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def issue_key(
    connection: Connection,
    member_id: str,
    pepper: bytes,
    clock: Clock,
    expires_ns: int | None = None,
) -> str:
    """Make a key of form `tnd_<id>_<secret>` (256 random bits); it cannot be shown again.

    Raises:
        NotFoundError: no such active member.
        WrongUseError: it would have expired already.
    """
    state = connection.execute(
        select(Member.state).where(Member.id == member_id)
    ).scalar_one_or_none()
    if state != "active":
        raise NotFoundError(
            "no such active member", subject=f"member {member_id}", next_step="tanada member list"
        )
    now_ns = clock()
    if expires_ns is not None and expires_ns <= now_ns:
        raise WrongUseError("the key would have expired already", subject=f"member {member_id}")
    key, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    row = {
        "id": key,
        "member_id": member_id,
        "digest": digest_key(pepper, secret),
        "created_ns": now_ns,
        "expires_ns": expires_ns,
    }
    insert_row(connection, Key, row, f"key {key}")
    return f"tnd_{key}_{secret}"


def authenticate(connection: Connection, key: str, pepper: bytes, now_ns: int) -> Principal:
    """Who holds this key.

    Raises:
        UnauthenticatedError: malformed, unknown, revoked or expired, or its member or
            organisation is no longer active. The message never says which.
    """
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    row = (
        connection.execute(
            select(
                Key.digest,
                Key.expires_ns,
                Key.revoked_ns,
                Key.member_id,
                Member.roles,
                Member.state.label("member_state"),
                Organisation.id.label("organisation_id"),
                Organisation.operator,
                Organisation.state.label("organisation_state"),
            )
            .join(Member, Member.id == Key.member_id)
            .join(Organisation, Organisation.id == Member.organisation_id)
            .where(Key.id == key_id)
        )
        .mappings()
        .one_or_none()
    )
    # The digest is computed and compared for an unknown id too: the answer takes as long.
    expected = row["digest"] if row else "0" * 64
    same = hmac.compare_digest(expected, digest_key(pepper, secret))
    if (
        row is None
        or not same
        or prefix != "tnd"
        or row["revoked_ns"] is not None
        or (row["expires_ns"] is not None and row["expires_ns"] <= now_ns)
        or row["member_state"] != "active"
        or row["organisation_state"] != "active"
    ):
        raise UnauthenticatedError(
            "the key is not valid", next_step="ask the operator for a new one: tanada key add"
        )
    return Principal(
        row["member_id"],
        row["organisation_id"],
        frozenset(row["roles"]),
        row["operator"],
        key_id,
    )
