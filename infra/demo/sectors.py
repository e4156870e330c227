"""One realistic recording per sector, and variants of one that are broken on purpose.

What each sector's robots really send: odometry, scans, joints, forces, pictures, detections and
diagnostics over ROS 2. Everything here is invented: no person, company or real site appears.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader, make_reader

from infra.demo.motion import Profile
from infra.demo.robot_log import START_NS, LogFacts, LogSpec, write_log
from infra.demo.window import Topic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Broken = Literal["imu_norm", "gap", "cut", "crc"]
BROKEN_NORM: Final = 195.7
"""Quaternion norm of `imu_norm`: the value found in a published sample recording."""
GAP: Final = (0.4, 0.65)
"""First and last moment without joint states in `gap`, as shares of the recording."""


@dataclass(frozen=True, slots=True)
class SectorRobot:
    """The robot of a sector's recording.

    Attributes:
        robot: Robot id, also in the diagnostics' `hardware_id`.
        kind: What sort of robot, in words.
        site: Where it works; competitive.
        profile: Its body and its work.
        extra: Topics beside the ones that every sector has.
    """

    robot: str
    kind: str
    site: str
    profile: Profile
    extra: tuple[Topic, ...] = ()


_ARM: Final = (
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
)
_BATTERY: Final = Topic("/battery", "sensor_msgs/BatteryState", 1.0, "base_link")
_TOOL: Final = Topic("/tool_pose", "geometry_msgs/PoseStamped", 100.0, "base_link")
_EVERYWHERE: Final = (
    Topic("/joint_states", "sensor_msgs/JointState", 100.0, ""),
    Topic("/imu/data", "sensor_msgs/Imu", 100.0, "imu_link"),
    Topic("/wrench", "geometry_msgs/WrenchStamped", 100.0, "tool0"),
    Topic("/odom", "nav_msgs/Odometry", 50.0, "odom"),
    Topic("/scan", "sensor_msgs/LaserScan", 10.0, "laser"),
    Topic("/camera/compressed", "sensor_msgs/CompressedImage", 10.0, "camera_optical_frame"),
    Topic("/tf", "tf2_msgs/TFMessage", 20.0, low=1, high=3),
    Topic("/detections", "vision_msgs/Detection2DArray", 10.0, "camera_optical_frame"),
    Topic("/diagnostics", "diagnostic_msgs/DiagnosticArray", 1.0, ""),
    Topic("/rosout", "rcl_interfaces/Log", 2.0),
)

SECTOR_ROBOTS: Final[Mapping[str, SectorRobot]] = MappingProxyType(
    {
        "restaurant": SectorRobot(
            "serving-robot-07",
            "serving robot with a lifting tray",
            "family restaurant, Osaka",
            Profile(
                name="serving-robot-07",
                joints=("tray_lift_joint", "tray_tilt_joint"),
                reach=(0.18, 0.12),
                prismatic=("tray_lift_joint",),
                payload_kg=3.2,
                drive=(3.2, 1.4),
                speed=0.8,
                labels=("table", "tray", "cup", "chair"),
                components=("drive", "lidar", "camera", "tray_scale", "battery"),
                scene="restaurant",
                origin=(34.69, 135.5, 12.0),
            ),
            (_BATTERY,),
        ),
        "food": SectorRobot(
            "bento-arm-03",
            "pick-and-place arm on a lunch-box line",
            "ready-meal plant, Saitama",
            Profile(
                name="bento-arm-03",
                joints=_ARM,
                reach=(1.0, 0.5, 0.9, 0.8, 0.7, 1.4),
                payload_kg=0.12,
                drive=(0.35, 0.05),
                speed=0.12,
                labels=("bento_box", "rice", "karaage", "tamagoyaki", "broccoli"),
                components=("arm_controller", "gripper", "conveyor_encoder", "camera", "wash_down"),
                scene="food",
                origin=(35.86, 139.65, 16.0),
            ),
            (_TOOL,),
        ),
        "medical": SectorRobot(
            "lab-arm-02",
            "laboratory arm that hands over instruments (phantom only, no patients)",
            "university laboratory, Sendai",
            Profile(
                name="lab-arm-02",
                joints=(*_ARM, "instrument_insertion_joint"),
                reach=(0.6, 0.4, 0.7, 0.8, 0.6, 1.2, 0.05),
                prismatic=("instrument_insertion_joint",),
                payload_kg=0.2,
                drive=(0.4, 0.1),
                speed=0.1,
                labels=("forceps", "scissors", "vial", "vial_rack", "tray"),
                components=("arm_controller", "force_sensor", "brake", "camera", "safety_plc"),
                scene="medical",
                origin=(38.26, 140.87, 60.0),
            ),
            (_TOOL,),
        ),
        "factory": SectorRobot(
            "cell-arm-11",
            "six-axis arm that loads a machine tool",
            "parts plant, Aichi",
            Profile(
                name="cell-arm-11",
                joints=_ARM,
                reach=(1.3, 0.6, 1.0, 1.2, 0.9, 2.0),
                payload_kg=4.5,
                drive=(0.8, 0.1),
                speed=0.25,
                labels=("workpiece", "vise", "bin"),
                components=("arm_controller", "vacuum", "light_curtain", "camera", "spindle_link"),
                scene="factory",
                origin=(35.08, 137.15, 34.0),
            ),
            (_TOOL,),
        ),
        "logistics": SectorRobot(
            "yard-amr-05",
            "mobile robot between dock and warehouse",
            "distribution centre, Chiba",
            Profile(
                name="yard-amr-05",
                joints=("left_wheel_joint", "right_wheel_joint", "lift_joint"),
                reach=(6.0, 6.0, 0.1),
                prismatic=("lift_joint",),
                payload_kg=60.0,
                drive=(6.0, 2.5),
                speed=1.4,
                labels=("pallet", "carton", "rack", "dock_marker"),
                components=("drive", "lidar", "gnss", "camera", "battery", "lift"),
                scene="logistics",
                origin=(35.6, 140.1, 5.0),
            ),
            (_BATTERY, Topic("/fix", "sensor_msgs/NavSatFix", 5.0, "gnss_link")),
        ),
    }
)
"""The demo's robot of each built-in sector."""


def sector_spec(
    sector: str, *, seed: int = 0, seconds: float = 20.0, start_ns: int = START_NS
) -> LogSpec:
    """The specification of a sector's sound recording.

    Raises:
        KeyError: no such sector here.
    """
    robot = SECTOR_ROBOTS[sector]
    return LogSpec(
        seconds=seconds,
        seed=seed,
        topics=(*_EVERYWHERE, *robot.extra),
        profile=robot.profile,
        start_ns=start_ns,
        distinct_frames=0,
        jpeg_quality=60,
    )


def write_sector_recording(
    sector: str,
    path: Path,
    *,
    seed: int = 0,
    seconds: float = 20.0,
    start_ns: int = START_NS,
    broken: Broken | None = None,
) -> LogFacts:
    """Write one recording of a sector's robot.

    Args:
        sector: Key of `SECTOR_ROBOTS`.
        path: File to create or replace.
        seed: Of noise; another seed is another recording.
        seconds: Length.
        start_ns: First moment, ns UTC.
        broken: None for a sound one; `imu_norm` orientation quaternions of norm `BROKEN_NORM`;
            `gap` no joint states for a quarter of the time; `cut` ends inside a chunk; `crc` one
            flipped bit in a chunk, uncompressed so that only its checksum can tell.

    Returns:
        What a reader should find. For `cut`: the messages of the chunks that are whole.

    Raises:
        KeyError: no such sector here.
    """
    spec = sector_spec(sector, seed=seed, seconds=seconds, start_ns=start_ns)
    if broken == "imu_norm":
        spec = replace(spec, profile=replace(spec.profile, imu_norm=BROKEN_NORM))
    elif broken == "gap":
        spec = replace(spec, pauses=(("/joint_states", GAP[0] * seconds, GAP[1] * seconds),))
    elif broken == "crc":
        spec = replace(spec, compression="none")
    facts = write_log(path, spec)
    if broken == "cut":
        return _cut(facts)
    if broken == "crc":
        _flip(facts)
    return facts


def _chunk(path: Path, share: float) -> tuple[int, int]:
    """Start and length [B] of the chunk record that lies at this share of the chunks."""
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    if summary is None:
        raise ValueError(f"{path} has no summary")
    chunks = sorted(summary.chunk_indexes, key=lambda chunk: chunk.chunk_start_offset)
    chosen = chunks[int(len(chunks) * share)]
    return chosen.chunk_start_offset, chosen.chunk_length


def _cut(facts: LogFacts) -> LogFacts:
    start, length = _chunk(facts.path, 0.6)
    with facts.path.open("r+b") as stream:
        stream.truncate(start + length // 2)
    counts = dict.fromkeys(facts.messages, 0)
    end_ns = raw_bytes = 0
    with facts.path.open("rb") as stream:
        try:
            for _, channel, message in NonSeekingReader(stream).iter_messages(
                None, log_time_order=False
            ):
                counts[channel.topic] += 1
                end_ns = max(end_ns, message.log_time)
                raw_bytes += len(message.data)
        except McapError:
            pass
    size = facts.path.stat().st_size
    return replace(facts, size=size, messages=counts, end_ns=end_ns, raw_bytes=raw_bytes)


def _flip(facts: LogFacts) -> None:
    start, length = _chunk(facts.path, 0.5)
    with facts.path.open("r+b") as stream:
        stream.seek(start + length // 2)
        byte = stream.read(1)[0]
        stream.seek(start + length // 2)
        stream.write(bytes([byte ^ 0x10]))
