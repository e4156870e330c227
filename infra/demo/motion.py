"""How a demo robot moves: smooth, analytic in time, so that any stretch can be computed alone.

Units: s, m, rad, N, kg. Frames follow REP 103 (x forward, y left, z up).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GRAVITY: Final = 9.80665
_LEG_S: Final = 1.25
_MOVING: Final = 0.8  # share of a leg spent moving; the rest it stands at the waypoint
_LEGS: Final = 8


@dataclass(frozen=True, slots=True)
class Profile:
    """One robot's body and work place.

    Attributes:
        name: Robot id; also seeds its waypoints.
        joints: Joint names.
        reach: Half of each joint's travel [rad, or m where `prismatic`].
        prismatic: Joints that slide instead of turn.
        payload_kg: What the gripper or tray carries.
        drive: Half axes of the figure of eight that the base drives [m]; (0, 0) stands still.
        speed: Greatest speed of the base [m/s].
        labels: Classes that its detector knows.
        components: Names that its diagnostics report on.
        scene: What its camera sees: a key of `pictures.SCENES`.
        origin: Latitude, longitude [deg] and height [m] of the site's anchor.
        imu_norm: Norm of the orientation quaternion that its IMU sends; a sound one sends 1.
    """

    name: str = "demo-arm-01"
    joints: tuple[str, ...] = (
        "shoulder_pan_joint",
        "shoulder_lift_joint",
        "elbow_joint",
        "wrist_1_joint",
        "wrist_2_joint",
        "wrist_3_joint",
    )
    reach: tuple[float, ...] = (1.2, 0.7, 1.1, 0.9, 0.8, 1.5)
    prismatic: tuple[str, ...] = ()
    payload_kg: float = 1.4
    drive: tuple[float, float] = (2.0, 1.0)
    speed: float = 0.6
    labels: tuple[str, ...] = ("part", "tray", "fixture")
    components: tuple[str, ...] = ("joint_controller", "imu_driver", "lidar_driver", "camera")
    scene: str = "bench"
    origin: tuple[float, float, float] = (35.0, 135.0, 20.0)
    imu_norm: float = 1.0


def _waypoints(profile: Profile) -> Floats:
    """Shape (legs, joints); a fixed table per robot name, so that every window agrees."""
    seed = int.from_bytes(profile.name.encode(), "little") % (1 << 63)
    spread = np.random.default_rng(seed).uniform(-1, 1, (_LEGS, len(profile.joints)))
    return np.asarray(spread * np.asarray(profile.reach))


def _leg(t: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Leg number and normalised time in it (0..1, 1 while standing)."""
    legs = np.floor(t / _LEG_S).astype(np.int64)
    return legs, np.minimum((t / _LEG_S - legs) / _MOVING, 1.0)


def joint_motion(profile: Profile, t: Floats) -> tuple[Floats, Floats, Floats]:
    """Minimum-jerk moves between waypoints.

    Args:
        profile: Whose joints.
        t: Times, shape (n,) [s].

    Returns:
        Position, velocity and acceleration, each (n, joints) [rad or m, and per s, s^2].
    """
    points = _waypoints(profile)
    legs, s = _leg(t)
    start = points[legs % _LEGS]
    delta = points[(legs + 1) % _LEGS] - start
    rate = 1.0 / (_LEG_S * _MOVING)
    shape = s**3 * (10 - 15 * s + 6 * s**2)
    slope = 30 * s**2 * (1 - s) ** 2 * rate
    bend = 60 * s * (1 - s) * (1 - 2 * s) * rate**2
    return (
        start + delta * shape[:, None],
        delta * slope[:, None],
        delta * bend[:, None],
    )


def holding(t: Floats) -> Floats:
    """How firmly the gripper holds its load: 0..1, closed on every second pair of legs."""
    legs, s = _leg(t)
    closed = (legs // 2) % 2 == 1
    ramp = np.clip(s * 4, 0, 1)
    first = legs % 2 == 0
    return np.where(closed, np.where(first, ramp, 1.0), np.where(first, 1.0 - ramp, 0.0))


def tool_pose(profile: Profile, t: Floats) -> tuple[Floats, Floats]:
    """Tool position (n, 3) [m] and unit quaternion x, y, z, w (n, 4) in the base frame.

    A two-link arm on a turning shoulder; robots with fewer joints repeat the ones they have.
    """
    q, _, _ = joint_motion(profile, t)
    turn, lift, bend = (q[:, i % q.shape[1]] for i in range(3))
    upper, fore = 0.42, 0.38
    radius = upper * np.cos(lift) + fore * np.cos(lift + bend)
    height = 0.25 + upper * np.sin(lift) + fore * np.sin(lift + bend)
    position = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], 1)
    return position, quaternion(np.full_like(turn, np.pi), 0.2 * bend, turn)


def quaternion(roll: Floats, pitch: Floats, yaw: Floats) -> Floats:
    """Unit quaternions x, y, z, w, shape (n, 4), of intrinsic z-y-x angles [rad]."""
    cr, sr = np.cos(roll / 2), np.sin(roll / 2)
    cp, sp = np.cos(pitch / 2), np.sin(pitch / 2)
    cy, sy = np.cos(yaw / 2), np.sin(yaw / 2)
    return np.stack(
        [
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        ],
        1,
    )


@dataclass(frozen=True, slots=True)
class BaseMotion:
    """The base at n instants: pose, speeds in its own frame, accelerations. Shapes (n,)."""

    x: Floats
    y: Floats
    yaw: Floats
    speed: Floats
    turn_rate: Floats
    thrust: Floats


def base_motion(profile: Profile, t: Floats) -> BaseMotion:
    """A figure of eight, which never stops, or standing still where `drive` is zero."""
    a, b = profile.drive
    if not a:
        zero = np.zeros_like(t)
        return BaseMotion(zero, zero, zero, zero, zero, zero)
    w = profile.speed / np.hypot(a, 2 * b)
    x, y = a * np.sin(w * t), b * np.sin(2 * w * t)
    vx, vy = a * w * np.cos(w * t), 2 * b * w * np.cos(2 * w * t)
    ax, ay = -x * w * w, -4 * y * w * w
    speed = np.hypot(vx, vy)
    turn_rate = (vx * ay - vy * ax) / speed**2
    thrust = (vx * ax + vy * ay) / speed
    return BaseMotion(x, y, np.arctan2(vy, vx), speed, turn_rate, thrust)


def inertial(profile: Profile, t: Floats) -> tuple[Floats, Floats, Floats]:
    """What an ideal inertial unit on the base measures.

    Returns:
        Orientation (n, 4) unit quaternion; angular velocity (n, 3) [rad/s]; specific force
        (n, 3) [m/s^2], so +9.80665 along z at rest.
    """
    base = base_motion(profile, t)
    wr, wp = 2 * np.pi * 1.7, 2 * np.pi * 2.3
    roll, pitch = 0.006 * np.sin(wr * t), 0.008 * np.sin(wp * t)
    d_roll, d_pitch = 0.006 * wr * np.cos(wr * t), 0.008 * wp * np.cos(wp * t)
    rates = np.stack(
        [
            d_roll - base.turn_rate * np.sin(pitch),
            d_pitch * np.cos(roll) + base.turn_rate * np.sin(roll) * np.cos(pitch),
            -d_pitch * np.sin(roll) + base.turn_rate * np.cos(roll) * np.cos(pitch),
        ],
        1,
    )
    force = np.stack(
        [
            base.thrust - GRAVITY * np.sin(pitch),
            base.speed * base.turn_rate + GRAVITY * np.sin(roll) * np.cos(pitch),
            GRAVITY * np.cos(roll) * np.cos(pitch),
        ],
        1,
    )
    return quaternion(roll, pitch, base.yaw), rates, force


def ranges(profile: Profile, t: Floats, angles: Floats) -> Floats:
    """Distances to the walls and two pillars of a rectangular room, shape (n, angles) [m]."""
    base = base_motion(profile, t)
    half = np.asarray(profile.drive) + 2.5
    heading = base.yaw[:, None] + angles
    dx, dy = np.cos(heading), np.sin(heading)
    x, y = base.x[:, None], base.y[:, None]
    with np.errstate(divide="ignore"):
        wall_x = (np.copysign(half[0], dx) - x) / dx
        wall_y = (np.copysign(half[1], dy) - y) / dy
    near = np.minimum(wall_x, wall_y)
    for px, py in ((half[0] - 0.6, -half[1] + 0.7), (-half[0] + 0.8, half[1] - 0.5)):
        along = (px - x) * dx + (py - y) * dy
        off = (px - x) ** 2 + (py - y) ** 2 - along**2
        hit = (off < 0.25**2) & (along > 0)
        edge = along - np.sqrt(np.clip(0.25**2 - off, 0, None))
        near = np.where(hit, np.minimum(near, edge), near)
    return np.asarray(near, dtype=np.float64)
