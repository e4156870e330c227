"""The lake's tables, each defined once; Arrow, Delta and API types are derived from here.

Units are SI and stand in the Arrow field's metadata under `unit`. Delta has no unsigned, half or
fixed-size types, so none is used: u8 becomes int16, u16 int32, u32 int64, u64 decimal(20,0).
Stamps are int64 nanoseconds since the Unix epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

F64_LIST: Final = pa.list_(pa.field("element", pa.float64()))
F32_LIST: Final = pa.list_(pa.field("element", pa.float32()))
STRING_LIST: Final = pa.list_(pa.field("element", pa.string()))
PARTITION: Final = ("organisation", "day")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: name, Arrow type, what it means, SI unit ("" where there is none)."""

    name: str
    type: pa.DataType
    doc: str
    unit: str = ""
    nullable: bool = True

    @property
    def field(self) -> pa.Field:
        """The Arrow field, with `unit` and `doc` as metadata."""
        metadata = {"doc": self.doc} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.type, nullable=self.nullable, metadata=metadata)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One lake table.

    Attributes:
        name: Table name, and folder below `tables/`.
        doc: What one row is.
        columns: All columns, partition columns first.
        kind: `signal` (per-message rows: common columns + own), `frames`, `messages`, `catalog`.
    """

    name: str
    doc: str
    columns: tuple[Column, ...]
    kind: str

    @property
    def arrow(self) -> pa.Schema:
        """Schema of the whole table, partition columns included."""
        return pa.schema([c.field for c in self.columns])

    @property
    def file_arrow(self) -> pa.Schema:
        """Schema of one data file: without the partition columns."""
        return pa.schema([c.field for c in self.columns if c.name not in PARTITION])

    @property
    def own_arrow(self) -> pa.Schema:
        """Schema of what a source yields for it: without the common columns."""
        common = {c.name for c in COMMON}
        return pa.schema([c.field for c in self.columns if c.name not in common])

    @property
    def has_messages(self) -> bool:
        """Whether rows come from messages and carry the common columns."""
        return self.kind in {"signal", "frames", "messages"}


_I64 = pa.int64()
_F64 = pa.float64()
_F32 = pa.float32()
_STR = pa.string()

PARTITIONS: Final = (
    Column("organisation", _STR, "organisation that contributed the recording", nullable=False),
    Column(
        "day",
        pa.date32(),
        "UTC day of the episode's first log time, else of receipt",
        nullable=False,
    ),
)
COMMON: Final = (
    *PARTITIONS,
    Column("episode", _STR, "episode id", nullable=False),
    Column("stream", _STR, "topic, channel or camera", nullable=False),
    Column("t_ns", _I64, "the stream's time, see streams.clock", "ns", nullable=False),
    Column("log_ns", _I64, "when the recorder wrote it", "ns"),
    Column("header_ns", _I64, "stamp inside the message", "ns"),
    Column("pub_ns", _I64, "when it was published", "ns"),
    Column("seq", _I64, "position in the stream by (log_ns, order in the file)", nullable=False),
    Column("recording_id", _STR, "recording it came with", nullable=False),
    Column("file_id", _STR, "SHA-256 of the file it came from", nullable=False),
)
_FRAME_ID = Column("frame_id", _STR, "coordinate frame of the measurement")


def _xyz(prefix: str, doc: str, unit: str) -> tuple[Column, ...]:
    return tuple(Column(f"{prefix}_{axis}", _F64, f"{doc}, {axis}", unit) for axis in "xyz")


def _quaternion(prefix: str, doc: str) -> tuple[Column, ...]:
    return tuple(Column(f"{prefix}_{axis}", _F64, f"{doc}, {axis}", "1") for axis in "xyzw")


def _covariance(name: str, size: int, unit: str) -> Column:
    side = int(size**0.5)
    return Column(name, F64_LIST, f"{side}x{side} covariance, row-major; empty = not given", unit)


def _signal(name: str, doc: str, *columns: Column) -> TableSpec:
    return TableSpec(name, doc, (*COMMON, *columns), "signal")


_SIGNALS = (
    _signal(
        "joint_states",
        "joints of one robot at one instant (sensor_msgs/JointState)",
        _FRAME_ID,
        Column("names", STRING_LIST, "joint names; the lists below follow their order"),
        Column("position", F64_LIST, "joint positions; empty = not given", "rad or m"),
        Column("velocity", F64_LIST, "joint velocities; empty = not given", "rad/s or m/s"),
        Column("effort", F64_LIST, "joint efforts; empty = not given", "N.m or N"),
    ),
    _signal(
        "imu",
        "one inertial measurement (sensor_msgs/Imu)",
        _FRAME_ID,
        *_quaternion("orientation", "orientation quaternion"),
        _covariance("orientation_covariance", 9, "rad^2"),
        *_xyz("angular_velocity", "angular velocity", "rad/s"),
        _covariance("angular_velocity_covariance", 9, "rad^2/s^2"),
        *_xyz("linear_acceleration", "linear acceleration", "m/s^2"),
        _covariance("linear_acceleration_covariance", 9, "m^2/s^4"),
    ),
    _signal(
        "wrenches",
        "one force and torque (geometry_msgs/WrenchStamped)",
        _FRAME_ID,
        *_xyz("force", "force", "N"),
        *_xyz("torque", "torque", "N.m"),
    ),
    _signal(
        "poses",
        "one pose (geometry_msgs/PoseStamped, …WithCovarianceStamped, nav_msgs/Odometry)",
        _FRAME_ID,
        Column("child_frame_id", _STR, "frame whose pose it is"),
        *_xyz("position", "position", "m"),
        *_quaternion("orientation", "orientation quaternion"),
        _covariance("covariance", 36, "m^2, m.rad, rad^2"),
    ),
    _signal(
        "twists",
        "one velocity (geometry_msgs/TwistStamped, …WithCovarianceStamped, nav_msgs/Odometry)",
        _FRAME_ID,
        *_xyz("linear", "linear velocity", "m/s"),
        *_xyz("angular", "angular velocity", "rad/s"),
        _covariance("covariance", 36, "m^2/s^2, m.rad/s^2, rad^2/s^2"),
    ),
    _signal(
        "transforms",
        "one transform between two frames (tf2_msgs/TFMessage, geometry_msgs/TransformStamped)",
        _FRAME_ID,
        Column("child_frame_id", _STR, "child frame"),
        Column("item", pa.int32(), "position inside its message", nullable=False),
        *_xyz("translation", "translation", "m"),
        *_quaternion("rotation", "rotation quaternion"),
    ),
    _signal(
        "scans",
        "one planar laser scan (sensor_msgs/LaserScan)",
        _FRAME_ID,
        Column("angle_min", _F32, "first ray", "rad"),
        Column("angle_max", _F32, "last ray", "rad"),
        Column("angle_increment", _F32, "between rays", "rad"),
        Column("time_increment", _F32, "between rays", "s"),
        Column("scan_time", _F32, "between scans", "s"),
        Column("range_min", _F32, "smallest valid range", "m"),
        Column("range_max", _F32, "largest valid range", "m"),
        Column("ranges", F32_LIST, "range per ray", "m"),
        Column("intensities", F32_LIST, "intensity per ray; empty = not given"),
    ),
    _signal(
        "nav_sat",
        "one satellite fix (sensor_msgs/NavSatFix)",
        _FRAME_ID,
        Column("status", pa.int16(), "fix status: -1 none, 0 fix, 1 SBAS, 2 GBAS"),
        Column("service", pa.int32(), "bit field of satellite services"),
        Column("latitude", _F64, "WGS 84 latitude", "deg"),
        Column("longitude", _F64, "WGS 84 longitude", "deg"),
        Column("altitude", _F64, "above the WGS 84 ellipsoid", "m"),
        _covariance("position_covariance", 9, "m^2"),
        Column("position_covariance_type", pa.int16(), "0 unknown … 3 known"),
    ),
    _signal(
        "battery",
        "one battery state (sensor_msgs/BatteryState)",
        _FRAME_ID,
        Column("voltage", _F32, "voltage", "V"),
        Column("temperature", _F32, "temperature; NaN = not measured", "degC"),
        Column("current", _F32, "negative while discharging", "A"),
        Column("charge", _F32, "charge left", "A.h"),
        Column("capacity", _F32, "last full capacity", "A.h"),
        Column("design_capacity", _F32, "design capacity", "A.h"),
        Column("percentage", _F32, "state of charge, 0 to 1", "1"),
        Column("power_supply_status", pa.int16(), "0 unknown … 4 full"),
        Column("power_supply_health", pa.int16(), "0 unknown, 1 good …"),
        Column("power_supply_technology", pa.int16(), "0 unknown, 1 NiMH …"),
        Column("present", pa.bool_(), "whether a battery is present"),
        Column("cell_voltage", F32_LIST, "per cell", "V"),
        Column("cell_temperature", F32_LIST, "per cell", "degC"),
        Column("location", _STR, "where it sits"),
        Column("serial_number", _STR, "serial number"),
    ),
)

_FRAMES = TableSpec(
    "video_frames",
    "one picture of a camera stream; its bytes lie in a blob file below media/",
    (
        *COMMON,
        _FRAME_ID,
        Column("format", _STR, "as the message said, e.g. 'jpeg' or 'rgb8; jpeg compressed bgr8'"),
        Column("codec", _STR, "jpeg, png or unknown: found from the bytes"),
        Column("width", pa.int32(), "from the picture's own header", "px"),
        Column("height", pa.int32(), "from the picture's own header", "px"),
        Column("pts", _I64, "presentation time of a video stream"),
        Column("keyframe", pa.bool_(), "decodable alone", nullable=False),
        Column("blob", _STR, "path below the root", nullable=False),
        Column("offset", _I64, "first byte in the blob", "B", nullable=False),
        Column("size", _I64, "bytes", "B", nullable=False),
    ),
    "frames",
)
_MESSAGES = TableSpec(
    "messages",
    "one message of a type without a signal table, as it was recorded",
    (
        *COMMON,
        Column("schema_id", _STR, "key into message_schemas; null = recorded without schema"),
        Column("encoding", _STR, "message encoding, e.g. cdr", nullable=False),
        Column("payload", pa.binary(), "the message's bytes", nullable=False),
    ),
    "messages",
)
_MESSAGE_SCHEMAS = TableSpec(
    "message_schemas",
    "one message schema of one recording",
    (
        *PARTITIONS,
        Column("recording_id", _STR, "recording it came with", nullable=False),
        Column("schema_id", _STR, "SHA-256 over name, encoding and text", nullable=False),
        Column("name", _STR, "type name, e.g. std_msgs/msg/String", nullable=False),
        Column("encoding", _STR, "schema encoding, e.g. ros2msg", nullable=False),
        Column("text", pa.binary(), "schema bytes as recorded", nullable=False),
    ),
    "catalog",
)
_EPISODES = TableSpec(
    "episodes",
    "one continuous stretch of one robot's work; a row here makes a recording visible",
    (
        *PARTITIONS,
        Column("episode", _STR, "episode id", nullable=False),
        Column("recording_id", _STR, "recording id", nullable=False),
        Column("robot", _STR, "robot id", nullable=False),
        Column("sector", _STR, "sector id", nullable=False),
        Column("site", _STR, "site of the robot; competitive"),
        Column("agreement", _STR, "agreement under which it was contributed", nullable=False),
        Column("verdict", _STR, "accepted or accepted_with_warnings", nullable=False),
        Column("check_run", _STR, "key into quality", nullable=False),
        Column("source", _STR, "source that decoded it", nullable=False),
        Column("decoder_version", _STR, "version of that source", nullable=False),
        Column("start_ns", _I64, "first t_ns of the streams with a clock", "ns"),
        Column("end_ns", _I64, "last t_ns of the streams with a clock", "ns"),
        Column("log_start_ns", _I64, "first log time", "ns"),
        Column("log_end_ns", _I64, "last log time", "ns"),
        Column("received_ns", _I64, "when its bytes were received", "ns", nullable=False),
        Column("messages", _I64, "messages decoded", nullable=False),
        Column("files", pa.int32(), "data files", nullable=False),
        Column("bytes", _I64, "size of its data files", "B", nullable=False),
    ),
    "catalog",
)
_STREAMS = TableSpec(
    "streams",
    "one topic, channel or camera of an episode, with its measured quality",
    (
        *PARTITIONS,
        Column("episode", _STR, "episode id", nullable=False),
        Column("recording_id", _STR, "recording id", nullable=False),
        Column("stream", _STR, "name", nullable=False),
        Column("tables", STRING_LIST, "tables that hold its rows", nullable=False),
        Column("message_type", _STR, "type name; null = recorded without schema"),
        Column("encoding", _STR, "message encoding", nullable=False),
        Column("schema_id", _STR, "key into message_schemas"),
        Column("clock", _STR, "what t_ns is: header, publish, log or none", nullable=False),
        Column("frame_id", _STR, "coordinate frame; null = several or none"),
        Column("source_units", _STR, "the source's own units, as JSON"),
        Column("metadata", _STR, "channel metadata (QoS …), as JSON"),
        Column("messages", _I64, "messages read", nullable=False),
        Column("declared_messages", _I64, "messages that the file declares"),
        Column("rows", _I64, "rows written, all tables", nullable=False),
        Column("start_ns", _I64, "first t_ns", "ns"),
        Column("end_ns", _I64, "last t_ns", "ns"),
        Column("rate_hz", _F64, "(messages - 1) / (last - first) on t_ns", "Hz"),
        Column("gap_median_ns", _I64, "median distance of two messages", "ns"),
        Column("gap_max_ns", _I64, "longest distance of two messages", "ns"),
        Column("gap_max_at_ns", _I64, "t_ns where the longest gap starts", "ns"),
        Column("gaps", _I64, "distances over three median periods"),
        Column("duplicates", _I64, "messages with the t_ns of the one before"),
        Column("out_of_order", _I64, "messages with t_ns before the one before"),
        Column("lag_median_ns", _I64, "median of log_ns - header_ns", "ns"),
        Column("lag_max_ns", _I64, "largest |log_ns - header_ns|", "ns"),
        Column("non_finite", _I64, "values that are NaN or infinite where they must not be"),
        Column("norm_error_max", _F64, "largest | |quaternion| - 1 |", "1"),
        Column("limit_violations", _I64, "joint values beyond the robot's declared limits"),
        Column("stuck_share", _F64, "longest run of equal values over all messages", "1"),
        Column("saturated_share", _F64, "share of values at the extreme of their range", "1"),
        Column("sync_offset_ns", _I64, "median distance to the reference camera or joints", "ns"),
    ),
    "catalog",
)
_QUALITY = TableSpec(
    "quality",
    "one rule applied to one stream (or recording) in one check run",
    (
        *PARTITIONS,
        Column(
            "check_run",
            _STR,
            "id of the run; a recording checked again has another",
            nullable=False,
        ),
        Column("recording_id", _STR, "recording id", nullable=False),
        Column("stream", _STR, "stream; null = the recording as a whole"),
        Column("rule", _STR, "rule name", nullable=False),
        Column("severity", _STR, "error or warning", nullable=False),
        Column("passed", pa.bool_(), "whether it held", nullable=False),
        Column("observed", _STR, "observed value"),
        Column("limit", _STR, "what the rule allows"),
        Column("t_ns", _I64, "where, if that can be said", "ns"),
        Column("checked_ns", _I64, "when", "ns", nullable=False),
    ),
    "catalog",
)

TABLES: Final[Mapping[str, TableSpec]] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _EPISODES,
            _STREAMS,
            _QUALITY,
            *_SIGNALS,
            _FRAMES,
            _MESSAGES,
            _MESSAGE_SCHEMAS,
        )
    }
)
"""Every table of the lake by name; `episodes` is committed last."""
