"""MCAP containers of every kind, whole and damaged, and recordings of several files."""

from __future__ import annotations

import random
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import lz4.frame
import pyarrow as pa
import pytest
import zstandard
from mcap.writer import CompressionType, IndexType, Writer

from connectors.registry import load
from connectors.source import Limits
from schemas.errors import (
    CorruptError,
    EmptyRecordingError,
    LimitExceededError,
    WrongFormatError,
)
from tests.unit.connectors.foreign import Types, mcap_bytes, read_all, source_file, written

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"\x89MCAP0\r\n"
STRING = ("/text", "std_msgs/msg/String", b"string data")
TYPES = Types()
TOPICS = [
    ("/joints", "sensor_msgs/msg/JointState", TYPES.text("sensor_msgs/msg/JointState")),
    ("/imu", "sensor_msgs/msg/Imu", TYPES.text("sensor_msgs/msg/Imu")),
    STRING,
]
QUIET = {
    "index_types": IndexType.NONE,
    "repeat_channels": False,
    "repeat_schemas": False,
    "use_statistics": False,
    "use_summary_offsets": False,
}


def messages(count: int = 300) -> list[tuple[int, int, bytes]]:
    rng = random.Random(1)
    return [
        (n % 3, 10**18 + n, TYPES.encode(TOPICS[n % 3][1], TYPES.random(TOPICS[n % 3][1], rng)))
        for n in range(count)
    ]


def text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(raw)) + raw


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def field(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def schema(
    number: int, name: bytes = b"std_msgs/msg/String", body: bytes = b"string data"
) -> bytes:
    return record(3, struct.pack("<H", number) + field(name) + field(b"ros2msg") + field(body))


def channel(number: int, schema_number: int, topic: bytes = b"/text") -> bytes:
    head = struct.pack("<HH", number, schema_number)
    return record(4, head + field(topic) + field(b"cdr") + field(b""))


def message(number: int, payload: bytes, log_ns: int = 5) -> bytes:
    return record(5, struct.pack("<HIQQ", number, 0, log_ns, log_ns) + payload)


def chunk(stored: bytes, size: int, compression: bytes = b"", crc: int = 0) -> bytes:
    head = struct.pack("<QQQI", 0, 0, size, crc)
    return record(6, head + field(compression) + struct.pack("<Q", len(stored)) + stored)


def whole(*parts: bytes) -> bytes:
    end = record(15, struct.pack("<I", 0)) + record(2, struct.pack("<QQI", 0, 0, 0))
    return MAGIC + record(1, field(b"ros2") + field(b"test")) + b"".join(parts) + end + MAGIC


def tables(folder: Path, data: bytes, limits: Limits | None = None) -> dict[Any, Any]:
    reading, batches = read_all([written(folder, data)], limits)
    rows: dict[Any, Any] = {}
    for batch in batches:
        batch.rows.validate(full=True)
        rows.setdefault((batch.stream, batch.table), []).append(batch.rows)
    assert reading.summary.lost == []
    return {key: pa.Table.from_batches(each).to_pylist() for key, each in rows.items()}


VARIANTS: dict[str, dict[str, Any]] = {
    "lz4": {"compression": CompressionType.LZ4},
    "none": {"compression": CompressionType.NONE},
    "unchunked": {"use_chunking": False},
    "unchunked without summary": {"use_chunking": False, **QUIET},
    "no message index": {"index_types": IndexType.CHUNK},
    "no summary": QUIET,
    "no checksums": {"enable_crcs": False},
    "data checksum": {"enable_data_crcs": True},
    "tiny chunks": {"chunk_size": 1},
    "one chunk": {"chunk_size": 1 << 22},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_container_variant_gives_the_same_rows(tmp_path: Path, variant: str) -> None:
    expected = tables(tmp_path, mcap_bytes(TOPICS, messages()))
    found = tables(tmp_path, mcap_bytes(TOPICS, messages(), **VARIANTS[variant]))
    assert repr(found) == repr(expected)  # NaN equals NaN in text
    assert sum(len(rows) for rows in found.values()) == 300


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"enable_crcs": False}, "2 of 2 chunks"),
        ({"use_chunking": False}, "300 messages outside chunks"),
        ({"use_chunking": False, "enable_data_crcs": True}, None),
        ({}, None),
    ],
)
def test_parts_without_checksum_are_named(
    tmp_path: Path, options: dict[str, Any], part: str | None
) -> None:
    data = mcap_bytes(TOPICS, messages(), chunk_size=30_000, **options)
    reading, _ = read_all([written(tmp_path, data)])
    assert reading.summary.unverified == ([] if part is None else [f"log.mcap: {part}"])


def test_a_wrong_chunk_checksum_names_chunk_place_expected_and_found(tmp_path: Path) -> None:
    body = schema(1) + channel(1, 1) + message(1, text("a"))
    data = whole(chunk(body, len(body), crc=zlib.crc32(body)), chunk(body, len(body), crc=7))
    place = data.rindex(struct.pack("<B", 6) + struct.pack("<Q", len(body) + 40))
    found = f"{zlib.crc32(body):#010x}"
    with pytest.raises(CorruptError, match=f"chunk 1: CRC {found} instead of 0x00000007") as error:
        tables(tmp_path, data)
    assert f"at byte {place}" in str(error.value)


def test_a_wrong_data_checksum_is_refused(tmp_path: Path) -> None:
    data = mcap_bytes(TOPICS, messages(9), use_chunking=False, enable_data_crcs=True)
    place = data.index(b"\0\1\0\0") + 6
    with pytest.raises(CorruptError, match="data section CRC"):
        tables(tmp_path, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_an_index_that_leaves_messages_out_hides_nothing(tmp_path: Path) -> None:
    body = schema(1) + channel(1, 1)
    first = len(body)
    body += message(1, text("a")) + message(1, text("b"))
    for offsets in ([first], [first + 1], [-8], [1 << 40], [first, first], []):
        entries = b"".join(struct.pack("<Qq", 5, offset) for offset in offsets)
        index = record(7, struct.pack("<H", 1) + field(entries))
        found = tables(tmp_path, whole(chunk(body, len(body)) + index))
        assert [row["payload"] for row in found["/text", "messages"]] == [text("a"), text("b")]


BOMB = b"\0" * (16 << 20)


def bombs() -> dict[str, tuple[bytes, bytes]]:
    small = zstandard.ZstdCompressor(level=1)
    return {
        "zstd": (b"zstd", small.compress(BOMB)),
        "zstd without size": (
            b"zstd",
            zstandard.ZstdCompressor(level=1, write_content_size=False).compress(BOMB),
        ),
        "lz4": (b"lz4", lz4.frame.compress(BOMB)),
    }


@pytest.mark.parametrize("kind", ["zstd", "zstd without size", "lz4"])
def test_bombs_are_refused_by_declared_and_by_real_size(tmp_path: Path, kind: str) -> None:
    compression, stored = bombs()[kind]
    with pytest.raises(CorruptError, match="chunk 0"):
        tables(tmp_path, whole(chunk(stored, 1_000, compression)))
    with pytest.raises(LimitExceededError, match="chunk 0"):
        tables(tmp_path, whole(chunk(stored, len(BOMB), compression)), Limits(chunk_bytes=1 << 20))


@pytest.mark.parametrize("compression", [b"zstd", b"lz4", b"", b"brotli"])
def test_chunks_that_do_not_unpack_are_refused(tmp_path: Path, compression: bytes) -> None:
    body = schema(1) + channel(1, 1) + message(1, text("a"))
    for stored, size in ((b"", 5), (b"rubbish", 7), (body, len(body) + 1), (body, len(body) - 1)):
        if compression == b"" and stored == b"rubbish":
            continue
        with pytest.raises(CorruptError, match="chunk 0"):
            tables(tmp_path, whole(chunk(stored, size, compression)))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((b"\x10" + b"\0" * 8,), "opcode 0x10"),
        ((b"\0" * 20,), "opcode 0x00"),
        ((schema(1), schema(1, b"other"), channel(1, 1)), "defined twice"),
        ((schema(1), channel(1, 1), channel(1, 1, b"/b")), "defined twice"),
        ((channel(1, 9),), "schema 9"),
        ((schema(1), channel(1, 1), message(2, text("a"))), "channel that is not defined"),
        ((schema(1), channel(1, 1), record(5, b"short")), "without its fields"),
        ((schema(1), channel(1, 1), message(1, text("a"), 1 << 63)), "63 bits"),
        ((record(7, struct.pack("<HI", 1, 0)),), "without its chunk"),
        ((record(3, b"\1"),), "beyond the record"),
        ((chunk(b"\5", 1),), "chunk 0"),
        ((record(15, b"\0\0\0\0"), schema(1)), "not where the data end"),
        ((struct.pack("<BQ", 5, 1 << 50),), "beyond the end of the file"),
    ],
)
def test_wrong_structure_is_refused(tmp_path: Path, parts: tuple[bytes, ...], reason: str) -> None:
    with pytest.raises(CorruptError, match=reason):
        tables(tmp_path, whole(*parts))


def test_counts_that_differ_from_the_statistics_are_refused(tmp_path: Path) -> None:
    data = mcap_bytes([STRING], [(0, 5, text("a"))], enable_crcs=False)
    counts = struct.pack("<HQ", 1, 1)
    place = data.rindex(counts)
    wrong = data[:place] + struct.pack("<HQ", 1, 2) + data[place + 10 :]
    with pytest.raises(CorruptError, match=r"channel 1 .*expected 2, found 1"):
        tables(tmp_path, wrong)


def test_private_records_and_attachments_are_passed_over(tmp_path: Path) -> None:
    extra = record(0x80, b"x" * 100) + record(9, b"attachment" * 1_000_000) + record(12, b"m")
    found = tables(tmp_path, whole(extra, schema(1), channel(1, 1), extra, message(1, text("a"))))
    assert len(found["/text", "messages"]) == 1


def test_several_publishers_of_a_topic_make_one_stream(tmp_path: Path) -> None:
    data = whole(
        schema(1),
        schema(2),
        channel(1, 1),
        channel(2, 2),
        message(1, text("a")),
        message(2, text("b")),
        message(1, text("c")),
    )
    rows = tables(tmp_path, data)["/text", "messages"]
    assert [row["payload"] for row in rows] == [text("a"), text("b"), text("c")]
    assert [row["message"] for row in rows] == [0, 1, 2]


def test_another_schema_on_a_topic_makes_another_stream(tmp_path: Path) -> None:
    data = whole(
        schema(1),
        schema(2, body=b"string other"),
        schema(3, b"a_msgs/msg/B"),
        channel(1, 1),
        channel(2, 2),
        channel(3, 3),
        *(message(number, text("a")) for number in (1, 2, 3)),
    )
    names = [key[0] for key in tables(tmp_path, data)]
    assert names[0] == "/text"
    assert names[1] == "/text [std_msgs/msg/String]"
    assert names[2] == "/text [a_msgs/msg/B]"


def test_a_recording_without_messages_is_empty(tmp_path: Path) -> None:
    with pytest.raises(EmptyRecordingError):
        tables(tmp_path, whole(schema(1), channel(1, 1)))


def test_unknown_serialization_everywhere_is_refused(tmp_path: Path) -> None:
    data = mcap_bytes([STRING], [(0, 5, text("a"))], encoding="wrong_format")
    with pytest.raises(WrongFormatError, match="wrong_format"):
        load("mcap").read([written(tmp_path, data)], Limits())


def metadata(path: Path, counts: dict[str, int], files: list[str], form: str = "cdr") -> Any:
    topics = "".join(
        f"    - topic_metadata: {{name: {name}, type: t, serialization_format: {form}}}\n"
        f"      message_count: {count}\n"
        for name, count in counts.items()
    )
    listed = "".join(f"    - {name}\n" for name in files)
    path.write_text(
        "rosbag2_bagfile_information:\n  version: 6\n  storage_identifier: mcap\n"
        f"  relative_file_paths:\n{listed}  topics_with_message_count:\n{topics}"
    )
    return source_file(path)


def split(folder: Path, number: int, values: str) -> Any:
    data = mcap_bytes([STRING], [(0, 5, text(value)) for value in values])
    return written(folder, data, f"bag_{number}.mcap")


def payloads(batches: Any) -> list[str]:
    return [row["payload"][8:-1].decode() for batch in batches for row in batch.rows.to_pylist()]


def test_numbered_splits_are_read_in_numeric_order(tmp_path: Path) -> None:
    files = [split(tmp_path, number, f"{number % 10}x") for number in (10, 9, 0)]
    reading, batches = read_all(files)
    assert payloads(batches) == list("0x9x0x")
    assert [n for b in batches for n in b.rows["message"].to_pylist()] == [0, 1, 2, 3, 4, 5]
    assert {batch.file_id for batch in batches} == {file.sha256 for file in files}
    assert reading.summary.declared == {"/text": 6}


def test_metadata_orders_the_splits_and_declares_counts(tmp_path: Path) -> None:
    files = [split(tmp_path, number, str(number)) for number in (0, 1, 2)]
    names = ["bag_2.mcap", "../../../etc/passwd", "bag_0.mcap", "/bag_1.mcap", "bag_7.mcap"]
    sidecar = metadata(tmp_path / "metadata.yaml", {"/text": 5, "/none": 0}, names)
    reading, batches = read_all([*files, sidecar])
    assert payloads(batches) == ["2", "0", "1"]
    assert reading.summary.declared == {"/text": 5}
    assert [lost.file for lost in reading.summary.lost] == ["passwd", "bag_7.mcap"]


def test_metadata_that_disagrees_is_refused(tmp_path: Path) -> None:
    file = split(tmp_path, 0, "a")
    sidecar = metadata(tmp_path / "metadata.yaml", {"/text": 1}, ["bag_0.mcap"], "other")
    with pytest.raises(WrongFormatError, match=r"disagree.*expected other, found cdr"):
        load("mcap").read([file, sidecar], Limits())


@pytest.mark.parametrize(
    "content",
    [b"", b"a: [", b"[1, 2]", b"rosbag2_bagfile_information: {storage_identifier: sqlite3}",
     b"rosbag2_bagfile_information:\n  topics_with_message_count: [{message_count: x}]",
     b"!!python/object/apply:os.system ['true']", b"#" * (2 << 20)],
)  # fmt: skip
def test_metadata_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metadata.yaml"
    path.write_bytes(content)
    with pytest.raises(WrongFormatError, match=r"metadata\.yaml"):
        load("mcap").read([split(tmp_path, 0, "a"), source_file(path)], Limits())


def test_an_empty_split_beside_a_full_one_is_named_as_lost(tmp_path: Path) -> None:
    reading, batches = read_all([split(tmp_path, 0, "ab"), written(tmp_path, b"", "bag_1.mcap")])
    assert payloads(batches) == ["a", "b"]
    assert [lost.reason for lost in reading.summary.lost] == ["the file has 0 bytes"]


def test_a_message_larger_than_the_group_is_read(tmp_path: Path) -> None:
    big = text("x" * 500_000)
    for chunked in (True, False):
        out = BytesIO()
        writer = Writer(out, use_chunking=chunked, compression=CompressionType.NONE)
        writer.start()
        number = writer.register_channel(
            "/text", "cdr", writer.register_schema(STRING[1], "ros2msg", STRING[2])
        )
        for log_ns in range(4):
            writer.add_message(number, log_ns, big, log_ns)
        writer.finish()
        rows = tables(tmp_path, out.getvalue(), Limits(group_bytes=1_000))["/text", "messages"]
        assert [row["payload"] for row in rows] == [big] * 4


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_a_chunk_of_many_megabytes_is_unpacked_in_pieces(tmp_path: Path, compression: str) -> None:
    noise = random.Random(1).randbytes(1 << 20)
    values = [b"\0\1\0\0" + noise[n:] for n in range(20)]
    data = mcap_bytes(
        [STRING],
        [(0, n, value) for n, value in enumerate(values)],
        compression=CompressionType[compression],
        chunk_size=1 << 26,
    )
    _, batches = read_all([written(tmp_path, data)])
    assert len(batches) > 1  # a chunk larger than a group comes in several batches
    assert [row["payload"] for b in batches for row in b.rows.to_pylist()] == values


def test_a_cut_before_the_first_message_is_an_empty_recording(tmp_path: Path) -> None:
    data = mcap_bytes([STRING], [(0, 5, text("a"))])
    with pytest.raises(EmptyRecordingError, match="ends inside a record"):
        tables(tmp_path, data[:60])
