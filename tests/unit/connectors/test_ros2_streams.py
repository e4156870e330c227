"""What becomes of each kind of stream: decoded, kept raw with a note, or refused."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from connectors.ros2.decode import decode_messages
from connectors.ros2.definition import DefinitionError
from connectors.source import Limits
from schemas.errors import CorruptError, LimitExceededError
from tests.unit.connectors.foreign import Types, mcap_bytes, read_all, written

if TYPE_CHECKING:
    from pathlib import Path

    from connectors.source import Stream, StreamBatch

TYPES = Types()
JOINTS = "sensor_msgs/msg/JointState"
JOINTS_TEXT = TYPES.text(JOINTS)
T0 = 1_790_000_000 * 10**9


def joints(frame: str | bytes = "base", names: int = 2) -> bytes:
    """A joint state with any bytes as frame_id."""
    raw = (frame.encode() if isinstance(frame, str) else frame) + b"\0"
    types = TYPES.store.types
    message = types[JOINTS](
        types["std_msgs/msg/Header"](
            types["builtin_interfaces/msg/Time"](5, 7), "?" * (len(raw) - 1)
        ),
        [f"joint{n}" for n in range(names)],
        np.arange(names, dtype=float),
        np.zeros(0),
        np.zeros(0),
    )
    return TYPES.encode(JOINTS, message).replace(b"?" * (len(raw) - 1) + b"\0", raw, 1)


def read(
    folder: Path,
    payloads: list[bytes],
    *,
    name: str = JOINTS,
    text: bytes | None = None,
    limits: Limits | None = None,
    **options: Any,
) -> tuple[Stream, list[StreamBatch]]:
    topic = ("/topic", name, TYPES.text(name) if text is None else text)
    data = mcap_bytes([topic], [(0, T0 + n, p) for n, p in enumerate(payloads)], **options)
    reading, batches = read_all([written(folder, data)], limits)
    assert reading.summary.messages == {"/topic": len(payloads)}
    assert sum(b.rows.num_rows for b in batches) == len(payloads)
    return reading.streams[0], batches


def test_a_mapped_type_goes_to_its_table(tmp_path: Path) -> None:
    stream, (batch,) = read(tmp_path, [joints(), joints("other", 3)])
    assert (stream.tables, stream.note) == (("joint_states",), "")
    rows = batch.rows.to_pylist()
    assert [row["names"] for row in rows] == [["joint0", "joint1"], ["joint0", "joint1", "joint2"]]
    assert [row["velocity"] for row in rows] == [[], []]
    assert [row["header_ns"] for row in rows] == [5_000_000_007] * 2
    assert [row["log_ns"] for row in rows] == [T0, T0 + 1]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (
            JOINTS_TEXT.replace(b"float64[] effort", b"float32[] effort"),
            "not those of the published",
        ),
        (b"this: is no definition", "not a field"),
        (b"wstring name", "wstring"),
        (b"Missing x", "not defined"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_schema_that_differs_is_kept_raw_with_a_note(
    tmp_path: Path, text: bytes, note: str
) -> None:
    stream, (batch,) = read(tmp_path, [joints()] * 3, text=text)
    assert stream.tables == ("messages",)
    assert note in stream.note
    assert batch.rows["payload"].to_pylist() == [joints()] * 3
    assert stream.schema_text == text


@pytest.mark.parametrize(
    ("encoding", "schema_encoding", "note"),
    [("cdr", "ros2idl", "not ros2msg"), ("json", "jsonschema", ""), ("protobuf", "protobuf", "")],
)
def test_other_encodings_are_kept_raw(
    tmp_path: Path, encoding: str, schema_encoding: str, note: str
) -> None:
    stream, (batch,) = read(
        tmp_path, [b"{}", b"\xff"], encoding=encoding, schema_encoding=schema_encoding
    )
    assert stream.tables == ("messages",)
    assert note in stream.note
    assert batch.rows["encoding"].to_pylist() == [encoding] * 2
    assert batch.rows["payload"].to_pylist() == [b"{}", b"\xff"]
    assert batch.rows["header_ns"].null_count == 2


@pytest.mark.parametrize("kind", [b"\x00\x02", b"\x00\x07", b"\x00\x0b"])
def test_a_stream_of_another_encapsulation_is_kept_raw(tmp_path: Path, kind: bytes) -> None:
    payload = kind + joints()[2:]
    stream, (batch,) = read(tmp_path, [payload] * 3)
    assert (stream.tables, batch.table) == (("messages",), "messages")
    assert "not plain CDR" in stream.note
    assert batch.rows["payload"].to_pylist() == [payload] * 3


@pytest.mark.parametrize("group_bytes", [1, 1 << 20])
@pytest.mark.parametrize("odd", [0, 1, 2])
def test_mixed_encapsulations_are_refused(tmp_path: Path, odd: int, group_bytes: int) -> None:
    payloads = [joints()] * 3
    payloads[odd] = b"\x00\x07" + joints()[2:]
    with pytest.raises(CorruptError, match=r"/topic: message \d has another encapsulation"):
        read(tmp_path, payloads, limits=Limits(group_bytes=group_bytes), chunk_size=1)


def test_both_byte_orders_in_one_stream_keep_their_order(tmp_path: Path) -> None:
    rng = random.Random(2)
    values = [TYPES.random(JOINTS, rng) for _ in range(20)]
    mixed = [TYPES.encode(JOINTS, v, big_endian=n % 3 == 0) for n, v in enumerate(values)]
    plain = [TYPES.encode(JOINTS, v) for v in values]
    (one,) = read(tmp_path, mixed)[1]
    (other,) = read(tmp_path, plain)[1]
    assert repr(one.rows.to_pylist()) == repr(other.rows.to_pylist())
    assert one.rows["message"].to_pylist() == list(range(20))


def test_stamps_of_raw_messages_in_both_byte_orders(tmp_path: Path) -> None:
    name = "diagnostic_msgs/msg/DiagnosticArray"
    value = TYPES.random(name, random.Random(1))
    value.header.stamp.sec, value.header.stamp.nanosec = -3, 999_999_999
    payloads = [TYPES.encode(name, value, big_endian=big) for big in (True, False)]
    stream, (batch,) = read(tmp_path, [*payloads, b"\0\1\0\0\0"], name=name)
    assert stream.tables == ("messages",)
    assert batch.rows["header_ns"].to_pylist() == [-2_000_000_001] * 2 + [None]


def test_text_that_is_not_utf8_is_kept_raw_and_the_rest_is_decoded(tmp_path: Path) -> None:
    shift_jis = "棚".encode("shift_jis")
    payloads = [joints(), joints(shift_jis), joints("棚"), joints(shift_jis, 3)]
    stream, batches = read(tmp_path, payloads)
    assert stream.tables == ("joint_states", "messages")
    assert "2 messages is not UTF-8" in stream.note
    by_table = {batch.table: batch.rows for batch in batches}
    assert by_table["joint_states"]["message"].to_pylist() == [0, 2]
    assert by_table["joint_states"]["frame_id"].to_pylist() == ["base", "棚"]
    assert by_table["messages"]["message"].to_pylist() == [1, 3]
    assert by_table["messages"]["payload"].to_pylist() == [payloads[1], payloads[3]]


def test_a_view_of_such_text_shows_replacement_characters() -> None:
    payload = joints("棚".encode("shift_jis"))
    view = decode_messages(TYPES.text(JOINTS), JOINTS, pa.array([payload], pa.binary()))
    assert "\ufffd" in view["header"][0]["frame_id"].as_py()


@pytest.mark.parametrize("extra", [0, 3, 8])
def test_padding_behind_the_last_field_is_passed_over(tmp_path: Path, extra: int) -> None:
    payloads = [joints(), joints() + b"\0" * extra]
    assert len(read(tmp_path, payloads)[1][0].rows) == 2


def test_more_than_padding_behind_the_last_field_is_refused(tmp_path: Path) -> None:
    payloads = [joints(), joints() + b"\0" * 9]
    with pytest.raises(CorruptError, match=r"/topic: message 1 .*more bytes than its definition"):
        read(tmp_path, payloads)


def test_a_damaged_message_is_named_with_its_position(tmp_path: Path) -> None:
    bad = bytearray(joints("base", 3))
    bad[12:16] = struct.pack("<I", 1 << 31)  # length of frame_id
    payloads = [joints()] * 50
    payloads[41] = bytes(bad)
    for group_bytes in (1, 1 << 20):
        with pytest.raises(CorruptError) as error:
            read(tmp_path, payloads, limits=Limits(group_bytes=group_bytes), chunk_size=1)
        assert "/topic: message 41 does not fit" in str(error.value)
        assert "a length word reaches beyond the message at byte 2147483664" in str(error.value)


@pytest.mark.parametrize("short", [b"", b"\0\1\0", b"\0\1\0\0", b"\0\1\0\0\1\0\0\0"])
def test_a_message_too_short_is_refused(tmp_path: Path, short: bytes) -> None:
    with pytest.raises(CorruptError, match="message 0"):
        read(tmp_path, [short, joints()])


def test_items_of_one_message_are_limited(tmp_path: Path) -> None:
    payloads = [joints("base", 50)] * 3
    assert len(read(tmp_path, payloads, limits=Limits(message_elements=50))[1][0].rows) == 3
    with pytest.raises(LimitExceededError):
        read(tmp_path, [*payloads, joints("base", 51)], limits=Limits(message_elements=50))


def test_a_count_of_all_ones_is_refused_at_once(tmp_path: Path) -> None:
    bad = bytearray(joints("base", 3))
    place = bad.index(struct.pack("<I", 3), 20)
    bad[place : place + 4] = b"\xff" * 4
    with pytest.raises(CorruptError, match="a sequence length reaches beyond"):
        read(tmp_path, [bytes(bad), joints()])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A_msgs/X x\n===\nMSG: A_msgs/X\nA_msgs/Y y\n===\nMSG: A_msgs/Y\nA_msgs/X x", "itself"),
        ("uint8 a\nuint8 a", "twice"),
        ("uint8[99999999999] a", "elements"),
        ("A/B[2000000000] x\n===\nMSG: A/B\nuint64[2000000000] y", "bytes"),
        ("int32 a\n---\nint32 b", "not a field"),
        ("uint8 a\n===\nIDL: a/B\nstruct {}", "not 'MSG:'"),
        ("\n".join(f"uint8 f{n}" for n in range(30_000)), "fields"),
        ("uint8 " + "a" * 2_000_000, "over"),
        (
            "A/L0 x\n" + "".join(f"===\nMSG: A/L{n}\nA/L{n + 1} x\n" for n in range(50))
            + "===\nMSG: A/L50\nuint8 x",
            "deeper",
        ),
        (
            "A/L0 x\n"
            + "".join(
                f"===\nMSG: A/L{n}\n" + "".join(f"A/L{n + 1} x{i}\n" for i in range(10))
                for n in range(20)
            )
            + "===\nMSG: A/L20\nuint8 x",
            "fields",
        ),
    ],
)  # fmt: skip
def test_definitions_that_cannot_be_real_are_refused(text: str, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        decode_messages(text.encode(), "a_msgs/msg/T", pa.array([b""], pa.binary()))


def test_constants_defaults_comments_and_bounds_take_no_bytes() -> None:
    text = b"""# a comment
int32 A=1
string B = "with # and ="   # constant
uint8 a 3        # default
string<=5 b "x#y"
float32[<=2] c [1.0, 2.0]
Header header
===
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
"""
    payload = b"\0\1\0\0\7\0\0\0" + struct.pack("<I", 3) + b"hi\0\0" + struct.pack("<I", 1)
    payload += struct.pack("<fiII", 0.5, 1, 2, 1) + b"\0"
    view = decode_messages(text, "a_msgs/msg/T", pa.array([payload], pa.binary()))
    assert view.to_pylist() == [
        {"a": 7, "b": "hi", "c": [0.5],
         "header": {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": ""}}
    ]  # fmt: skip
    too_long = payload.replace(
        struct.pack("<I", 3) + b"hi\0\0", struct.pack("<I", 7) + b"hi\0\0hi\0\0"
    )
    with pytest.raises(ValueError, match="more than 6 elements"):
        decode_messages(text, "a_msgs/msg/T", pa.array([too_long], pa.binary()))


def test_no_messages_still_have_columns() -> None:
    view = decode_messages(TYPES.text(JOINTS), JOINTS, pa.array([], pa.binary()))
    assert view.num_rows == 0
    full = decode_messages(TYPES.text(JOINTS), JOINTS, pa.array([joints()], pa.binary()))
    assert view.schema == full.schema
    sliced = pa.array([b"x", joints(), joints("b")], pa.binary()).slice(1, 1)
    assert decode_messages(TYPES.text(JOINTS), JOINTS, sliced).equals(full)


def test_a_long_varying_sequence_in_one_message_is_decoded_in_time() -> None:
    name = "nav_msgs/msg/Path"
    rng = random.Random(1)
    pose = TYPES.random("geometry_msgs/msg/PoseStamped", rng)
    path = TYPES.random(name, rng)
    path.poses = [pose] * 20_000
    payload = TYPES.encode(name, path)
    view = decode_messages(
        TYPES.text(name), name, pa.array([payload, payload[:-1] + b"\0" * 5], pa.binary())
    )
    assert len(view["poses"][0]) == 20_000


def test_nested_sequences_of_which_only_the_first_items_hold_any() -> None:
    # Message 1 is walked before message 0, because it has more items; only first items hold points.
    types = Types()
    types.add("a_msgs/msg/Inner", "geometry_msgs/Point[] points")
    types.add("a_msgs/msg/Outer", "a_msgs/Inner[] inners")
    kinds = types.store.types
    inner, point = kinds["a_msgs/msg/Inner"], kinds["geometry_msgs/msg/Point"]
    values = [[inner([point(1.0, 0.0, 0.0)])], [inner([point(2.0, 0.0, 0.0)] * 2), inner([])]]
    payloads = [types.encode("a_msgs/msg/Outer", kinds["a_msgs/msg/Outer"](v)) for v in values]
    view = decode_messages(types.text("a_msgs/msg/Outer"), "a_msgs/msg/Outer", pa.array(payloads))
    found = [[[p["x"] for p in i["points"]] for i in row] for row in view["inners"].to_pylist()]
    assert found == [[[1.0]], [[2.0, 2.0], []]]


def test_text_that_is_not_utf8_in_one_of_many_transforms(tmp_path: Path) -> None:
    name = "tf2_msgs/msg/TFMessage"
    kinds = TYPES.store.types
    rng = random.Random(4)
    payloads = []
    for count in (1, 3, 2):
        items = [TYPES.random("geometry_msgs/msg/TransformStamped", rng) for _ in range(count)]
        for item in items:
            item.child_frame_id = "?child"
        payloads.append(TYPES.encode(name, kinds[name](items)))
    payloads[1] = payloads[1][::-1].replace(b"dlihc?", b"dlihc\xff", 1)[::-1]  # its last transform
    data = mcap_bytes([("/tf", name, TYPES.text(name))], [(0, T0, p) for p in payloads])
    reading, batches = read_all([written(tmp_path, data)])
    by_table = {batch.table: batch.rows for batch in batches}
    assert by_table["messages"]["message"].to_pylist() == [1]
    assert by_table["transforms"]["message"].to_pylist() == [0, 2, 2]
    assert by_table["transforms"]["item"].to_pylist() == [0, 0, 1]
    assert reading.summary.messages == {"/tf": 3}
