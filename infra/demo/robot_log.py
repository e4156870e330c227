"""Write a realistic robot log: ROS 2 messages (CDR) in an MCAP file, as rosbag2 records them.

Run it: `python infra/demo/robot_log.py OUT.mcap --seconds 300 --seed 1 --no-camera`.
The same specification gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zlib
from bisect import bisect_left
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal

import numpy as np
from mcap.writer import CompressionType, IndexType, Writer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, too

from infra.demo.motion import Floats, Profile
from infra.demo.ros2_messages import recorded_name, schema_text
from infra.demo.streams import generate
from infra.demo.window import NS, Messages, Topic, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Entry = tuple[int, int, int, int, bytes]

Compression = Literal["zstd", "lz4", "none"]
START_NS: Final = 1_790_000_000 * NS
_WINDOW_S: Final = 30.0
_MOST_VARYING: Final = 0.9
_FOREVER: Final = "{sec: 9223372036, nsec: 854775807}"
_QOS: Final = (
    "- {history: 3, depth: 0, reliability: 1, durability: 2, "
    f"deadline: {_FOREVER}, lifespan: {_FOREVER}, liveliness: 1, "
    f"liveliness_lease_duration: {_FOREVER}, avoid_ros_namespace_conventions: false}}"
)
"""QoS text of a channel; YAML, as rosbag2 writes it."""

STANDARD: Final = (
    Topic("/joint_states", "sensor_msgs/JointState", 500.0, ""),
    Topic("/imu", "sensor_msgs/Imu", 400.0, "imu_link"),
    Topic("/wrench", "geometry_msgs/WrenchStamped", 1000.0, "tool0"),
    Topic("/odom", "nav_msgs/Odometry", 100.0, "odom"),
    Topic("/scan", "sensor_msgs/LaserScan", 20.0, "laser"),
    Topic("/camera/compressed", "sensor_msgs/CompressedImage", 30.0, "camera_optical_frame"),
    Topic("/tf", "tf2_msgs/TFMessage", 100.0, low=1, high=3),
)
"""The topics and rates of the measured anchors: 2,120 messages a second without the camera."""

_VARIED: Final = (
    Topic("/tf", "tf2_msgs/TFMessage", 100.0, low=1, high=8, loose=True),
    Topic("/detections", "vision_msgs/Detection2DArray", 30.0, "camera_optical_frame", 0, 30),
    Topic("/diagnostics", "diagnostic_msgs/DiagnosticArray", 10.0, "", 5, 25),
    Topic("/rosout", "rcl_interfaces/Log", 50.0),
    Topic("/status", "std_msgs/String", 20.0),
)
_STEADY: Final = (("/joint_states", 250), ("/imu", 200), ("/wrench", 100), ("/odom", 100))


def varying_topics(share: float = 0.25) -> tuple[Topic, ...]:
    """Topics of which `share` of the messages differ in layout from one to the next.

    Args:
        share: Above 0, at most 0.9.

    Raises:
        ValueError: share out of range.
    """
    if not 0 < share <= _MOST_VARYING:
        raise ValueError(
            f"share of varying messages must be in (0, {_MOST_VARYING}], found {share}"
        )
    varied = sum(topic.rate_hz for topic in _VARIED)
    scans = 20.0
    factor = varied * (1 - share) / share / (sum(rate for _, rate in _STEADY) + scans)
    by_name = {topic.name: topic for topic in STANDARD}
    steady = [replace(by_name[name], rate_hz=rate * factor) for name, rate in _STEADY]
    scan = replace(by_name["/scan"], rate_hz=scans * factor)
    return (*steady, scan, *_VARIED)


@dataclass(frozen=True, slots=True)
class LogSpec:
    """What to write.

    Attributes:
        seconds: Length of the recording.
        seed: Of all noise and varying content.
        topics: Topics with their rates.
        profile: The robot.
        start_ns: Stamp of the first moment, ns UTC.
        compression: Of the chunks.
        chunk_bytes: Uncompressed size at which a chunk is closed.
        chunked: False writes messages straight into the data section.
        indexed: False leaves out message and chunk indexes, statistics and the whole summary.
        crc: False writes 0 ("not computed") in place of every CRC-32.
        distinct_frames: Pictures drawn before they repeat; 0 draws every one.
        jpeg_quality: 1..95.
        pauses: (topic, from, to) [s]: stretches in which a topic says nothing.
    """

    seconds: float = 10.0
    seed: int = 0
    topics: tuple[Topic, ...] = STANDARD
    profile: Profile = field(default_factory=Profile)
    start_ns: int = START_NS
    compression: Compression = "zstd"
    chunk_bytes: int = 1 << 20
    chunked: bool = True
    indexed: bool = True
    crc: bool = True
    distinct_frames: int = 30
    jpeg_quality: int = 80
    pauses: tuple[tuple[str, float, float], ...] = ()

    def without_camera(self) -> LogSpec:
        """The same without its picture topics."""
        kept = (t for t in self.topics if t.type_name != "sensor_msgs/CompressedImage")
        return replace(self, topics=tuple(kept))


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What was written.

    Attributes:
        path: The file.
        size: Bytes.
        messages: Messages per topic, topics without any included.
        types: Recorded type name per topic, e.g. `sensor_msgs/msg/Imu`.
        start_ns / end_ns: First and last log time, ns UTC; 0 where there is no message.
        raw_bytes: Sum of the CDR payloads.
    """

    path: Path
    size: int
    messages: dict[str, int]
    types: dict[str, str]
    start_ns: int
    end_ns: int
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class Track:
    """One topic's messages in one window.

    Attributes:
        topic: Whose.
        numbers: Each message's number on its topic, from 0: the MCAP sequence.
        log_ns / pub_ns: When it was recorded and published, ns UTC.
        messages: Payloads and the values meant by them, at the same positions.
    """

    topic: Topic
    numbers: NDArray[np.int64]
    log_ns: NDArray[np.int64]
    pub_ns: NDArray[np.int64]
    messages: Messages


def tracks(spec: LogSpec) -> Iterator[list[Track]]:
    """All messages of a log, window by window; within a window topic by topic."""
    pictures: dict[int, bytes] = {}
    said = dict.fromkeys((topic.name for topic in spec.topics), 0)
    begin = 0.0
    while begin < spec.seconds:
        end = min(begin + _WINDOW_S, spec.seconds)
        found = []
        for topic in spec.topics:
            key = (spec.seed, zlib.crc32(topic.name.encode()), round(begin * 1000))
            rng = np.random.default_rng(key)
            t = _instants(spec, topic, begin, end, rng)
            window = Window(
                topic=topic,
                profile=spec.profile,
                first=said[topic.name],
                t=t,
                stamp_ns=spec.start_ns + np.round(t * NS).astype(np.int64),
                rng=rng,
                seed=spec.seed,
                distinct_frames=spec.distinct_frames,
                quality=spec.jpeg_quality,
                pictures=pictures,
            )
            said[topic.name] += len(t)
            found.append(_recorded(window))
        yield found
        begin = end


def _instants(
    spec: LogSpec, topic: Topic, begin: float, end: float, rng: np.random.Generator
) -> Floats:
    """When the topic measures in [begin, end), in seconds from the start, with a little jitter."""
    first, last = (math.ceil(t * topic.rate_hz - 1e-6) for t in (begin, end))
    ticks = np.arange(first, last)
    t = (ticks + 0.2 + rng.uniform(-0.02, 0.02, len(ticks))) / topic.rate_hz
    for name, start, stop in spec.pauses:
        if name == topic.name:
            t = t[(t < start) | (t >= stop)]
    return np.asarray(t, dtype=np.float64)


def _recorded(window: Window) -> Track:
    """The window's messages, a transport delay later each time: published, then logged."""
    n = len(window.t)
    # Tens of microseconds, now and then much more, never past the next message.
    late = np.minimum(window.rng.lognormal(-9.2, 0.7, (2, n)), 0.3 / window.topic.rate_hz)
    pub_ns = window.stamp_ns + np.round(late[0] * NS).astype(np.int64)
    log_ns = pub_ns + np.round(late[1] * NS).astype(np.int64)
    numbers = window.first + np.arange(n)
    return Track(window.topic, numbers, log_ns, pub_ns, generate(window))


def write_log(path: Path, spec: LogSpec) -> LogFacts:
    """Write one log and say what is in it.

    Args:
        path: File to create or replace.
        spec: What to write.

    Returns:
        The counts and types, for comparison with what a reader finds.
    """
    counts = [0] * len(spec.topics)
    raw = start_ns = end_ns = 0
    with path.open("wb") as out:
        writer = _writer(out, spec)
        channels = [_register(writer, topic) for topic in spec.topics]
        for log_ns, place, number, pub_ns, data in _merged(spec):
            writer.add_message(channels[place], log_ns, data, pub_ns, number)
            raw += len(data)
            start_ns = start_ns or log_ns
            end_ns = log_ns
            counts[place] += 1
        finish: Callable[[], None] = writer.finish
        finish()
    return LogFacts(
        path=path,
        size=path.stat().st_size,
        messages={topic.name: n for topic, n in zip(spec.topics, counts, strict=True)},
        types={topic.name: recorded_name(topic.type_name) for topic in spec.topics},
        start_ns=start_ns,
        end_ns=end_ns,
        raw_bytes=raw,
    )


def _merged(spec: LogSpec) -> Iterator[Entry]:
    """Every message in order of log time: (log_ns, place of the topic, number, pub_ns, data)."""
    held: list[Entry] = []
    begin = 0.0
    for window in tracks(spec):
        begin += _WINDOW_S
        for place, track in enumerate(window):
            stamps = (track.log_ns.tolist(), track.numbers.tolist(), track.pub_ns.tolist())
            for log_ns, number, pub_ns, data in zip(*stamps, track.messages.payloads, strict=True):
                held.append((log_ns, place, number, pub_ns, data))
        held.sort(key=lambda entry: entry[:3])
        # What was recorded after the window's end waits for the next window's first messages.
        border = spec.start_ns + round(begin * NS)
        ready = bisect_left(held, border, key=lambda entry: entry[0])
        yield from held[:ready]
        held = held[ready:]
    yield from held


def _writer(out: IO[bytes], spec: LogSpec) -> Writer:
    codecs = {
        "zstd": CompressionType.ZSTD,
        "lz4": CompressionType.LZ4,
        "none": CompressionType.NONE,
    }
    writer = Writer(
        out,
        chunk_size=spec.chunk_bytes,
        compression=codecs[spec.compression],
        index_types=IndexType.ALL if spec.indexed else IndexType.NONE,
        repeat_channels=spec.indexed,
        repeat_schemas=spec.indexed,
        use_chunking=spec.chunked,
        use_statistics=spec.indexed,
        use_summary_offsets=spec.indexed,
        enable_crcs=spec.crc,
    )
    writer.start(profile="ros2", library="tanada robot_log")
    return writer


def _register(writer: Writer, topic: Topic) -> int:
    name = recorded_name(topic.type_name)
    schema = writer.register_schema(name, "ros2msg", schema_text(topic.type_name).encode())
    return writer.register_channel(topic.name, "cdr", schema, {"offered_qos_profiles": _QOS})


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="robot_log.py", description=about)
    parser.add_argument("out", type=Path, help="file to write (.mcap)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the log (60)")
    parser.add_argument("--seed", type=int, default=0, help="of noise and varying content (0)")
    parser.add_argument("--no-camera", action="store_true", help="leave the pictures out")
    parser.add_argument(
        "--varying",
        type=float,
        metavar="SHARE",
        help="topics of which this share of the messages vary in layout (0.25)",
    )
    parser.add_argument("--rate", type=float, default=1.0, help="factor on every topic's rate (1)")
    parser.add_argument("--compression", choices=("zstd", "lz4", "none"), default="zstd")
    parser.add_argument("--chunk-bytes", type=int, default=1 << 20, help="chunk size (1 MiB)")
    parser.add_argument("--unchunked", action="store_true", help="messages outside of chunks")
    parser.add_argument("--no-index", action="store_true", help="no indexes and no summary")
    parser.add_argument("--no-crc", action="store_true", help="leave every CRC at 0")
    parser.add_argument("--start-ns", type=int, default=START_NS, help="first moment, ns UTC")
    parser.add_argument("--robot", default=Profile().name, help="robot id")
    parser.add_argument("--joints", help="joint names, separated by commas")
    return parser.parse_args(argv)


def _profile(robot: str, joints: str | None) -> Profile:
    if not joints:
        return replace(Profile(), name=robot)
    names = tuple(name.strip() for name in joints.split(","))
    return replace(Profile(), name=robot, joints=names, reach=(1.0,) * len(names))


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write one log and print what is in it as JSON."""
    args = _arguments(argv)
    topics = STANDARD if args.varying is None else varying_topics(args.varying)
    spec = LogSpec(
        seconds=args.seconds,
        seed=args.seed,
        topics=tuple(replace(topic, rate_hz=topic.rate_hz * args.rate) for topic in topics),
        profile=_profile(args.robot, args.joints),
        start_ns=args.start_ns,
        compression=args.compression,
        chunk_bytes=args.chunk_bytes,
        chunked=not args.unchunked,
        indexed=not args.no_index,
        crc=not args.no_crc,
    )
    facts = write_log(args.out, spec.without_camera() if args.no_camera else spec)
    print(json.dumps(asdict(facts), default=str, ensure_ascii=False))


if __name__ == "__main__":
    main()
