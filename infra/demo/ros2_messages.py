"""ROS 2 message definitions that the demo robots send, as rosbag2 writes them into a log.

The texts follow the public interface packages (common_interfaces, geometry2, rcl_interfaces,
vision_msgs 4): field order, constants and defaults included, comments left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

SEPARATOR: Final = "=" * 80
PRIMITIVES: Final = {
    "bool": ("?", 1),
    "byte": ("B", 1),
    "char": ("B", 1),
    "int8": ("b", 1),
    "uint8": ("B", 1),
    "int16": ("h", 2),
    "uint16": ("H", 2),
    "int32": ("i", 4),
    "uint32": ("I", 4),
    "int64": ("q", 8),
    "uint64": ("Q", 8),
    "float32": ("f", 4),
    "float64": ("d", 8),
}
"""Type name -> (struct and numpy code, bytes). `string` is the only other built-in type."""

DEFINITIONS: Final = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id",
    "std_msgs/String": "string data",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z",
    "geometry_msgs/Quaternion": "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1",
    "geometry_msgs/Pose": "Point position\nQuaternion orientation",
    "geometry_msgs/PoseStamped": "std_msgs/Header header\nPose pose",
    "geometry_msgs/PoseWithCovariance": "Pose pose\nfloat64[36] covariance",
    "geometry_msgs/Twist": "Vector3  linear\nVector3  angular",
    "geometry_msgs/TwistWithCovariance": "Twist twist\nfloat64[36] covariance",
    "geometry_msgs/Wrench": "Vector3  force\nVector3  torque",
    "geometry_msgs/WrenchStamped": "std_msgs/Header header\nWrench wrench",
    "geometry_msgs/Transform": "Vector3 translation\nQuaternion rotation",
    "geometry_msgs/TransformStamped": (
        "std_msgs/Header header\nstring child_frame_id\nTransform transform"
    ),
    "tf2_msgs/TFMessage": "geometry_msgs/TransformStamped[] transforms",
    "nav_msgs/Odometry": (
        "std_msgs/Header header\nstring child_frame_id\n"
        "geometry_msgs/PoseWithCovariance pose\ngeometry_msgs/TwistWithCovariance twist"
    ),
    "sensor_msgs/JointState": (
        "std_msgs/Header header\n\nstring[] name\nfloat64[] position\n"
        "float64[] velocity\nfloat64[] effort"
    ),
    "sensor_msgs/Imu": (
        "std_msgs/Header header\n\ngeometry_msgs/Quaternion orientation\n"
        "float64[9] orientation_covariance # Row major about x, y, z axes\n\n"
        "geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n\n"
        "geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance"
    ),
    "sensor_msgs/LaserScan": (
        "std_msgs/Header header\n\nfloat32 angle_min            # start angle of the scan [rad]\n"
        "float32 angle_max\nfloat32 angle_increment\nfloat32 time_increment\nfloat32 scan_time\n"
        "float32 range_min\nfloat32 range_max\nfloat32[] ranges\nfloat32[] intensities"
    ),
    "sensor_msgs/CompressedImage": "std_msgs/Header header\nstring format\nuint8[] data",
    "sensor_msgs/NavSatStatus": (
        "int8 STATUS_UNKNOWN = -2\nint8 STATUS_NO_FIX =  -1\nint8 STATUS_FIX =      0\n"
        "int8 STATUS_SBAS_FIX = 1\nint8 STATUS_GBAS_FIX = 2\n\nint8 status -2\n"
        "uint16 SERVICE_UNKNOWN = 0\nuint16 SERVICE_GPS = 1\nuint16 SERVICE_GLONASS = 2\n"
        "uint16 SERVICE_COMPASS = 4\nuint16 SERVICE_GALILEO = 8\n\nuint16 service"
    ),
    "sensor_msgs/NavSatFix": (
        "std_msgs/Header header\nNavSatStatus status\nfloat64 latitude\nfloat64 longitude\n"
        "float64 altitude\nfloat64[9] position_covariance\nuint8 COVARIANCE_TYPE_UNKNOWN = 0\n"
        "uint8 COVARIANCE_TYPE_APPROXIMATED = 1\nuint8 COVARIANCE_TYPE_DIAGONAL_KNOWN = 2\n"
        "uint8 COVARIANCE_TYPE_KNOWN = 3\nuint8 position_covariance_type"
    ),
    "sensor_msgs/BatteryState": (
        "uint8 POWER_SUPPLY_STATUS_UNKNOWN = 0\nuint8 POWER_SUPPLY_STATUS_CHARGING = 1\n"
        "uint8 POWER_SUPPLY_STATUS_DISCHARGING = 2\nuint8 POWER_SUPPLY_STATUS_FULL = 4\n"
        "uint8 POWER_SUPPLY_HEALTH_GOOD = 1\nuint8 POWER_SUPPLY_TECHNOLOGY_LION = 2\n"
        "std_msgs/Header  header\nfloat32 voltage\nfloat32 temperature\nfloat32 current\n"
        "float32 charge\nfloat32 capacity\nfloat32 design_capacity\nfloat32 percentage\n"
        "uint8   power_supply_status\nuint8   power_supply_health\n"
        "uint8   power_supply_technology\nbool    present\nfloat32[] cell_voltage\n"
        "float32[] cell_temperature\nstring location\nstring serial_number"
    ),
    "diagnostic_msgs/KeyValue": "string key\nstring value",
    "diagnostic_msgs/DiagnosticStatus": (
        "byte OK=0\nbyte WARN=1\nbyte ERROR=2\nbyte STALE=3\n\nbyte level\nstring name\n"
        "string message\nstring hardware_id\nKeyValue[] values"
    ),
    "diagnostic_msgs/DiagnosticArray": "std_msgs/Header header\nDiagnosticStatus[] status",
    "rcl_interfaces/Log": (
        "byte DEBUG=10\nbyte INFO=20\nbyte WARN=30\nbyte ERROR=40\nbyte FATAL=50\n"
        "builtin_interfaces/Time stamp\nuint8 level\nstring name\nstring msg\nstring file\n"
        "string function\nuint32 line"
    ),
    "vision_msgs/Point2D": "float64 x\nfloat64 y",
    "vision_msgs/Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "vision_msgs/BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "vision_msgs/ObjectHypothesis": "string class_id\nfloat64 score",
    "vision_msgs/ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose"
    ),
    "vision_msgs/Detection2D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        "vision_msgs/BoundingBox2D bbox\nstring id"
    ),
    "vision_msgs/Detection2DArray": (
        "std_msgs/Header header\nvision_msgs/Detection2D[] detections"
    ),
}
"""Definition by `package/Name`, without the dependencies' texts."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        name: Field name.
        base: Primitive name, `string`, or `package/Name`.
        length: None for a single value, 0 for a sequence, else the array's fixed length.
    """

    name: str
    base: str
    length: int | None


@cache
def fields_of(type_name: str) -> tuple[Field, ...]:
    """The fields of `package/Name` in wire order, constants left out.

    Raises:
        KeyError: no such definition here.
    """
    package = type_name.split("/", maxsplit=1)[0]
    found = []
    for line in DEFINITIONS[type_name].splitlines():
        text = line.split("#", maxsplit=1)[0].strip()
        if not text or "=" in text:
            continue
        kind, name = text.split()[:2]
        base, bracket, size = kind.partition("[")
        length = int(size.rstrip("]") or 0) if bracket else None
        if base != "string" and base not in PRIMITIVES and "/" not in base:
            base = f"{package}/{base}"
        found.append(Field(name, base, length))
    return tuple(found)


@cache
def schema_text(type_name: str) -> str:
    """The `ros2msg` schema: the definition, then every dependency once behind a separator.

    Args:
        type_name: `package/Name`, without `/msg/`.
    """
    waiting = [field.base for field in fields_of(type_name)]
    parts, seen = [DEFINITIONS[type_name]], {type_name}
    while waiting:
        base = waiting.pop(0)
        if base in seen or base not in DEFINITIONS:
            continue
        seen.add(base)
        parts.append(f"{SEPARATOR}\nMSG: {base}\n{DEFINITIONS[base]}")
        waiting.extend(field.base for field in fields_of(base))
    return "\n".join(parts) + "\n"


def recorded_name(type_name: str) -> str:
    """The name as a log carries it: `sensor_msgs/Imu` -> `sensor_msgs/msg/Imu`."""
    package, name = type_name.split("/")
    return f"{package}/msg/{name}"
