"""The fork server: a small process that has imported the decoders, and makes a child per task.

A fresh Python with numpy and pyarrow costs 370 ms, a fork of this one 2 ms. It never starts a
thread (a fork copies only the calling one, with the others' locks as they were) and never reads a
recording. It speaks JSON lines on the socket that is its standard input:

* to it: `{"id": 1, "task": {…}}`
* from it: `{"id": 1, "status": 0, "timed_out": false, "peak_bytes": …}`, status as of `waitpid`

When the socket closes, because its owner ended in whatever way, every child is killed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, Final

from pipelines.decode.limits import confine
from pipelines.decode.task import DecodeTask, perform
from schemas.errors import MissingDependencyError

_POLL_SECONDS: Final = 1.0


class _Children:
    """The children alive, and when each must be done."""

    def __init__(self) -> None:
        self._alive: dict[int, tuple[int, float]] = {}
        self._timed_out: set[int] = set()

    def start(self, key: int, task: DecodeTask) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(task, parent)
        self._alive[pid] = (key, time.monotonic() + task.seconds)

    def ended(self) -> list[dict[str, Any]]:
        """Answers for the children that have ended since the last call."""
        answers = []
        while self._alive:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                break
            key, _ = self._alive.pop(pid)
            answers.append(
                {
                    "id": key,
                    "status": status,
                    "timed_out": pid in self._timed_out,
                    "peak_bytes": usage.ru_maxrss * 1024,
                }
            )
            self._timed_out.discard(pid)
        return answers

    def kill_late(self) -> None:
        now = time.monotonic()
        for pid, (_, deadline) in self._alive.items():
            if now > deadline:
                self._timed_out.add(pid)
                os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        for pid in self._alive:
            os.kill(pid, signal.SIGKILL)

    def wait_seconds(self) -> float | None:
        if not self._alive:
            return None
        soonest = min(deadline for _, deadline in self._alive.values())
        return min(max(soonest - time.monotonic(), 0.05), _POLL_SECONDS)


def _child(task: DecodeTask, parent: int) -> None:
    """Never returns: whatever happens, this copy of the server must not go on as one."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        confine(
            task.folder,
            memory_bytes=task.memory_bytes,
            seconds=task.seconds,
            file_bytes=task.file_bytes,
            parent=parent,
        )
        os.close(0)
        perform(task)
        code = 0
    except BaseException as error:  # noqa: BLE001
        os.write(2, f"decoder: {type(error).__name__}\n".encode())
    finally:
        os._exit(code)


def serve(control: socket.socket) -> None:
    """Run until the socket closes."""
    woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # The owner's group is told to stop by the terminal; the owner decides when this one goes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    children, pending = _Children(), b""
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [], children.wait_seconds())
        if woken in ready:
            os.read(woken, 4096)
        if control.fileno() in ready:
            received = control.recv(1 << 16)
            if not received:
                children.kill_all()
                return
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                request = json.loads(line)
                children.start(request["id"], DecodeTask.from_json(request["task"]))
        children.kill_late()
        for answer in children.ended():
            control.sendall(json.dumps(answer).encode() + b"\n")


class _WithoutPandas(MetaPathFinder):
    """Makes this process look like one without pandas.

    pyarrow imports pandas, where it is installed, for the first Python list that it is given:
    0.4 s of CPU in every child, for nothing. Great Expectations brings it, decoding needs none.
    """

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("not in a process that decodes", name="pandas")


def preload() -> None:
    """Import everything a decode needs, and keep Arrow from starting threads.

    Raises:
        RuntimeError: an import started a thread, after which forking is unsafe.
    """
    sys.meta_path.insert(0, _WithoutPandas())
    import numpy.ma  # noqa: F401 - loaded by numpy and Arrow when first looked for: 20 ms a child
    import pyarrow as pa

    pa.array([""])  # looks for pandas once, here, so that no child does
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    from connectors import registry
    from pipelines.decode import stage  # noqa: F401

    for name in registry.SOURCES:
        with suppress(MissingDependencyError):
            registry.load(name)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"the fork server has {threads} threads before its first fork")


def main() -> None:
    """Entry point of `python -m pipelines.decode.server`; standard input is the socket."""
    preload()
    # The owner may have ended already; then so does this.
    with (
        suppress(BrokenPipeError, ConnectionResetError),
        socket.socket(fileno=os.dup(0)) as control,
    ):
        control.sendall(b'{"ready": true}\n')
        serve(control)


if __name__ == "__main__":
    main()
    sys.exit(0)
