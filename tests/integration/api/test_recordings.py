"""Handing in over the wire: nothing is kept that differs, and nobody sees another's."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import select

from api.views import RecordingDetail, RecordingPage, UsePage
from connectors.stores.catalog.models import Recording, RecordingFile
from schemas.ids import recording_id

CONTENT = bytes(range(256)) * 40_000


def entry(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def announce(call: Any, *files: dict[str, Any], who: str = "partner", **values: Any) -> Any:
    agreement = {"partner": "a-tsukuba-kitchen", "rival": "a-rival-foods"}[who]
    form = {"robot": "arm-1", "agreement": agreement, "files": list(files)} | values
    return call(who, "POST", "/v1/recordings", json=form)


def stored(world: Any) -> list[Any]:
    folder = world.root.path / "quarantine" / "tsukuba-kitchen"
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_the_whole_way(call: Any, world: Any) -> None:
    first, second = entry("日本/run_0.mcap", CONTENT), entry("run_1.mcap", b"second")
    begun = announce(call, first, second, name="line-3", start_time_ns=5)
    assert begun.status_code == 201
    key = begun.json()["recording_id"]
    assert key == recording_id(
        "tsukuba-kitchen", [(f["size"], f["sha256"]) for f in (first, second)]
    )
    assert begun.json()["missing"] == ["日本/run_0.mcap", "run_1.mcap"]
    sent = call("partner", "PUT", f"/v1/recordings/{key}/files/日本/run_0.mcap", content=CONTENT)
    assert (sent.status_code, sent.json()) == (200, first)
    early = call("partner", "POST", f"/v1/recordings/{key}/complete")
    assert early.status_code == 409
    assert "run_1.mcap" in early.json()["detail"]
    again = announce(call, first, second)
    assert (again.status_code, again.json()["missing"]) == (201, ["run_1.mcap"])
    call("partner", "PUT", f"/v1/recordings/{key}/files/run_1.mcap", content=b"second")
    done = call("partner", "POST", f"/v1/recordings/{key}/complete")
    assert (done.status_code, done.json()) == (202, {"recording_id": key, "state": "received"})
    known = announce(call, first, second)
    assert (known.status_code, known.json()["duplicate"]) == (200, True)
    folder = world.root.quarantine("tsukuba-kitchen", key)
    assert (folder / first["sha256"]).read_bytes() == CONTENT
    late = call("partner", "PUT", f"/v1/recordings/{key}/files/run_1.mcap", content=b"second")
    assert late.status_code == 409


def chunks(content: bytes) -> Any:
    yield from (content[at : at + 70_000] for at in range(0, len(content), 70_000))


@pytest.mark.parametrize(
    "body",
    [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x", b"", b"x" * len(CONTENT)],
    ids=["flipped", "short", "long", "empty", "other"],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_what_differs_is_not_kept(call: Any, world: Any, body: bytes, *, streamed: bool) -> None:
    before = stored(world)
    key = announce(call, entry("a.mcap", CONTENT)).json()["recording_id"]
    path = f"/v1/recordings/{key}/files/a.mcap"
    answer = call("partner", "PUT", path, content=chunks(body) if streamed else body)
    assert answer.status_code == 422, answer.text
    assert "differ" in answer.json()["detail"]
    assert stored(world) == before
    (row,) = world.rows(select(RecordingFile.stored).where(RecordingFile.recording_id == key))
    assert row.stored is False
    assert call("partner", "PUT", path, content=chunks(CONTENT)).status_code == 200


def test_a_rival_can_neither_see_nor_send(call: Any, world: Any) -> None:
    key = announce(call, entry("a.mcap", CONTENT)).json()["recording_id"]
    none = "0" * 64
    for method, path in (
        ("GET", "/v1/recordings/{}"),
        ("GET", "/v1/recordings/{}/uses"),
        ("PUT", "/v1/recordings/{}/files/a.mcap"),
        ("POST", "/v1/recordings/{}/complete"),
    ):
        foreign = call("rival", method, path.format(key))
        unknown = call("rival", method, path.format(none))
        assert (foreign.status_code, foreign.content) == (404, unknown.content)
    mine = announce(call, entry("a.mcap", CONTENT), who="rival")
    assert mine.status_code == 201
    assert mine.json()["recording_id"] != key
    ids = {i["recording_id"] for i in call("rival", "GET", "/v1/recordings").json()["items"]}
    assert ids == {world.recordings["rival"], mine.json()["recording_id"]}


def test_other_robots_and_shared_files_conflict(call: Any, world: Any) -> None:
    same = entry("accepted.mcap", b"a" * 5000)
    other = announce(call, same, entry("more.mcap", b"more"))
    assert other.status_code == 409
    assert world.recordings["accepted"] in other.json()["detail"]
    for values in ({"robot": "arm-9"}, {"agreement": "a-9"}, {"sector": "space"}):
        answer = announce(call, entry("n.mcap", b"n"), **values)
        assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"robot": "arm-1", "agreement": "a", "files": []},
        {"robot": "arm-1", "agreement": "a", "files": [entry("a", b"")], "organisation": "rival"},
        {"robot": "arm-1", "agreement": "a", "files": [entry("a", b"") | {"state": "accepted"}]},
        {"robot": "arm-1", "agreement": "a", "files": [entry("a", b"") | {"size": -1}]},
        {"robot": "arm-1", "agreement": "a", "files": [entry("a", b"") | {"sha256": "AB"}]},
        {"robot": "arm-1", "agreement": "a", "files": [entry("a\x00", b"")]},
        {"robot": "arm-1", "agreement": "a", "files": [entry("m", b"") | {"sidecar": True}]},
    ],
)
def test_malformed_manifests_are_refused(call: Any, world: Any, form: dict[str, Any]) -> None:
    before = len(world.rows(select(Recording.id)))
    answer = call("partner", "POST", "/v1/recordings", json=form)
    assert answer.status_code == 422
    assert len(world.rows(select(Recording.id))) == before


def test_verdicts_are_spelled_out(call: Any, world: Any) -> None:
    listed = call("partner", "GET", "/v1/recordings").json()
    RecordingPage.model_validate(listed)
    assert [i["name"] for i in listed["items"]] == ["waiting.mcap", "bad.mcap", "accepted.mcap"]
    (bad,) = call("partner", "GET", "/v1/recordings?state=quarantined").json()["items"]
    assert bad["verdict"] == "quarantined"
    assert bad["reasons"][0]["rule"] == "norm_error"
    detail = call("partner", "GET", f"/v1/recordings/{world.recordings['accepted']}").json()
    RecordingDetail.model_validate(detail)
    assert detail["tables"] == {"imu": 400, "joint_states": 236}
    assert [r["version"] for r in detail["releases"]] == [1, 2, 1]
    assert detail["steps"][0]["step"] == "receive"
    first = call("partner", "GET", "/v1/recordings?limit=2").json()
    rest = call("partner", "GET", f"/v1/recordings?limit=2&cursor={first['next_cursor']}").json()
    assert [i["name"] for i in rest["items"]] == ["accepted.mcap"]


def test_uses_name_recipients_only_where_terms_say_so(call: Any, world: Any) -> None:
    pull = "/v1/datasets/kitchen-pick/releases/2/files/card.md?purpose=pretraining"
    size = len(world.files["card.md"])
    call("model", "GET", pull)
    call("former", "GET", pull)
    path = f"/v1/recordings/{world.recordings['accepted']}/uses"
    page = call("partner", "GET", path).json()
    UsePage.model_validate(page)
    assert all(item["bytes"] == size and item["path"] == "card.md" for item in page["items"])
    names = {item["recipient"] for item in page["items"]}
    assert "Model Team" in names
    (other,) = names - {"Model Team"}
    assert other.startswith("recipient-")
    assert "former" not in str(page).lower()
    assert call("partner", "GET", path).json() == page
    waiting = f"/v1/recordings/{world.recordings['waiting']}/uses"
    assert call("partner", "GET", waiting).json() == {"items": []}


def test_uses_never_name_a_rivals_recordings(call: Any, world: Any, terms: Any) -> None:
    held, foreign = world.recordings["accepted"], world.recordings["rival"]
    for key in (held, foreign):
        world.files[f"media/{key}-0/camera.blob"] = b"pictures of " + key.encode()
    world.release("kitchen-pick", 3, terms())
    for key in (held, foreign):
        path = f"/v1/datasets/kitchen-pick/releases/3/files/media/{key}-0/camera.blob"
        assert call("model", "GET", f"{path}?purpose=pretraining").status_code == 200
    items = call("partner", "GET", f"/v1/recordings/{held}/uses").json()["items"]
    assert [item["path"] for item in items] == [f"media/{held}-0/camera.blob"]
    assert foreign not in call("partner", "GET", "/partner").text


def test_roles_are_needed(call: Any) -> None:
    answer = call("model", "POST", "/v1/recordings", json={})
    assert (answer.status_code, answer.json()["rules"]) == (403, ["role"])
    assert call("model", "GET", "/v1/recordings").status_code == 403
    assert call("steward", "GET", "/v1/recordings").json()["items"] == []
