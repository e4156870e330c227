"""A real worker with everything on: metrics, JSON log lines, lineage, notices."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.stores.catalog import recordings
from connectors.stores.receive import Receiver
from infra.demo.robot_log import LogSpec, write_log
from infra.demo.sectors import write_sector_recording
from pipelines.ingest import contribution

REPOSITORY = Path(__file__).parents[3]
PERSON = "aiko-tanaka"
CANARY = "canary-7f3a"
DEADLINE_S = 120


@pytest.fixture
def received(platform: Any, tmp_path: Path) -> list[str]:
    """A good recording and one that is quarantined, both under a person's name."""
    good, bad = tmp_path / f"{PERSON}.mcap", tmp_path / f"{PERSON}-2.mcap"
    write_log(good, LogSpec(seconds=0.5, seed=5).without_camera())
    write_sector_recording("factory", bad, seconds=2.0, broken="imu_norm")
    receiver = Receiver(platform.root, platform.engine, platform.clock)
    under = contribution(platform)
    return [
        receiver.receive_paths(
            under.organisation, [path], under.robot, under.agreement, name=str(path)
        ).recording_id
        for path in (good, bad)
    ]


def start(root: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tanada", "worker", "--metrics-port", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={"TANADA_ROOT": str(root), "TANADA_LOG_FORMAT": "json", **environment},
    )


def samples(text: str) -> dict[str, float]:
    """Sample -> value."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def wait_until_decided(platform: Any, ids: list[str]) -> None:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        states = {row["state"] for row in recordings.known(platform.engine, ids).values()}
        if states <= {"accepted", "accepted_with_warnings", "quarantined"}:
            return
        time.sleep(0.2)
    raise AssertionError("not decided in time")


def test_what_an_operator_sees_of_a_worker(
    platform: Any, received: list[str], posted: Any, mailbox: Any
) -> None:
    box, smtp = mailbox
    platform.engine.dispose()
    process = start(
        platform.root.path,
        TANADA_OPENLINEAGE_URL=posted.url,
        TANADA_NOTIFY_WEBHOOK=f"{posted.url}/hook?token={CANARY}",
        TANADA_NOTIFY_MAIL="steward@operator.example, rival=rival@rival.example",
        TANADA_SMTP_URL=smtp,
        TANADA_KEY=f"tnd_abc_{CANARY}",
    )
    try:
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        port = re.search(r"metrics on port (\d+)", lines[0])
        assert port, lines
        wait_until_decided(platform, received)
        found: dict[str, float] = {}
        end = time.monotonic() + DEADLINE_S
        while "tanada_verdicts_total" not in "".join(found) and time.monotonic() < end:
            found = samples(httpx.get(f"http://127.0.0.1:{port[1]}/metrics").text)
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest

    # Metrics: what was done, and nobody's name.
    assert found['tanada_verdicts_total{verdict="quarantined"}'] == 1
    assert found['tanada_commit_seconds_count{table="episodes"}'] == 1
    assert found["tanada_decode_seconds_count"] == 2
    assert found["tanada_validator_starts"] == 1
    assert found['tanada_last_success_timestamp_seconds{job="ingest"}'] > 0
    owner = contribution(platform).organisation
    assert not [name for name in found if owner in name or any(key in name for key in received)]

    # Logs: every line is JSON, each verdict has its recording, no secret and no person.
    lines += rest.splitlines()
    logged = [json.loads(line) for line in lines if line.strip()]
    assert {line["recording_id"] for line in logged if line["message"] == "decided"} == set(
        received
    )
    for text in (*lines, out):
        assert CANARY not in text
        assert PERSON not in text

    # Lineage: start and end of the one batch, recordings in, table versions out.
    events = posted.at("/api/v1/lineage")
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in events}) == 1
    names = {one["name"] for one in events[1]["inputs"]}
    assert names == {f"recordings/{owner}/{key}" for key in received}
    versions = {
        one["name"]: one["facets"]["version"]["datasetVersion"] for one in events[1]["outputs"]
    }
    pinned = platform.lake.pin()
    assert versions["tables/episodes"] == str(pinned["episodes"])

    # Notices: one to the steward and the webhook, none to the rival, no name of a file in them.
    (notice,) = posted.at(f"/hook?token={CANARY}")
    assert notice["kind"] == "quarantine"
    assert received[1] in " ".join(notice["lines"])
    (mail,) = box.messages
    assert mail["X-RcptTo"] == "steward@operator.example"
    for text in (json.dumps(notice), mail.as_string(), json.dumps(events)):
        assert PERSON not in text
