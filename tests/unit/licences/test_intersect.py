"""The strictest intersection, and the pairs that can't be joined."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import LicenceError
from schemas.licences import ANYWHERE, ModelWeights, Purpose, Redistribution, Terms, intersect

OPEN: dict[str, Any] = {
    "purposes_allowed": ["pretraining", "evaluation"],
    "territory": {"storage": ["JP", "DE"], "processing": ["JP", "DE"]},
    "derivatives": {"model_weights": "licensee_owns"},
}


def terms(label: str, **fields: object) -> Terms:
    return Terms.model_validate(OPEN | {"label": label} | fields)


CONFLICTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("purposes_allowed", {"purposes_allowed": "pretraining"}, {"purposes_allowed": "research"}),
    (
        "territory.processing",
        {"territory": {"storage": "*", "processing": "JP"}},
        {"territory": {"storage": "*", "processing": "DE"}},
    ),
    (
        "territory.storage",
        {"territory": {"storage": "JP", "processing": "*"}},
        {"territory": {"storage": "DE", "processing": "*"}},
    ),
    (
        "attribution",
        {"attribution": {"required": True, "text": "x"}},
        {"attribution": {"anonymous": True}},
    ),
    (
        "derivatives.model_weights",
        {"derivatives": {"model_weights": "licensor_share"}},
        {"derivatives": {"model_weights": "no_release"}},
    ),
    (
        "derivatives.field_of_use",
        {"derivatives": {"field_of_use": "kitchens"}},
        {"derivatives": {"field_of_use": "clinics"}},
    ),
    (
        "security.allowed_networks",
        {"security": {"allowed_networks": "10.0.0.0/8"}},
        {"security": {"allowed_networks": "192.168.0.0/16"}},
    ),
    ("security.members", {"security": {"members": "a"}}, {"security": {"members": "b"}}),
    ("recipients", {"recipients": "kitchen"}, {"recipients": "clinic"}),
    ("term", {"expires_at": 100}, {"effective_from": 100}),
]


@pytest.mark.parametrize(("field", "one", "two"), CONFLICTS, ids=[c[0] for c in CONFLICTS])
def test_a_conflict_names_the_pair(field: str, one: dict[str, Any], two: dict[str, Any]) -> None:
    bystander = terms("agr-0", purposes_allowed=list(Purpose))
    with pytest.raises(LicenceError, match=field) as caught:
        intersect([bystander, terms("agr-1", **one), terms("agr-2", **two)])
    assert caught.value.subject == "agr-1 and agr-2"


def test_three_that_only_conflict_together_name_the_joined_ones() -> None:
    pairs = [["pretraining", "research"], ["research", "evaluation"], ["evaluation", "pretraining"]]
    three = [terms(f"agr-{i}", purposes_allowed=pair) for i, pair in enumerate(pairs)]
    with pytest.raises(LicenceError) as caught:
        intersect(three)
    assert caught.value.subject == "agr-0 + agr-1 and agr-2"


def test_nothing_to_intersect_is_refused() -> None:
    with pytest.raises(LicenceError, match="no terms"):
        intersect([])


def test_terms_that_permit_nothing_are_refused_even_alone() -> None:
    with pytest.raises(LicenceError, match="purposes_allowed"):
        intersect([Terms(label="empty")])


def test_every_field_takes_its_strictest_value() -> None:
    one = terms(
        "b",
        commercial="yes",
        expires_at=1000,
        embargo_until=5,
        grace_days=3,
        redistribution="sublicence_list",
        sublicensees=["x", "y"],
        volume_caps={"day": {"bytes": 10}, "term": {"rows": 4}},
        attribution={"required": True, "text": "© B"},
        security={"allowed_networks": ["10.0.0.0/8"], "encryption": False},
        confidentiality={"level": "clear", "competitive_area": False},
        personal={"contains_pi": False},
        medical={"contains_medical": False},
        max_runs=9,
        revocation={"effect": "stop_new", "deletion_deadline_days": 5},
    )
    two = terms(
        "a",
        territory={"storage": "*", "processing": "JP", "model_deployment": "JP"},
        commercial="with_royalty",
        effective_from=1,
        expires_at=2000,
        embargo_until=9,
        redistribution="sublicence_list",
        sublicensees=["y", "z"],
        volume_caps={"day": {"bytes": 20, "episodes": 1}},
        attribution={"required": True, "text": "© A"},
        security={"allowed_networks": ["10.1.0.0/16", "172.16.0.0/12"]},
        confidentiality={"level": "amber"},
        personal={"basis": "consent", "consent_scope_purposes": "evaluation"},
        derivatives={"model_weights": ["licensee_owns", "must_delete_on_termination"]},
    )
    both = intersect([one, two])
    assert both.label == "a + b"
    assert both.commercial == "with_royalty"
    assert (both.effective_from, both.expires_at, both.embargo_until) == (1, 1000, 9)
    assert both.grace_days == 0
    assert both.territory.storage == ("DE", "JP")
    assert both.territory.processing == ("JP",)
    assert both.territory.model_deployment == ()
    assert both.sublicensees == ("y",)
    assert both.volume_caps.day.bytes == 10
    assert both.volume_caps.day.episodes == 1
    assert both.volume_caps.term.rows == 4
    assert both.attribution.text == ("© A", "© B")
    assert both.security.allowed_networks == ("10.1.0.0/16",)
    assert both.security.encryption
    assert both.confidentiality.level == "amber"
    assert both.confidentiality.competitive_area
    assert len(both.personal) == 2
    assert both.max_runs == 9
    assert both.revocation.effect == "delete"
    assert both.revocation.deletion_deadline_days == 5
    assert both.derivatives.model_weights == (
        ModelWeights.LICENSEE_OWNS,
        ModelWeights.MUST_DELETE_ON_TERMINATION,
    )


def test_redistribution_to_affiliates_and_to_a_list_leaves_none() -> None:
    one = terms("a", redistribution="affiliates")
    two = terms("b", redistribution="sublicence_list", sublicensees="x")
    three = terms("c", redistribution="sublicence_list", sublicensees="y")
    assert intersect([one, two]).redistribution is Redistribution.NONE
    assert intersect([two, three]).redistribution is Redistribution.NONE
    assert intersect([one, one]).redistribution is Redistribution.AFFILIATES


def test_own_use_joined_with_a_grant_keeps_the_owner_as_only_recipient() -> None:
    both = intersect([Terms.own_use("kitchen"), terms("grant-1")])
    assert both.recipients == ("kitchen",)
    assert both.purposes_allowed == (Purpose.EVALUATION, Purpose.PRETRAINING)
    assert ANYWHERE not in both.territory.processing
