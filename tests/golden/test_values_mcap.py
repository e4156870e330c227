"""Every value of every message, compared with what the peers decode."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from connectors.ros2.decode import decode_messages
from connectors.ros2.definition import DefinitionError
from tests.unit.connectors.foreign import Types, mcap_bytes, read_all, source_file, written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from connectors.source import SourceFile, StreamBatch

BAGS = {
    "rosbag2_py/test/resources/mcap/talker": 20,
    "rosbag2_py/test/resources/mcap/wbag": 6_074,
    "rosbag2_py/test/resources/mcap/convert_a": 150,
    "rosbag2_py/test/resources/mcap/convert_b": 75,
    "rosbag2_py/test/resources/mcap/reindex_test_bags/multiple_files": 1_324 + 1_324 + 529,
    "rosbag2_tests/resources/mcap/cdr_test": 7,
    "rosbag2_tests/resources/mcap/bag_with_topics_and_service_events": 10,
    "rosbag2_transport/test/resources/mcap/rewriter_a": 150,
    "rosbag2_transport/test/resources/mcap/rewriter_b": 75,
    "rosbag2_transport/test/resources/mcap/test_bag_for_seek": 5,
    "rosbag2_cpp/test/rosbag2_cpp/bags/only_topics.mcap": 7,
    "rosbag2_cpp/test/rosbag2_cpp/bags/only_services.mcap": 12,
    "rosbag2_cpp/test/rosbag2_cpp/bags/topics_and_services.mcap": 13,
}
UNREADABLE_BY_PEERS = "_service_event"


class Leaves:
    """Compares decoded trees and counts the leaves."""

    def __init__(self) -> None:
        self.count = 0

    def same(self, theirs: Any, ours: Any, where: str) -> None:
        if isinstance(ours, dict):
            names = [n for n in getattr(theirs, "__slots__", ()) if not n.startswith("_")]
            if names == ["structure_needs_at_least_one_member"]:
                names = []
            assert names == list(ours), where
            for name in names:
                self.same(getattr(theirs, name), ours[name], f"{where}.{name}")
        elif isinstance(ours, list):
            assert len(theirs) == len(ours), where
            for index, pair in enumerate(zip(theirs, ours, strict=True)):
                self.same(*pair, f"{where}[{index}]")
        else:
            self.leaf(theirs, ours, where)

    def leaf(self, theirs: Any, ours: Any, where: str) -> None:
        self.count += 1
        if isinstance(ours, Decimal):
            ours = int(ours)
        if isinstance(ours, bytes):
            theirs = bytes(theirs)
        if isinstance(ours, float) and math.isnan(ours):
            assert math.isnan(theirs), where
        else:
            assert ours == theirs, where
            assert isinstance(ours, bool) == isinstance(theirs, bool), where


def xyz(value: Any, prefix: str, axes: str = "xyz") -> dict[str, float]:
    return {f"{prefix}_{axis}": getattr(value, axis) for axis in axes}


def stamp(header: Any) -> int:
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def pose_row(m: Any, pose: Any, child: str | None, covariance: Sequence[float]) -> dict[str, Any]:
    return {
        "frame_id": m.header.frame_id,
        "child_frame_id": child,
        **xyz(pose.position, "position"),
        **xyz(pose.orientation, "orientation", "xyzw"),
        "covariance": list(covariance),
    }


def twist_row(frame: str, twist: Any, covariance: Sequence[float]) -> dict[str, Any]:
    return {
        "frame_id": frame,
        **xyz(twist.linear, "linear"),
        **xyz(twist.angular, "angular"),
        "covariance": list(covariance),
    }


def transform_row(t: Any, item: int | None) -> dict[str, Any]:
    return {
        "header_ns": stamp(t.header),
        "frame_id": t.header.frame_id,
        "child_frame_id": t.child_frame_id,
        "item": item,
        **xyz(t.transform.translation, "translation"),
        **xyz(t.transform.rotation, "rotation", "xyzw"),
    }


def plain(m: Any, **renamed: Any) -> dict[str, Any]:
    """Fields that keep their names; `renamed` replaces or adds some."""
    row = {name: getattr(m, name) for name in m.__slots__ if not name.startswith("_")}
    del row["header"]
    return {"frame_id": m.header.frame_id, **row, **renamed}


def imu_row(m: Any) -> dict[str, Any]:
    row = plain(m)
    del row["orientation"], row["angular_velocity"], row["linear_acceleration"]
    return {
        **row,
        **xyz(m.orientation, "orientation", "xyzw"),
        **xyz(m.angular_velocity, "angular_velocity"),
        **xyz(m.linear_acceleration, "linear_acceleration"),
    }


def joint_row(m: Any) -> dict[str, Any]:
    row = plain(m)
    row["names"] = row.pop("name")
    return row


EXPECTED: dict[str, Callable[[Any], dict[str, list[dict[str, Any]]]]] = {
    "JointState": lambda m: {"joint_states": [joint_row(m)]},
    "Imu": lambda m: {"imu": [imu_row(m)]},
    "WrenchStamped": lambda m: {
        "wrenches": [
            {
                "frame_id": m.header.frame_id,
                **xyz(m.wrench.force, "force"),
                **xyz(m.wrench.torque, "torque"),
            }
        ]
    },
    "Odometry": lambda m: {
        "poses": [pose_row(m, m.pose.pose, m.child_frame_id, m.pose.covariance)],
        "twists": [twist_row(m.child_frame_id, m.twist.twist, m.twist.covariance)],
    },
    "PoseStamped": lambda m: {"poses": [pose_row(m, m.pose, None, [])]},
    "PoseWithCovarianceStamped": lambda m: {
        "poses": [pose_row(m, m.pose.pose, None, m.pose.covariance)]
    },
    "TwistStamped": lambda m: {"twists": [twist_row(m.header.frame_id, m.twist, [])]},
    "TwistWithCovarianceStamped": lambda m: {
        "twists": [twist_row(m.header.frame_id, m.twist.twist, m.twist.covariance)]
    },
    "TFMessage": lambda m: {
        "transforms": [transform_row(t, item) for item, t in enumerate(m.transforms)]
    },
    "TransformStamped": lambda m: {"transforms": [transform_row(m, 0)]},
    "LaserScan": lambda m: {"scans": [plain(m)]},
    "NavSatFix": lambda m: {
        "nav_sat": [plain(m, status=m.status.status, service=m.status.service)]
    },
    "BatteryState": lambda m: {"battery": [plain(m)]},
    "CompressedImage": lambda m: {
        "video_frames": [
            {
                "frame_id": m.header.frame_id,
                "format": m.format,
                "codec": "unknown",
                "width": None,
                "height": None,
                "pts": None,
                "keyframe": True,
                "data": m.data,
            }
        ]
    },
}


def peer_messages(files: Sequence[SourceFile]) -> dict[str, list[tuple[Any, Any, Any]]]:
    """(schema, message, decoded or None) per topic, in file order."""
    result: dict[str, list[tuple[Any, Any, Any]]] = {}
    factory = DecoderFactory()
    for file in files:
        with file.path.open("rb") as stream:
            reader = make_reader(stream)
            for schema, channel, message in reader.iter_messages(log_time_order=False):
                decoded = None
                if UNREADABLE_BY_PEERS not in channel.topic:
                    decoder = factory.decoder_for(channel.message_encoding, schema)
                    assert decoder is not None
                    decoded = decoder(message.data)
                result.setdefault(channel.topic, []).append((schema, message, decoded))
    return result


def compare(files: Sequence[SourceFile]) -> tuple[int, int]:
    """(messages, leaves) of a recording, all equal."""
    reading, batches = read_all(files)
    data = sorted((f for f in files if not f.sidecar), key=lambda f: f.name)
    theirs = peer_messages(data)
    leaves = Leaves()
    by_stream: dict[str, list[StreamBatch]] = {}
    for batch in batches:
        by_stream.setdefault(batch.stream, []).append(batch)
    for stream in reading.streams:
        expected = theirs.get(stream.name, [])
        assert reading.summary.messages[stream.name] == len(expected)
        assert reading.summary.declared.get(stream.name, 0) == len(expected)
        if stream.tables == ("messages",):
            compare_raw(stream.name, expected, by_stream.get(stream.name, []), leaves)
        else:
            compare_rows(expected, by_stream.get(stream.name, []), leaves)
    assert set(theirs) <= {s.name for s in reading.streams}
    return sum(map(len, theirs.values())), leaves.count


def compare_raw(
    topic: str, expected: list[tuple[Any, Any, Any]], batches: list[StreamBatch], leaves: Leaves
) -> None:
    position = 0
    for batch in batches:
        rows = batch.rows
        for row in rows.to_pylist():
            schema, message, decoded = expected[position]
            assert row["message"] == position
            assert (row["log_ns"], row["pub_ns"]) == (message.log_time, message.publish_time)
            assert row["payload"] == message.data
            if hasattr(decoded, "header"):
                assert row["header_ns"] == stamp(decoded.header)
            else:
                assert row["header_ns"] is None
            position += 1
        schema = expected[position - 1][0]
        if UNREADABLE_BY_PEERS in topic:
            with pytest.raises(DefinitionError):
                decode_messages(schema.data, schema.name, rows["payload"])
            continue
        ours = decode_messages(schema.data, schema.name, rows["payload"])
        first = position - rows.num_rows
        for index, row in enumerate(ours.to_pylist()):
            leaves.same(expected[first + index][2], row, f"{topic}[{first + index}]")
    assert position == len(expected)


def compare_rows(
    expected: list[tuple[Any, Any, Any]], batches: list[StreamBatch], leaves: Leaves
) -> None:
    wanted: dict[str, list[dict[str, Any]]] = {}
    for position, (schema, message, decoded) in enumerate(expected):
        for table, rows in EXPECTED[schema.name.split("/")[-1]](decoded).items():
            for row in rows:
                row.setdefault(
                    "header_ns",
                    stamp(getattr(decoded, "header", None)) if "header_ns" not in row else 0,
                )
                row |= {
                    "log_ns": message.log_time,
                    "pub_ns": message.publish_time,
                    "message": position,
                }
                wanted.setdefault(table, []).append(row)
    found: dict[str, list[dict[str, Any]]] = {}
    for batch in batches:
        found.setdefault(batch.table, []).extend(batch.rows.to_pylist())
    assert {t: len(r) for t, r in found.items() if r} == {t: len(r) for t, r in wanted.items()}
    for table, rows in wanted.items():
        for theirs, ours in zip(rows, found[table], strict=True):
            assert set(theirs) == set(ours), table
            for column, value in ours.items():
                if isinstance(value, list):
                    leaves.same(theirs[column], value, f"{table}.{column}")
                else:
                    leaves.leaf(theirs[column], value, f"{table}.{column}")


@pytest.mark.samples
@pytest.mark.parametrize("bag", BAGS)
def test_every_value_of_the_real_recordings(samples: Path, bag: str) -> None:
    path = samples / "robot/rosbag2" / bag
    files = [source_file(each) for each in (path.iterdir() if path.is_dir() else [path])]
    messages, leaves = compare(files)
    print(f"{bag}: {messages} messages, {leaves} leaves, 0 mismatches")
    assert messages == BAGS[bag]


TOPICS = (
    ("/joints", "sensor_msgs/msg/JointState"),
    ("/imu", "sensor_msgs/msg/Imu"),
    ("/wrench", "geometry_msgs/msg/WrenchStamped"),
    ("/odom", "nav_msgs/msg/Odometry"),
    ("/pose", "geometry_msgs/msg/PoseStamped"),
    ("/pose_cov", "geometry_msgs/msg/PoseWithCovarianceStamped"),
    ("/twist", "geometry_msgs/msg/TwistStamped"),
    ("/twist_cov", "geometry_msgs/msg/TwistWithCovarianceStamped"),
    ("/tf", "tf2_msgs/msg/TFMessage"),
    ("/mount", "geometry_msgs/msg/TransformStamped"),
    ("/scan", "sensor_msgs/msg/LaserScan"),
    ("/gps", "sensor_msgs/msg/NavSatFix"),
    ("/battery", "sensor_msgs/msg/BatteryState"),
    ("/camera", "sensor_msgs/msg/CompressedImage"),
    ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"),
    ("/detections", "vision_msgs/msg/Detection2DArray"),
    ("/cloud", "sensor_msgs/msg/PointCloud2"),
    ("/text", "std_msgs/msg/String"),
    ("/empty", "std_msgs/msg/Empty"),
    ("/grid", "nav_msgs/msg/OccupancyGrid"),
    ("/path", "nav_msgs/msg/Path"),
    ("/multi", "std_msgs/msg/Float64MultiArray"),
)


@pytest.mark.parametrize("layout", ["constant", "varying"])
def test_every_value_of_a_generated_log(tmp_path: Path, layout: str) -> None:
    types = Types()
    rng = random.Random(7)
    once = [types.random(name, rng) for _, name in TOPICS]
    messages = []
    for number in range(60 * len(TOPICS)):
        index = number % len(TOPICS)
        name = TOPICS[index][1]
        value = (
            once[index]
            if layout == "constant"
            else types.random(name, rng, most=rng.choice([0, 2, 6]))
        )
        messages.append((index, 10**18 + number, types.encode(name, value)))
    topics = [(topic, name, types.text(name)) for topic, name in TOPICS]
    count, leaves = compare([written(tmp_path, mcap_bytes(topics, messages))])
    print(f"generated: {count} messages, {leaves} leaves, 0 mismatches")
    assert count == len(messages)
    assert leaves > 10 * count
