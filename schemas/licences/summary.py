"""Terms in sentences, for release cards, pages and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.licences.instants import format_instant
from schemas.licences.vocabulary import Commercial, Redistribution

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schemas.licences.terms import Terms

_COMMERCIAL: Final = {
    Commercial.NO: "not allowed",
    Commercial.WITH_ROYALTY: "allowed against a royalty",
    Commercial.YES: "allowed",
}
_REDISTRIBUTION: Final = {
    Redistribution.NONE: "not allowed",
    Redistribution.AFFILIATES: "to affiliates only",
    Redistribution.SUBLICENCE_LIST: "to the listed sublicensees only",
}


def summarise(terms: Terms) -> list[str]:
    """One sentence per rule that matters to a reader, most asked first."""
    return [
        *_use(terms),
        *_time(terms),
        *_derivatives(terms),
        *_limits(terms),
        *_data(terms),
    ]


def _names(values: Iterable[str], empty: str) -> str:
    return ", ".join(str(value) for value in values) or empty


def _use(terms: Terms) -> Iterator[str]:
    yield f"Purposes: {_names(terms.purposes_allowed, 'none')}."
    if terms.purposes_denied:
        yield f"Never for: {_names(terms.purposes_denied, 'none')}."
    if terms.recipients is not None:
        yield f"Recipients: {_names(terms.recipients, 'none')}."
    yield f"Commercial use: {_COMMERCIAL[terms.commercial]}."
    yield f"Redistribution: {_REDISTRIBUTION[terms.redistribution]}."
    territory = terms.territory
    yield (
        f"Storage: {_places(territory.storage)}; processing: {_places(territory.processing)}; "
        f"model deployment: {_places(territory.model_deployment)}."
    )


def _places(codes: tuple[str, ...]) -> str:
    return _names(("anywhere" if code == "*" else code for code in codes), "nowhere")


def _time(terms: Terms) -> Iterator[str]:
    if terms.revoked_at is not None:
        yield f"Revoked at {format_instant(terms.revoked_at)}."
    if terms.effective_from is not None:
        yield f"Effective from {format_instant(terms.effective_from)}."
    if terms.embargo_until is not None:
        yield f"Under embargo until {format_instant(terms.embargo_until)}."
    if terms.expires_at is not None:
        grace = f", with {terms.grace_days} days of grace" if terms.grace_days else ""
        yield f"Expires at {format_instant(terms.expires_at)}{grace}; renewal: {terms.renewal}."
    deadline = terms.revocation.deletion_deadline_days
    yield f"When revoked: {terms.revocation.effect}, deletion within {deadline} days."


def _derivatives(terms: Terms) -> Iterator[str]:
    derivatives = terms.derivatives
    yield (
        f"Derived data: {derivatives.derived_data}; synthetic data: {derivatives.synthetic_data}; "
        f"embeddings: {derivatives.embeddings}."
    )
    yield f"Model weights: {_names(derivatives.model_weights, 'no duty stated')}."
    if derivatives.field_of_use is not None:
        yield f"Field of use: {_names(derivatives.field_of_use, 'none')}."
    if terms.attribution.required:
        yield f"Attribution: {'; '.join(terms.attribution.text)}."
    if terms.attribution.anonymous:
        yield "The contributor must not be named."


def _limits(terms: Terms) -> Iterator[str]:
    for window in ("day", "month", "term"):
        caps = getattr(terms.volume_caps, window)
        for kind in type(caps).model_fields:
            limit = getattr(caps, kind)
            if limit is not None:
                yield f"At most {limit:,} {kind.replace('_', ' ')} per {window}."
    if terms.concurrency is not None:
        yield f"At most {terms.concurrency} readers at a time."
    if terms.max_runs is not None:
        yield f"At most {terms.max_runs} training runs."
    for charge in terms.pricing:
        yield f"Price: {charge.price}, {charge.amount:,} {charge.currency}."
    security = terms.security
    if security.allowed_networks is not None:
        yield f"Networks: {_names(security.allowed_networks, 'none')}."
    if security.members is not None:
        yield f"Named members: {len(security.members)}."
    if security.enclave_only:
        yield "Queries in place only; nothing may be taken away."


def _data(terms: Terms) -> Iterator[str]:
    level = terms.confidentiality.level
    area = "competitive" if terms.confidentiality.competitive_area else "cooperative"
    yield f"Confidentiality: {level}, {area} area."
    held = sorted({str(entry.basis) for entry in terms.personal if entry.contains_pi})
    yield f"Personal data: {'basis ' + ', '.join(held) if held else 'none'}."
    medical = any(entry.contains_medical for entry in terms.medical)
    yield f"Medical data: {'yes' if medical else 'none'}."
    for entry in terms.copyright:
        if entry.art_30_4_reserved:
            yield f"Copyright reserved: {entry.reservation_text or entry.rights_holder or 'yes'}."
