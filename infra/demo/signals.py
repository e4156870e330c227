"""Topics whose messages all have the same layout: joints, inertia, scans, pictures and more."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from infra.demo import motion, pictures
from infra.demo.cdr import encode_message
from infra.demo.window import NS, Messages, Window, columns, diagonal, vector

BEAMS: Final = 1080


def joint_states(window: Window) -> Messages:
    """sensor_msgs/JointState: gravity, inertia and friction show in the effort."""
    profile = window.profile
    q, dq, ddq = motion.joint_motion(profile, window.t)
    k = len(profile.joints)
    load = 1.0 + profile.payload_kg * motion.holding(window.t)[:, None]
    size = np.linspace(2.4, 0.3, k)
    slide = np.array([name in profile.prismatic for name in profile.joints])
    weight = np.where(slide, motion.GRAVITY * load, 6.0 * size * load * np.cos(q))
    effort = weight + 0.35 * size * ddq + 0.8 * np.tanh(4 * dq) + window.noise(0.05, k)
    tree = {
        "header": window.header,
        "name": list(profile.joints),
        "position": q + window.noise(2e-5, k),
        "velocity": dq + window.noise(2e-4, k),
        "effort": effort,
    }
    return columns(window, tree)


def imu(window: Window) -> Messages:
    """sensor_msgs/Imu."""
    orientation, rates, force = motion.inertial(window.profile, window.t)
    tree = {
        "header": window.header,
        "orientation": vector(orientation * window.profile.imu_norm),
        "orientation_covariance": diagonal(1e-6, 1e-6, 4e-6),
        "angular_velocity": vector(rates + window.noise(2e-3, 3)),
        "angular_velocity_covariance": diagonal(4e-6, 4e-6, 4e-6),
        "linear_acceleration": vector(force + window.noise(2e-2, 3)),
        "linear_acceleration_covariance": diagonal(4e-4, 4e-4, 4e-4),
    }
    return columns(window, tree)


def wrench(window: Window) -> Messages:
    """geometry_msgs/WrenchStamped at the wrist: weight, inertia, grasping."""
    held = motion.holding(window.t)
    _, _, ddq = motion.joint_motion(window.profile, window.t)
    mass = 0.35 + window.profile.payload_kg * held
    force = np.stack([0.2 * mass * ddq[:, 0], 0.2 * mass * ddq[:, -1], -mass * motion.GRAVITY], 1)
    # The fingers close and open within a quarter of a leg: that is when the load changes.
    force[:, 2] += 6.0 * np.exp(-(((held - 0.5) / 0.2) ** 2))
    torque = np.stack([0.04 * force[:, 1], -0.04 * force[:, 0], 0.01 * force[:, 2]], 1)
    tree = {
        "header": window.header,
        "wrench": {
            "force": vector(force + window.noise(0.08, 3)),
            "torque": vector(torque + window.noise(0.004, 3)),
        },
    }
    return columns(window, tree)


def pose(window: Window) -> Messages:
    """geometry_msgs/PoseStamped of the tool."""
    position, orientation = motion.tool_pose(window.profile, window.t)
    tree = {
        "header": window.header,
        "pose": {"position": vector(position), "orientation": vector(orientation)},
    }
    return columns(window, tree)


def odometry(window: Window) -> Messages:
    """nav_msgs/Odometry."""
    base = motion.base_motion(window.profile, window.t)
    zero = np.zeros_like(window.t)
    orientation = motion.quaternion(zero, zero, base.yaw)
    tree = {
        "header": window.header,
        "child_frame_id": "base_link",
        "pose": {
            "pose": {
                "position": {
                    "x": base.x + window.noise(1e-3),
                    "y": base.y + window.noise(1e-3),
                    "z": 0.0,
                },
                "orientation": vector(orientation),
            },
            "covariance": diagonal(1e-4, 1e-4, 1e6, 1e6, 1e6, 4e-4),
        },
        "twist": {
            "twist": {
                "linear": {"x": base.speed + window.noise(3e-3), "y": 0.0, "z": 0.0},
                "angular": {"x": 0.0, "y": 0.0, "z": base.turn_rate + window.noise(2e-3)},
            },
            "covariance": diagonal(9e-6, 9e-6, 1e6, 1e6, 1e6, 4e-6),
        },
    }
    return columns(window, tree)


def scan(window: Window) -> Messages:
    """sensor_msgs/LaserScan: 270 degrees, ranges and intensities."""
    step = float(np.float32(1.5 * np.pi / BEAMS))
    angles = np.asarray(-0.75 * np.pi + step * np.arange(BEAMS), dtype=np.float64)
    near = motion.ranges(window.profile, window.t, angles) + window.noise(0.006, BEAMS)
    bright = 4000.0 / (1.0 + near**2) + window.noise(12.0, BEAMS)
    tree = {
        "header": window.header,
        "angle_min": np.float32(angles[0]),
        "angle_max": np.float32(angles[-1]),
        "angle_increment": step,
        "time_increment": np.float32(0.75 / window.topic.rate_hz / BEAMS),
        "scan_time": np.float32(1.0 / window.topic.rate_hz),
        "range_min": np.float32(0.05),
        "range_max": np.float32(30.0),
        "ranges": np.clip(near, 0.05, 30.0).astype(np.float32),
        "intensities": np.clip(bright, 0.0, 65535.0).astype(np.float32),
    }
    return columns(window, tree)


def camera(window: Window) -> Messages:
    """sensor_msgs/CompressedImage (JPEG)."""
    kind = window.topic.type_name
    cycle = window.distinct_frames

    def picture(i: int) -> bytes:
        number = window.first + i
        number = number % cycle if cycle else number
        if number not in window.pictures:
            # A repeated picture shows the time of its first use.
            t = number / window.topic.rate_hz
            stamp = int(window.stamp_ns[i]) - round((window.t[i] - t) * NS)
            window.pictures[number] = pictures.jpeg(
                window.profile,
                t,
                stamp,
                seed=window.seed * 100_003 + number,
                quality=window.quality,
            )
        frame = window.pictures[number]
        if not cycle:
            del window.pictures[number]
        return frame

    headers = window.headers()

    def message(i: int) -> dict[str, Any]:
        data = np.frombuffer(picture(i), np.uint8)
        return {"header": headers[i], "format": "jpeg", "data": data}

    return Messages([encode_message(kind, message(i)) for i in range(len(window.t))], message)


def nav_sat(window: Window) -> Messages:
    """sensor_msgs/NavSatFix."""
    base = motion.base_motion(window.profile, window.t)
    latitude, longitude, height = window.profile.origin
    metre = 1.0 / 111_320.0
    tree = {
        "header": window.header,
        "status": {"status": 0, "service": 1 | 8},
        "latitude": latitude + (base.y + window.noise(0.02)) * metre,
        "longitude": longitude
        + (base.x + window.noise(0.02)) * metre / np.cos(np.radians(latitude)),
        "altitude": height + window.noise(0.05),
        "position_covariance": diagonal(4e-4, 4e-4, 2.5e-3),
        "position_covariance_type": 2,
    }
    return columns(window, tree)


def battery(window: Window) -> Messages:
    """sensor_msgs/BatteryState: percentage is a share, 0..1."""
    share = 0.86 - window.t / 14_400.0
    cell = 3.5 + 0.6 * share[:, None] + window.noise(0.002, 7)
    tree = {
        "header": window.header,
        "voltage": cell.sum(1),
        "temperature": 29.0 + window.t / 900.0,
        "current": -3.2 - motion.base_motion(window.profile, window.t).speed * 2.1,
        "charge": 20.0 * share,
        "capacity": 20.0,
        "design_capacity": 21.0,
        "percentage": share,
        "power_supply_status": 2,
        "power_supply_health": 1,
        "power_supply_technology": 2,
        "present": True,
        "cell_voltage": cell,
        "cell_temperature": 29.5 + window.noise(0.1, 2),
        "location": "slot0",
        "serial_number": f"{window.profile.name}-pack",
    }
    return columns(window, tree)
