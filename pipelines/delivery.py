"""Ingest what lies in the landing folder: one job, for one sector and day or for everything."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Recording
from pipelines.batch import FAILED
from pipelines.check.docs_site import DocsSite
from pipelines.check.validator import Validator
from pipelines.incoming import SETTLED_SECONDS, incoming
from pipelines.ingest import contribution, ingest_found
from pipelines.jobs import REFUSED, RETRY, WELL
from schemas.errors import NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.batch import Outcome
    from pipelines.cli.platform import Platform
    from pipelines.incoming import Incoming, Landing

_PART: Final = 500
_REFUSALS: Final = frozenset({"quarantined", "conflict"})


def ingest_incoming(
    platform: Platform,
    *,
    organisation: str | None = None,
    sector: str | None = None,
    day: str | None = None,
    agreement: str | None = None,
    settled_seconds: int = SETTLED_SECONDS,
    validator: Validator | None = None,
) -> dict[str, Any]:
    """Hand in every recording that arrived, each robot's under its organisation's agreement.

    Args:
        platform: The opened platform.
        organisation: Only of this one; None = all.
        sector: Only of robots of this one; None = all.
        day: Only this day's folders; None = all.
        agreement: Default: the only one of the organisation that is in force.
        settled_seconds: A file that changed since is still being written.
        validator: A running one to share; None = one of its own.

    Returns:
        `recordings`: what became of each; `statuses`: how many of this call; `verdicts`, `rows`
        and `rules`: of all recordings in these landings, whenever they were decided; `waiting`
        and `left_out`: what was not handed in; `data_docs`: folders of the checks' pages.
        `outcome` is `retry` where something waits or failed, else `refused` where something was
        refused, now or before, or could not be handed in.

    Raises:
        NotFoundError: the landing folder does not exist.
        RetryError: the platform cannot work now; what was received stays received.
        WrongUseError: no landing folder is configured, or `day` is none.
    """
    found = incoming(
        platform,
        organisation=organisation,
        sector=sector,
        day=day,
        settled_seconds=settled_seconds,
    )
    docs = DocsSite(platform.root)
    shared = validator or Validator(docs.folder, platform.clock)
    outcomes: list[Outcome] = []
    left_out: list[str] = []
    try:
        for owner, robot in dict.fromkeys((one.organisation, one.robot) for one in found.landings):
            landings = [x for x in found.landings if (x.organisation, x.robot) == (owner, robot)]
            candidates = [candidate for one in landings for candidate in one.arrived]
            try:
                under = contribution(platform, owner, robot, agreement)
                result = ingest_found(platform, candidates, under, validator=shared)
                docs.publish(owner)
            except (NotFoundError, WrongUseError) as error:
                left_out.append(f"{owner}/{robot}: {error}")
                continue
            outcomes += result.outcomes
    finally:
        if validator is None:
            shared.close()
    return _document(platform, found, outcomes, left_out)


def _document(
    platform: Platform, found: Incoming, outcomes: Sequence[Outcome], left_out: Sequence[str]
) -> dict[str, Any]:
    rows: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    rules: dict[str, set[str]] = {}
    for known in _decided(platform, sorted({o.recording_id for o in outcomes})):
        verdicts[known["state"]] += 1
        rows.update(known["tables"])
        for reason in known["reasons"]:
            rules.setdefault(reason["rule"], set()).add(known["id"])
    for one in outcomes:
        if not one.recording_id:  # refused before it had an id: it is in no table
            verdicts[one.status] += 1
            for early in one.reasons:
                rules.setdefault(early.rule, set()).add(one.path)
    waiting = [path for landing in found.landings for path in landing.waiting]
    not_handed_in = [*left_out, *found.unknown, *_notes(found.landings)]
    statuses = Counter(one.status for one in outcomes)
    if waiting or statuses[FAILED]:
        outcome = RETRY
    elif left_out or any(verdicts[name] for name in _REFUSALS):
        outcome = REFUSED
    else:
        outcome = WELL
    return {
        "outcome": outcome,
        "recordings": [one.as_json() for one in outcomes],
        "statuses": dict(sorted(statuses.items())),
        "verdicts": dict(sorted(verdicts.items())),
        "rows": dict(sorted(rows.items())),
        "rules": {rule: len(ids) for rule, ids in sorted(rules.items())},
        "waiting": waiting,
        "left_out": not_handed_in,
        "data_docs": [str(platform.root.data_docs(one)) for one in _owners(found.landings)],
    }


def _owners(landings: Sequence[Landing]) -> list[str]:
    return sorted({landing.organisation for landing in landings})


def _notes(landings: Sequence[Landing]) -> list[str]:
    return [text for landing in landings for text in landing.left_out]


def _decided(platform: Platform, ids: Sequence[str]) -> list[dict[str, Any]]:
    """State, reasons and rows per table of recordings that the catalog knows."""
    query = select(Recording.id, Recording.state, Recording.reasons, Recording.tables)
    known: list[dict[str, Any]] = []
    with reading(platform.engine) as connection:
        for start in range(0, len(ids), _PART):
            chosen = query.where(Recording.id.in_(ids[start : start + _PART]))
            known += [dict(row) for row in connection.execute(chosen).mappings()]
    return known
