"""A proxy before an object store that misbehaves as it is told, request by request."""

from __future__ import annotations

import email.utils
import http.client
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What belongs to one connection is not passed on.
HOPS = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Fault:
    """What to do with one request.

    Attributes:
        status: Answer with this status; the store never sees the request.
        lose_answer: Pass it on, and cut the connection instead of answering.
        delay_s: Wait before the answer.
        before: Called before the request is passed on.
        without: Request headers to leave out.
        unsigned: (method, path) -> status and content to answer with, whatever the signature; a
            status of 0 passes the request on.
        date: Header `Date` of the answer.
    """

    status: int | None = None
    lose_answer: bool = False
    delay_s: float = 0.0
    before: Callable[[], None] | None = None
    without: tuple[str, ...] = ()
    unsigned: Callable[[str, str], tuple[int, bytes]] | None = None
    date: str = ""


@dataclass
class FaultProxy:
    """Where it listens, and what it does.

    Attributes:
        url: Its address.
        choose: (method, path) -> fault or None; called for every request, one at a time.
        seen: (method, path, fault or None) of every request.
    """

    url: str = ""
    choose: Callable[[str, str], Fault | None] = lambda _method, _path: None
    seen: list[tuple[str, str, Fault | None]] = field(default_factory=list)

    @property
    def faults(self) -> int:
        return sum(fault is not None for _, _, fault in self.seen)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream: tuple[str, int], state: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.state = state
        self.one_at_a_time = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no matter."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one piece, or each small answer waits for the network.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        method, path, state = self.command, self.path, self.server.state
        with self.server.one_at_a_time:
            fault = state.choose(method, path)
            state.seen.append((method, path, fault))
        fault = fault or Fault()
        if fault.before is not None:
            fault.before()
        if fault.status is not None:
            self._answer(fault.status, [("Content-Type", "text/plain")], b"")
            return
        if fault.unsigned is not None:
            status, content = fault.unsigned(method, path)
            if status:
                self._answer(status, [("Date", email.utils.formatdate(usegmt=True))], content)
                return
        try:
            status, headers, content = self._passed_on(fault, body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        time.sleep(fault.delay_s)
        if fault.lose_answer:
            self.close_connection = True
            return
        if fault.date:
            headers = [(k, v) for k, v in headers if k.lower() != "date"] + [("Date", fault.date)]
        self._answer(status, headers, content)

    def _passed_on(self, fault: Fault, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        # `Host` goes along: the signature covers it.
        headers = {k: v for k, v in self.headers.items() if k.lower() not in fault.without}
        connection = http.client.HTTPConnection(*self.server.upstream, timeout=60)
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        # An answer to HEAD, or without a body, tells another length than that of its content.
        kept = [(k, v) for k, v in headers if k.lower() not in HOPS]
        lengths = [v for k, v in headers if k.lower() == "content-length"]
        length = lengths[0] if self.command == "HEAD" and lengths else str(len(content))
        for name, value in [*kept, ("Content-Length", length)]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815


@contextmanager
def proxy(upstream: tuple[str, int]) -> Iterator[FaultProxy]:
    """A running proxy before a server at (host, port)."""
    state = FaultProxy()
    server = _Server(upstream, state)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
