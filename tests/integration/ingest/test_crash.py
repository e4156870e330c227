"""Kill the whole process group at random points; afterwards every recording is there once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import psutil

from pipelines.ingest import contribution, ingest
from pipelines.maintain import verify
from pipelines.recover import recover
from pipelines.staging import batches

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from pipelines.check.validator import Validator
    from pipelines.cli.platform import Platform

    Content = Callable[[Platform], dict[str, dict[str, str]]]

KILLS = 10
PER_ROUND = 3
# A step is printed as it begins: the kill falls into it, or into one soon after.
STEPS = (
    "decode",
    "check",
    "pack",
    "promote",
    "plan",
    "commit joint_states",
    "commit transforms",
    "commit streams",
    "commit quality",
    "commit episodes",
    "finish",
)


def kill_at(process: subprocess.Popen[str], step: str, delay_s: float) -> str:
    """Kill the group a moment after a step began; returns the last step it reached."""
    reached = "start"
    assert process.stdout is not None
    for line in process.stdout:
        reached = line.removeprefix("step ").strip()
        if reached.startswith(step):
            time.sleep(delay_s)
            break
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    # Later lines were printed before the kill.
    for line in process.stdout:
        reached = line.removeprefix("step ").strip()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []  # decoders too, which are in sessions of their own
    return reached.split()[0] + (" " + reached.split()[1] if "commit" in reached else "")


def test_kills_lose_and_double_nothing(
    *,
    platform: Platform,
    second_platform,
    validator: Validator,
    driver,
    make_logs,
    content: Content,
    tmp_path: Path,
):
    seed = int.from_bytes(os.urandom(4))
    chance = random.Random(seed)
    print(f"\nseed {seed}")
    logs = make_logs(tmp_path / "logs", KILLS * PER_ROUND, seconds=0.2)
    hits: Counter[str] = Counter()
    steps = [*STEPS[: KILLS - 1], chance.choice(STEPS)] if len(STEPS) > KILLS else [*STEPS]
    chance.shuffle(steps)
    replayed = discarded = 0
    with second_platform() as reference:
        ingest(reference, logs, contribution(reference), validator=validator)
        expected = content(reference)
    assert len(expected) == len(logs)

    for number in range(KILLS):
        mine = logs[number * PER_ROUND : (number + 1) * PER_ROUND]
        process = driver(platform.root.path, "ingest", *mine)
        hits[kill_at(process, steps[number], chance.random() * 0.03)] += 1
        done = recover(platform)
        assert recover(platform).as_json() == type(done)().as_json()
        replayed += len(done.replayed)
        discarded += len(done.discarded)
        seen = content(platform)
        # Wholly or not at all, and nothing of what came before is touched.
        assert seen == {key: expected[key] for key in seen}
        assert batches(platform.root) == []
    between = len(content(platform))
    ingest(platform, logs, contribution(platform), validator=validator)

    print(f"{KILLS} kills: {dict(hits)}; {replayed} plans replayed, {discarded} batches discarded,")
    print(f"{between} of {len(logs)} recordings were in before the last run")
    assert content(platform) == expected
    assert verify(platform, deep=True).findings == []
    assert replayed > 0
    assert discarded > 0
