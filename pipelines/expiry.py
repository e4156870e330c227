"""Terms that end: the state says so, and what ends soon is said in time.

Reading is decided by `schemas.licences.decide` from the terms themselves, every time; a state that
was not set yet opens nothing. The state is what lists show, and what keeps new recordings from
being contributed under an agreement that is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, update

from connectors.stores.catalog.database import writing
from connectors.stores.catalog.models import Agreement, Grant
from schemas.licences import NS_PER_DAY, Terms, format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from pipelines.cli.platform import Platform

EXPIRED: Final = "expired"
SOON_DAYS: Final = 30
_ALIVE: Final = ("active", EXPIRED)


@dataclass(frozen=True, slots=True)
class Ending:
    """Terms with an end.

    Attributes:
        kind: agreement or grant.
        id / version: Of the agreement or grant (of a grant: its terms' version).
        organisation: Who contributes under it, or may read by it.
        dataset: Of a grant; "" of an agreement.
        ends_ns: When it ends: an agreement for new contributions at `expires_at`, a grant for
            reading when the days of grace after it are over.
        state: The state it has now.
    """

    kind: str
    id: str
    version: int
    organisation: str
    dataset: str
    ends_ns: int
    state: str

    def as_json(self, now_ns: int) -> dict[str, Any]:
        """Plain values; `days` until the end, rounded down, negative when it is over."""
        return {
            "kind": self.kind,
            "id": self.id,
            "version": self.version,
            "organisation": self.organisation,
            "dataset": self.dataset,
            "ends_at": format_instant(self.ends_ns),
            "days": (self.ends_ns - now_ns) // NS_PER_DAY,
        }


@dataclass(frozen=True, slots=True)
class Expiry:
    """What ended with this call, and what ends within the asked days; the earliest first."""

    ended: tuple[Ending, ...]
    ending: tuple[Ending, ...]


def expire(platform: Platform, *, soon_days: int = SOON_DAYS) -> Expiry:
    """Set agreements and grants whose terms are over to `expired`; safe to repeat.

    A grant whose terms were extended afterwards becomes active again.

    Args:
        platform: The opened platform.
        soon_days: Report what ends within so many days.
    """
    now_ns = platform.clock()
    ended: list[Ending] = []
    ending: list[Ending] = []
    with writing(platform.engine) as connection:
        for one in _endings(connection):
            over = one.ends_ns <= now_ns
            if over != (one.state == EXPIRED):
                _set_state(connection, one, EXPIRED if over else "active")
                if over:
                    ended.append(one)
            if not over and one.ends_ns <= now_ns + soon_days * NS_PER_DAY:
                ending.append(one)
    return Expiry(tuple(sorted(ended, key=_order)), tuple(sorted(ending, key=_order)))


def _endings(connection: Connection) -> Iterator[Ending]:
    """Agreements and grants in force, or expired, whose terms name an end."""
    agreements = select(
        Agreement.id, Agreement.version, Agreement.organisation_id, Agreement.terms, Agreement.state
    ).where(Agreement.state.in_(_ALIVE))
    for key, version, organisation, document, state in connection.execute(agreements).all():
        end_ns = Terms.model_validate(document).expires_at
        if end_ns is not None:
            yield Ending("agreement", key, version, organisation, "", end_ns, state)
    grants = select(
        Grant.id,
        Grant.terms_version,
        Grant.organisation_id,
        Grant.dataset_id,
        Grant.terms,
        Grant.state,
    ).where(Grant.state.in_(_ALIVE))
    for key, version, organisation, dataset, document, state in connection.execute(grants).all():
        terms = Terms.model_validate(document)
        if terms.expires_at is not None:
            end_ns = terms.expires_at + terms.grace_days * NS_PER_DAY
            yield Ending("grant", key, version, organisation, dataset, end_ns, state)


def _set_state(connection: Connection, one: Ending, state: str) -> None:
    if one.kind == "grant":
        connection.execute(update(Grant).where(Grant.id == one.id).values(state=state))
        return
    connection.execute(
        update(Agreement)
        .where(Agreement.id == one.id, Agreement.version == one.version)
        .values(state=state, ended_ns=one.ends_ns if state == EXPIRED else None)
    )


def _order(one: Ending) -> tuple[int, str, str]:
    return one.ends_ns, one.kind, one.id
