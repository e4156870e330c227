"""Retries, waits and messages against a server that answers as it is told."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tanada.errors import (
    CatalogUnavailableError,
    ConflictError,
    DamagedError,
    GoneError,
    NotFoundError,
    RefusedError,
    TanadaClientError,
    WrongUseError,
)
from tanada.pull import Wanted, pull
from tanada.receipt import ReleaseFile, release_digest
from tanada.settings import Login
from tanada.wire import ATTEMPTS, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "tnd_abc_secret"
Answer = tuple[int, dict[str, str], bytes]


class Told:
    """A server on a free port whose answers a function gives; it remembers what was asked."""

    def __init__(self, give: Callable[[int, str], Answer]) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                told.asked.append((self.command, self.path, dict(self.headers)))
                status, headers, body = give(len(told.asked), self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def __getattr__(self, name: str) -> Any:
                if name == "do_GET":
                    return self.answer
                raise AttributeError(name)

            def log_message(self, *_args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def told() -> Iterator[Callable[..., Told]]:
    made: list[Told] = []

    def make(answer: Callable[[int, str], Answer]) -> Told:
        made.append(Told(answer))
        return made[-1]

    yield make
    for server in made:
        server.close()


def document(status: int, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    kind = "application/json" if status < 400 else "application/problem+json"
    return status, {"Content-Type": kind, **(headers or {})}, json.dumps(fields).encode()


def asked(url: str, sleeps: list[float]) -> dict[str, Any]:
    with Wire(Login(url, KEY), sleep=sleeps.append) as wire:
        return wire.json("GET", "/v1/me")


def test_retry_after_is_honoured_and_then_the_answer_comes(told) -> None:
    busy = document(503, {"Retry-After": "7"}, detail="busy")
    server = told(lambda n, _path: document(200, member="m") if n > 2 else busy)
    sleeps: list[float] = []
    assert asked(server.url, sleeps) == {"member": "m"}
    assert sleeps == [7.0, 7.0]
    assert server.asked[0][2]["Authorization"] == f"Bearer {KEY}"


def test_waits_grow_and_end(told) -> None:
    server = told(lambda _n, _path: document(502, detail="no"))
    sleeps: list[float] = []
    with pytest.raises(CatalogUnavailableError) as failed:
        asked(server.url, sleeps)
    assert failed.value.exit_code == 3
    assert sleeps == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert len(server.asked) == ATTEMPTS


def test_a_wait_of_an_hour_is_not_waited(told) -> None:
    server = told(lambda n, _p: document(200) if n > 1 else document(429, {"Retry-After": "3600"}))
    sleeps: list[float] = []
    asked(server.url, sleeps)
    assert sleeps == [30.0]


def test_nobody_there_is_said_soon() -> None:
    sleeps: list[float] = []
    with pytest.raises(CatalogUnavailableError, match="does not answer"):
        asked("http://127.0.0.1:1", sleeps)
    assert sleeps == [0.5]


PROBLEMS: list[tuple[int, type[TanadaClientError], int, str]] = [
    (401, WrongUseError, 2, "tanada login"),
    (403, RefusedError, 1, "another grant"),
    (404, NotFoundError, 2, "tanada search"),
    (409, ConflictError, 1, "do this"),
    (410, GoneError, 1, "delete your copies"),
    (422, WrongUseError, 2, "do this"),
    (418, WrongUseError, 2, "do this"),
]


@pytest.mark.parametrize(("status", "kind", "code", "step"), PROBLEMS)
def test_problems_become_errors_for_people(told, status, kind, code, step) -> None:
    problem = document(
        status,
        detail="it says so",
        rules=["embargo", "network"],
        next_step="do this: GET /v1/there",
        errors=[{"where": "body.robot", "why": "missing"}],
    )
    server = told(lambda _n, _path: problem)
    with pytest.raises(kind) as caught:
        asked(server.url, [])
    assert type(caught.value) is kind
    assert caught.value.exit_code == code
    assert caught.value.status == status
    text = str(caught.value)
    assert "it says so: body.robot: missing" in text
    assert "rules: embargo, network" in text
    assert step in caught.value.next_step
    assert KEY not in text
    assert len(server.asked) == 1


def test_a_step_for_people_is_passed_on(told) -> None:
    server = told(lambda _n, _p: document(403, detail="no", next_step="it needs one of: partner"))
    with pytest.raises(RefusedError) as caught:
        asked(server.url, [])
    assert caught.value.next_step == "it needs one of: partner"


def test_an_answer_that_is_no_document_is_an_error_all_the_same(told) -> None:
    server = told(lambda _n, _path: (404, {}, b"<html>nope</html>"))
    with pytest.raises(NotFoundError, match="Not Found"):
        asked(server.url, [])


def test_a_redirect_does_not_carry_the_key_away(told) -> None:
    thief = told(lambda _n, _path: document(200))
    server = told(lambda _n, _path: (307, {"Location": thief.url + "/v1/me"}, b""))
    with pytest.raises(TanadaClientError):
        asked(server.url, [])
    assert thief.asked == []


def release(path: str, content: bytes = b"x") -> Callable[[int, str], Answer]:
    import hashlib

    sha256 = hashlib.sha256(content).hexdigest()
    file = {"path": path, "size": len(content), "sha256": sha256}
    digest = release_digest([ReleaseFile(path, len(content), sha256)])

    def answer(_n: int, asked: str) -> Answer:
        route = asked.split("?", maxsplit=1)[0]
        if route.endswith("/files"):
            return document(200, items=[file], next_cursor=None)
        if "/files/" in route:
            return 200, {}, content
        return document(200, dataset="d", version=1, digest=digest, obligations=[])

    return answer


EVIL = [
    "../evil", "a/../../evil", "/etc/evil", "a//b", "./evil", "a/./b", "..\\evil", "C:evil", "a\nb",
    "", "tanada-receipt.json", "tanada-receipt.json.pulling", "a/b.part", "nul\x00", "a/..", "x ",
]  # fmt: skip


@pytest.mark.parametrize("path", EVIL)
def test_paths_out_of_the_folder_are_refused(told, tmp_path: Path, path: str) -> None:
    server = told(release(path))
    with (
        Wire(Login(server.url, KEY)) as wire,
        pytest.raises(DamagedError, match="which is refused"),
    ):
        pull(wire, Wanted("d"), "research", tmp_path / "d", clock=lambda: 1)
    assert list(tmp_path.rglob("*")) == []


def test_an_honest_path_of_the_same_server_is_taken(told, tmp_path: Path) -> None:
    server = told(release("a/ü b.bin", b"hello"))
    with Wire(Login(server.url, KEY)) as wire:
        pull(wire, Wanted("d"), "research", tmp_path, clock=lambda: 1)
    assert (tmp_path / "a" / "ü b.bin").read_bytes() == b"hello"


def test_more_bytes_than_listed_are_refused(told, tmp_path: Path) -> None:
    honest = release("a.bin", b"hello")

    def answer(n: int, path: str) -> Answer:
        return (200, {}, b"hello, and more") if "/files/" in path else honest(n, path)

    server = told(answer)
    with (
        Wire(Login(server.url, KEY), sleep=lambda _s: None) as wire,
        pytest.raises(DamagedError, match="more bytes"),
    ):
        pull(wire, Wanted("d"), "research", tmp_path, clock=lambda: 1)
    assert not (tmp_path / "a.bin").exists()


def test_a_list_that_does_not_give_the_digest_is_refused(told, tmp_path: Path) -> None:
    honest = release("a.bin", b"hello")

    def answer(n: int, path: str) -> Answer:
        status, headers, body = honest(n, path)
        return status, headers, body.replace(b'"digest": "', b'"digest": "0')

    server = told(answer)
    with (
        Wire(Login(server.url, KEY)) as wire,
        pytest.raises(DamagedError, match="does not give its digest"),
    ):
        pull(wire, Wanted("d"), "research", tmp_path / "d", clock=lambda: 1)
