"""ROS 2 interface definitions of the types that have a signal table."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from connectors.ros2.definition import Struct, parse_definition

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = """
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id"""
_GEOMETRY = """
================================================================================
MSG: geometry_msgs/Vector3
float64 x
float64 y
float64 z
================================================================================
MSG: geometry_msgs/Point
float64 x
float64 y
float64 z
================================================================================
MSG: geometry_msgs/Quaternion
float64 x
float64 y
float64 z
float64 w
================================================================================
MSG: geometry_msgs/Pose
geometry_msgs/Point position
geometry_msgs/Quaternion orientation
================================================================================
MSG: geometry_msgs/Twist
geometry_msgs/Vector3 linear
geometry_msgs/Vector3 angular
================================================================================
MSG: geometry_msgs/Wrench
geometry_msgs/Vector3 force
geometry_msgs/Vector3 torque
================================================================================
MSG: geometry_msgs/Transform
geometry_msgs/Vector3 translation
geometry_msgs/Quaternion rotation
================================================================================
MSG: geometry_msgs/PoseWithCovariance
geometry_msgs/Pose pose
float64[36] covariance
================================================================================
MSG: geometry_msgs/TwistWithCovariance
geometry_msgs/Twist twist
float64[36] covariance
================================================================================
MSG: geometry_msgs/TransformStamped
std_msgs/Header header
string child_frame_id
geometry_msgs/Transform transform
================================================================================
MSG: sensor_msgs/NavSatStatus
int8 status
uint16 service"""
_STAMPED: Final = "std_msgs/Header header\n"
_DEFINITIONS: Final[Mapping[str, str]] = {
    "sensor_msgs/JointState": _STAMPED
    + "string[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort",
    "sensor_msgs/Imu": _STAMPED
    + "geometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n"
    "geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n"
    "geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance",
    "geometry_msgs/WrenchStamped": _STAMPED + "geometry_msgs/Wrench wrench",
    "nav_msgs/Odometry": _STAMPED + "string child_frame_id\ngeometry_msgs/PoseWithCovariance pose\n"
    "geometry_msgs/TwistWithCovariance twist",
    "geometry_msgs/PoseStamped": _STAMPED + "geometry_msgs/Pose pose",
    "geometry_msgs/PoseWithCovarianceStamped": _STAMPED + "geometry_msgs/PoseWithCovariance pose",
    "geometry_msgs/TwistStamped": _STAMPED + "geometry_msgs/Twist twist",
    "geometry_msgs/TwistWithCovarianceStamped": _STAMPED
    + "geometry_msgs/TwistWithCovariance twist",
    "tf2_msgs/TFMessage": "geometry_msgs/TransformStamped[] transforms",
    "geometry_msgs/TransformStamped": _STAMPED
    + "string child_frame_id\ngeometry_msgs/Transform transform",
    "sensor_msgs/LaserScan": _STAMPED
    + "float32 angle_min\nfloat32 angle_max\nfloat32 angle_increment\nfloat32 time_increment\n"
    "float32 scan_time\nfloat32 range_min\nfloat32 range_max\nfloat32[] ranges\n"
    "float32[] intensities",
    "sensor_msgs/NavSatFix": _STAMPED
    + "sensor_msgs/NavSatStatus status\nfloat64 latitude\nfloat64 longitude\nfloat64 altitude\n"
    "float64[9] position_covariance\nuint8 position_covariance_type",
    "sensor_msgs/BatteryState": _STAMPED
    + "float32 voltage\nfloat32 temperature\nfloat32 current\nfloat32 charge\nfloat32 capacity\n"
    "float32 design_capacity\nfloat32 percentage\nuint8 power_supply_status\n"
    "uint8 power_supply_health\nuint8 power_supply_technology\nbool present\n"
    "float32[] cell_voltage\nfloat32[] cell_temperature\nstring location\nstring serial_number",
    "sensor_msgs/CompressedImage": _STAMPED + "string format\nuint8[] data",
}


@cache
def expected_definition(name: str) -> Struct | None:
    """The published definition of a type (`package/Type`) that has a signal table, else None."""
    text = _DEFINITIONS.get(name)
    return None if text is None else parse_definition(name, (text + _HEADER + _GEOMETRY).encode())


def same_fields(one: Struct, other: Struct) -> bool:
    """Whether two messages have equal field names and types, nested ones included."""
    if len(one.fields) != len(other.fields):
        return False
    for mine, theirs in zip(one.fields, other.fields, strict=True):
        if (mine.name, mine.array, mine.size) != (theirs.name, theirs.array, theirs.size):
            return False
        if isinstance(mine.type, Struct) and isinstance(theirs.type, Struct):
            if not same_fields(mine.type, theirs.type):
                return False
        elif mine.type != theirs.type:
            return False
    return True


def has_header(struct: Struct) -> bool:
    """Whether a message begins with a std_msgs/Header, so that its stamp lies at a fixed place."""
    first = struct.fields[0] if struct.fields else None
    if first is None or first.array or not isinstance(first.type, Struct):
        return False
    return first.type.name == "std_msgs/Header" and same_fields(first.type, _header())


@cache
def _header() -> Struct:
    text = "builtin_interfaces/Time stamp\nstring frame_id"
    return parse_definition("std_msgs/Header", text.encode())
