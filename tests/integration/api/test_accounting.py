"""No byte leaves a data route without a decision row and an audit row, route by route."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from sqlalchemy import select

from api.access import OPEN_ROUTES, DataRoute, access_of, require_declared
from api.app import create_app
from api.errors import RETRY_AFTER_SECONDS
from connectors.stores.catalog import database, ledger, parties
from connectors.stores.catalog.models import AuditRow, DecisionRow
from schemas.errors import WrongUseError

BASE = "/v1/datasets/kitchen-pick/releases"
RELEASE = "/v1/datasets/{dataset}/releases/{version}"
FILE = f"{BASE}/2/files/tables/frames/part-0.parquet?purpose=pretraining"
NEW = b"new recording" * 100


def manifest() -> dict[str, Any]:
    entry = {"name": "n.mcap", "size": len(NEW), "sha256": hashlib.sha256(NEW).hexdigest()}
    return {"robot": "arm-1", "agreement": "a-tsukuba-kitchen", "files": [entry]}


def requests(world: Any) -> dict[tuple[str, str], tuple[str, str, dict[str, Any], bytes]]:
    """For each data route: who asks, for what, how, and bytes that only the object holds."""
    own = world.recordings["accepted"]
    waiting = world.recordings["waiting"]
    purpose = "?purpose=pretraining"
    return {
        ("GET", "/v1/me"): ("model", "/v1/me", {}, b"model-team"),
        ("POST", "/v1/recordings"): ("partner", "/v1/recordings", {"json": manifest()}, b"missing"),
        ("PUT", "/v1/recordings/{recording}/files/{name:path}"): (
            "partner", "", {"content": NEW}, b"sha256",
        ),
        ("POST", "/v1/recordings/{recording}/complete"): (
            "partner", f"/v1/recordings/{waiting}/complete", {}, b"received",
        ),
        ("GET", "/v1/recordings"): ("partner", "/v1/recordings", {}, own.encode()),
        ("GET", "/v1/recordings/{recording}"): (
            "partner", f"/v1/recordings/{own}", {}, b"joint_states",
        ),
        ("GET", "/v1/recordings/{recording}/uses"): (
            "partner", f"/v1/recordings/{own}/uses", {}, b"items",
        ),
        ("GET", "/v1/datasets"): ("model", "/v1/datasets", {}, b"kitchen-pick"),
        ("GET", "/v1/datasets/{dataset}"): (
            "model", "/v1/datasets/kitchen-pick", {}, b"Grasping",
        ),
        ("GET", "/v1/datasets/{dataset}/releases"): ("model", BASE, {}, b"digest"),
        ("GET", RELEASE): ("model", f"{BASE}/2{purpose}", {}, b"purposes_allowed"),
        ("GET", RELEASE + "/schema"): ("model", f"{BASE}/2/schema{purpose}", {}, b"gripper"),
        ("GET", RELEASE + "/statistics"): (
            "model", f"{BASE}/2/statistics{purpose}", {}, b"0.0312",
        ),
        ("GET", RELEASE + "/card"): ("model", f"{BASE}/2/card{purpose}", {}, b"Picked"),
        ("GET", RELEASE + "/files"): ("model", f"{BASE}/2/files{purpose}", {}, b"part-0"),
        ("HEAD", RELEASE + "/files/{path:path}"): ("model", FILE, {}, b""),
        ("GET", RELEASE + "/files/{path:path}"): (
            "model", FILE, {}, world.files["tables/frames/part-0.parquet"][:100],
        ),
        ("GET", "/"): ("model", "/", {}, b"kitchen-pick"),
        ("GET", "/datasets/{dataset}"): (
            "model", "/datasets/kitchen-pick", {}, b"gripper",
        ),
        ("GET", "/datasets/{dataset}/releases/{version}/preview"): (
            "model", f"/datasets/kitchen-pick/releases/2/preview{purpose}", {}, b"\xff\xd8",
        ),
        ("GET", "/partner"): ("partner", "/partner", {}, b"quarantined"),
    }  # fmt: skip


NOWHERE = ("GET", "/{rest:path}")


def data_routes(app: Any) -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for route in app.routes
        if access_of(route) is not None
        for method in route.methods
    }


def test_every_route_is_a_data_route_or_on_the_reviewed_list(app: Any, world: Any) -> None:
    known = set(requests(world)) | {NOWHERE}
    assert data_routes(app) == known
    others = {route.path for route in app.routes if access_of(route) is None}
    assert others == OPEN_ROUTES


@pytest.fixture
def each(call: Any, world: Any) -> Any:
    """each(route) -> answer of its example request."""
    found = requests(world)

    def ask(route: tuple[str, str]) -> Any:
        who, path, options, _ = found[route]
        if route[0] == "PUT":
            begun = call("partner", "POST", "/v1/recordings", json=manifest())
            path = f"/v1/recordings/{begun.json()['recording_id']}/files/n.mcap"
        return call(who, route[0], path, **options)

    return ask


def test_each_answer_has_its_rows(app: Any, world: Any, each: Any) -> None:
    found = requests(world)
    for route in sorted(data_routes(app) - {NOWHERE}):
        answer = each(route)
        assert answer.status_code in {200, 201, 202}, (route, answer.text[:300])
        assert found[route][3] in answer.content, route
        request_id = answer.headers["x-request-id"]
        entries = world.rows(select(AuditRow).where(AuditRow.request_id == request_id))
        decided = [row for row in entries if row.decision_id is not None]
        assert decided, route
        ids = [row.decision_id for row in decided]
        decisions = world.rows(select(DecisionRow).where(DecisionRow.id.in_(ids)))
        assert len(decisions) == len(ids), route
        assert all(row.permit for row in decisions), route
    with database.reading(world.engine) as connection:
        assert ledger.verify_chain(connection) is None


def test_a_locked_account_lets_nothing_out(
    app: Any, world: Any, each: Any, call: Any, locked_account: Any
) -> None:
    found = requests(world)
    call("partner", "POST", "/v1/recordings", json=manifest())
    routes = sorted(data_routes(app) - {NOWHERE})
    put = next(route for route in routes if route[0] == "PUT")
    recording = call("partner", "POST", "/v1/recordings", json=manifest()).json()["recording_id"]
    before = len(world.rows(select(AuditRow.seq)))
    with locked_account():
        for route in routes:
            started = time.monotonic()
            if route == put:
                path = f"/v1/recordings/{recording}/files/n.mcap"
                answer = call("partner", "PUT", path, content=NEW)
            else:
                answer = each(route)
            assert answer.status_code == 503, (route, answer.text[:300])
            assert answer.headers["retry-after"] == str(RETRY_AFTER_SECONDS)
            assert time.monotonic() - started < database.BUSY_TIMEOUT_MS / 1000, "as a worker waits"
            secret = found[route][3]
            assert not secret or secret not in answer.content, route
            assert route[0] == "HEAD" or b"nothing was lost" in answer.content
    account = app.state.services.account
    assert account.failed >= len(routes) - 1
    assert account.waiting == 0
    assert len(world.rows(select(AuditRow.seq))) == before
    assert each(routes[0]).status_code == 200


def test_an_address_that_no_text_can_hold_is_recorded_and_harms_nobody(
    world: Any, call: Any
) -> None:
    """PostgreSQL has no NUL in texts: one such entry must not undo those written with it."""
    answer = call("partner", "GET", "/no%00where")
    assert answer.status_code == 404
    entries = world.rows(
        select(AuditRow.resource).where(AuditRow.request_id == answer.headers["x-request-id"])
    )
    assert [row.resource for row in entries] == ["no\ufffdwhere"]
    assert call("partner", "GET", "/v1/recordings/a%00b").status_code in {404, 422}
    assert call("partner", "GET", "/v1/recordings").status_code == 200


def test_strangers_get_nothing_of_any_route(app: Any, world: Any, call: Any) -> None:
    """Foreign and unknown ids answer alike; anonymous and revoked callers get a 401."""
    with database.writing(world.engine) as connection:
        parties.revoke(connection, "key", world.keys["rival"].split("_")[1], world.clock)
    begun = call("partner", "POST", "/v1/recordings", json=manifest()).json()["recording_id"]
    found = requests(world)
    for route in sorted(data_routes(app) - {NOWHERE}):
        method, template = route
        _, path, options, secret = found[route]
        path = path or f"/v1/recordings/{begun}/files/n.mcap"
        for nobody in (None, "rival"):
            answer = call(nobody, method, path, **options)
            assert answer.status_code == 401, (route, nobody)
            assert not secret or secret not in answer.content
        if "{" not in template:
            continue
        foreign = call("stranger", method, path, **options)
        unknown = re.sub("[0-9a-f]{64}", "0" * 64, path.replace("kitchen-pick", "no-such"))
        assert foreign.status_code == 404, route
        assert foreign.content == call("stranger", method, unknown, **options).content, route
        assert not secret or secret not in foreign.content, route
    for path in ("/v1/datasets", "/v1/recordings", "/", "/partner"):
        shown = call("stranger", "GET", path)
        assert shown.status_code == 200
        assert b"kitchen" not in shown.content


def test_an_undeclared_route_is_refused(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def leak() -> dict[str, str]:
        return {}

    with pytest.raises(WrongUseError, match="declares no access rule"):
        require_declared([*app.routes, APIRoute("/v1/leak", leak)])
    with pytest.raises(WrongUseError, match="declares no access rule"):
        require_declared([*app.routes, DataRoute("/v1/leak", leak)])
    router = APIRouter()
    router.add_api_route("/v1/leak", leak)
    monkeypatch.setattr("api.routes.me.router", router)
    with pytest.raises(WrongUseError, match="/v1/leak"):
        create_app(app.state.services.settings, app.state.services.clock)
