"""Decoding in a limited child process: the parent's side.

Nothing a recording does can hurt the caller: it may exhaust its child's memory, time or disk
allowance, or crash it, and comes back as a report with a reason.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import connectors
from pipelines.decode.report import DecodeReport
from pipelines.decode.task import REPORT, failure_from, reason_of
from schemas.errors import LimitExceededError, RetryError
from schemas.quality import Reason

if TYPE_CHECKING:
    from pipelines.decode.task import DecodeTask

DECODER_CRASHED: Final = "decoder_crashed"
_START_SECONDS: Final = 60.0
# One thread, or forking is unsafe; and nothing of the caller's environment, which holds secrets.
_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_IO_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
    "PYTHONHASHSEED": "0",
    "LC_ALL": "C.UTF-8",
}


class Decoder:
    """Decodes recordings in children of one fork server; safe to call from several threads.

    The server starts with the first task, or at `start`, and ends with `close`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server now; returns at once."""
        self._running()

    def close(self) -> None:
        """End the server; children still at work are killed."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()

    def decode(self, task: DecodeTask) -> DecodeReport:
        """Decode one recording; waits for it.

        Args:
            task: What to decode; its folder exists and is empty.

        Returns:
            A report; its reasons say why decoding stopped, where it did.

        Raises:
            RetryError: the platform is at fault (disk full, server killed); nothing is decided.
            MissingDependencyError: the recording needs a package that is not installed.
        """
        outcome = self._attempt(task)
        if isinstance(outcome, str):
            for path in task.folder.iterdir():
                path.unlink()
            outcome = self._attempt(task)
        if isinstance(outcome, DecodeReport):
            return outcome
        reason = Reason(DECODER_CRASHED, observed=outcome, detail="the decoder crashed, twice")
        return DecodeReport(task.recording_id, task.organisation, reasons=(reason,))

    def _running(self) -> _Server:
        with self._lock:
            if self._server is None or not self._server.alive:
                self._server = _Server()
            return self._server

    def _attempt(self, task: DecodeTask) -> DecodeReport | str:
        """A report, or how the child crashed."""
        answer = self._running().perform(task)
        status, peak = answer["status"], answer["peak_bytes"]
        path = task.folder / REPORT
        if status == 0 and path.exists():
            document = json.loads(path.read_bytes())
            path.unlink()
            if "failure" in document:
                raise failure_from(document["failure"])
            return replace(DecodeReport.from_json(document["report"]), peak_bytes=peak)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if answer["timed_out"] or number == signal.SIGXCPU:
            limit = LimitExceededError(
                "decoding takes longer than it may", expected=f"at most {task.seconds} s"
            )
            return DecodeReport(
                task.recording_id, task.organisation, reasons=(reason_of(limit),), peak_bytes=peak
            )
        return signal.Signals(number).name if number else f"exit {os.WEXITSTATUS(status)}"


class _Server:
    """One running fork server."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        folder = str(Path(connectors.__file__).parents[1])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipelines.decode.server"],
                stdin=theirs.fileno(),
                env=_ENVIRONMENT | {"PYTHONPATH": folder},
                cwd="/",
            )
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._next = 0
        self.alive = True
        threading.Thread(target=self._read, name="decode-answers", daemon=True).start()

    def perform(self, task: DecodeTask) -> dict[str, Any]:
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            if self.alive:
                self._next += 1
                self._waiting[self._next] = future
                line = json.dumps({"id": self._next, "task": task.as_json()})
                try:
                    self._control.sendall(line.encode() + b"\n")
                except OSError:
                    self.alive = False
            if not self.alive:
                raise _ended()
        return future.result()

    def close(self) -> None:
        self.alive = False
        # Its end of the socket reads the close, and kills what is still at work.
        self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        with self._control.makefile("rb") as lines:
            for line in lines:
                answer = json.loads(line)
                if "id" in answer:
                    with self._lock:
                        future = self._waiting.pop(answer["id"])
                    future.set_result(answer)
        with self._lock:
            self.alive = False
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(_ended())
        self._control.close()
        # Its end of the socket is closed, so it has ended or is about to.
        self._process.wait()


def _ended() -> RetryError:
    return RetryError(
        "the process that starts decoders ended",
        next_step="look at its message above, then try again",
    )


def empty_folder(path: Path) -> Path:
    """Make an empty folder for one child, private to this user."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(mode=0o700, parents=True)
    return path
