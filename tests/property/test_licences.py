"""The intersection of any terms is never looser than any of them."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.errors import LicenceError
from schemas.licences import (
    Action,
    Amount,
    Basis,
    Cause,
    Commercial,
    ConfidentialityClass,
    Derivation,
    Effect,
    Price,
    Propagation,
    Purpose,
    Renewal,
    Request,
    Terms,
    Usage,
    decide,
    intersect,
    parse_instant,
)

ORGANISATIONS = ["kitchen", "clinic", "depot"]
MEMBERS = ["m1", "m2"]
NETWORKS = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.168.0.0/16", "2001:db8::/32"]
ADDRESSES = [None, "10.1.2.3", "10.1.9.9", "10.200.0.1", "192.168.1.1", "2001:db8::1", "nonsense"]
COUNTRIES = ["JP", "DE", "US"]
PURPOSES = [Purpose.PRETRAINING, Purpose.EVALUATION, Purpose.PRODUCT_INFERENCE]
INSTANTS = st.integers(0, 8)


def some(values: list[Any], least: int = 0) -> st.SearchStrategy[list[Any]]:
    """Mostly all of them, so that intersections often leave something."""
    return st.one_of(st.just(values), st.lists(st.sampled_from(values), min_size=least))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


def one_of(vocabulary: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(list(vocabulary))


PLACES = st.one_of(st.just(["*"]), some(COUNTRIES))
VOLUME = st.fixed_dictionaries(
    {
        "bytes": maybe(st.integers(0, 6)),
        "rows": maybe(st.integers(0, 6)),
        "episodes": maybe(st.integers(0, 6)),
        "hours_of_video": maybe(st.sampled_from([0.0, 0.5, 2.0])),
    }
)
WEIGHTS = st.sampled_from(
    [
        [],
        ["retain_allowed"],
        ["licensee_owns", "retain_allowed"],
        ["licensor_share"],
        ["no_release"],
        ["must_delete_on_termination", "licensee_owns"],
    ]
)
PERSONAL = st.fixed_dictionaries(
    {
        "contains_pi": st.booleans(),
        "special_care": st.booleans(),
        "biometric_face": st.booleans(),
        "minors": st.booleans(),
        "basis": one_of(Basis),
        "controller": st.sampled_from(ORGANISATIONS),
        "consent_scope_purposes": some(PURPOSES),
        "in_force_from": maybe(INSTANTS),
    }
)
MEDICAL = st.fixed_dictionaries(
    {
        "contains_medical": st.booleans(),
        "consent_record": st.sampled_from(["", "c1"]),
        "certified_producer": st.sampled_from(["", "p1"]),
        "controller": st.sampled_from(["", "clinic"]),
    }
)
OPEN: dict[str, Any] = {
    "purposes_allowed": PURPOSES,
    "commercial": "yes",
    "territory": {"storage": "*", "processing": "*", "model_deployment": "*"},
    "personal": {"contains_pi": False},
    "medical": {"contains_medical": False},
    "derivatives": {"model_weights": "licensee_owns"},
}
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "recipients": some(ORGANISATIONS),
    "purposes_allowed": some(PURPOSES),
    "purposes_denied": st.lists(st.sampled_from(PURPOSES), max_size=1),
    "commercial": one_of(Commercial),
    "territory": st.fixed_dictionaries(
        {
            "storage": PLACES,
            "processing": PLACES,
            "model_deployment": PLACES,
            "export_control": st.booleans(),
        }
    ),
    "effective_from": st.integers(0, 5),
    "expires_at": st.integers(6, 9),
    "embargo_until": INSTANTS,
    "renewal": one_of(Renewal),
    "notice_days": st.integers(0, 2),
    "grace_days": st.integers(0, 1),
    "derivatives": st.fixed_dictionaries(
        {
            "derived_data": one_of(Derivation),
            "synthetic_data": one_of(Derivation),
            "embeddings": one_of(Derivation),
            "model_weights": WEIGHTS,
            "field_of_use": maybe(some(["kitchens", "clinics"])),
        }
    ),
    "attribution": st.sampled_from(
        [{"anonymous": True}, {"required": True, "text": "A"}, {"text": "B"}]
    ),
    "redistribution": st.sampled_from(["affiliates", "x", "x y"]),
    "benchmark_publication": st.booleans(),
    "volume_caps": st.fixed_dictionaries({"day": VOLUME, "month": VOLUME, "term": VOLUME}),
    "concurrency": st.integers(0, 3),
    "max_runs": st.integers(0, 3),
    "pricing": st.lists(
        st.fixed_dictionaries({"price": one_of(Price), "amount": st.integers(0, 2)}), max_size=2
    ),
    "security": st.fixed_dictionaries(
        {
            "encryption": st.booleans(),
            "allowed_networks": maybe(some(NETWORKS)),
            "enclave_only": st.booleans(),
            "members": maybe(some(MEMBERS)),
            "audit_right": st.booleans(),
        }
    ),
    "revocation": st.fixed_dictionaries(
        {
            "causes": some(list(Cause)),
            "effect": one_of(Effect),
            "deletion_deadline_days": st.integers(0, 3),
            "certificate": st.booleans(),
            "propagate_to": some(list(Propagation)),
        }
    ),
    "revoked_at": st.integers(3, 12),
    "confidentiality": st.fixed_dictionaries(
        {"level": one_of(ConfidentialityClass), "competitive_area": st.booleans()}
    ),
    "personal": st.lists(PERSONAL, min_size=1, max_size=2),
    "medical": st.lists(MEDICAL, min_size=1, max_size=2),
    "copyright": st.fixed_dictionaries(
        {"art_30_4_reserved": st.booleans(), "rights_holder": st.just("r")}
    ),
    "disclose_recipient": st.booleans(),
}


@st.composite
def documents(draw: st.DrawFn) -> Terms:
    """Open terms with some fields drawn, so that intersections often leave something."""
    drawn = draw(st.sets(st.sampled_from(sorted(FIELDS)), max_size=5))
    document = OPEN | {name: draw(FIELDS[name]) for name in sorted(drawn)}
    if document.get("redistribution", "").startswith("x"):
        listed = document["redistribution"].split()
        document |= {"redistribution": "sublicence_list", "sublicensees": listed}
    return Terms.model_validate(document | {"label": draw(st.sampled_from("abcd"))})


AMOUNTS = st.builds(
    Amount,
    bytes=st.integers(0, 3),
    rows=st.integers(0, 3),
    episodes=st.integers(0, 3),
    hours_of_video=st.sampled_from([0.0, 0.5]),
)
USAGES = st.builds(
    Usage,
    day=AMOUNTS,
    month=AMOUNTS,
    term=AMOUNTS,
    concurrent=st.integers(0, 2),
    runs=st.integers(0, 2),
)
REQUESTS = st.builds(
    Request,
    member=st.sampled_from([*MEMBERS, "m3"]),
    organisation=st.sampled_from(ORGANISATIONS),
    purpose=maybe(st.sampled_from([*PURPOSES, Purpose.RESEARCH])),
    action=st.sampled_from(list(Action)),
    territory=st.sampled_from([*COUNTRIES, "", "??"]),
    network=st.sampled_from(ADDRESSES),
    now_ns=st.integers(0, 10),
    amount=AMOUNTS,
)
SEVERAL = st.lists(documents(), min_size=1, max_size=3)
ORDERS = {
    "confidentiality": [f"confidentiality: {level}" for level in ConfidentialityClass],
    "redistribution": ["no_redistribution", "redistribution: affiliates only", "redistribution:"],
    "commercial": ["non_commercial", "royalty"],
}


def joined(terms: list[Terms]) -> Terms | None:
    try:
        return intersect(terms)
    except LicenceError:
        return None


def covered(demand: str, held: tuple[str, ...]) -> bool:
    """Whether `held` holds `demand` itself, or a stricter form of the same obligation."""
    if demand in held:
        return True
    name, _, value = demand.partition(": ")
    same = [text.partition(": ")[2] for text in held if text.startswith(f"{name}: ")]
    if name == "delete_by":
        return any(parse_instant(text) <= parse_instant(value) for text in same)
    if name == "delete_within_days":
        return any(int(text) <= int(value) for text in same)
    if name in {"field_of_use", "redistribution", "deploy_models_only_in"} and same:
        return any(t == "nowhere" or set(t.split(", ")) <= set(value.split(", ")) for t in same)
    if value == "same terms":
        return f"no_{name}" in held
    return any(
        stricter in held
        for order in ORDERS.values()
        for rank, text in enumerate(order)
        if demand.startswith(text)
        for stricter in order[:rank]
    )


@given(documents(), REQUESTS, USAGES)
@settings(max_examples=80)
def test_a_decision_is_total_and_permits_only_without_rules(
    terms: Terms, request: Request, usage: Usage
) -> None:
    decision = decide(terms, request, usage)
    assert decision.permit == (not decision.rules)
    assert decision == decide(terms, request, usage)


@given(SEVERAL, REQUESTS, USAGES)
@settings(max_examples=300)
def test_the_intersection_is_never_looser(
    several: list[Terms], request: Request, usage: Usage
) -> None:
    both = joined(several)
    assume(both is not None)
    assert both is not None
    strict = decide(both, request, usage)
    for terms in several:
        single = decide(terms, request, usage)
        assert single.permit or not strict.permit, (single.rules, terms)
        # A rule that one of them fires fires in the intersection too.
        assert set(single.rules) <= set(strict.rules)
        missing = [text for text in single.obligations if not covered(text, strict.obligations)]
        assert not missing


@given(SEVERAL)
@settings(max_examples=50)
def test_the_intersection_is_commutative(several: list[Terms]) -> None:
    results = {joined(list(order)) for order in permutations(several)}
    assert len(results) == 1


@given(documents(), documents(), documents())
@settings(max_examples=50)
def test_the_intersection_is_associative(a: Terms, b: Terms, c: Terms) -> None:
    left, right = joined([a, b]), joined([b, c])
    assert (left and joined([left, c])) == (right and joined([a, right])) == joined([a, b, c])


@given(documents())
@settings(max_examples=50)
def test_the_intersection_is_idempotent(terms: Terms) -> None:
    both = joined([terms])
    assert both is None or (both == terms == joined([terms, terms]))


@given(documents())
@settings(max_examples=50)
def test_terms_survive_being_stored(terms: Terms) -> None:
    assert Terms.model_validate_json(terms.model_dump_json()) == terms


def test_the_checker_of_obligations_can_fail() -> None:
    assert not covered("no_redistribution", ("redistribution: affiliates only",))
    assert not covered("delete_by: 1970-01-01T00:00:00Z", ("delete_by: 1970-01-02T00:00:00Z",))
    with pytest.raises(LicenceError):
        intersect([])
