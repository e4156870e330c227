"""Under which terms a release stands: the strictest of all its contributions, or none at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Agreement
from schemas.errors import LicenceError
from schemas.licences import Action, Request, Terms, Usage, decide, format_instant, intersect
from schemas.sectors import SECTORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Engine

    from pipelines.release.select import Episode
    from schemas.recipe import Recipe

Version = tuple[str, int]
"""Agreement id and version."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A recording that matches the recipe and is not in the release, and why."""

    recording_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Licensed:
    """What may go in.

    Attributes:
        episodes: In the order given.
        left_out: Recordings whose agreements are over or not yet in force.
        terms: Agreement version -> terms, for the episodes that are in.
    """

    episodes: list[Episode]
    left_out: list[LeftOut]
    terms: dict[Version, Terms]


def licensed_episodes(
    engine: Engine, episodes: Sequence[Episode], now_ns: int, *, strict: bool
) -> Licensed:
    """Leave out what no agreement covers now.

    Args:
        engine: The catalog.
        episodes: Candidates.
        now_ns: Now, ns UTC.
        strict: Refuse instead of leaving out.

    Raises:
        LicenceError: nothing is left, or something would be left out and `strict`.
    """
    agreements = _agreements(engine, {e.agreement for e in episodes})
    terms, reasons = {}, {}
    for version in sorted({(e.agreement, e.agreement_version) for e in episodes}):
        found = agreements.get(version)
        reason = "its agreement is not in the catalog" if found is None else _over(found, now_ns)
        if reason:
            reasons[version] = reason
        elif found is not None:
            terms[version] = found[0]
    kept = [e for e in episodes if (e.agreement, e.agreement_version) in terms]
    left = {
        e.recording_id: reasons[e.agreement, e.agreement_version]
        for e in episodes
        if (e.agreement, e.agreement_version) in reasons
    }
    if left and (strict or not kept):
        key, reason = next(iter(left.items()))
        raise LicenceError(
            f"{len(left)} recordings may not be used: {reason}",
            subject=f"recording {key}",
            expected="agreements in force",
            next_step="leave them out with the recipe's filter"
            if kept
            else "agree on new terms: tanada agreement add",
        )
    return Licensed(kept, [LeftOut(*item) for item in sorted(left.items())], terms)


def release_terms(recipe: Recipe, licensed: Licensed) -> Terms:
    """The strictest intersection of the contributions' terms.

    Raises:
        LicenceError: a contribution does not allow a purpose of the recipe, two contributions
            conflict (both are named), or a feature shows what only its contributor may see.
    """
    used = {(e.agreement, e.agreement_version) for e in licensed.episodes}
    contributions = [licensed.terms[version] for version in sorted(used)]
    for terms in contributions:
        refused = [p for p in recipe.purposes if p not in terms.purposes_allowed]
        if refused:
            raise LicenceError(
                f"{terms.label} does not allow the purpose {', '.join(refused)}",
                subject=f"recipe of {recipe.dataset}",
                expected=", ".join(terms.purposes_allowed) or "no purpose at all",
                found=", ".join(recipe.purposes),
                next_step="leave its recordings out, or agree on new terms: tanada agreement add",
            )
    joined = intersect(contributions)
    _refuse_competitive(recipe, licensed.episodes, joined)
    # The agreements' names would tell recipients who contributed.
    return joined.model_copy(update={"label": f"release of {recipe.dataset}"})


def obligations(recipe: Recipe, terms: Terms) -> list[str]:
    """What follows for whoever receives the release, for any of its purposes."""
    found: set[str] = set()
    for purpose in recipe.purposes:
        request = Request("", "", purpose, Action.EXPORT, "", None, 0)
        found.update(decide(terms, request, Usage()).obligations)
    return sorted(found)


def _refuse_competitive(recipe: Recipe, episodes: Iterable[Episode], terms: Terms) -> None:
    owners = {episode.organisation for episode in episodes}
    if len(owners) == 1 and terms.recipients == tuple(owners):
        return  # nobody but its owner will see it
    for sector in sorted({episode.sector for episode in episodes}):
        closed = SECTORS[sector].competitive_fields if sector in SECTORS else frozenset[str]()
        for name, feature in recipe.features.items():
            shown = sorted(c for c in feature.columns if f"{feature.table}.{c}" in closed)
            if shown:
                raise LicenceError(
                    f"{feature.table}.{shown[0]} is competitive in the sector {sector}",
                    subject=f"feature {name}",
                    expected="only fields of the cooperative area",
                    next_step="remove the feature, or the sector from the filter",
                )


def _over(found: tuple[Terms, str], now_ns: int) -> str:
    """Why terms give no right to build with them now; "" = they do."""
    terms, state = found
    if state == "revoked" or (terms.revoked_at is not None and terms.revoked_at <= now_ns):
        return f"{terms.label} was revoked"
    if terms.expires_at is not None and terms.expires_at <= now_ns:
        return f"{terms.label} expired at {format_instant(terms.expires_at)}"
    if terms.effective_from is not None and terms.effective_from > now_ns:
        return f"{terms.label} is effective only from {format_instant(terms.effective_from)}"
    return ""


def _agreements(engine: Engine, wanted: Iterable[str]) -> Mapping[Version, tuple[Terms, str]]:
    """Every version of these agreements; a revoked agreement has all its versions revoked."""
    query = select(Agreement.id, Agreement.version, Agreement.terms, Agreement.state)
    with reading(engine) as connection:
        rows = connection.execute(query.where(Agreement.id.in_(sorted(wanted)))).all()
    revoked = {key for key, _, _, state in rows if state == "revoked"}
    return {
        (key, version): (
            Terms.model_validate(document).model_copy(
                update={"label": f"agreement {key} version {version}"}
            ),
            "revoked" if key in revoked else state,
        )
        for key, version, document, state in rows
    }
