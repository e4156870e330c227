"""Which generator makes the messages of which type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.demo import signals, varying

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infra.demo.window import Messages, Window

GENERATORS: Final[Mapping[str, Callable[[Window], Messages]]] = {
    "sensor_msgs/JointState": signals.joint_states,
    "sensor_msgs/Imu": signals.imu,
    "sensor_msgs/LaserScan": signals.scan,
    "sensor_msgs/CompressedImage": signals.camera,
    "sensor_msgs/NavSatFix": signals.nav_sat,
    "sensor_msgs/BatteryState": signals.battery,
    "geometry_msgs/WrenchStamped": signals.wrench,
    "geometry_msgs/PoseStamped": signals.pose,
    "nav_msgs/Odometry": signals.odometry,
    "tf2_msgs/TFMessage": varying.transforms,
    "diagnostic_msgs/DiagnosticArray": varying.diagnostics,
    "vision_msgs/Detection2DArray": varying.detections,
    "rcl_interfaces/Log": varying.rosout,
    "std_msgs/String": varying.strings,
}
"""Generator by message type."""


def generate(window: Window) -> Messages:
    """Values and payloads of one stretch of a topic.

    Raises:
        KeyError: no generator for the topic's type.
    """
    return GENERATORS[window.topic.type_name](window)
