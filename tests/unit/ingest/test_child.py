"""The limited child: what it survives, and what it cannot do."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from connectors.source import SourceFile
from infra.demo.robot_log import STANDARD, LogSpec, write_log
from pipelines.decode.child import _ENVIRONMENT, Decoder, empty_folder
from pipelines.decode.task import DecodeTask, failure_from, failure_of
from schemas.errors import MissingDependencyError, RetryError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as running:
        yield running


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "a.mcap"
    topics = tuple(t for t in STANDARD if "camera" not in t.name)
    write_log(path, LogSpec(seconds=20.0, seed=4, topics=topics))
    return path


@pytest.fixture
def task(log: Path, tmp_path: Path) -> DecodeTask:
    digest = hashlib.sha256(log.read_bytes()).hexdigest()
    file = SourceFile(log, log.name, log.stat().st_size, digest)
    return DecodeTask("a" * 64, "acme", empty_folder(tmp_path / "work"), (file,), 1)


def test_it_decodes_within_its_memory_budget(decoder: Decoder, task: DecodeTask):
    report = decoder.decode(task)
    assert report.ok
    assert report.tables["wrenches"] == 20_000
    assert report.peak_bytes < 300 << 20
    for file in report.files:
        path = task.folder / file.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        assert path.stat().st_size == file.bytes


def test_too_little_memory_is_a_reason_and_not_a_crash(decoder: Decoder, task: DecodeTask):
    usage = psutil.Process(decoder._running()._process.pid).memory_info().vms
    report = decoder.decode(replace(task, memory_bytes=usage + (4 << 20)))
    assert [reason.rule for reason in report.reasons] == ["limit_exceeded"]
    assert decoder.decode(replace(task, folder=empty_folder(task.folder))).ok


def test_too_little_time_is_a_reason(decoder: Decoder, task: DecodeTask):
    report = decoder.decode(replace(task, seconds=0))
    assert [reason.rule for reason in report.reasons] == ["limit_exceeded"]


def test_a_file_that_grows_too_large_is_a_reason(decoder: Decoder, task: DecodeTask):
    report = decoder.decode(replace(task, file_bytes=100_000))
    assert [reason.rule for reason in report.reasons] == ["limit_exceeded"]


def test_a_decoder_that_crashes_twice_is_a_reason(decoder: Decoder, task: DecodeTask):
    server = psutil.Process(decoder._running()._process.pid)
    stopped = threading.Event()

    def crash_children() -> None:
        while not stopped.is_set():
            for child in server.children():
                os.kill(child.pid, signal.SIGSEGV)
            time.sleep(0.001)

    thread = threading.Thread(target=crash_children)
    thread.start()
    report = decoder.decode(task)
    stopped.set()
    thread.join()
    (reason,) = report.reasons
    assert (reason.rule, reason.observed) == ("decoder_crashed", "SIGSEGV")


def test_children_end_with_their_server(task: DecodeTask):
    decoder = Decoder()
    decoder.start()
    errors: list[RetryError] = []

    def decode() -> None:
        try:
            decoder.decode(task)
        except RetryError as error:
            errors.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    server = psutil.Process(decoder._running()._process.pid)
    children: list[psutil.Process] = []
    while not children:
        children = server.children()
    server.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    thread.join(timeout=60)
    assert alive == []
    assert len(errors) == 1
    assert decoder.decode(replace(task, folder=empty_folder(task.folder))).ok  # a new server
    decoder.close()


def test_the_server_has_one_thread_and_nothing_of_our_environment(decoder: Decoder):
    process = psutil.Process(decoder._running()._process.pid)
    deadline = time.monotonic() + 120
    while "pyarrow" not in "".join(m.path for m in process.memory_maps()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert process.num_threads() == 1
    assert not [name for name in process.environ() if name.startswith("TANADA")]


def test_errors_that_are_ours_cross_the_process_boundary():
    for error in (
        StoreUnavailableError("full", subject="x", next_step="free space"),
        MissingDependencyError("lz4 is missing", next_step="pip install lz4"),
    ):
        again = failure_from(failure_of(error))
        assert type(again) is type(error)
        assert str(again) == str(error)


_IMPORTED_LATE = """
import json, sys
from pathlib import Path
from pipelines.decode import server
from pipelines.decode.task import DecodeTask, perform
server.preload()
before = set(sys.modules)
perform(DecodeTask.from_json(json.loads(sys.argv[1])))
assert (Path(sys.argv[2]) / "report.json").exists()
print(*sorted(set(sys.modules) - before))
"""


def test_a_decode_imports_nothing_that_the_server_has_not(task: DecodeTask):
    """What a child imports, every child imports anew."""
    command = [sys.executable, "-c", _IMPORTED_LATE, json.dumps(task.as_json()), str(task.folder)]
    env = _ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == []
