"""Who may see and fetch what of a release, and how refusals look."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from connectors.stores.catalog import database, parties
from connectors.stores.catalog.models import DecisionRow, Grant
from schemas.licences import Purpose

DAY_NS = 86_400_000_000_000
BASE = "/v1/datasets/kitchen-pick/releases"
PULL = f"{BASE}/2/files/card.md?purpose=pretraining"


def test_a_granted_member_reads_a_release(call: Any, world: Any) -> None:
    answer = call("model", "GET", f"{BASE}/latest?purpose=pretraining")
    document = answer.json()
    assert answer.status_code == 200
    assert document["version"] == 2
    assert document["files"] == {"count": 7, "bytes": sum(map(len, world.files.values()))}
    assert document["terms"]["purposes_allowed"] == ["evaluation", "pretraining"]
    assert "no_reidentification" in document["obligations"]
    assert document["terms_summary"][0] == "Purposes: evaluation, pretraining."
    assert "cache-control" in answer.headers


def test_metadata_documents_are_the_files(call: Any, world: Any) -> None:
    for name, file in (
        ("schema", "schema.json"),
        ("statistics", "statistics.json"),
        ("card", "card.md"),
    ):
        answer = call("model", "GET", f"{BASE}/2/{name}?purpose=evaluation")
        assert answer.content == world.files[file]


def test_files_come_in_pages(call: Any, world: Any) -> None:
    seen, cursor = [], ""
    while True:
        page = call("model", "GET", f"{BASE}/2/files?purpose=pretraining&limit=3{cursor}").json()
        assert len(page["items"]) <= 3
        seen += [(item["path"], item["size"]) for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == sorted((path, len(content)) for path, content in world.files.items())


@pytest.mark.parametrize(
    "suffix", ["", "/2?purpose=pretraining", "/2/files/card.md?purpose=pretraining"]
)
def test_never_granted_is_the_same_as_never_existed(call: Any, suffix: str) -> None:
    foreign = call("model", "GET", f"/v1/datasets/secret/releases{suffix}")
    random = call("model", "GET", f"/v1/datasets/no-such-thing/releases{suffix}")
    nowhere = call("model", "GET", "/v1/nowhere/at/all")
    assert foreign.status_code == random.status_code == nowhere.status_code == 404
    assert foreign.content == random.content == nowhere.content
    drop = {"date", "x-request-id"}
    assert {k: v for k, v in foreign.headers.items() if k not in drop} == {
        k: v for k, v in random.headers.items() if k not in drop
    }


def test_a_refusal_without_grant_is_recorded(call: Any, world: Any) -> None:
    call("stranger", "GET", f"{BASE}/2?purpose=pretraining")
    (row,) = world.rows(select(DecisionRow).where(DecisionRow.organisation_id == "stranger"))
    assert (row.permit, row.rules) == (False, ["not_found"])


def test_each_purpose_is_decided(call: Any) -> None:
    for purpose in Purpose:
        answer = call("model", "GET", f"{BASE}/2?purpose={purpose}")
        if purpose in {"pretraining", "evaluation"}:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 403
            assert "purpose_not_allowed" in answer.json()["rules"]


def test_a_purpose_is_needed_and_named(call: Any) -> None:
    for query in ("", "?purpose=", "?purpose=fun"):
        answer = call("model", "GET", f"{BASE}/2{query}")
        assert answer.status_code == 422
        for purpose in Purpose:
            assert purpose in answer.json()["detail"]


def test_granted_and_then_over_is_refused_with_the_rule(call: Any, world: Any) -> None:
    assert call("former", "GET", PULL).status_code == 200
    world.clock.forward(2 * 86_400)
    answer = call("former", "GET", PULL)
    assert (answer.status_code, answer.json()["rules"]) == (403, ["expired"])
    assert call("former", "GET", "/v1/datasets").json()["items"] == []
    with database.writing(world.engine) as connection:
        parties.revoke(connection, "grant", world.grants["model"], world.clock)
    answer = call("model", "GET", PULL)
    assert (answer.status_code, answer.json()["rules"]) == (403, ["grant_revoked"])


def test_embargo_and_networks_are_asked(call: Any, world: Any, terms: Any) -> None:
    for given, rule in (
        (terms(embargo_until=world.clock.now_ns + DAY_NS), "embargo"),
        (terms(security={"allowed_networks": ["10.0.0.0/8"]}), "network"),
        (terms(territory={"storage": ["US"], "processing": ["US"]}), "terms_conflict"),
    ):
        change = update(Grant).where(Grant.id == world.grants["model"])
        with database.writing(world.engine) as connection:
            connection.execute(change.values(terms=given.document()))
        rules = call("model", "GET", PULL).json()["rules"]
        assert any(rule in fired for fired in rules), (rule, rules)


def test_withdrawn_is_gone_for_those_who_knew_it(call: Any) -> None:
    known = call("model", "GET", f"{BASE}/1?purpose=pretraining")
    assert (known.status_code, known.json()["title"]) == (410, "Withdrawn")
    assert call("model", "GET", f"{BASE}/1/files/card.md?purpose=pretraining").status_code == 410
    assert call("stranger", "GET", f"{BASE}/1?purpose=pretraining").status_code == 404
    assert call("model", "GET", f"{BASE}/9?purpose=pretraining").status_code == 404
    assert call("model", "GET", f"{BASE}/0x2?purpose=pretraining").status_code == 404


def test_the_publishers_stewards_look_and_do_not_pull(call: Any) -> None:
    assert call("steward", "GET", f"{BASE}/2?purpose=internal_analytics").status_code == 200
    answer = call("steward", "GET", PULL)
    assert (answer.status_code, answer.json()["rules"]) == (403, ["role_model"])
    assert call("engineer", "GET", f"{BASE}/2?purpose=pretraining").status_code == 404
    assert call("looker", "GET", f"{BASE}/2?purpose=pretraining").status_code == 200
    assert call("looker", "GET", PULL).json()["rules"] == ["role_model"]


def test_terms_do_not_name_rivals(call: Any, world: Any, terms: Any) -> None:
    given = terms(
        recipients=("model-team", "former-team"),
        personal=({"contains_pi": False, "controller": "tsukuba-kitchen"},),
        label="a-tsukuba-kitchen",
    )
    world.release("kitchen-pick", 3, given)
    answer = call("model", "GET", f"{BASE}/3?purpose=pretraining")
    assert answer.status_code == 200
    assert "former-team" not in answer.text
    assert "tsukuba" not in answer.text


def test_the_catalog_shows_what_was_granted(call: Any) -> None:
    page = call("model", "GET", "/v1/datasets").json()
    (item,) = page["items"]
    assert (item["id"], item["latest"], item["access"]) == ("kitchen-pick", 2, "granted")
    assert item["purposes"] == ["pretraining", "evaluation"]
    assert page["facets"] == {
        "sector": {"restaurant": 1},
        "purpose": {"evaluation": 1, "pretraining": 1},
    }
    assert [i["id"] for i in call("steward", "GET", "/v1/datasets").json()["items"]] == [
        "kitchen-pick",
        "secret",
    ]
    assert call("stranger", "GET", "/v1/datasets").json()["items"] == []
    assert call("engineer", "GET", "/v1/datasets").json()["items"] == []
    assert call("rival", "GET", "/v1/datasets").json()["items"] == []


def test_the_catalog_is_searched(call: Any) -> None:
    def ids(query: str) -> list[str]:
        return [i["id"] for i in call("steward", "GET", f"/v1/datasets{query}").json()["items"]]

    assert ids("?q=厨房") == ["kitchen-pick"]
    assert ids("?q=GRASPING secret") == ["secret"]
    assert ids("?q=nothing") == []
    assert ids("?sector=medical") == []
    assert ids("?sector=restaurant&purpose=pretraining") == ["kitchen-pick", "secret"]
    first = call("steward", "GET", "/v1/datasets?limit=1").json()
    assert [i["id"] for i in first["items"]] == ["kitchen-pick"]
    assert ids(f"?limit=1&cursor={first['next_cursor']}") == ["secret"]


def test_pages_hold_every_dataset_once_in_whatever_order_the_database_sorts(
    call: Any, world: Any
) -> None:
    # A database that sorts as people do puts `b` before `C`; cursors compare as bytes do.
    added = ["b", "C", "a_b", "a-c"]
    with database.writing(world.engine) as connection:
        for name in added:
            parties.add_dataset(
                connection, dataset=name, organisation="operator", title="T", clock=world.clock
            )
    found: list[str] = []
    following = ""
    while following is not None:
        cursor = f"&cursor={following}" if following else ""
        page = call("steward", "GET", f"/v1/datasets?limit=1{cursor}").json()
        found += [item["id"] for item in page["items"]]
        following = page["next_cursor"]
    assert found == sorted([*added, "kitchen-pick", "secret"])


def test_what_a_dataset_allows_is_told_by_purpose(call: Any) -> None:
    document = call("model", "GET", "/v1/datasets/kitchen-pick").json()
    assert document["by_purpose"]["pretraining"]["permit"] is True
    assert document["by_purpose"]["research"]["rules"] == ["purpose_not_allowed"]
    assert call("model", "GET", "/v1/datasets/kitchen-pick?purpose=research").status_code == 403
    versions = call("model", "GET", BASE).json()["items"]
    assert [(v["version"], v["state"]) for v in versions] == [(2, "published"), (1, "withdrawn")]


@pytest.mark.parametrize(
    "query",
    ["cursor=x", "cursor=W10", "limit=0", "limit=201", "limit=x", "extra=1", "q=" + "a" * 201],
)
def test_malformed_queries_are_refused(call: Any, query: str) -> None:
    answer = call("model", "GET", f"/v1/datasets?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
