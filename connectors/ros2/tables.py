"""From decoded ROS 2 messages to rows of the lake's signal tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from connectors.ros2.pictures import describe_pictures
from connectors.ros2.values import TextError, offsets_of
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.ros2.values import Columns

_FRAME: Final = {"frame_id": "header.frame_id"}


def _vector(column: str, path: str, axes: str = "xyz") -> dict[str, str]:
    return {f"{column}_{axis}": f"{path}.{axis}" for axis in axes}


def _pose(path: str) -> dict[str, str]:
    return _vector("position", f"{path}.position") | _vector(
        "orientation", f"{path}.orientation", "xyzw"
    )


def _twist(path: str) -> dict[str, str]:
    return _vector("linear", f"{path}.linear") | _vector("angular", f"{path}.angular")


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_TRANSFORM: Final = (
    _FRAME
    | _same("child_frame_id")
    | _vector("translation", "transform.translation")
    | _vector("rotation", "transform.rotation", "xyzw")
)


@dataclass(frozen=True, slots=True)
class Target:
    """One table that a message type feeds.

    Attributes:
        table: Table name.
        columns: Table column -> field path in the message (or item).
        items: Sequence whose elements are the rows; "" = the message is the row.
    """

    table: str
    columns: Mapping[str, str]
    items: str = ""


TARGETS: Final[Mapping[str, tuple[Target, ...]]] = {
    "sensor_msgs/JointState": (
        Target(
            "joint_states", _FRAME | {"names": "name"} | _same("position", "velocity", "effort")
        ),
    ),
    "sensor_msgs/Imu": (
        Target(
            "imu",
            _FRAME
            | _vector("orientation", "orientation", "xyzw")
            | _vector("angular_velocity", "angular_velocity")
            | _vector("linear_acceleration", "linear_acceleration")
            | _same(
                "orientation_covariance",
                "angular_velocity_covariance",
                "linear_acceleration_covariance",
            ),
        ),
    ),
    "geometry_msgs/WrenchStamped": (
        Target(
            "wrenches",
            _FRAME | _vector("force", "wrench.force") | _vector("torque", "wrench.torque"),
        ),
    ),
    "nav_msgs/Odometry": (
        Target(
            "poses",
            _FRAME
            | _same("child_frame_id")
            | _pose("pose.pose")
            | {"covariance": "pose.covariance"},
        ),
        Target(
            "twists",
            {"frame_id": "child_frame_id"}
            | _twist("twist.twist")
            | {"covariance": "twist.covariance"},
        ),
    ),
    "geometry_msgs/PoseStamped": (Target("poses", _FRAME | _pose("pose")),),
    "geometry_msgs/PoseWithCovarianceStamped": (
        Target("poses", _FRAME | _pose("pose.pose") | {"covariance": "pose.covariance"}),
    ),
    "geometry_msgs/TwistStamped": (Target("twists", _FRAME | _twist("twist")),),
    "geometry_msgs/TwistWithCovarianceStamped": (
        Target("twists", _FRAME | _twist("twist.twist") | {"covariance": "twist.covariance"}),
    ),
    "tf2_msgs/TFMessage": (Target("transforms", _TRANSFORM, "transforms"),),
    "geometry_msgs/TransformStamped": (Target("transforms", _TRANSFORM),),
    "sensor_msgs/LaserScan": (
        Target(
            "scans",
            _FRAME
            | _same(
                "angle_min",
                "angle_max",
                "angle_increment",
                "time_increment",
                "scan_time",
                "range_min",
                "range_max",
                "ranges",
                "intensities",
            ),
        ),
    ),
    "sensor_msgs/NavSatFix": (
        Target(
            "nav_sat",
            _FRAME
            | {"status": "status.status", "service": "status.service"}
            | _same(
                "latitude",
                "longitude",
                "altitude",
                "position_covariance",
                "position_covariance_type",
            ),
        ),
    ),
    "sensor_msgs/BatteryState": (
        Target(
            "battery",
            _FRAME
            | _same(
                "voltage",
                "temperature",
                "current",
                "charge",
                "capacity",
                "design_capacity",
                "percentage",
                "power_supply_status",
                "power_supply_health",
                "power_supply_technology",
                "present",
                "cell_voltage",
                "cell_temperature",
                "location",
                "serial_number",
            ),
        ),
    ),
    "sensor_msgs/CompressedImage": (Target("video_frames", _FRAME | _same("format")),),
}
"""Tables per message type (`package/Type`); every other type goes to `messages`."""

POSITION_FIELDS: Final = (
    pa.field("log_ns", pa.int64()),
    pa.field("header_ns", pa.int64()),
    pa.field("pub_ns", pa.int64()),
    pa.field("message", pa.int64()),
)
"""Columns before a table's own ones, see `connectors.source.StreamBatch`."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """What the recorder knows of each message.

    Attributes:
        log_ns: (n,) int64.
        pub_ns: (n,) int64.
        message: (n,) int64, position in the stream.
    """

    log_ns: np.ndarray
    pub_ns: np.ndarray
    message: np.ndarray

    def rows(self, chosen: np.ndarray) -> Stamps:
        """Stamps of some messages, in the order asked for."""
        return Stamps(self.log_ns[chosen], self.pub_ns[chosen], self.message[chosen])


def yielded_schema(table: str) -> pa.Schema:
    """Schema of a source's batches for a table."""
    own = list(TABLES[table].own_arrow)
    if table == "video_frames":
        own = [each for each in own if each.name not in {"blob", "offset", "size"}]
        own.append(pa.field("data", pa.large_binary(), nullable=False))
    return pa.schema([*POSITION_FIELDS, *own])


def table_rows(target: Target, columns: Columns, stamps: Stamps) -> pa.RecordBatch:
    """Rows of one table from decoded messages.

    Args:
        target: Which table, from which fields.
        columns: The messages, n of them.
        stamps: Of the same n messages.

    Raises:
        TextError: a string is not UTF-8.
    """
    if not target.items:
        extra: dict[str, pa.Array] = {}
        if target.table == "transforms":
            extra["item"] = pa.array(np.zeros(columns.rows, np.int32))
        if target.table == "video_frames":
            extra = _pictures(columns)
        return _rows(target, columns, stamps, extra)
    counts, items = columns.items(target.items)
    message = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(items.rows) - offsets_of(counts)[:-1][message]
    extra = {"item": pa.array(within.astype(np.int32))}
    try:
        return _rows(target, items, stamps.rows(message), extra)
    except TextError as error:
        raise TextError(np.unique(message[error.rows])) from None


def _rows(
    target: Target, columns: Columns, stamps: Stamps, extra: Mapping[str, pa.Array]
) -> pa.RecordBatch:
    """Rows from messages or items, `extra` columns included."""
    header = columns.numbers("header", "stamp", "sec").astype(np.int64) * 1_000_000_000
    header += columns.numbers("header", "stamp", "nanosec")
    schema = yielded_schema(target.table)
    arrays = [pa.array(v) for v in (stamps.log_ns, header, stamps.pub_ns, stamps.message)]
    for each in list(schema)[len(arrays) :]:
        if each.name in extra:
            array = extra[each.name]
        elif each.name in target.columns:
            array = columns.array(*target.columns[each.name].split("."))
        else:
            array = _absent(each.type, columns.rows)
        arrays.append(array if array.type == each.type else array.cast(each.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _absent(kind: pa.DataType, rows: int) -> pa.Array:
    """A column that the message type does not have: empty lists (= not given), else nulls."""
    if pa.types.is_list(kind):
        empty = pa.array([], kind.value_type)
        return pa.ListArray.from_arrays(pa.array(np.zeros(rows + 1, np.int32)), empty, type=kind)
    return pa.nulls(rows, kind)


def _pictures(columns: Columns) -> dict[str, pa.Array]:
    raw, offsets = columns.blobs("data")
    codec, width, height = describe_pictures(raw, offsets)
    wide = np.ascontiguousarray(offsets, np.int64)
    buffers = [None, pa.py_buffer(wide), pa.py_buffer(raw)]
    return {
        "codec": codec,
        "width": width,
        "height": height,
        "keyframe": pa.array(np.ones(columns.rows, bool)),
        "data": pa.Array.from_buffers(pa.large_binary(), columns.rows, buffers),
    }
