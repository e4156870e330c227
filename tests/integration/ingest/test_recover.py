"""Recovery: torn logs, dead workers, lost leases; and a worker told to stop."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from connectors.stores.receive import Receiver
from pipelines.batch import Station
from pipelines.commit.log import entry_path, versions
from pipelines.commit.manifest import Manifest
from pipelines.ingest import contribution, ingest
from pipelines.lineage import Lineage
from pipelines.maintain import verify
from pipelines.recover import recover
from pipelines.staging import batches
from pipelines.worker import work
from schemas.errors import CommitConflictError, DamagedError, RetryError, ValidatorUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipelines.check.validator import Validator
    from pipelines.cli.platform import Platform
    from tests.servers.lakes import Lakes

    Content = Callable[[Platform], dict[str, dict[str, str]]]


def received(platform: Platform, *logs: Path) -> list[str]:
    receiver = Receiver(platform.root, platform.engine, platform.clock)
    return [
        receiver.receive_paths("acme", [log], "default", "acme-own-use").recording_id
        for log in logs
    ]


def states(platform: Platform, keys: list[str]) -> list[str]:
    known = recordings.known(platform.engine, keys)
    return [known[key]["state"] for key in keys]


class StoppedError(Exception):
    """Raised by a trace, where a process is meant to have ended."""


def stop_at(step: str) -> Callable[[str], None]:
    def trace(reached: str) -> None:
        if reached == step:
            raise StoppedError(step)

    return trace


@pytest.mark.parametrize("left", [0, 40])
def test_a_log_entry_torn_by_a_power_loss_is_committed_again(
    *,
    platform: Platform,
    validator: Validator,
    make_logs,
    content: Content,
    tmp_path: Path,
    left: int,
):
    logs = make_logs(tmp_path / "logs", 3)
    ingest(platform, logs[:1], contribution(platform), validator=validator)
    with pytest.raises(StoppedError):
        ingest(
            platform,
            logs[1:],
            contribution(platform),
            validator=validator,
            trace=stop_at("commit wrenches"),
        )
    # The entry reached the log's folder, and its bytes never the disk.
    folder = platform.root.table("imu")
    head = versions(folder)[-1]
    path = entry_path(folder, head)
    path.write_bytes(path.read_bytes()[:left])
    Manifest(folder).path(head).unlink()

    done = recover(platform)

    assert done.repaired == [f"imu@{head}"]
    assert len(done.replayed) == 1
    pinned = platform.lake.pin()
    assert platform.lake.read("imu", pinned).num_rows == 3 * 200
    assert {len(tables) for tables in content(platform).values()} == {
        11,
        12,
    }  # the third has a camera
    assert verify(platform, deep=True).findings == []


def test_a_torn_entry_that_was_acknowledged_stops_everything(
    platform: Platform, validator: Validator, make_logs, tmp_path: Path
):
    (log,) = make_logs(tmp_path / "logs", 1)
    ingest(platform, [log], contribution(platform), validator=validator)
    folder = platform.root.table("episodes")
    entry_path(folder, versions(folder)[-1]).write_bytes(b"")
    with pytest.raises(DamagedError, match="acknowledged"):
        ingest(platform, [log], contribution(platform), validator=validator)


def test_without_a_validator_nothing_is_accepted_and_nothing_lost(
    platform: Platform, validator: Validator, make_logs, tmp_path: Path
):
    from pipelines.check.validator import Validator as Process

    events = tmp_path / "lineage.jsonl"
    platform.observer.add(Lineage.to(events.as_uri()))
    keys = received(platform, *make_logs(tmp_path / "logs", 2))
    with (
        Process(None, platform.clock, python="/bin/false") as broken,
        pytest.raises(ValidatorUnavailableError),
    ):
        work(platform, once=True, validator=broken)
    assert states(platform, keys) == ["received", "received"]
    assert batches(platform.root) == []
    assert list(platform.root.tables.glob("*/organisation=*/day=*/*")) == []
    with reading(platform.engine) as connection:
        assert recordings.get(connection, keys[0])["attempts"] == 0  # not the recording's fault
    _, failure = (json.loads(line) for line in events.read_text("utf-8").splitlines())
    assert failure["eventType"] == "FAIL"
    assert failure["run"]["facets"]["errorMessage"]["message"] == "ValidatorUnavailableError"
    assert len(failure["inputs"]) == 2

    assert work(platform, once=True, validator=validator) == 2
    assert states(platform, keys) == ["accepted", "accepted"]


def test_a_worker_whose_lease_ran_out_commits_nothing(
    *, platform: Platform, clock, validator: Validator, make_logs, content: Content, tmp_path: Path
):
    keys = received(platform, *make_logs(tmp_path / "logs", 1))
    with (
        Station(platform, validator=validator) as slow,
        Station(platform, validator=validator) as fast,
    ):
        (row,) = slow.lease(10)
        late = slow.open("acme")
        slow.add(late, row)
        late.reports[0].result()
        clock.advance(platform.settings.lease_seconds + 1)
        (row,) = fast.lease(10)
        batch = fast.open("acme")
        fast.add(batch, row)
        with pytest.raises(RetryError, match="another worker took over"):
            slow.finish(late)
        (outcome,) = fast.finish(batch)
    assert outcome.status == "accepted"
    assert states(platform, keys) == ["accepted"]
    assert list(content(platform)) == keys
    assert verify(platform, deep=True).findings == []


def test_a_recording_that_ends_every_worker_is_parked(
    platform: Platform, validator: Validator, clock, make_logs, tmp_path: Path
):
    keys = received(platform, *make_logs(tmp_path / "logs", 1))
    for _ in range(platform.settings.max_attempts):
        with Station(platform, validator=validator) as station:
            assert station.lease(10)  # and this worker ends without a word
        clock.advance(platform.settings.lease_seconds + 1)
    assert work(platform, once=True, validator=validator) == 0
    assert states(platform, keys) == ["failed"]
    assert recordings.known(platform.engine, keys)[keys[0]]["reasons"][0]["rule"] == (
        "too_many_attempts"
    )


def test_two_recoveries_at_once_replay_a_plan_once(
    *, platform: Platform, validator: Validator, make_logs, content: Content, tmp_path: Path
):
    logs = make_logs(tmp_path / "logs", 2)
    with pytest.raises(StoppedError):
        ingest(
            platform,
            logs,
            contribution(platform),
            validator=validator,
            trace=stop_at("commit poses"),
        )
    inner = []

    def again(step: str) -> None:
        if step == "commit imu":
            inner.append(recover(platform))

    done = recover(platform, trace=again)

    assert len(done.replayed) == 1
    assert [one.replayed for one in inner] == [[]]
    assert len(content(platform)) == 2
    assert verify(platform, deep=True).findings == []


def test_a_worker_told_to_stop_finishes_its_batch(
    platform: Platform, lakes: Lakes, make_logs, tmp_path: Path
):
    import subprocess
    import sys
    from pathlib import Path as Folder

    keys = received(platform, *make_logs(tmp_path / "logs", 3))
    environment = lakes.environment(platform.root.path) | {"PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(
        [Folder(sys.executable).with_name("tanada"), "worker"],
        env=environment,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 300
    while "leased" not in states(platform, keys):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert states(platform, keys) == ["accepted"] * 3
    assert batches(platform.root) == []


def test_conflicts_beyond_patience_leave_an_open_plan(
    *, platform: Platform, validator: Validator, make_logs, monkeypatch, tmp_path: Path
):
    from deltalake import DeltaTable

    (log,) = make_logs(tmp_path / "logs", 1)
    uri, options = platform.root.store.delta(platform.root.table("imu"))

    def interfere(step: str) -> None:
        # Another writer, between this one's look and its commit, every time.
        if step == "commit imu":
            original = platform.lake.__class__.open

            def opened(lake, table, version=None):
                snapshot = original(lake, table, version)
                if table == "imu" and version is None:
                    DeltaTable(uri, storage_options=options).alter.set_table_properties(
                        {"delta.checkpointInterval": "10"}
                    )
                return snapshot

            monkeypatch.setattr(platform.lake.__class__, "open", opened)

    with pytest.raises(CommitConflictError):
        ingest(platform, [log], contribution(platform), validator=validator, trace=interfere)
    monkeypatch.undo()
    assert len(recover(platform).replayed) == 1
    assert verify(platform, deep=True).findings == []
