"""Files: ranges, resuming, metering, and what must never be served."""

from __future__ import annotations

import hashlib
import socket
import time
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from connectors.stores.catalog import database
from connectors.stores.catalog.models import AuditRow, Delivery, Grant, ReleaseFile, Usage

PATH = "tables/frames/part-0.parquet"
FILE = f"/v1/datasets/kitchen-pick/releases/2/files/{PATH}?purpose=pretraining"


def request(world: Any) -> bytes:
    """The request for the whole file, as bytes on the wire."""
    key = world.keys["model"]
    return f"GET {FILE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def used(world: Any) -> tuple[int, int]:
    rows = world.rows(
        select(Usage.bytes, Usage.rows).where(
            Usage.grant_id == world.grants["model"], Usage.window == "term"
        )
    )
    return tuple(rows[0]) if rows else (0, 0)


def settled(world: Any, expected: tuple[int, int]) -> None:
    deadline = time.monotonic() + 60
    while used(world) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert used(world) == expected


def test_a_whole_file(call: Any, world: Any) -> None:
    content = world.files[PATH]
    answer = call("model", "GET", FILE)
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == "attachment"
    settled(world, (len(content), 600))


def test_head_tells_without_charge(call: Any, world: Any) -> None:
    answer = call("model", "HEAD", FILE)
    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(len(world.files[PATH]))
    assert answer.content == b""
    assert used(world) == (0, 0)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-1999999", 100, 2_000_000),
        ("bytes=2999990-", 2_999_990, 3_000_000),
        ("bytes=-7", 2_999_993, 3_000_000),
        ("bytes=10-99999999", 10, 3_000_000),
    ],
)
def test_single_ranges(call: Any, world: Any, header: str, start: int, end: int) -> None:
    answer = call("model", "GET", FILE, headers={"Range": header})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/3000000"
    assert answer.content == world.files[PATH][start:end]
    settled(world, (end - start, 600))


@pytest.mark.parametrize("header", ["bytes=3000000-", "bytes=-0"])
def test_ranges_outside(call: Any, world: Any, header: str) -> None:
    answer = call("model", "GET", FILE, headers={"Range": header})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */3000000"
    assert used(world) == (0, 0)


@pytest.mark.parametrize("header", ["bytes=5-2", "bytes=0-1,4-5", "rows=1-2", "bytes=-", "x"])
def test_ranges_that_may_be_ignored(call: Any, header: str) -> None:
    answer = call("model", "GET", FILE, headers={"Range": header})
    assert answer.status_code == 200
    assert len(answer.content) == 3_000_000


def test_if_range_and_if_none_match(call: Any) -> None:
    etag = call("model", "HEAD", FILE).headers["etag"]
    part = {"Range": "bytes=0-9"}
    assert call("model", "GET", FILE, headers=part | {"If-Range": etag}).status_code == 206
    assert call("model", "GET", FILE, headers=part | {"If-Range": '"old"'}).status_code == 200
    same = call("model", "GET", FILE, headers={"If-None-Match": f'W/"x", {etag}'})
    assert (same.status_code, same.content) == (304, b"")


def test_a_resumed_range_counts_once(call: Any, world: Any) -> None:
    for header in ("bytes=0-999999", "bytes=500000-1499999", "bytes=0-99", "bytes=1500000-"):
        assert call("model", "GET", FILE, headers={"Range": header}).status_code == 206
    settled(world, (3_000_000, 600))
    (delivery,) = world.rows(select(Delivery.ranges, Delivery.bytes))
    assert tuple(delivery) == ([[0, 3_000_000]], 3_000_000)
    amounts = world.rows(select(AuditRow.amount).where(AuditRow.amount != 0))
    assert sum(row.amount for row in amounts) == 3_000_000


def test_a_cap_stops_before_the_first_byte(call: Any, world: Any, terms: Any) -> None:
    capped = terms(volume_caps={"term": {"bytes": 1_000_000}}).document()
    with database.writing(world.engine) as connection:
        change = update(Grant).where(Grant.id == world.grants["model"])
        connection.execute(change.values(terms=capped))
    answer = call("model", "GET", FILE)
    assert (answer.status_code, answer.json()["rules"]) == (403, ["cap_bytes_term"])
    assert call("model", "GET", FILE, headers={"Range": "bytes=0-999999"}).status_code == 206
    # The same bytes again cost nothing; one more is too many.
    assert call("model", "GET", FILE, headers={"Range": "bytes=5-999999"}).status_code == 206
    answer = call("model", "GET", FILE, headers={"Range": "bytes=0-1000000"})
    assert answer.json()["rules"] == ["cap_bytes_term"]
    settled(world, (1_000_000, 600))


def test_a_reader_who_leaves_is_charged_for_what_was_sent(world: Any, url: str) -> None:
    size = 64 << 20
    path = world.root.release("kitchen-pick", 2) / PATH
    path.write_bytes(bytes(size))
    with database.writing(world.engine) as connection:
        connection.execute(
            update(ReleaseFile)
            .where(ReleaseFile.version == 2, ReleaseFile.path == PATH)
            .values(size=size)
        )
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as reader:
        reader.sendall(request(world))
        assert reader.recv(1000).startswith(b"HTTP/1.1 200")
    deadline = time.monotonic() + 60
    while used(world)[0] in {0, size} and time.monotonic() < deadline:
        time.sleep(0.02)
    assert 0 < used(world)[0] < size / 2


def test_concurrency_is_counted(world: Any, url: str, call: Any, terms: Any) -> None:
    one = terms(concurrency=1).document()
    path = world.root.release("kitchen-pick", 2) / PATH
    path.write_bytes(bytes(64 << 20))
    with database.writing(world.engine) as connection:
        change = update(Grant).where(Grant.id == world.grants["model"])
        connection.execute(change.values(terms=one))
        connection.execute(
            update(ReleaseFile).where(ReleaseFile.path == PATH).values(size=64 << 20)
        )
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as reader:
        reader.sendall(request(world))
        assert reader.recv(1000).startswith(b"HTTP/1.1 200")
        answer = call("model", "GET", FILE, headers={"Range": "bytes=0-9"})
        assert (answer.status_code, answer.json()["rules"]) == (403, ["concurrency"])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = call("model", "GET", FILE, headers={"Range": "bytes=0-9"})
        if answer.status_code == 206:
            break
    assert answer.status_code == 206


@pytest.mark.parametrize(
    "path",
    ["../1/card.md", "..%2f1%2fcard.md", "%2e%2e/1/card.md", "/etc/passwd", "card.md%00", "x"],
)
def test_paths_lead_nowhere_else(call: Any, path: str) -> None:
    answer = call(
        "model", "GET", f"/v1/datasets/kitchen-pick/releases/2/files/{path}?purpose=pretraining"
    )
    assert answer.status_code in {404, 410, 422}
    assert b"Picked" not in answer.content


@pytest.mark.folder("links and paths that lead out of it")
def test_even_a_wrong_row_leads_nowhere_else(call: Any, world: Any, tmp_path: Any) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"rival's")
    folder = world.root.release("kitchen-pick", 2)
    (folder / "link").symlink_to(outside)
    (folder / "up").symlink_to(tmp_path)
    for path in ("link", "up/outside.txt", "../../../../outside.txt", str(outside)):
        row = {"path": path, "size": 7, "sha256": "0" * 64, "media_type": "text/plain"}
        with database.writing(world.engine) as connection:
            connection.execute(delete(ReleaseFile).where(ReleaseFile.path == path))
            connection.execute(
                insert(ReleaseFile).values(dataset_id="kitchen-pick", version=2, **row)
            )
        answer = call("model", "GET", FILE.replace(PATH, path.replace("..", "%2e%2e")))
        assert answer.status_code in {404, 500}, path
        assert b"rival" not in answer.content
    assert used(world) == (0, 0)


def test_a_file_of_another_length_is_not_served(call: Any, world: Any) -> None:
    path = world.root.release("kitchen-pick", 2) / PATH
    path.write_bytes(path.read_bytes()[:10])
    answer = call("model", "GET", FILE)
    assert answer.status_code == 500
    assert str(world.root.path) not in answer.text
    assert used(world) == (0, 0)
