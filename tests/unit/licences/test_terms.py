"""Terms are read from YAML or JSON, refused when they contradict themselves, shown and exported."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.licences import Purpose, Terms, format_instant, parse_instant, to_odrl


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_700_000_000_000_000_001, 1_700_000_000_000_000_001),
        ("1970-01-01T09:00:00+09:00", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01 00:01Z", 60_000_000_000),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        (datetime(1970, 1, 1, 0, 0, 1, 7, tzinfo=UTC), 1_000_007_000),
    ],
)
def test_instants_are_stored_in_utc_nanoseconds(value: object, expected: int) -> None:
    assert Terms.model_validate({"expires_at": value}).expires_at == expected


@pytest.mark.parametrize(
    "value",
    ["2027-04-01", "2027-04-01T00:00:00", "soon", True, 1.5, datetime.fromisoformat("2027-04-01")],
)
def test_times_that_are_not_absolute_are_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="no absolute time"):
        Terms.model_validate({"expires_at": value})


@pytest.mark.parametrize("value", [0, 1, -1, 10**18 + 123, parse_instant("2027-04-01T00:00Z")])
def test_an_instant_survives_being_written(value: int) -> None:
    assert parse_instant(format_instant(value)) == value


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"purpose_allowed": ["pretraining"]}, "Extra inputs are not permitted"),
        ({"purposes_allowed": ["world_domination"]}, "purposes_allowed"),
        ({"territory": {"processing": ["Japan"]}}, "no ISO 3166-1"),
        ({"attribution": {"required": True, "anonymous": True}}, "both required and anonymous"),
        ({"attribution": {"required": True}}, "needs its text"),
        ({"redistribution": "sublicence_list"}, "needs sublicensees"),
        ({"sublicensees": ["a"]}, "need redistribution"),
        ({"effective_from": 5, "expires_at": 5}, "must lie after"),
        ({"security": {"allowed_networks": ["10.0.0.1/8"]}}, "host bits"),
        ({"volume_caps": {"day": {"bytes": -1}}}, "greater than or equal"),
        ({"derivatives": {"model_weights": ["no_release", "licensor_share"]}}, "contradicts"),
        (
            {"derivatives": {"model_weights": ["retain_allowed", "must_delete_on_termination"]}},
            "contradicts",
        ),
        ({"personal": []}, "at least 1 item"),
    ],
)
def test_contradictions_are_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Terms.model_validate(document)


def test_equal_terms_compare_equal_in_any_order() -> None:
    one = Terms.model_validate(
        {
            "purposes_allowed": ["research", "pretraining", "research"],
            "security": {"allowed_networks": ["10.0.1.0/24", "10.0.0.0/24"]},
        }
    )
    two = Terms.model_validate(
        {
            "purposes_allowed": ["pretraining", "research"],
            "security": {"allowed_networks": ["10.0.0.0/23"]},
        }
    )
    assert one == two
    assert hash(one) == hash(two)


def test_the_document_is_json_and_comes_back_equal() -> None:
    terms = Terms.own_use("kitchen").revoked("2027-01-01T00:00:00Z")
    assert Terms.model_validate(json.loads(json.dumps(terms.document()))) == terms


def test_summary_says_what_a_reader_asks() -> None:
    terms = Terms.model_validate(
        {
            "purposes_allowed": ["pretraining"],
            "territory": {"storage": "JP", "processing": ["JP", "DE"]},
            "expires_at": "2027-04-01T00:00:00+09:00",
            "volume_caps": {"month": {"bytes": 1_000_000}},
        }
    )
    text = terms.summary()
    assert "Purposes: pretraining." in text
    assert "Storage: JP; processing: DE, JP; model deployment: nowhere." in text
    assert "Expires at 2027-03-31T15:00:00Z; renewal: none." in text
    assert "At most 1,000,000 bytes per month." in text


def test_odrl_offer_holds_permission_prohibition_and_duty() -> None:
    terms = Terms.model_validate(
        {
            "label": "agr 1",
            "purposes_allowed": ["pretraining"],
            "purposes_denied": ["product_inference"],
            "territory": {"storage": "JP", "processing": "JP"},
            "expires_at": "2027-04-01T00:00:00Z",
            "attribution": {"required": True, "text": "© Kitchen"},
            "pricing": {"price": "flat", "amount": 5},
            "volume_caps": {"day": {"rows": 7}},
        }
    )
    offer = json.loads(json.dumps(to_odrl(terms)))
    (permission,) = offer["odrl:permission"]
    found = {
        c["odrl:leftOperand"]["@id"]: c["odrl:rightOperand"] for c in permission["odrl:constraint"]
    }
    assert found["odrl:purpose"] == ["tanada:purpose:pretraining"]
    assert found["odrl:spatial"] == ["JP"]
    assert found["odrl:dateTime"]["@value"] == "2027-04-01T00:00:00Z"
    assert found["tanada:rows:day"] == 7
    actions = {p["odrl:action"]["@id"] for p in offer["odrl:prohibition"]}
    assert {"odrl:distribute", "odrl:derive", "tanada:purpose:product_inference"} <= actions
    duties = {d["odrl:action"]["@id"] for d in permission["odrl:duty"]}
    assert duties == {"odrl:attribute", "odrl:compensate", "odrl:delete"}


def test_purposes_are_the_agreed_ones() -> None:
    assert [p.value for p in Purpose] == [
        "pretraining",
        "fine_tuning",
        "evaluation",
        "benchmark",
        "simulation",
        "research",
        "product_inference",
        "internal_analytics",
    ]
