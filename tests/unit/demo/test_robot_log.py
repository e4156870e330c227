"""The generator against foreign readers: mcap for the container, mcap-ros2-support for CDR."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import NonSeekingReader, make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from infra.demo.cdr import encode_message
from infra.demo.robot_log import (
    STANDARD,
    LogFacts,
    LogSpec,
    tracks,
    varying_topics,
    write_log,
)
from infra.demo.ros2_messages import DEFINITIONS, recorded_name, schema_text
from infra.demo.streams import GENERATORS
from infra.demo.window import Topic

EVERY_TYPE = tuple(
    Topic(f"/t{i}", name, 20.0, low=1, high=3) for i, name in enumerate(sorted(GENERATORS))
)


def decoded(path: Path) -> dict[str, list[tuple[int, int, int, object]]]:
    found: dict[str, list[tuple[int, int, int, object]]] = {}
    with path.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()], validate_crcs=True)
        for _, channel, message, value in reader.iter_decoded_messages(log_time_order=False):
            row = (message.log_time, message.publish_time, message.sequence, value)
            found.setdefault(channel.topic, []).append(row)
    return found


def same(intended: object, found: object) -> bool:
    if isinstance(intended, dict):
        return all(same(value, getattr(found, name)) for name, value in intended.items())
    if isinstance(intended, list):
        return len(intended) == len(found) and all(map(same, intended, found))
    if isinstance(intended, np.ndarray):
        return intended.tolist() == list(found)
    return intended == found


def messages_of(facts: LogFacts) -> int:
    return sum(facts.messages.values())


@pytest.mark.parametrize(
    "topics",
    [EVERY_TYPE, varying_topics(0.25), tuple(replace(t, loose=True) for t in EVERY_TYPE)],
    ids=["every-type", "varying", "loose"],
)
def test_a_foreign_reader_finds_what_was_meant(tmp_path, topics):
    spec = LogSpec(seconds=1.5, seed=4, topics=topics, distinct_frames=2)
    facts = write_log(tmp_path / "log.mcap", spec)
    found = decoded(facts.path)
    compared = 0
    for track in (track for window in tracks(spec) for track in window):
        rows = found[track.topic.name]
        assert len(rows) == facts.messages[track.topic.name] == len(track.numbers)
        for i in {0, 1, len(rows) // 2, len(rows) - 1}:
            log_ns, pub_ns, number, value = rows[i]
            assert (log_ns, pub_ns, number) == (track.log_ns[i], track.pub_ns[i], i)
            assert same(track.messages.intended(i), value), (track.topic.name, i)
            compared += 1
    assert compared >= 4 * len(topics) - 4


def test_columns_and_single_messages_are_serialised_alike():
    spec = LogSpec(seconds=0.4, seed=2, topics=EVERY_TYPE, distinct_frames=1)
    for track in (track for window in tracks(spec) for track in window):
        for i, payload in enumerate(track.messages.payloads):
            assert encode_message(track.topic.type_name, track.messages.intended(i)) == payload


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_layouts_agree_with_the_public_interface_packages(name):
    public = get_typestore(Stores.ROS2_HUMBLE)
    recorded = recorded_name(name)
    if recorded not in public.fielddefs:
        assert name.startswith("vision_msgs/")  # not part of the ROS 2 core
        return
    ours = get_types_from_msg(schema_text(name), recorded)
    assert ours[recorded][1] == public.fielddefs[recorded][1]


def test_the_same_specification_gives_the_same_bytes(tmp_path):
    spec = LogSpec(seconds=1.0, seed=7, topics=(*STANDARD, *varying_topics(0.5)[-4:]))
    digests = []
    for name, chosen in (("a", spec), ("b", spec), ("c", replace(spec, seed=8))):
        path = write_log(tmp_path / name, chosen).path
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd"},
        {"compression": "lz4", "chunk_bytes": 1 << 14},
        {"compression": "none", "crc": False},
        {"chunked": False},
        {"indexed": False},
        {"chunked": False, "indexed": False},
    ],
    ids=lambda options: "-".join(f"{k}={v}" for k, v in options.items()),
)
def test_every_container_holds_the_same_messages(tmp_path, options):
    spec = LogSpec(seconds=1.0, seed=1, topics=STANDARD[:3])
    facts = write_log(tmp_path / "log.mcap", replace(spec, **options))
    plain = write_log(tmp_path / "plain.mcap", spec)
    assert (facts.messages, facts.start_ns, facts.end_ns) == (
        plain.messages,
        plain.start_ns,
        plain.end_ns,
    )
    with facts.path.open("rb") as stream, plain.path.open("rb") as other:
        found = [m.data for _, _, m in NonSeekingReader(stream).iter_messages()]
        assert found == [m.data for _, _, m in make_reader(other).iter_messages()]
    with facts.path.open("rb") as stream:
        summary = NonSeekingReader(stream).get_summary()
    if not options.get("indexed", True):
        assert summary is None
        return
    assert summary.statistics.message_count == messages_of(facts)
    assert bool(summary.chunk_indexes) == options.get("chunked", True)


def test_log_times_never_fall_even_across_windows(tmp_path):
    topics = (STANDARD[3], replace(STANDARD[6], rate_hz=3.7), replace(STANDARD[2], rate_hz=33.3))
    facts = write_log(tmp_path / "log.mcap", LogSpec(seconds=61.0, topics=topics))
    with facts.path.open("rb") as stream:
        times = [m.log_time for _, _, m in NonSeekingReader(stream).iter_messages(None)]
    assert len(times) == messages_of(facts)
    assert times == sorted(times)
    assert (times[0], times[-1]) == (facts.start_ns, facts.end_ns)


def test_the_varying_share_is_what_was_asked_for():
    for share in (0.1, 0.25, 0.5):
        topics = varying_topics(share)
        total = sum(topic.rate_hz for topic in topics)
        assert sum(topic.rate_hz for topic in topics[5:]) / total == pytest.approx(share)


def test_the_command_line_writes_what_it_says(tmp_path):
    out = tmp_path / "log.mcap"
    script = Path(__file__).parents[3] / "infra/demo/robot_log.py"
    argv = [sys.executable, script, out, "--seconds", "2", "--no-camera", "--joints", "lift,door"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=tmp_path)
    facts = json.loads(done.stdout)
    assert facts["messages"] == {
        "/joint_states": 1000,
        "/imu": 800,
        "/wrench": 2000,
        "/odom": 200,
        "/scan": 40,
        "/tf": 200,
    }
    assert decoded(out)["/joint_states"][0][3].name == ["lift", "door"]
