"""Topics whose messages differ in layout: transforms, detections, diagnostics, text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from infra.demo import motion, pictures
from infra.demo.cdr import encode_columns, message_at
from infra.demo.window import NS, Messages, Window, diagonal, rows, vector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from infra.demo.motion import Floats

CHILDREN: Final = ("base_link", "camera_optical_frame", "tool0")
_MISSED: Final = 0.06  # share of the things in view that a detector overlooks
_WARNING: Final = 0.02  # share of the statuses that are not OK
_GRIPPED: Final = 0.5


def transforms(window: Window) -> Messages:
    """tf2_msgs/TFMessage: the robot's own frames, or frames of seen objects."""
    if window.topic.loose:
        return _loose_transforms(window)
    kind, count = window.topic.type_name, len(window.t)
    sizes = window.rng.integers(window.topic.low, window.topic.high + 1, count)
    payloads: list[bytes] = [b""] * count
    where: list[tuple[Mapping[str, Any], int]] = [({}, 0)] * count
    # Names are constant, so all messages with the same number of transforms share a layout.
    for size in range(window.topic.low, window.topic.high + 1):
        chosen = np.flatnonzero(sizes == size)
        tree = {"transforms": [_transform(window, chosen, CHILDREN[j]) for j in range(size)]}
        encoded = encode_columns(kind, tree, len(chosen))
        for place, (i, payload) in enumerate(zip(chosen.tolist(), encoded, strict=True)):
            payloads[i], where[i] = payload, (tree, place)
    return Messages(payloads, lambda i: message_at(kind, *where[i]))


def _transform(window: Window, chosen: NDArray[np.int64], child: str) -> dict[str, Any]:
    t, stamp = window.t[chosen], window.stamp_ns[chosen]
    base = motion.base_motion(window.profile, t)
    zero = np.zeros_like(t)
    parents = {"base_link": "odom", "camera_optical_frame": "tool0", "tool0": "base_link"}
    poses = {
        "base_link": (np.stack([base.x, base.y, zero], 1), motion.quaternion(zero, zero, base.yaw)),
        "camera_optical_frame": (np.tile([0.02, 0.0, 0.06], (len(t), 1)), _still(len(t))),
        "tool0": motion.tool_pose(window.profile, t),
    }
    translation, rotation = poses[child]
    return {
        "header": {
            "stamp": {"sec": stamp // NS, "nanosec": stamp % NS},
            "frame_id": parents[child],
        },
        "child_frame_id": child,
        "transform": {"translation": vector(translation), "rotation": vector(rotation)},
    }


def _still(count: int) -> Floats:
    return np.tile([0.0, 0.0, 0.0, 1.0], (count, 1))


def _loose_transforms(window: Window) -> Messages:
    rng, topic = window.rng, window.topic
    sizes = rng.integers(topic.low, topic.high + 1, len(window.t)).tolist()
    total = sum(sizes)
    places = rng.normal(0, 1, (total, 3)).tolist()
    angles = rng.uniform(-np.pi, np.pi, (3, total))
    turns = motion.quaternion(*angles).tolist()
    numbers = rng.integers(0, 12_000, total).tolist()
    said, used = [], 0
    for header, size in zip(window.headers(), sizes, strict=True):
        said.append(
            {
                "transforms": [
                    {
                        "header": header,
                        "child_frame_id": f"object_{numbers[j]}",
                        "transform": {
                            "translation": dict(zip("xyz", places[j], strict=True)),
                            "rotation": dict(zip("xyzw", turns[j], strict=True)),
                        },
                    }
                    for j in range(used, used + size)
                ]
            }
        )
        used += size
    return rows(window, said)


def detections(window: Window) -> Messages:
    """vision_msgs/Detection2DArray: the things in view, or random boxes."""
    if window.topic.high == 0:
        return rows(window, [_seen(window, i, h) for i, h in enumerate(window.headers())])
    rng, topic, labels = window.rng, window.topic, window.profile.labels
    sizes = rng.integers(topic.low, topic.high + 1, len(window.t)).tolist()
    boxes = rng.uniform((20, 20, 10, 10, 0.3), (620, 460, 200, 160, 1), (sum(sizes), 5)).tolist()
    classes = rng.integers(0, len(labels), len(boxes)).tolist()
    said, used = [], 0
    for header, size in zip(window.headers(), sizes, strict=True):
        found = [
            _detection(header, labels[classes[j]], boxes[j], str(j))
            for j in range(used, used + size)
        ]
        said.append({"header": header, "detections": found})
        used += size
    return rows(window, said)


_UNCERTAIN: Final = diagonal(1e-4, 1e-4, 1e-3, 1e-2, 1e-2, 1e-2)


def _detection(header: dict[str, Any], label: str, box: list[float], name: str) -> dict[str, Any]:
    x, y, width, height, score = box
    depth = 0.4 + (480.0 - y) / 600.0
    place = {"x": (x - 320.0) * depth / 520.0, "y": (y - 240.0) * depth / 520.0, "z": depth}
    pose = {"position": place, "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}}
    return {
        "header": header,
        "results": [
            {
                "hypothesis": {"class_id": label, "score": score},
                "pose": {"pose": pose, "covariance": _UNCERTAIN},
            }
        ],
        "bbox": {
            "center": {"position": {"x": x, "y": y}, "theta": 0.0},
            "size_x": width,
            "size_y": height,
        },
        "id": name,
    }


def _seen(window: Window, i: int, header: dict[str, Any]) -> dict[str, Any]:
    found = []
    for number, thing in enumerate(pictures.things_at(window.profile, float(window.t[i]))):
        left, top, right, bottom = thing.box
        if window.rng.random() < _MISSED:
            continue
        centre = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        box = [*(np.array(centre) + window.rng.normal(0, 0.6, 4)), window.rng.uniform(0.7, 0.99)]
        found.append(_detection(header, thing.label, [float(v) for v in box], str(number)))
    return {"header": header, "detections": found}


def diagnostics(window: Window) -> Messages:
    """diagnostic_msgs/DiagnosticArray."""
    rng, topic, parts = window.rng, window.topic, window.profile.components
    count = len(window.t)
    most = topic.high or len(parts)
    sizes = rng.integers(topic.low or most, most + 1, count).tolist()
    keys = (
        "temperature",
        "rate_hz",
        "dropped",
        "cpu_load",
        "voltage",
        "latency_ms",
        "mode",
        "state",
    )
    pairs = rng.integers(0, len(keys) + 1, (count, most)).tolist()
    levels = (rng.random((count, most)) < _WARNING).astype(int).tolist()
    readings = np.round(rng.gamma(3.0, 12.0, (count, most, len(keys))), 3).tolist()
    said = []
    for i, header in enumerate(window.headers()):
        statuses = [
            {
                "level": levels[i][j],
                "name": f"{parts[j % len(parts)]}: channel {j}",
                "message": "rate below target" if levels[i][j] else "OK",
                "hardware_id": window.profile.name,
                "values": [
                    {"key": keys[k], "value": str(readings[i][j][k])} for k in range(pairs[i][j])
                ],
            }
            for j in range(sizes[i])
        ]
        said.append({"header": header, "status": statuses})
    return rows(window, said)


def rosout(window: Window) -> Messages:
    """rcl_interfaces/Log: a few kinds of lines, one of them Japanese."""
    rng, parts, count = window.rng, window.profile.components, len(window.t)
    lines = (
        "goal accepted",
        "planning took {:.3f} s",
        "controller switched after {:.1f} s",
        "waypoint reached, error {:.5f} m",
        "速度制限を適用しました: {:.2f} m/s",
    )
    chosen = rng.integers(0, len(lines), count).tolist()
    values = rng.gamma(2.0, 0.2, count).tolist()
    sources = rng.integers(0, len(parts), count).tolist()
    said = [
        {
            "stamp": stamp,
            "level": 30 if chosen[i] == len(lines) - 1 else 20,
            "name": parts[sources[i]],
            "msg": lines[chosen[i]].format(values[i]),
            "file": f"src/{parts[sources[i]]}.cpp",
            "function": "on_timer",
            "line": 40 + chosen[i],
        }
        for i, stamp in enumerate(window.stamps())
    ]
    return rows(window, said)


def strings(window: Window) -> Messages:
    """std_msgs/String: the state of the work cycle."""
    legs = (window.t / 2.5).astype(int).tolist()
    held = motion.holding(window.t).tolist()
    said = [
        {"data": f"cycle={leg} state={'CARRY' if grip > _GRIPPED else 'REACH'} grip={grip:.4g}"}
        for leg, grip in zip(legs, held, strict=True)
    ]
    return rows(window, said)
