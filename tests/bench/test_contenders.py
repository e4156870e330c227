"""The bench is fair only if all contenders write the same values: checked on a small log."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.demo.robot_log import STANDARD, LogSpec, varying_topics, write_log

HERE = Path(__file__).parent
OBJECTS = ("rosbags", "mcap-ros2")


def run(name: str, log: Path, out: Path) -> dict:
    argv = [sys.executable, HERE / "contender.py", name, log, out]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def flat(prefix: str, value: object) -> dict[str, object]:
    if isinstance(value, dict):
        found = {}
        for name, item in value.items():
            found |= flat(f"{prefix}.{name}" if prefix else name, item)
        return found
    if isinstance(value, list):
        return {prefix: [flat("", item) if isinstance(item, dict) else item for item in value]}
    return {prefix: value}


def rows(folder: Path, topic: str) -> list[dict[str, object]]:
    """A topic's rows; rerun puts the type's name before every field, and names its own times."""
    file = next((folder / "timed").glob(f"{topic.strip('/').replace('/', '__')}*.parquet"))
    found = []
    for row in pq.read_table(file).to_pylist():
        plain = {}
        for name, value in flat("", row).items():
            kept = name.split(".msg.", 1)[-1].split(".", 1)[-1] if ".msg." in name else name
            plain[kept] = value
        times = ("log_ns", "pub_ns", "message_log_time", "message_publish_time", "ros2_timestamp")
        found.append({name: value for name, value in plain.items() if name not in times})
    return found


@pytest.mark.full
@pytest.mark.parametrize("topics", [STANDARD, varying_topics(0.25)], ids=["constant", "varying"])
def test_all_peers_write_the_same_values(tmp_path, topics):
    log = tmp_path / "log.mcap"
    facts = write_log(log, LogSpec(seconds=0.3, topics=topics, distinct_frames=2))
    expected = {topic: count for topic, count in facts.messages.items() if count}
    for name in (*OBJECTS, "rerun"):
        assert run(name, log, tmp_path / name)["messages"] == expected
    for topic, count in expected.items():
        reference = rows(tmp_path / "mcap-ros2", topic)
        assert len(reference) == count
        assert rows(tmp_path / "rosbags", topic) == reference
        assert rows(tmp_path / "rerun", topic) == reference


def test_our_decoder_counts_what_the_generator_wrote(tmp_path):
    log = tmp_path / "log.mcap"
    facts = write_log(log, LogSpec(seconds=1.0, topics=varying_topics(0.25)))
    for name in ("ours-decode", "ours-decode-all"):
        assert run(name, log, tmp_path / name)["messages"] == facts.messages
    run("raw", log, tmp_path / "raw")
    written = sum(file.stat().st_size for file in (tmp_path / "raw/timed").glob("*.parquet"))
    assert written > facts.size / 2


@pytest.fixture
def bench(monkeypatch):
    """The bench's scripts, importable as they import each other."""
    monkeypatch.syspath_prepend(str(HERE))
    return import_module("run"), import_module("measure")


def test_a_contender_that_loses_messages_is_left_out(tmp_path, bench):
    run_module, _ = bench
    facts = write_log(tmp_path / "log.mcap", LogSpec(seconds=0.1))
    run_module.check_counts("rosbags", facts, dict(facts.messages))
    with pytest.raises(run_module.RunError, match=r"rosbags found 1 of 40 messages on /imu"):
        run_module.check_counts("rosbags", facts, {"/imu": 1})


def test_impossible_figures_are_refused(bench):
    run_module, _ = bench
    sound = {"cpu_s": 1.0, "validator_s": 0.4, "total_cpu_s": 3.0, "total_validator_s": 2.0}
    run_module.check_figures("ours", sound)
    with pytest.raises(run_module.RunError, match="is more than"):
        run_module.check_figures("ours", sound | {"total_validator_s": 5.0})
    ours, raw = run_module.Figures("ours", cpu_s=[0.2]), run_module.Figures("raw", cpu_s=[0.3])
    assert "not credible" in run_module.check_limit([ours, raw])
    assert run_module.check_limit([raw]) == ""


SPIN = """
import sys, time
while time.process_time() < 0.8: pass
sys.stdout.write(f"{time.process_time()} ")
"""


@pytest.mark.parametrize("mark", ["pipelines.check.validator_process", "pandas"])
def test_only_the_validator_counts_as_validator(bench, mark):
    """A worker that imports pandas is not the validator, and its children count once."""
    _, measure = bench
    start = "import subprocess, sys, time\n"
    end = "sys.stdout.write(f'{time.process_time()} ')"
    outer = f"{start}subprocess.run([sys.executable, '-c', {SPIN!r}, {mark!r}])\n{end}"
    begin, cpu, own = time.monotonic(), measure.tree_cpu(), time.process_time()
    child = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True)
    with measure.Watch(child.pid) as watch:
        said = child.communicate()[0]
    used, own = measure.tree_cpu() - cpu, time.process_time() - own
    inner, outer_s = map(float, said.split())
    # What the processes say of themselves lacks their end; counted twice, `inner` would be there
    # once more.
    assert inner + outer_s <= used - own + 0.05
    assert used - own < 1.6 * (inner + outer_s)
    validator = watch.validator_cpu(begin, time.monotonic())
    if mark == "pandas":
        assert validator == 0
    else:
        assert 0.5 * inner <= validator <= used - own
