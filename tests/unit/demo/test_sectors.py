"""The sectors' recordings: plausible when sound, broken in exactly one way when asked for."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader, make_reader
from mcap.stream_reader import CRCValidationError
from mcap_ros2.decoder import DecoderFactory
from PIL import Image

from infra.demo.sectors import BROKEN_NORM, GAP, SECTOR_ROBOTS, sector_spec, write_sector_recording
from schemas.sectors import SECTORS

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 4.0


def messages(path: Path, topic: str) -> list:
    with path.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()], validate_crcs=True)
        return [value for *_, value in reader.iter_decoded_messages(topics=[topic])]


def stamps(found: list) -> np.ndarray:
    return np.array([m.header.stamp.sec * 1e9 + m.header.stamp.nanosec for m in found]) / 1e9


def xyz(value: object) -> list[float]:
    return [value.x, value.y, value.z]


def quaternion_norms(found: list) -> np.ndarray:
    turns = [m.orientation for m in found]
    return np.linalg.norm([[q.x, q.y, q.z, q.w] for q in turns], axis=1)


def test_every_built_in_sector_has_a_robot_of_its_own():
    assert set(SECTOR_ROBOTS) == set(SECTORS)
    assert len({robot.robot for robot in SECTOR_ROBOTS.values()}) == len(SECTORS)
    for robot in SECTOR_ROBOTS.values():
        assert robot.robot == robot.profile.name
        assert len(robot.profile.reach) == len(robot.profile.joints)


@pytest.mark.parametrize("sector", SECTOR_ROBOTS)
def test_a_recording_is_physically_plausible(tmp_path, sector):
    robot = SECTOR_ROBOTS[sector].profile
    facts = write_sector_recording(sector, tmp_path / "log.mcap", seed=3, seconds=SECONDS)
    kinds = {kind.rsplit("/", 1)[1] for kind in facts.types.values()}
    assert {"JointState", "Imu", "WrenchStamped", "Odometry", "LaserScan"} <= kinds
    assert {"CompressedImage", "Detection2DArray", "DiagnosticArray", "TFMessage"} <= kinds
    assert min(facts.messages.values()) > 0
    # At 20 to 30 s this makes the 3 to 15 MB that a recording should have.
    assert 3e6 / 20 < facts.size / SECONDS < 15e6 / 30

    joints = messages(facts.path, "/joint_states")
    q, dq = (np.array([getattr(m, name) for m in joints]) for name in ("position", "velocity"))
    assert (np.abs(q) < np.array(robot.reach) + 1e-3).all()
    slope = np.gradient(q, stamps(joints), axis=0)
    assert np.median(np.abs(slope - dq)) < 0.02 * np.abs(dq).max()

    imu = messages(facts.path, "/imu/data")
    assert np.abs(quaternion_norms(imu) - 1).max() < 1e-9
    force = np.linalg.norm([xyz(m.linear_acceleration) for m in imu], axis=1)
    assert force.mean() == pytest.approx(9.80665, abs=0.1)

    odometry = messages(facts.path, "/odom")
    place = np.array([xyz(m.pose.pose.position)[:2] for m in odometry])
    path_length = np.linalg.norm(np.diff(place[::10], axis=0), axis=1).sum()
    speed = np.array([m.twist.twist.linear.x for m in odometry])
    assert 0 < speed.min() <= speed.max() < robot.speed * 1.05 + 0.02
    assert path_length == pytest.approx(speed.mean() * SECONDS, rel=0.15)

    scan = messages(facts.path, "/scan")[0]
    assert len(scan.ranges) == len(scan.intensities) == 1080
    assert scan.range_min < min(scan.ranges) <= max(scan.ranges) < scan.range_max


@pytest.mark.parametrize("sector", ["medical", "logistics"])
def test_pictures_and_detections_show_the_same_things(tmp_path, sector):
    facts = write_sector_recording(sector, tmp_path / "log.mcap", seconds=1.0)
    pictures = messages(facts.path, "/camera/compressed")
    sizes = {Image.open(BytesIO(bytes(m.data))).size for m in pictures}
    assert sizes == {(640, 480)}
    assert len({bytes(m.data) for m in pictures}) == len(pictures)
    seen = messages(facts.path, "/detections")
    classes = {d.results[0].hypothesis.class_id for m in seen for d in m.detections}
    assert classes == set(SECTOR_ROBOTS[sector].profile.labels)


def test_broken_norm(tmp_path):
    facts = write_sector_recording("food", tmp_path / "log.mcap", seconds=1.0, broken="imu_norm")
    assert quaternion_norms(messages(facts.path, "/imu/data")) == pytest.approx(BROKEN_NORM)


def test_broken_gap(tmp_path):
    facts = write_sector_recording("food", tmp_path / "log.mcap", seconds=SECONDS, broken="gap")
    times = stamps(messages(facts.path, "/joint_states"))
    assert np.diff(times).max() == pytest.approx((GAP[1] - GAP[0]) * SECONDS, abs=0.03)
    assert np.sort(np.diff(times))[-2] < 0.02
    assert np.diff(stamps(messages(facts.path, "/imu/data"))).max() < 0.02


def test_broken_cut(tmp_path):
    sound = write_sector_recording("food", tmp_path / "sound.mcap", seconds=SECONDS)
    facts = write_sector_recording("food", tmp_path / "log.mcap", seconds=SECONDS, broken="cut")
    cut, whole = facts.path.read_bytes(), sound.path.read_bytes()
    assert whole.startswith(cut)
    assert len(cut) == facts.size < sound.size
    assert 0 < facts.messages["/imu/data"] < sound.messages["/imu/data"]
    assert facts.end_ns < sound.end_ns
    with facts.path.open("rb") as stream, pytest.raises(McapError):
        list(NonSeekingReader(stream).iter_messages())


def test_broken_checksum(tmp_path):
    facts = write_sector_recording("food", tmp_path / "log.mcap", seconds=1.0, broken="crc")
    with facts.path.open("rb") as stream, pytest.raises(CRCValidationError, match="crc"):
        list(make_reader(stream, validate_crcs=True).iter_messages())
    with facts.path.open("rb") as stream:  # nothing but the checksum can tell
        assert sum(1 for _ in make_reader(stream).iter_messages()) == sum(facts.messages.values())


def test_an_unknown_sector_is_refused():
    with pytest.raises(KeyError):
        sector_spec("space")
