"""Recordings of foreign writers: rosbags serialises messages, mcap writes the container."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from mcap.writer import CompressionType, Writer
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from connectors.registry import load
from connectors.source import Limits, SourceFile

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from connectors.source import Reading, StreamBatch

DETECTIONS = {
    "vision_msgs/msg/Detection2DArray": "std_msgs/Header header\n"
    "vision_msgs/Detection2D[] detections",
    "vision_msgs/msg/Detection2D": "std_msgs/Header header\n"
    "vision_msgs/ObjectHypothesisWithPose[] results\nvision_msgs/BoundingBox2D bbox\nstring id",
    "vision_msgs/msg/ObjectHypothesisWithPose": "vision_msgs/ObjectHypothesis hypothesis\n"
    "geometry_msgs/PoseWithCovariance pose",
    "vision_msgs/msg/ObjectHypothesis": "string class_id\nfloat64 score",
    "vision_msgs/msg/BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "vision_msgs/msg/Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "vision_msgs/msg/Point2D": "float64 x\nfloat64 y",
}
_INTEGERS = {
    "byte",
    "char",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
}
_DTYPES = {"byte": "uint8", "char": "uint8", "bool": "bool"}


class Types:
    """ROS 2 types by name, those of Humble and any that a test adds."""

    def __init__(self) -> None:
        self.store = get_typestore(Stores.ROS2_HUMBLE)
        for name, text in DETECTIONS.items():
            self.add(name, text)

    def add(self, name: str, text: str) -> None:
        self.store.register(get_types_from_msg(text, name))

    def text(self, name: str) -> bytes:
        return self.store.generate_msgdef(name, ros_version=2)[0].encode()

    def encode(self, name: str, message: Any, *, big_endian: bool = False) -> bytes:
        return bytes(self.store.serialize_cdr(message, name, little_endian=not big_endian))

    def decode(self, name: str, payload: bytes) -> Any:
        return self.store.deserialize_cdr(payload, name)

    def random(self, name: str, rng: random.Random, *, most: int = 3) -> Any:
        """A message with random values in every field."""
        _, fields = self.store.fielddefs[name]
        values = {field: self._value(kind, rng, most) for field, kind in fields}
        return self.store.types[name](**values)

    def _value(self, kind: Any, rng: random.Random, most: int) -> Any:
        node, detail = kind
        if node == Nodetype.NAME:
            return self.random(detail, rng, most=most)
        if node == Nodetype.BASE:
            return random_base(detail[0], rng, detail[1])
        inner, size = detail
        count = size if node == Nodetype.ARRAY else rng.randint(0, min(most, size or most))
        values = [self._value(inner, rng, most) for _ in range(count)]
        base = inner[1][0] if inner[0] == Nodetype.BASE else ""
        if base and base != "string":
            return np.array(values, np.dtype(_DTYPES.get(base, base)))
        return values


def random_base(kind: str, rng: random.Random, bound: int = 0) -> Any:
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "string":
        text = "".join(rng.choice("abc_/ é棚🦾") for _ in range(rng.randint(0, 9)))
        while bound and len(text.encode()) > bound:
            text = text[:-1]
        return text
    if kind == "byte":
        return rng.randint(0, 127)  # rosbags writes it as signed
    if kind in _INTEGERS:
        info = np.iinfo(_DTYPES.get(kind, kind))
        return rng.choice(
            [0, int(info.min), int(info.max), rng.randint(int(info.min), int(info.max))]
        )
    value = rng.choice([0.0, -0.0, float("nan"), float("inf"), rng.gauss(0, 1e3)])
    return float(np.float32(value)) if kind == "float32" else value


def mcap_bytes(
    topics: Sequence[tuple[str, str, bytes]],
    messages: Iterable[tuple[int, int, bytes]],
    *,
    compression: CompressionType = CompressionType.ZSTD,
    chunk_size: int = 1 << 16,
    encoding: str = "cdr",
    schema_encoding: str = "ros2msg",
    **options: Any,
) -> bytes:
    """An MCAP file: topics (topic, type, schema text), messages (topic index, log_ns, payload)."""
    out = BytesIO()
    writer = Writer(out, compression=compression, chunk_size=chunk_size, **options)
    writer.start(profile="ros2", library="foreign")
    channels = []
    for topic, name, text in topics:
        schema = writer.register_schema(name, schema_encoding, text)
        channels.append(writer.register_channel(topic, encoding, schema, {"qos": topic}))
    for number, (index, log_ns, payload) in enumerate(messages):
        writer.add_message(channels[index], log_ns, payload, log_ns + 1, number)
    writer.finish()
    return out.getvalue()


def source_file(path: Path, name: str = "") -> SourceFile:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return SourceFile(path, name or path.name, len(data), digest, path.suffix == ".yaml")


def written(folder: Path, data: bytes, name: str = "log.mcap") -> SourceFile:
    path = folder / name
    path.write_bytes(data)
    return source_file(path)


def read_all(
    files: Sequence[SourceFile], limits: Limits | None = None, source: str = "mcap"
) -> tuple[Reading, list[StreamBatch]]:
    reading = load(source).read(files, limits or Limits())
    return reading, list(reading.batches())
