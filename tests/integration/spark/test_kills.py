"""Executors and drivers are killed; every recording is there once, and poison stops itself only."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from sqlalchemy import select

from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Recording
from pipelines.ingest import contribution, ingest
from pipelines.maintain import verify
from pipelines.quarantine import retry
from pipelines.recover import recover
from pipelines.staging import batches
from pipelines.worker import work
from schemas.tables import TABLES
from tests.integration.spark.conftest import wait_for
from tests.integration.spark.rows import by_delta_rs

if TYPE_CHECKING:
    from pathlib import Path

    from connectors.stores.store import Place
    from pipelines.cli.platform import Platform

EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
ATTEMPT = re.compile(r"attempt-\d+-(\d+)")


class Killer(threading.Thread):
    """Kills the executor that begins to decode a recording, so many times for each recording."""

    def __init__(self, staging: Place, times: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self.killed: dict[str, list[int]] = {key: [] for key in times}
        self._staging = staging
        self._times = times
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.002):
            for key, times in self._times.items():
                for begun in self._staging.glob(f"*/{key}/attempt-*/begun"):
                    pid = int(ATTEMPT.fullmatch(begun.parent.name)[1])
                    if len(self.killed[key]) < times and pid not in self.killed[key]:
                        executor_of(pid).kill()
                        self.killed[key].append(pid)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def executor_of(pid: int) -> psutil.Process:
    return next(p for p in psutil.Process(pid).parents() if EXECUTOR in p.cmdline())


def executors_alive() -> list[int]:
    """Executors of every application, by process id."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if EXECUTOR in process.cmdline():
                found.append(process.pid)
    return found


def content(platform: Platform) -> dict[str, list[Any]]:
    return {table: by_delta_rs(platform, table) for table in TABLES}


def ids_of(platform: Platform) -> dict[str, str]:
    """Name of a recording as it was handed in -> its id."""
    with reading(platform.engine) as connection:
        rows = connection.execute(select(Recording.name, Recording.id)).all()
    return dict(map(tuple, rows))


def decode_detail(platform: Platform, key: str) -> dict[str, Any]:
    with reading(platform.engine) as connection:
        steps = recordings.steps_of(connection, key)
    (detail,) = [step["detail"] for step in steps if step["step"] == "decode"]
    return detail


@pytest.fixture(scope="module")
def logs(make_logs, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two of 20 s, which take a while to decode, and six small ones."""
    folder = tmp_path_factory.mktemp("logs")
    return [
        *make_logs(folder, 2, first_seed=1, seconds=20),
        *make_logs(folder, 6, first_seed=11),
    ]


@pytest.fixture(scope="module")
def reference(platform_of, validator, logs: list[Path]) -> Platform:
    platform = platform_of("embedded")
    result = ingest(platform, logs, contribution(platform), validator=validator)
    assert {outcome.status for outcome in result.outcomes} == {"accepted"}
    return platform


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_a_lost_executor_loses_nothing_and_poison_is_refused_alone(
    *,
    platform_of,
    new_bucket_lake,
    validator,
    logs: list[Path],
    reference: Platform,
    session: Any,
    where: str,
):
    del session
    platform = platform_of("spark", new_bucket_lake() if where == "bucket" else None)
    under = contribution(platform)
    ids = ids_of(reference)
    unlucky, poison = ids[str(logs[0])], ids[str(logs[1])]
    killer = Killer(platform.root.exchange("0" * 32).parent, {unlucky: 1, poison: 2})
    killer.start()
    try:
        result = ingest(platform, logs, under, validator=validator)
    finally:
        killer.stop()

    assert {key: len(pids) for key, pids in killer.killed.items()} == {unlucky: 1, poison: 2}
    outcomes = {outcome.recording_id: outcome for outcome in result.outcomes}
    refused = outcomes.pop(poison)
    assert {outcome.status for outcome in outcomes.values()} == {"accepted"}
    assert refused.status == "quarantined"
    (reason,) = refused.reasons
    assert (reason.rule, reason.observed) == ("decoder_crashed", "2 executors lost")
    # Another executor decoded it, and the catalog says which.
    detail = decode_detail(platform, unlucky)
    assert detail["pid"] not in {*killer.killed[unlucky], os.getpid()}
    assert detail["host"] == os.uname().nodename
    expected = {
        table: [row for row in rows if row["recording_id"] != repr(poison)]
        for table, rows in content(reference).items()
    }
    assert content(platform) == expected
    assert verify(platform, deep=True).findings == []

    if where == "folder":
        heal(platform, reference, poison, validator)


def heal(platform: Platform, reference: Platform, poison: str, validator: Any) -> None:
    """What was refused is tried again, when nothing kills its executors any more."""
    retry(platform, poison)
    assert work(platform, once=True, validator=validator) == 1
    healed = content(platform)
    # Its first check run stays on record.
    refusals = [row for row in healed["quality"] if row["rule"] == repr("decoder_crashed")]
    assert len(refusals) == 1
    healed["quality"].remove(refusals[0])
    assert healed == content(reference)


@pytest.mark.parametrize("step", ["mid-decode", "commit imu"])
def test_a_killed_driver_loses_and_doubles_nothing(
    *, platform_of, validator, drive, logs: list[Path], reference: Platform, step: str
):
    platform = platform_of("spark")
    ours = set(executors_alive())
    process = drive(platform.settings, *logs)
    if step == "mid-decode":
        wait_for("an attempt", lambda: list(platform.root.staging.glob("*/*/attempt-*/begun")), 300)
    else:
        for line in process.stdout:
            if line.strip() == f"step {step}":
                break
    theirs = set(executors_alive()) - ours
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(theirs) == 2
    wait_for("the end of its executors", lambda: not theirs & set(executors_alive()), 120)

    done = recover(platform)

    assert (done.replayed, done.discarded) != ([], [])
    assert bool(done.replayed) == (step != "mid-decode")
    assert batches(platform.root) == []
    result = ingest(platform, logs, contribution(platform), validator=validator)
    statuses = {outcome.status for outcome in result.outcomes}
    assert statuses == ({"accepted"} if step == "mid-decode" else {"duplicate"})
    assert content(platform) == content(reference)
    assert verify(platform, deep=True).findings == []
    again = recover(platform)
    assert again.as_json() == type(again)().as_json()


def test_a_worker_goes_on_with_a_new_session_when_spark_itself_died(
    *, platform_of, validator, make_logs, cluster, session: Any, tmp_path: Path
):
    from pipelines.spark.session import session_of

    session.sparkContext._gateway.proc.kill()
    session.sparkContext._gateway.proc.wait()
    time.sleep(0.1)
    platform = platform_of("spark")
    result = ingest(
        platform,
        make_logs(tmp_path / "logs", 1, first_seed=31),
        contribution(platform),
        validator=validator,
    )
    assert [outcome.status for outcome in result.outcomes] == ["accepted"]
    assert session_of(cluster.settings) is not session
