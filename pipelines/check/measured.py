"""Which columns of each table are measured, and for what."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


def _xyz(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}_{axis}" for axis in "xyz")


def _xyzw(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}_{axis}" for axis in "xyzw")


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured on one table's rows.

    Attributes:
        finite: Columns in which neither NaN nor infinity may stand.
        or_nan: Columns in which NaN means 'not measured' by the message's definition (or, for
            joint velocity and effort, by the habit of ros2_control); infinity is still wrong.
        finite_if_fix: Columns that must be finite where the receiver has a fix (`status` >= 0).
        quaternion: The four columns of a quaternion that must have norm 1.
        not_given: Column -> covariance column whose first element -1 says that the
            measurement is not given (sensor_msgs/Imu); its values are then disregarded.
        saturating: Columns of sensors whose range ends in a stop.
        compared: Columns that must all repeat for a sample to count as stuck, the noisiest
            first. Empty where repeating is normal or one message has several rows.
    """

    finite: tuple[str, ...] = ()
    or_nan: tuple[str, ...] = ()
    finite_if_fix: tuple[str, ...] = ()
    quaternion: tuple[str, ...] = ()
    not_given: Mapping[str, str] = field(default_factory=dict)
    saturating: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()


_GYRO, _ACCELERATION, _ORIENTATION = (
    _xyz("angular_velocity"),
    _xyz("linear_acceleration"),
    _xyzw("orientation"),
)
_WRENCH = _xyz("force") + _xyz("torque")
_POSE = _xyz("position") + _ORIENTATION
_TWIST = _xyz("linear") + _xyz("angular")
_FIX = ("latitude", "longitude")

MEASURED: Final[Mapping[str, Measured]] = MappingProxyType(
    {
        "joint_states": Measured(
            finite=("position",),
            or_nan=("velocity", "effort"),
            saturating=("velocity", "effort"),
            compared=("effort", "velocity", "position"),
        ),
        "imu": Measured(
            finite=_ORIENTATION + _GYRO + _ACCELERATION,
            quaternion=_ORIENTATION,
            not_given={
                **dict.fromkeys(_ORIENTATION, "orientation_covariance"),
                **dict.fromkeys(_GYRO, "angular_velocity_covariance"),
                **dict.fromkeys(_ACCELERATION, "linear_acceleration_covariance"),
            },
            saturating=_GYRO + _ACCELERATION,
            compared=_ACCELERATION + _GYRO + _ORIENTATION,
        ),
        "wrenches": Measured(finite=_WRENCH, saturating=_WRENCH, compared=_WRENCH),
        "poses": Measured(finite=_POSE, quaternion=_ORIENTATION, compared=_POSE),
        "twists": Measured(finite=_TWIST, compared=_TWIST),
        "transforms": Measured(
            finite=_xyz("translation") + _xyzw("rotation"), quaternion=_xyzw("rotation")
        ),
        "scans": Measured(
            finite=("angle_min", "angle_max", "angle_increment", "range_min", "range_max"),
            compared=("ranges", "intensities"),
        ),
        "nav_sat": Measured(finite_if_fix=_FIX, compared=(*_FIX, "altitude")),
        "battery": Measured(
            finite=("voltage",),
            or_nan=("temperature", "current", "charge", "capacity", "percentage"),
        ),
        "video_frames": Measured(compared=("data",)),
    }
)
"""Tables that are not named here are measured on time alone."""
