"""Export of terms as an ODRL 2.2 offer (JSON-LD), as Croissant 1.1 embeds under `usageInfo`.

ODRL's own vocabulary is used where it has a word; the rest is under this platform's prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schemas.licences.instants import NS_PER_DAY, format_instant
from schemas.licences.parts import ANYWHERE
from schemas.licences.vocabulary import Commercial, Derivation, Price, Redistribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.licences.terms import Terms

CONTEXT: Final = {
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "tanada": "urn:tanada:licence:",
}


def to_odrl(terms: Terms) -> dict[str, Any]:
    """An `odrl:Offer` with permission, prohibition and duty; plain JSON values."""
    duties = list(_duties(terms))
    permission: dict[str, Any] = {
        "odrl:action": [{"@id": "odrl:use"}, {"@id": "tanada:train"}],
        "odrl:constraint": list(_constraints(terms)),
    }
    return {
        "@context": CONTEXT,
        "@type": "odrl:Offer",
        "@id": f"urn:tanada:terms:{terms.label or 'unnamed'}".replace(" ", "-"),
        "odrl:permission": [permission | ({"odrl:duty": duties} if duties else {})],
        "odrl:prohibition": [{"odrl:action": {"@id": action}} for action in _prohibited(terms)],
    }


def _constraint(left: str, operator: str, right: object) -> dict[str, Any]:
    return {
        "odrl:leftOperand": {"@id": left},
        "odrl:operator": {"@id": f"odrl:{operator}"},
        "odrl:rightOperand": right,
    }


def _instant(value_ns: int) -> dict[str, str]:
    return {"@value": format_instant(value_ns), "@type": "xsd:dateTime"}


def _constraints(terms: Terms) -> Iterator[dict[str, Any]]:
    purposes = [f"tanada:purpose:{purpose}" for purpose in terms.purposes_allowed]
    yield _constraint("odrl:purpose", "isAnyOf", purposes)
    if terms.recipients is not None:
        yield _constraint("odrl:recipient", "isAnyOf", list(terms.recipients))
    territory = terms.territory
    for left, places in (
        ("odrl:spatial", territory.processing),
        ("tanada:storageLocation", territory.storage),
        ("tanada:modelDeploymentLocation", territory.model_deployment),
    ):
        if ANYWHERE not in places:
            yield _constraint(left, "isAnyOf", list(places))
    for value, operator in (
        (terms.effective_from, "gteq"),
        (terms.embargo_until, "gteq"),
        (terms.expires_at, "lt"),
        (terms.revoked_at, "lt"),
    ):
        if value is not None:
            grace = terms.grace_days * NS_PER_DAY if value is terms.expires_at else 0
            yield _constraint("odrl:dateTime", operator, _instant(value + grace))
    if terms.security.allowed_networks is not None:
        networks = list(terms.security.allowed_networks)
        yield _constraint("tanada:network", "isAnyOf", networks)
    yield from _counts(terms)


def _counts(terms: Terms) -> Iterator[dict[str, Any]]:
    for window in type(terms.volume_caps).model_fields:
        caps = getattr(terms.volume_caps, window)
        for kind in type(caps).model_fields:
            if (limit := getattr(caps, kind)) is not None:
                yield _constraint(f"tanada:{kind}:{window}", "lteq", limit)
    if terms.max_runs is not None:
        yield _constraint("tanada:trainingRuns", "lteq", terms.max_runs)
    if terms.concurrency is not None:
        yield _constraint("tanada:concurrency", "lteq", terms.concurrency)


def _prohibited(terms: Terms) -> Iterator[str]:
    yield "tanada:reidentify"
    yield "tanada:reverseEngineer"
    if terms.redistribution is Redistribution.NONE:
        yield "odrl:distribute"
    if terms.derivatives.derived_data is Derivation.NONE:
        yield "odrl:derive"
    if terms.commercial is Commercial.NO:
        yield "tanada:commercialUse"
    if terms.security.enclave_only:
        yield "odrl:move"
    for purpose in terms.purposes_denied:
        yield f"tanada:purpose:{purpose}"


def _duties(terms: Terms) -> Iterator[dict[str, Any]]:
    if terms.attribution.required:
        yield {
            "odrl:action": {"@id": "odrl:attribute"},
            "tanada:text": list(terms.attribution.text),
        }
    for charge in terms.pricing:
        if charge.price is not Price.FREE:
            yield {
                "odrl:action": {"@id": "odrl:compensate"},
                "odrl:constraint": [
                    _constraint("odrl:payAmount", "eq", charge.amount)
                    | {"odrl:unit": charge.currency, "tanada:per": str(charge.price)}
                ],
            }
    days = terms.revocation.deletion_deadline_days
    yield {
        "odrl:action": {"@id": "odrl:delete"},
        "odrl:constraint": [
            _constraint(
                "odrl:delayPeriod", "lteq", {"@value": f"P{days}D", "@type": "xsd:duration"}
            )
        ],
    }
    if terms.disclose_recipient:
        yield {"odrl:action": {"@id": "odrl:inform"}}
