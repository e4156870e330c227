"""What an executor answers, without Spark: known answers, failures of ours, deaths."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from connectors.stores.originals import Original
from infra.demo.robot_log import LogSpec, write_log
from pipelines.decode.task import DecodeTask
from pipelines.engine import Work
from pipelines.spark import executor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "a" * 64


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    yield
    executor._decoder().close()
    executor._decoder.cache_clear()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    log, folder = tmp_path / "log.mcap", tmp_path / "batch" / KEY
    write_log(log, LogSpec(seconds=0.1, seed=1).without_camera())
    folder.mkdir(parents=True)
    content = log.read_bytes()
    original = Original(log, log.name, len(content), sha256(content).hexdigest(), sidecar=False)
    return Work(DecodeTask(KEY, "acme", folder, (), 1), (original,), tmp_path, folder)


def answer(work: Work, attempt: int) -> dict[str, Any]:
    """As the driver reads it."""
    answered = executor._answer(json.loads(executor.asked(work)), attempt)
    read: dict[str, Any] = json.loads(json.dumps(answered))
    return read


def test_the_next_attempt_gives_the_answer_that_got_lost(work: Work):
    first = answer(work, 1)
    assert answer(work, 2) == first
    files = {path.name for path in (work.exchange / first["folder"]).iterdir()}
    assert {file["path"] for file in first["report"]["files"]} == files != set()
    assert len(list(work.exchange.iterdir())) == 1


def test_who_begins_and_never_answers_counts_as_dead_and_a_failure_does_not(work: Work):
    (work.exchange / "attempt-1-1").mkdir()
    (work.exchange / "attempt-1-1" / "begun").touch()
    gone = work.originals[0].place
    content = gone.read_bytes()
    gone.unlink()
    failed = answer(work, 2)
    # A recording whose file is away is not to blame, nor is an executor.
    assert failed["failure"]["kind"] == "StoreUnavailableError"
    assert answer(work, 3) == failed
    gone.write_bytes(content)

    for left in work.exchange.glob("*/answer.json"):
        left.unlink()
    died = answer(work, 4)
    (reason,) = died["report"]["reasons"]
    assert (reason["rule"], died["folder"]) == ("decoder_crashed", "")


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_decided(work: Work):
    work.exchange.rmdir()
    failed = answer(work, 1)
    assert failed["failure"]["kind"] == "StoreUnavailableError"
    assert "shared with every executor" in json.dumps(failed)
    assert not work.exchange.exists()
