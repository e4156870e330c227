"""Several processes at the same files, and at the same tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from connectors.stores.receive import Receiver
from pipelines.batch import Station
from pipelines.commit import Committer
from pipelines.commit.pack import Packer
from pipelines.ingest import contribution, ingest
from pipelines.maintain import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipelines.check.validator import Validator
    from pipelines.cli.platform import Platform
    from pipelines.commit import Plan

    Content = Callable[[Platform], dict[str, dict[str, str]]]

FILES = 50


def test_two_processes_with_the_same_files_commit_each_once(
    *,
    platform: Platform,
    second_platform,
    validator: Validator,
    driver,
    make_logs,
    content: Content,
    tmp_path: Path,
):
    logs = make_logs(tmp_path / "logs", FILES, seconds=0.1)
    with second_platform() as reference:
        ingest(reference, logs, contribution(reference), validator=validator)
        expected = content(reference)

    forwards = driver(platform.root.path, "ingest", *logs)
    backwards = driver(platform.root.path, "ingest", *reversed(logs))
    answers = [process.communicate(timeout=300)[0] for process in (forwards, backwards)]

    assert forwards.returncode == backwards.returncode == 0
    results = [json.loads(answer.rsplit("\n", 2)[-2]) for answer in answers]
    accepted = [[r["recording_id"] for r in one if r["status"] == "accepted"] for one in results]
    print(f"\naccepted by the first {len(accepted[0])}, by the second {len(accepted[1])}")
    assert all(r["status"] in {"accepted", "duplicate"} for one in results for r in one)
    assert sorted(accepted[0] + accepted[1]) == sorted(expected)
    assert content(platform) == expected
    assert verify(platform, deep=True).findings == []


def test_a_batch_whose_recordings_another_worker_committed_adds_nothing_twice(
    *,
    platform: Platform,
    second_platform,
    validator: Validator,
    make_logs,
    content: Content,
    tmp_path: Path,
):
    """The files of a plan are rewritten without what is marked already."""
    logs = make_logs(tmp_path / "logs", 4)
    with second_platform() as reference:
        ingest(reference, logs, contribution(reference), validator=validator)
        expected = content(reference)
    plan = planned(platform, logs, validator)
    committer = Committer(
        platform.root, platform.lake, platform.engine, platform.clock, worker="second"
    )
    # What a worker that stopped half-way leaves: two recordings of a packed file are in already.
    (whole,) = (file for file in plan.files if file.table == "imu")
    packer = Packer(platform.root, f"{plan.id}-half", "acme", platform.root.staging / plan.id)
    half = packer.rewrite(whole, whole.recordings[:2])
    committer._commit(plan, "imu", [half], packer)

    committer.execute(plan)
    committer.execute(plan)

    assert len(whole.recordings) == 4
    assert content(platform) == expected
    assert verify(platform, deep=True).ok


def planned(platform: Platform, logs: list[Path], validator: Validator) -> Plan:
    """A batch's plan, durable, of which nothing is committed."""
    receiver = Receiver(platform.root, platform.engine, platform.clock)
    with Station(platform, validator=validator) as station:
        batch = station.open("acme")
        for log in logs:
            got = receiver.receive_paths("acme", [log], "default", "acme-own-use")
            (row,) = station.lease(1, only=[got.recording_id])
            station.add(batch, row)
        plan, failed = station._planned(batch)
        batch.close()
    assert failed == []
    assert plan is not None
    return plan
