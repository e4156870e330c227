"""Keys, sessions, headers, the description: what holds for every route."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from api.app import create_app
from connectors.stores.catalog import database, parties
from connectors.stores.catalog.models import AuditRow, Base, Session

if TYPE_CHECKING:
    import httpx

PROBLEM = "application/problem+json"


def test_who_am_i(call: Any, world: Any) -> None:
    assert call("model", "GET", "/v1/me").json() == {
        "member": world.members["model"],
        "name": "model",
        "organisation": "model-team",
        "organisation_name": "Model Team",
        "roles": ["model"],
        "operator": False,
        "country": "JP",
    }


def headers_without_a_valid_key(world: Any) -> list[dict[str, str]]:
    key = world.keys["model"]
    return [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {key}"},
        {"Authorization": f"Bearer {key[:-1]}"},
        {"Authorization": f"Bearer {key}x"},
        {"Authorization": "Bearer tnd_0000000000000000_secret"},
        {"Authorization": "Bearer ü"},
        {"Cookie": "tanada_session=x"},
    ]


def test_without_a_valid_key_nothing_is_told(app: Any, client: httpx.Client, world: Any) -> None:
    routes = [r.path for r in app.routes if "GET" in (getattr(r, "methods", None) or set())]
    for headers in headers_without_a_valid_key(world):
        encoded = {k.encode(): v.encode() for k, v in headers.items()}
        answer = client.get("/v1/me", headers=encoded)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"] == 'Bearer realm="tanada"'
        assert answer.headers["content-type"] == PROBLEM
    for path in routes:
        if path.startswith("/v1"):
            filled = re.sub(r"{[^}]*}", "x", path)
            assert client.get(filled).status_code == 401, path


def test_revoked_and_expired_keys_end_within_a_second(call: Any, world: Any) -> None:
    assert call("model", "GET", "/v1/me").status_code == 200
    key = world.keys["model"].split("_")[1]
    with database.writing(world.engine) as connection:
        parties.revoke(connection, "key", key, world.clock)
    world.clock.forward(1)
    assert call("model", "GET", "/v1/me").status_code == 401
    with database.writing(world.engine) as connection:
        world.keys["short"] = parties.issue_key(
            connection,
            world.members["partner"],
            world.root.pepper(),
            world.clock,
            expires_ns=world.clock.now_ns + 5_000_000_000,
        )
    assert call("short", "GET", "/v1/me").status_code == 200
    world.clock.forward(5)
    assert call("short", "GET", "/v1/me").status_code == 401
    with database.writing(world.engine) as connection:
        parties.revoke(connection, "org", "former-team", world.clock)
    assert call("former", "GET", "/v1/me").status_code == 401


def log_in(client: httpx.Client, key: str) -> httpx.Response:
    form = client.get("/login")
    token = re.search(r'name="token" value="([0-9a-f]{64})"', form.text)
    assert token, form.text
    return client.post("/login", data={"key": key, "token": token[1], "target": "/partner"})


def test_a_session_opens_and_closes(client: httpx.Client, world: Any) -> None:
    opened = log_in(client, world.keys["partner"])
    assert (opened.status_code, opened.headers["location"]) == (303, "/partner")
    (cookie,) = [c for c in opened.headers.get_list("set-cookie") if "tanada_session" in c]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = client.get("/partner", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert client.get("/v1/me").json()["organisation"] == "tsukuba-kitchen"
    token = re.search(r'name="token" value="([0-9a-f]{64})"', page.text)
    assert token
    assert client.post("/logout", data={"token": "0" * 64}).status_code == 403
    assert client.get("/v1/me").status_code == 200
    assert client.post("/logout", data={"token": token[1]}).status_code == 303
    client.cookies.set("tanada_session", cookie.split("=", 1)[1].split(";")[0])
    assert client.get("/v1/me").status_code == 401


def test_behind_https_browsers_are_bound_to_it(world: Any, serving: Any) -> None:
    import httpx

    settings = replace(world.settings, url="https://catalog.example")
    app = create_app(settings, world.clock)
    with serving(app) as url, httpx.Client(base_url=url) as client:
        form = client.get("/login")
        assert form.headers["strict-transport-security"].startswith("max-age=")
        assert "Secure" in form.headers["set-cookie"]


def test_a_log_in_is_recorded(client: httpx.Client, world: Any) -> None:
    opened = log_in(client, world.keys["partner"])
    query = select(AuditRow).where(AuditRow.request_id == opened.headers["x-request-id"])
    (row,) = world.rows(query)
    assert (row.action, row.actor) == ("login", world.members["partner"])


def test_a_session_writes_only_with_its_token(client: httpx.Client, world: Any) -> None:
    log_in(client, world.keys["partner"])
    refused = client.post("/v1/recordings", json={})
    assert (refused.status_code, refused.json()["title"]) == (403, "Refused")
    (csrf,) = world.rows(select(Session.csrf))[0]
    passed = client.post("/v1/recordings", json={}, headers={"X-CSRF-Token": csrf})
    assert passed.status_code == 422


def test_a_session_ends_with_time_or_with_its_key(client: httpx.Client, world: Any) -> None:
    log_in(client, world.keys["partner"])
    world.clock.forward(8 * 3600 - 60)
    assert client.get("/v1/me").status_code == 200
    world.clock.forward(120)
    assert client.get("/v1/me").status_code == 401
    log_in(client, world.keys["partner"])
    assert len(world.rows(select(Session.digest))) == 1
    with database.writing(world.engine) as connection:
        parties.revoke(connection, "key", world.keys["partner"].split("_")[1], world.clock)
    assert client.get("/v1/me").status_code == 401


def test_log_in_needs_its_own_form(client: httpx.Client, world: Any) -> None:
    data = {"key": world.keys["partner"], "token": "0" * 64}
    assert client.post("/login", data=data).status_code == 403
    client.get("/login")
    assert client.post("/login", data=data | {"token": "ü"}).status_code == 403
    wrong = log_in(client, "tnd_x_y")
    assert wrong.status_code == 401
    assert "not valid" in wrong.text
    assert world.rows(select(Session.digest)) == []


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil", "x"])
def test_log_in_goes_on_to_our_pages_only(client: httpx.Client, world: Any, target: str) -> None:
    form = client.get("/login", params={"next": target})
    assert "evil" not in form.text
    token = re.search(r'name="token" value="([0-9a-f]{64})"', form.text)
    assert token
    data = {"key": world.keys["partner"], "token": token[1], "target": target}
    assert client.post("/login", data=data).headers["location"] == "/"


def test_every_answer_carries_the_security_headers(client: httpx.Client, call: Any) -> None:
    answers = [
        client.get("/health"),
        client.get("/login"),
        client.get("/static/tanada.css"),
        client.get("/v1/datasets"),
        client.get("/nowhere"),
        call("model", "GET", "/v1/datasets"),
        call("model", "GET", "/", headers={"Accept": "text/html"}),
    ]
    assert answers[2].text.startswith(":root")
    ids = set()
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "unsafe-inline" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        ids.add(answer.headers["x-request-id"])
    assert len(ids) == len(answers)


def test_a_failure_tells_nothing(
    call: Any, app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inside = "/private/path SELECT secret"

    async def fails(_visit: Any) -> None:
        raise RuntimeError(inside)

    monkeypatch.setattr(app.state.services.listing, "visible", fails)
    with caplog.at_level(logging.ERROR, "tanada.api"):
        answer = call("model", "GET", "/v1/datasets")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == PROBLEM
    assert inside not in answer.text
    assert answer.headers["x-request-id"] in caplog.text


def test_keys_are_nowhere(
    call: Any, client: httpx.Client, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        call("model", "GET", "/v1/datasets")
        log_in(client, world.keys["partner"])
        client.get("/v1/me", headers={"Authorization": f"Bearer {world.keys['rival']}x"})
        call("model", "POST", "/v1/recordings", json={"robot": world.keys["model"]})
    secrets = [key.split("_", 2)[2] for key in world.keys.values()]
    assert not any(secret in caplog.text for secret in secrets)
    rows = [str(row) for t in Base.metadata.sorted_tables for row in world.rows(t.select())]
    assert not any(secret in row for row in rows for secret in secrets)


def test_a_refused_body_is_not_repeated(call: Any, world: Any) -> None:
    answer = call("partner", "POST", "/v1/recordings", json={"robot": world.keys["model"] * 9})
    assert answer.status_code == 422
    assert world.keys["model"] not in answer.text
    assert {e["where"] for e in answer.json()["errors"]} >= {"body.robot", "body.files"}


def test_bodies_are_capped_while_they_stream(call: Any) -> None:
    def endless() -> Any:
        for _ in range(200):
            yield b" " * 65_536

    answer = call("partner", "POST", "/v1/recordings", content=endless())
    assert (answer.status_code, answer.json()["title"]) == (413, "Too large")


def test_the_description_is_complete(client: httpx.Client, app: Any) -> None:
    document = client.get("/openapi.json").json()
    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    mounted = {
        (method, re.sub(r":path}", "}", route.path))
        for route in app.routes
        if route.path.startswith("/v1") or route.path == "/health"
        for method in route.methods
    }
    assert described == mounted
    schemas = document["components"]["schemas"]
    references = set(re.findall(r'#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(schemas)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"], path
            if path == "/health":
                continue
            assert operation["security"], path
            assert operation["x-access-rule"], path
            assert {"401", "403", "404", "422", "503"} <= set(operation["responses"]), path
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == [PROBLEM], (path, status)
    assert client.get("/docs").status_code == 401


def test_answers_have_their_described_form(call: Any, app: Any) -> None:
    base = "/v1/datasets/kitchen-pick/releases"
    for who, path, template in (
        ("model", "/v1/me", "/v1/me"),
        ("model", "/v1/datasets", "/v1/datasets"),
        ("steward", "/v1/datasets/secret", "/v1/datasets/{dataset}"),
        ("model", base, "/v1/datasets/{dataset}/releases"),
        ("model", f"{base}/2?purpose=pretraining", "/v1/datasets/{dataset}/releases/{version}"),
        (
            "model",
            f"{base}/2/files?purpose=pretraining",
            "/v1/datasets/{dataset}/releases/{version}/files",
        ),
        ("partner", "/v1/recordings", "/v1/recordings"),
    ):
        (route,) = [r for r in app.routes if r.path == template and "GET" in r.methods]
        answer = call(who, "GET", path)
        route.responses[200]["model"].model_validate(answer.json())
