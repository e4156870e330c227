"""The catalog as one caller may see it: search, facets, pages.

What a caller may see is worked out anew at most a second after the last time; every listing is
decided and recorded on its own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from api import catalog
from api.gate import grant_purposes, judge, knows
from schemas.licences import Action, Purpose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic import BaseModel

    from api.access import Visit
    from api.catalog import DatasetRecord

FRESH_NS: Final = 600_000_000
SKEW_NS: Final = 10_000_000_000
HELD_MAX: Final = 256
PAGES_MAX: Final = 64
DECIDED_AT_ONCE: Final = 25


@dataclass(frozen=True, slots=True)
class Listed:
    """One dataset that the caller may see.

    Attributes:
        document: Its item in listings.
        words: Its searchable text, case-folded.
        sectors: Its sectors.
        purposes: What the caller may use it for now.
    """

    document: dict[str, Any]
    words: str
    sectors: tuple[str, ...]
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a search.

    Attributes:
        items: Documents of the page.
        facets: Choice -> datasets it would leave, given the other choices.
        last: Id of the page's last dataset where more follow, else None.
        total: Datasets that match.
    """

    items: list[dict[str, Any]]
    facets: dict[str, dict[str, int]]
    last: str | None
    total: int


@dataclass(frozen=True, slots=True)
class Visible:
    """Everything that one caller may see, worked out at one instant.

    Attributes:
        at_ns: When.
        datasets: By id.
        pages: Pages that were written from it already, by query.
    """

    at_ns: int
    datasets: list[Listed]
    pages: dict[str, bytes] = field(default_factory=dict)

    def page(self, query: BaseModel, write: Callable[[], bytes]) -> bytes:
        """The page for a query, written once."""
        key = query.model_dump_json()
        found = self.pages.get(key)
        if found is None:
            found = write()
            if len(self.pages) < PAGES_MAX:
                self.pages[key] = found
        return found


class Listing:
    """Remembers for less than a second what each caller may see."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str | None], Visible] = OrderedDict()
        self._busy: defaultdict[tuple[str, str | None], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def visible(self, visit: Visit) -> Visible:
        """Every dataset that the caller may see; worked out once for all who wait for it."""
        key = (visit.caller.principal.key_id, visit.network)
        if (found := self._fresh(key, visit)) is not None:
            return found
        async with self._busy[key]:
            if (found := self._fresh(key, visit)) is not None:
                return found
            listed = Visible(visit.services.clock(), await _visible(visit))
            self._held[key] = listed
            self._held.move_to_end(key)
        self._busy.pop(key, None)
        if len(self._held) > HELD_MAX:
            self._held.popitem(last=False)
        return listed

    def _fresh(self, key: tuple[str, str | None], visit: Visit) -> Visible | None:
        found = self._held.get(key)
        # Measured from the request's arrival: whoever waited for this takes it, however long it
        # took. A clock that was set back must not keep it alive.
        if found is None or not -SKEW_NS < visit.now_ns - found.at_ns < FRESH_NS:
            return None
        return found


async def _visible(visit: Visit) -> list[Listed]:
    records = await visit.read(
        lambda connection: catalog.datasets_of(connection, visit.organisation)
    )
    # A cursor is compared here, and a database may sort by another order than this one.
    records.sort(key=lambda record: record.id)
    found = []
    for number, record in enumerate(records, 1):
        if listed := _if_visible(visit, record):
            found.append(listed)
        if number % DECIDED_AT_ONCE == 0:
            # Others are answered meanwhile.
            await asyncio.sleep(0)
    return found


def _if_visible(visit: Visit, record: DatasetRecord) -> Listed | None:
    if not knows(visit, record):
        return None
    judged = [
        (purpose, judge(visit, record, record.latest, Action.METADATA, purpose))
        for purpose in stated_purposes(visit, record)
    ]
    permitted = [(purpose, found) for purpose, found in judged if found.decision.permit]
    # What may be used for a purpose may be listed: a list is asked fewer rules, never others.
    judgement = (
        permitted[0][1] if permitted else judge(visit, record, record.latest, Action.LIST, None)
    )
    if not judgement.decision.permit:
        return None
    access = "granted" if judgement.grant else "publisher"
    return _listed(record, tuple(purpose.value for purpose, _ in permitted), access)


def stated_purposes(visit: Visit, record: DatasetRecord) -> list[Purpose]:
    """Purposes that some terms name at all; no other one can be permitted."""
    if not record.grants or record.organisation_id == visit.organisation:
        return list(Purpose)
    stated = {purpose for grant in record.grants for purpose in grant_purposes(grant)}
    return [purpose for purpose in Purpose if purpose in stated]


def _listed(record: DatasetRecord, purposes: tuple[str, ...], access: str) -> Listed:
    document = dataset_item(record, purposes, access)
    words = " ".join((record.id, record.title, record.description, *record.sectors)).casefold()
    return Listed(document, words, record.sectors, purposes)


def brief(summary: dict[str, Any]) -> dict[str, Any]:
    """The plain figures of a release's summary; its details stand with the release."""
    return {key: value for key, value in summary.items() if not isinstance(value, dict | list)}


def dataset_item(record: DatasetRecord, purposes: Sequence[str], access: str) -> dict[str, Any]:
    """A dataset as listings show it."""
    latest = record.latest
    return {
        "id": record.id,
        "title": record.title,
        "description": record.description,
        "sectors": list(record.sectors),
        "latest": latest.version if latest else None,
        "digest": latest.digest if latest else None,
        "summary": brief(latest.summary) if latest else {},
        "created_ns": record.created_ns,
        "released_ns": latest.created_ns if latest else None,
        "purposes": list(purposes),
        "access": access,
    }


def search(
    listed: Iterable[Listed],
    *,
    words: str | None,
    sector: str | None,
    purpose: str | None,
    after: str | None,
    limit: int,
) -> Found:
    """One page of the datasets that match all choices.

    Args:
        listed: What the caller may see, by id.
        words: Each has to occur in id, title, description or sectors.
        sector: Only of this sector.
        purpose: Only those that may be used for it.
        after: Id behind which the page begins.
        limit: Most items.
    """
    wanted = words.casefold().split() if words else []
    sectors: dict[str, int] = {}
    purposes: dict[str, int] = {}
    matching: list[Listed] = []
    for dataset in listed:
        if not all(word in dataset.words for word in wanted):
            continue
        in_sector = sector is None or sector in dataset.sectors
        for_purpose = purpose is None or purpose in dataset.purposes
        if for_purpose:
            for name in dataset.sectors:
                sectors[name] = sectors.get(name, 0) + 1
        if in_sector:
            for name in dataset.purposes:
                purposes[name] = purposes.get(name, 0) + 1
        if in_sector and for_purpose:
            matching.append(dataset)
    rest = matching if after is None else [d for d in matching if d.document["id"] > after]
    page = [dataset.document for dataset in rest[:limit]]
    last = page[-1]["id"] if len(rest) > limit else None
    facets = {"sector": dict(sorted(sectors.items())), "purpose": dict(sorted(purposes.items()))}
    return Found(page, facets, last, len(matching))
