"""Ingest into a bucket: whatever store, network and other machines do, every row is there once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from connectors.stores.catalog import recordings
from connectors.stores.initialise import initialise
from connectors.stores.receive import Receiver
from pipelines.batch import Station
from pipelines.cli.platform import Platform
from pipelines.ingest import contribution, ingest
from pipelines.maintain import optimize, verify
from pipelines.recover import recover
from pipelines.worker import work
from tests.servers.faults import Fault, proxy
from tests.servers.lakes import Lakes, s3_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from connectors.settings import Settings
    from pipelines.check.validator import Validator
    from pipelines.commit import Plan
    from tests.servers.catalogs import Catalogs
    from tests.servers.faults import FaultProxy
    from tests.servers.minio import MinioServer

    Content = Callable[[Platform], dict[str, dict[str, str]]]

pytestmark = [pytest.mark.full, pytest.mark.s3]

WRITERS = 8


@pytest.fixture
def before(minio: MinioServer) -> Iterator[FaultProxy]:
    with proxy(minio.address) as running:
        yield running


def made(settings: Settings, clock: Callable[[], int]) -> Platform:
    access, url = settings.access, settings.database_url
    initialise(settings.root, "Acme", clock, database_url=url, access=access)
    return Platform.open(settings, clock)


@pytest.fixture
def expected(
    validator: Validator, make_logs, content: Content, tmp_path: Path, catalogs: Catalogs
) -> Callable[[int], tuple[list[Path], dict[str, dict[str, str]]]]:
    """Logs, and what a lake in a folder shows of them."""

    def ingested(count: int) -> tuple[list[Path], dict[str, dict[str, str]]]:
        logs = make_logs(tmp_path / "logs", count)
        with made(Lakes(tmp_path, catalogs, None).settings("reference"), lambda: 1) as reference:
            ingest(reference, logs, contribution(reference), validator=validator)
            return logs, content(reference)

    return ingested


@pytest.fixture
def through(
    minio: MinioServer, before: FaultProxy, lakes: Lakes, tmp_path: Path
) -> Iterator[Platform]:
    """A lake that processes of the test's driver reach through the proxy, and the test directly.

    Some calls of delta-rs hold up all threads of their process: the proxy would be one of them.
    """
    settings = s3_settings(minio, tmp_path / "s3")
    lakes.tell(settings.root, replace(settings, s3_endpoint=before.url))
    with made(settings, lambda: 1) as platform:
        yield platform


def test_ingest_through_a_store_that_fails_is_exactly_once(
    *,
    minio: MinioServer,
    before: FaultProxy,
    through: Platform,
    driver,
    expected,
    content: Content,
):
    """Answers lost after the store did the work, 503, slow answers, a restart in between."""
    logs, wanted = expected(4)
    seed = int.from_bytes(os.urandom(4))
    chance = random.Random(seed)
    faults = (Fault(lose_answer=True), Fault(status=503), Fault(delay_s=0.2))
    restarts = 0

    def choose(_method: str, _path: str) -> Fault | None:
        nonlocal restarts
        if len(before.seen) in {300, 900}:
            restarts += 1
            minio.stop()
            minio.start()
        return chance.choice(faults) if chance.random() < 0.08 else None

    before.choose = choose
    failed = 0
    for pair in (logs[:2], logs[2:]):
        while True:
            process = driver(through.root.path, "ingest", *pair)
            process.communicate(timeout=240)
            if process.returncode == 0:
                break
            failed += 1
            assert failed < 10
    before.choose = lambda _m, _p: None
    print(
        f"\nseed {seed}: {before.faults} faults in {len(before.seen)} requests, "
        f"{restarts} restarts, {failed} runs that gave up"
    )
    recover(through)
    assert content(through) == wanted
    assert verify(through, deep=True).ok
    assert before.faults > 20
    assert restarts > 0


def test_every_answer_to_a_commit_may_be_lost(
    *, before: FaultProxy, through: Platform, driver, expected, content: Content
):
    """The log entry is in the store, and its writer is told nothing; each the first time."""
    logs, wanted = expected(2)
    lost: set[str] = set()

    def choose(method: str, path: str) -> Fault | None:
        entry = "/_delta_log/" in path and path.endswith(".json") and method == "PUT"
        if entry and path not in lost:
            lost.add(path)
            return Fault(lose_answer=True)
        return None

    before.choose = choose
    for log in logs:
        process = driver(through.root.path, "ingest", log)
        process.communicate(timeout=240)
        assert process.returncode == 0
    print(f"\n{len(lost)} commits whose answer was lost")
    assert len(lost) >= 20
    assert content(through) == wanted
    assert verify(through, deep=True).findings == []
    # Nothing was committed a second time: one version for each recording.
    versions = through.lake.pin()
    assert versions["episodes"] == versions["imu"] == 2


def test_eight_processes_that_commit_the_same_plans_lose_and_double_nothing(
    *, minio: MinioServer, lakes: Lakes, driver, validator, expected, content: Content, tmp_path
):
    logs, wanted = expected(WRITERS)
    settings = s3_settings(minio, tmp_path / "s3")
    lakes.tell(settings.root, settings)
    with made(settings, lambda: 1) as platform:
        plans = [planned(platform, log, validator).id for log in logs]
        processes = []
        for number in range(WRITERS):
            # Everyone's own, and its neighbour's.
            mine = [plans[number], plans[(number + 1) % WRITERS]]
            processes.append(driver(settings.root, "commit", *mine))
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            process.communicate(timeout=300)
        assert [process.returncode for process in processes] == [0] * WRITERS
        assert content(platform) == wanted
        found = verify(platform, deep=True)
        assert found.ok
        assert platform.lake.pin()["episodes"] == WRITERS
        optimize(platform)
        assert content(platform) == wanted


def planned(platform: Platform, log: Path, validator: Validator) -> Plan:
    """One recording's plan, durable, of which nothing is committed."""
    receiver = Receiver(platform.root, platform.engine, platform.clock)
    with Station(platform, validator=validator) as station:
        batch = station.open("acme")
        got = receiver.receive_paths("acme", [log], "default", "acme-own-use")
        (row,) = station.lease(1, only=[got.recording_id])
        station.add(batch, row)
        plan, failed = station._planned(batch)
        batch.close()
    assert failed == []
    assert plan is not None
    return plan


class StoppedError(BaseException):
    """The machine is switched off: nothing of its own is done after this."""


def stop_at(step: str) -> Callable[[str], None]:
    def trace(reached: str) -> None:
        if reached == step:
            raise StoppedError(step)

    return trace


def test_another_machine_finishes_a_plan_whose_machine_is_gone(
    *, minio: MinioServer, clock, validator, expected, content: Content, tmp_path: Path
):
    """Only the bucket and the catalog are shared: neither folder nor lock of the first is seen."""
    logs, wanted = expected(2)
    first = s3_settings(minio, tmp_path / "s3")
    second = replace(first, scratch=str(tmp_path / "other-machine"))
    with made(first, clock) as gone, pytest.raises(StoppedError):
        ingest(
            gone,
            logs,
            contribution(gone),
            validator=validator,
            trace=stop_at("commit poses"),
        )
    with Platform.open(second, clock) as here:
        assert recover(here).replayed == [], "the first machine may be at work still"
        assert verify(here, deep=True).findings == [], "an open plan's files are no surplus"
        clock.advance(second.lease_seconds + 1)
        assert len(recover(here).replayed) == 1
        assert content(here) == wanted
        assert verify(here, deep=True).findings == []
    with Platform.open(first, clock) as back:
        assert recover(back).replayed == []
        assert content(back) == wanted


def test_what_a_lost_machine_placed_without_a_plan_stays_until_that_machine_is_back(
    *, minio: MinioServer, clock, validator, expected, content: Content, tmp_path: Path, monkeypatch
):
    logs, wanted = expected(1)
    first = s3_settings(minio, tmp_path / "s3")
    second = replace(first, scratch=str(tmp_path / "other-machine"))
    with made(first, clock) as gone, monkeypatch.context() as power_off:
        power_off.setattr("pipelines.batch.discard", lambda *_: 0)
        power_off.setattr("pipelines.batch.Station._release", lambda *_, **__: None)
        with pytest.raises(StoppedError):
            ingest(gone, logs, contribution(gone), validator=validator, trace=stop_at("plan"))
    with Platform.open(second, clock) as here:
        assert recover(here).removed_files == 0
        assert work(here, once=True, validator=validator) == 0, "the lease holds still"
        clock.advance(second.lease_seconds + 1)
        assert work(here, once=True, validator=validator) == 1
        assert content(here) == wanted
        found = verify(here, deep=True)
        assert found.ok
        assert {finding.what for finding in found.findings} == {"file_surplus"}
        (key,) = wanted
        assert recordings.known(here.engine, [key])[key]["state"] == "accepted"
    with Platform.open(first, clock) as back:
        assert recover(back).removed_files == len(found.findings)
        assert verify(back, deep=True).findings == []


def test_a_worker_outlasts_a_store_that_is_away_for_a_while(
    *, before: FaultProxy, through: Platform, lakes: Lakes, expected, content: Content
):
    logs, wanted = expected(1)
    receiver = Receiver(through.root, through.engine, through.clock)
    key = receiver.receive_paths("acme", logs, "default", "acme-own-use").recording_id
    worker = subprocess.Popen(
        [Path(sys.executable).with_name("tanada"), "worker"],
        env=lakes.environment(through.root.path) | {"PATH": os.defpath},
        stderr=subprocess.PIPE,
    )
    away: list[str] = []

    def choose(_method: str, path: str) -> Fault | None:
        # From the first look at an original on.
        if len(away) < 16 and (away or "/quarantine/" in path):
            away.append(path)
            return Fault(status=503)
        return None

    before.choose = choose
    try:
        deadline = time.monotonic() + 200
        while recordings.known(through.engine, [key])[key]["state"] != "accepted":
            assert worker.poll() is None, "the worker ended"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        worker.send_signal(signal.SIGTERM)
        _, errors = worker.communicate(timeout=60)
    finally:
        worker.kill()
        worker.wait()
        worker.stderr.close()
    assert worker.returncode == 0, errors
    assert len(away) == 16
    assert content(through) == wanted
