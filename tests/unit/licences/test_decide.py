"""Decided cases: terms, request and usage in, the rules that fired out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from schemas.licences import (
    NS_PER_DAY,
    Action,
    Amount,
    Purpose,
    Request,
    Terms,
    Usage,
    decide,
    parse_instant,
)

NOW = parse_instant("2026-11-22T17:00:00+09:00")
OPEN: dict[str, Any] = {
    "label": "agr-1",
    "purposes_allowed": ["pretraining", "evaluation", "product_inference"],
    "commercial": "yes",
    "territory": {"storage": ["JP"], "processing": ["JP", "DE"], "model_deployment": ["JP"]},
    "personal": {"contains_pi": False},
    "medical": {"contains_medical": False},
}
BASE = Request(
    member="m1",
    organisation="kitchen",
    purpose=Purpose.PRETRAINING,
    action=Action.EXPORT,
    territory="JP",
    network="10.1.2.3",
    now_ns=NOW,
    amount=Amount(bytes=10, rows=10, episodes=1, hours_of_video=0.5),
)

UNUSED = Usage()


@dataclass(frozen=True)
class Case:
    name: str
    terms: dict[str, Any]
    rules: str
    ask: dict[str, Any] = field(default_factory=dict)
    usage: Usage = UNUSED


def caps(window: str, kind: str, limit: float) -> dict[str, Any]:
    return {"volume_caps": {window: {kind: limit}}}


def consent(scope: list[str]) -> dict[str, Any]:
    return {"personal": {"basis": "consent", "consent_scope_purposes": scope}}


def basis(name: str, **more: object) -> dict[str, Any]:
    return {"personal": {"basis": name, **more}}


def used(window: str, **amount: float) -> Usage:
    return Usage(**{window: Amount(**amount)})  # type: ignore[arg-type]


LIST, META, QUERY, SIGN = ({"action": a} for a in list(Action)[:4])
CASES = [
    # purposes
    Case("an allowed purpose", {}, ""),
    Case("a purpose that is not named", {}, "purpose_not_allowed", {"purpose": Purpose.RESEARCH}),
    Case("denied wins", {"purposes_denied": ["pretraining"]}, "purpose_not_allowed"),
    Case("no purpose on a list", {}, "", {"purpose": None, **LIST}),
    Case("a forbidden purpose on a list", {}, "purpose_not_allowed",
         {"purpose": Purpose.RESEARCH, **LIST}),
    Case("no purpose on metadata", {}, "purpose_missing", {"purpose": None, **META}),
    Case("inference is commercial", {"commercial": "no"}, "commercial_not_allowed",
         {"purpose": Purpose.PRODUCT_INFERENCE}),
    Case("inference against a royalty", {"commercial": "with_royalty"}, "",
         {"purpose": Purpose.PRODUCT_INFERENCE}),
    # dates, at the exact nanosecond
    Case("1 ns before it begins", {"effective_from": NOW + 1}, "not_yet_effective"),
    Case("at the instant it begins", {"effective_from": NOW}, ""),
    Case("1 ns before the embargo ends", {"embargo_until": NOW + 1}, "embargo"),
    Case("at the instant the embargo ends", {"embargo_until": NOW}, ""),
    Case("1 ns before it expires", {"expires_at": NOW + 1}, ""),
    Case("at the instant it expires", {"expires_at": NOW}, "expired"),
    Case("the last ns of grace", {"expires_at": NOW + 1 - 7 * NS_PER_DAY, "grace_days": 7}, ""),
    Case("grace is over", {"expires_at": NOW - 7 * NS_PER_DAY, "grace_days": 7}, "expired"),
    Case("expired, as ISO 8601 with an offset", {"expires_at": "2026-11-22T17:00:00+09:00"},
         "expired"),
    Case("expired hides it from lists", {"expires_at": NOW}, "expired", LIST),
    # revocation
    Case("1 ns before revocation", {"revoked_at": NOW + 1}, ""),
    Case("at revocation", {"revoked_at": NOW}, "revoked"),
    Case("revoked, all stops", {"revoked_at": NOW, "revocation": {"effect": "stop_all"}},
         "revoked", LIST),
    Case("revoked for what is new, metadata stay",
         {"revoked_at": NOW, "revocation": {"effect": "stop_new"}}, "", META),
    Case("revoked for what is new, data stop",
         {"revoked_at": NOW, "revocation": {"effect": "stop_new"}}, "revoked", QUERY),
    # territory and network
    Case("processing in a listed country, storing in none", {}, "territory_storage",
         {"territory": "DE"}),
    Case("query in place in a listed country", {}, "", {"territory": "DE", **QUERY}),
    Case("a country that is not listed", {}, "territory_processing territory_storage",
         {"territory": "US"}),
    Case("models deployed elsewhere", {}, "territory_model_deployment",
         {"territory": "DE", "purpose": Purpose.PRODUCT_INFERENCE, **QUERY}),
    Case("anywhere", {"territory": {"storage": "*", "processing": "*"}}, "", {"territory": "BR"}),
    Case("inside a network", {"security": {"allowed_networks": ["10.1.0.0/16"]}}, ""),
    Case("outside every network", {"security": {"allowed_networks": ["10.2.0.0/16"]}}, "network"),
    Case("no address where one is needed", {"security": {"allowed_networks": ["10.1.0.0/16"]}},
         "network", {"network": None}),
    Case("text that is no address", {"security": {"allowed_networks": ["10.1.0.0/16"]}},
         "network", {"network": "10.1.2.3, 10.9.9.9"}),
    Case("an IPv4 address in IPv6 clothes", {"security": {"allowed_networks": ["10.1.0.0/16"]}},
         "", {"network": "::ffff:10.1.2.3"}),
    Case("IPv6", {"security": {"allowed_networks": ["2001:db8::/32"]}}, "",
         {"network": "2001:db8::7"}),
    Case("an enclave gives nothing away", {"security": {"enclave_only": True}}, "enclave_only"),
    Case("an enclave answers queries", {"security": {"enclave_only": True}}, "", QUERY),
    # readers
    Case("a named member", {"security": {"members": ["m1", "m2"]}}, ""),
    Case("a member who is not named", {"security": {"members": ["m2"]}}, "member_not_named"),
    Case("another organisation's own data", {"recipients": ["clinic"]}, "recipient_not_named"),
    # caps
    Case("exactly at the cap of bytes", caps("day", "bytes", 100), "",
         usage=used("day", bytes=90)),
    Case("one byte over it", caps("day", "bytes", 100), "cap_bytes_day",
         usage=used("day", bytes=91)),
    Case("another window's use does not count", caps("day", "bytes", 100), "",
         usage=used("month", bytes=1000)),
    Case("rows of the month", caps("month", "rows", 10), "cap_rows_month",
         usage=used("month", rows=1)),
    Case("episodes of the term", caps("term", "episodes", 5), "cap_episodes_term",
         usage=used("term", episodes=5)),
    Case("hours of video, exactly", caps("term", "hours_of_video", 2.0), "",
         usage=used("term", hours_of_video=1.5)),
    Case("hours of video, over", caps("term", "hours_of_video", 2.0), "cap_hours_of_video_term",
         usage=used("term", hours_of_video=1.75)),
    Case("a cap of nothing", caps("day", "bytes", 0), "cap_bytes_day"),
    Case("caps are not asked for metadata", caps("day", "bytes", 0), "", META),
    Case("two caps at once",
         {"volume_caps": {"day": {"bytes": 5}, "term": {"bytes": 5, "rows": 5}}},
         "cap_bytes_day cap_bytes_term cap_rows_term"),
    Case("the last reader at a time", {"concurrency": 2}, "", usage=Usage(concurrent=1)),
    Case("one reader too many", {"concurrency": 2}, "concurrency", usage=Usage(concurrent=2)),
    Case("training runs used up", {"max_runs": 3}, "max_runs", usage=Usage(runs=3)),
    # personal and medical basis
    Case("personal data undeclared", {"personal": {}}, "personal_basis_missing"),
    Case("consent that covers it", consent(["pretraining"]), ""),
    Case("consent for something else", consent(["evaluation"]), "consent_scope"),
    Case("opt-out without sensitive classes",
         basis("opt_out_notice", special_care=False, biometric_face=False, minors=False), ""),
    Case("opt-out with all sensitive classes", basis("opt_out_notice"),
         "biometric_needs_consent minors_need_consent special_care_needs_consent"),
    Case("own operations, asked by another", basis("own_operations", controller="clinic"),
         "basis_internal_only"),
    Case("own operations, asked by itself", basis("own_operations", controller="kitchen"), ""),
    Case("the statistical exception is off", basis("statistical_exception_2026"),
         "basis_not_in_force"),
    Case("the statistical exception, from now",
         basis("statistical_exception_2026", in_force_from=NOW), ""),
    Case("two contributions, one without a basis",
         {"personal": [{"contains_pi": False}, {"contains_pi": True}]}, "personal_basis_missing"),
    Case("medical, undeclared", {"medical": {}}, "medical_basis_missing"),
    Case("medical, hidden from lists too", {"medical": {}}, "medical_basis_missing", LIST),
    Case("medical with consent", {"medical": {"consent_record": "c-9"}}, ""),
    Case("medical, anonymised", {"medical": {"anonymisation_certificate": "cert-1"}}, ""),
    Case("medical from a certified producer", {"medical": {"certified_producer": "p-3"}}, ""),
    Case("medical, the hospital itself", {"medical": {"controller": "kitchen"}}, ""),
    Case("medical, another hospital's", {"medical": {"controller": "clinic"}},
         "medical_basis_missing"),
    # several at once
    Case("all that fired are named", {"embargo_until": NOW + 1, "expires_at": NOW},
         "embargo expired purpose_not_allowed", {"purpose": Purpose.RESEARCH}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_decided(case: Case) -> None:
    terms = Terms.model_validate(OPEN | case.terms)
    decision = decide(terms, replace(BASE, **case.ask), case.usage)
    assert list(decision.rules) == case.rules.split()
    assert decision.permit == (not case.rules)


def test_terms_that_state_nothing_permit_nothing() -> None:
    for action in Action:
        for purpose in (*Purpose, None):
            ask = replace(BASE, action=action, purpose=purpose)
            assert not decide(Terms(), ask, Usage()).permit


def test_own_use_is_for_the_organisation_alone() -> None:
    terms = Terms.own_use("kitchen")
    for purpose in Purpose:
        assert decide(terms, replace(BASE, purpose=purpose), Usage()).permit
    rival = decide(terms, replace(BASE, organisation="rival"), Usage())
    assert "recipient_not_named" in rival.rules


def test_obligations_follow_from_terms() -> None:
    terms = Terms.model_validate(
        OPEN
        | {
            "attribution": {"required": True, "text": "© Kitchen"},
            "expires_at": "2027-04-01T00:00:00+09:00",
            "grace_days": 1,
            "revocation": {"deletion_deadline_days": 10},
            "redistribution": "affiliates",
            "pricing": {"price": "per_gb", "amount": 120},
            "disclose_recipient": True,
            "copyright": {"reservation_text": "No analysis without a licence."},
            "derivatives": {"model_weights": "licensor_share", "field_of_use": ["kitchens"]},
        }
    )
    assert set(decide(terms, BASE, Usage()).obligations) >= {
        "attribution: © Kitchen",
        "delete_by: 2027-04-11T15:00:00Z",
        "redistribution: affiliates only",
        "pay: per_gb 120 JPY, minimum 0",
        "recipient_disclosed",
        "copyright_reserved: No analysis without a licence.",
        "model_weights: licensor_share",
        "field_of_use: kitchens",
        "deploy_models_only_in: JP",
        "no_reidentification",
        "encrypt",
    }


def test_a_denial_after_revocation_says_until_when_to_delete() -> None:
    terms = Terms.model_validate(OPEN).revoked("2026-11-01T00:00:00Z")
    decision = decide(terms, BASE, Usage())
    assert decision.rules == ("revoked",)
    assert "delete_by: 2026-12-01T00:00:00Z" in decision.obligations
    assert "certificate_of_deletion" in decision.obligations
