"""The one decision function: pure, total, and asked every time.

Every rule has a name. Which rules are asked depends on the action: a list shows only what exists
and is neither over nor closed to the reader; whatever moves data is asked everything.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from schemas.licences.instants import NS_PER_DAY, format_instant
from schemas.licences.parts import ANYWHERE
from schemas.licences.request import Decision
from schemas.licences.vocabulary import (
    Action,
    Basis,
    Commercial,
    Derivation,
    Effect,
    ModelWeights,
    Purpose,
    Redistribution,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.licences.parts import MedicalData, PersonalData
    from schemas.licences.request import Request, Usage
    from schemas.licences.terms import Terms

MOVES_DATA: Final = frozenset({Action.QUERY, Action.SIGN, Action.EXPORT})
"""Actions after which rows or bytes reach the reader."""
TAKES_AWAY: Final = frozenset({Action.SIGN, Action.EXPORT})
"""Actions after which the reader keeps a copy."""
COMMERCIAL_PURPOSES: Final = frozenset({Purpose.PRODUCT_INFERENCE})
WINDOWS: Final = ("day", "month", "term")
VOLUMES: Final = ("bytes", "rows", "episodes", "hours_of_video")
_HELD_BY_CONTROLLER_ONLY: Final = frozenset({Basis.OWN_OPERATIONS, Basis.PSEUDONYMOUSLY_PROCESSED})
_WEIGHT_DUTIES: Final = (
    ModelWeights.LICENSOR_SHARE,
    ModelWeights.MUST_DELETE_ON_TERMINATION,
    ModelWeights.NO_RELEASE,
)


def decide(terms: Terms, request: Request, usage: Usage) -> Decision:
    """Whether `terms` permit `request`, given what was used before.

    Where both a release's terms and a grant's apply, pass their `intersect`.

    Returns:
        A permit, or a denial with every rule that fired; both with the obligations that follow.
        Never raises for values of the declared types.
    """
    rules = {*_validity(terms, request), *_reader(terms, request), *_basis(terms, request)}
    rules.update(_purpose(terms, request))
    if request.action is not Action.LIST:
        rules.update(_place(terms, request))
    if request.action in MOVES_DATA:
        rules.update(_volume(terms, request, usage))
    return Decision(
        permit=not rules,
        rules=tuple(sorted(rules)),
        obligations=tuple(sorted(set(_obligations(terms)))),
    )


def _validity(terms: Terms, request: Request) -> Iterator[str]:
    now = request.now_ns
    if terms.revoked_at is not None and now >= terms.revoked_at:
        stops_all = terms.revocation.effect is not Effect.STOP_NEW
        if stops_all or request.action in MOVES_DATA:
            yield "revoked"
    if terms.effective_from is not None and now < terms.effective_from:
        yield "not_yet_effective"
    if terms.embargo_until is not None and now < terms.embargo_until:
        yield "embargo"
    end = _end(terms)
    if end is not None and now >= end:
        yield "expired"


def _end(terms: Terms) -> int | None:
    return None if terms.expires_at is None else terms.expires_at + terms.grace_days * NS_PER_DAY


def _reader(terms: Terms, request: Request) -> Iterator[str]:
    if terms.recipients is not None and request.organisation not in terms.recipients:
        yield "recipient_not_named"
    if terms.security.members is not None and request.member not in terms.security.members:
        yield "member_not_named"


def _purpose(terms: Terms, request: Request) -> Iterator[str]:
    purpose = request.purpose
    if purpose is None:
        if request.action is not Action.LIST:
            yield "purpose_missing"
        return
    if purpose not in terms.purposes_allowed or purpose in terms.purposes_denied:
        yield "purpose_not_allowed"
    if purpose in COMMERCIAL_PURPOSES and terms.commercial is Commercial.NO:
        yield "commercial_not_allowed"


def _place(terms: Terms, request: Request) -> Iterator[str]:
    territory = terms.territory
    if not _within(request.territory, territory.processing):
        yield "territory_processing"
    if request.action in TAKES_AWAY and not _within(request.territory, territory.storage):
        yield "territory_storage"
    deployed = request.purpose is Purpose.PRODUCT_INFERENCE
    if deployed and not _within(request.territory, territory.model_deployment):
        yield "territory_model_deployment"
    networks = terms.security.allowed_networks
    if networks is not None and not _on(request.network, networks):
        yield "network"
    if terms.security.enclave_only and request.action in TAKES_AWAY:
        yield "enclave_only"


def _within(code: str, allowed: tuple[str, ...]) -> bool:
    return ANYWHERE in allowed or code in allowed


def _on(address: str | None, networks: tuple[str, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(block) for block in networks)


def _volume(terms: Terms, request: Request, usage: Usage) -> Iterator[str]:
    for window in WINDOWS:
        caps, used = getattr(terms.volume_caps, window), getattr(usage, window)
        for kind in VOLUMES:
            cap = getattr(caps, kind)
            if cap is not None and getattr(used, kind) + getattr(request.amount, kind) > cap:
                yield f"cap_{kind}_{window}"
    if terms.concurrency is not None and usage.concurrent >= terms.concurrency:
        yield "concurrency"
    if terms.max_runs is not None and usage.runs >= terms.max_runs:
        yield "max_runs"


def _basis(terms: Terms, request: Request) -> Iterator[str]:
    for entry in terms.personal:
        if entry.contains_pi:
            yield from _personal(entry, request)
    if any(_medical_unfounded(entry, request) for entry in terms.medical):
        yield "medical_basis_missing"


def _personal(entry: PersonalData, request: Request) -> Iterator[str]:
    basis = entry.basis
    if basis is Basis.NONE:
        yield "personal_basis_missing"
    elif basis is Basis.CONSENT:
        if request.purpose is not None and request.purpose not in entry.consent_scope_purposes:
            yield "consent_scope"
    elif basis is Basis.OPT_OUT_NOTICE:
        yield from _beyond_opt_out(entry)
    elif basis is Basis.STATISTICAL_EXCEPTION_2026:
        if entry.in_force_from is None or request.now_ns < entry.in_force_from:
            yield "basis_not_in_force"
    elif basis in _HELD_BY_CONTROLLER_ONLY and request.organisation != entry.controller:
        yield "basis_internal_only"


def _beyond_opt_out(entry: PersonalData) -> Iterator[str]:
    """Opt-out is no basis for the provision of these classes."""
    if entry.special_care:
        yield "special_care_needs_consent"
    if entry.biometric_face:
        yield "biometric_needs_consent"
    if entry.minors:
        yield "minors_need_consent"


def _medical_unfounded(entry: MedicalData, request: Request) -> bool:
    founded = entry.consent_record or entry.anonymisation_certificate or entry.certified_producer
    own = bool(entry.controller) and request.organisation == entry.controller
    return entry.contains_medical and not founded and not own


def _obligations(terms: Terms) -> Iterator[str]:
    yield "no_reidentification"
    yield "no_reverse_engineering"
    yield f"confidentiality: {terms.confidentiality.level}"
    if terms.confidentiality.competitive_area:
        yield "competitive_area: no disclosure to rivals"
    if not terms.benchmark_publication:
        yield "no_benchmark_publication"
    yield from _passing_on(terms)
    yield from _in_return(terms)
    yield from _derived(terms)
    yield from _at_the_end(terms)
    yield from _care(terms)


def _passing_on(terms: Terms) -> Iterator[str]:
    if terms.redistribution is Redistribution.NONE:
        yield "no_redistribution"
    elif terms.redistribution is Redistribution.AFFILIATES:
        yield "redistribution: affiliates only"
    else:
        yield f"redistribution: only to {', '.join(terms.sublicensees)}"
    for entry in terms.copyright:
        if entry.art_30_4_reserved:
            yield f"copyright_reserved: {entry.reservation_text or entry.rights_holder}"


def _in_return(terms: Terms) -> Iterator[str]:
    if terms.commercial is Commercial.NO:
        yield "non_commercial"
    elif terms.commercial is Commercial.WITH_ROYALTY:
        yield "royalty"
    if terms.attribution.required:
        for text in terms.attribution.text:
            yield f"attribution: {text}"
    if terms.attribution.anonymous:
        yield "attribution_forbidden"
    for charge in terms.pricing:
        yield f"pay: {charge.price} {charge.amount} {charge.currency}, minimum {charge.minimum}"


def _derived(terms: Terms) -> Iterator[str]:
    derivatives = terms.derivatives
    for name in ("derived_data", "synthetic_data", "embeddings"):
        value = getattr(derivatives, name)
        if value is Derivation.NONE:
            yield f"no_{name}"
        elif value is Derivation.SAME_TERMS:
            yield f"{name}: same terms"
    for duty in _WEIGHT_DUTIES:
        if duty in derivatives.model_weights:
            yield f"model_weights: {duty}"
    if derivatives.field_of_use is not None:
        yield f"field_of_use: {', '.join(derivatives.field_of_use)}"
    places = terms.territory.model_deployment
    if ANYWHERE not in places:
        yield f"deploy_models_only_in: {', '.join(places) or 'nowhere'}"


def _at_the_end(terms: Terms) -> Iterator[str]:
    revocation = terms.revocation
    if revocation.effect is Effect.DELETE:
        ends = [end for end in (_end(terms), terms.revoked_at) if end is not None]
        if ends:
            deadline = min(ends) + revocation.deletion_deadline_days * NS_PER_DAY
            yield f"delete_by: {format_instant(deadline)}"
        yield f"delete_within_days: {revocation.deletion_deadline_days}"
        for reach in revocation.propagate_to:
            yield f"delete_also: {reach}"
    if revocation.certificate:
        yield "certificate_of_deletion"


def _care(terms: Terms) -> Iterator[str]:
    if terms.security.encryption:
        yield "encrypt"
    if terms.security.audit_right:
        yield "allow_audit"
    if terms.territory.export_control:
        yield "export_control_review"
    if terms.disclose_recipient:
        yield "recipient_disclosed"
