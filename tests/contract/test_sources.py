"""What every source of the registry promises, whatever its format."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from connectors.registry import SOURCES, load, recognise
from connectors.source import Limits, SourceFile
from schemas.errors import EmptyRecordingError, QuarantineError, WrongFormatError
from schemas.tables import TABLES
from tests.unit.connectors.foreign import Types, mcap_bytes, read_all, source_file, written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from connectors.source import Reading, StreamBatch

ROOT = Path(__file__).parents[2]
T0 = 1_790_000_000 * 10**9


@dataclass(frozen=True)
class Sample:
    """How the suite makes recordings of one format.

    Attributes:
        make: Writes a recording of one file with several streams into a folder.
        tables: Rows expected per (stream, table).
        boundaries: Offsets where a part of the file's bytes (chunk, page, record) begins.
        large: Writes a recording that unpacks to about so many MB.
    """

    make: Callable[[Path], SourceFile]
    tables: dict[tuple[str, str], int]
    boundaries: Callable[[bytes], list[int]]
    large: Callable[[Path, int], SourceFile]


MCAP_TOPICS = (
    ("/joints", "sensor_msgs/msg/JointState"),
    ("/imu", "sensor_msgs/msg/Imu"),
    ("/odom", "nav_msgs/msg/Odometry"),
    ("/camera", "sensor_msgs/msg/CompressedImage"),
    ("/text", "std_msgs/msg/String"),
)


def mcap_sample(folder: Path) -> SourceFile:
    types, rng = Types(), random.Random(3)
    messages = []
    for number in range(40 * len(MCAP_TOPICS)):
        index = number % len(MCAP_TOPICS)
        name = MCAP_TOPICS[index][1]
        message = types.random(name, rng)
        stamp_ns = T0 + number * 1_000_003
        if hasattr(message, "header"):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        messages.append((index, stamp_ns + 250, types.encode(name, message)))
    topics = [(topic, name, types.text(name)) for topic, name in MCAP_TOPICS]
    return written(folder, mcap_bytes(topics, messages, chunk_size=12_000))


def mcap_boundaries(data: bytes) -> list[int]:
    at, found = 8, [0]
    while at + 9 <= len(data):
        found.append(at)
        at += 9 + struct.unpack_from("<Q", data, at + 1)[0]
    return [*found, len(data)]


def mcap_large(folder: Path, megabytes: int) -> SourceFile:
    """One chunk of 1 MB again and again, without summary."""
    types = Types()
    rng = random.Random(1)
    payloads = [types.encode(name, types.random(name, rng)) for _, name in MCAP_TOPICS]
    topics = [(topic, name, types.text(name)) for topic, name in MCAP_TOPICS]
    messages = [(n % 5, T0 + n, payloads[n % 5]) for n in range(5_000)]
    data = mcap_bytes(topics, messages, chunk_size=1 << 20)
    head, first = mcap_boundaries(data)[1:3]
    chunk = data[first : first + 9 + struct.unpack_from("<Q", data, first + 1)[0]]
    unpacked = struct.unpack_from("<Q", chunk, 9 + 16)[0]
    path = folder / "large.mcap"
    with path.open("wb") as out:
        out.write(data[:8] + data[head:first])
        for _ in range(megabytes * 1_000_000 // unpacked):
            out.write(chunk)
        out.write(b"\x0f" + struct.pack("<QI", 4, 0))
        out.write(b"\x02" + struct.pack("<QQQI", 20, 0, 0, 0) + data[:8])
    return SourceFile(path, path.name, path.stat().st_size, "0" * 64)


SAMPLES = {
    "mcap": Sample(
        mcap_sample,
        {
            ("/joints", "joint_states"): 40,
            ("/imu", "imu"): 40,
            ("/odom", "poses"): 40,
            ("/odom", "twists"): 40,
            ("/camera", "video_frames"): 40,
            ("/text", "messages"): 40,
        },
        mcap_boundaries,
        mcap_large,
    ),
}
every_source = pytest.mark.parametrize("name", sorted(SOURCES))


def joined(batches: Sequence[StreamBatch]) -> dict[tuple[str, str], pa.Table]:
    parts: dict[tuple[str, str], list[pa.RecordBatch]] = {}
    for batch in batches:
        batch.rows.validate(full=True)
        parts.setdefault((batch.stream, batch.table), []).append(batch.rows)
    return {key: pa.Table.from_batches(rows) for key, rows in parts.items()}


def full(name: str, folder: Path) -> tuple[SourceFile, Reading, dict[tuple[str, str], pa.Table]]:
    file = SAMPLES[name].make(folder)
    reading, batches = read_all([file], source=name)
    return file, reading, joined(batches)


def equal(one: pa.Table, other: pa.Table) -> bool:
    """Equal with NaN equal to NaN: compared as IPC bytes of one batch each."""
    return encoded(one) == encoded(other)


def encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # A take makes equal rows have equal buffers, wherever they were sliced from.
    whole = table.take(pa.array(range(table.num_rows), pa.int64())).combine_chunks()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(whole)
    return bytes(sink.getvalue())


def test_every_source_of_the_registry_is_in_this_suite() -> None:
    assert set(SAMPLES) == set(SOURCES)


@every_source
def test_recognised_by_content_and_not_by_name(name: str, tmp_path: Path) -> None:
    file = SAMPLES[name].make(tmp_path)
    other = tmp_path / "renamed.txt"
    other.write_bytes(file.path.read_bytes())
    assert recognise(other).name == name
    fake = tmp_path / ("fake" + file.path.suffix)
    fake.write_bytes(b"not what the name says" * 10)
    with pytest.raises(WrongFormatError, match="6e 6f 74"):
        recognise(fake)
    fake.write_bytes(b"")
    with pytest.raises(EmptyRecordingError):
        recognise(fake)


@every_source
def test_rows_are_as_declared(name: str, tmp_path: Path) -> None:
    file, reading, tables = full(name, tmp_path)
    assert {key: table.num_rows for key, table in tables.items()} == SAMPLES[name].tables
    assert reading.summary.declared == reading.summary.messages
    assert reading.summary.lost == []
    for (stream, table), rows in tables.items():
        messages = rows["message"].to_numpy()
        assert (messages[1:] >= messages[:-1]).all()
        assert set(messages) == set(range(reading.summary.messages[stream])), table
    assert all(batch.file_id == file.sha256 for batch in read_all([file], source=name)[1])


@every_source
def test_schemas_are_the_tables_own(name: str, tmp_path: Path) -> None:
    for (_, table), rows in full(name, tmp_path)[2].items():
        own = list(TABLES[table].own_arrow)
        if table == "video_frames":
            own = [f for f in own if f.name not in {"blob", "offset", "size"}]
            own.append(pa.field("data", pa.large_binary(), nullable=False))
        assert list(rows.schema)[4:] == own
        for found, wanted in zip(list(rows.schema)[4:], own, strict=True):
            assert found.metadata == wanted.metadata  # carries the unit
        assert rows.schema.names[:4] == ["log_ns", "header_ns", "pub_ns", "message"]
        assert set(rows.schema.types[:4]) == {pa.int64()}


@every_source
def test_streams_say_what_they_are(name: str, tmp_path: Path) -> None:
    _, reading, tables = full(name, tmp_path)
    assert {(s.name, t) for s in reading.streams for t in s.tables} == set(tables)
    for stream in reading.streams:
        assert stream.message_type
        assert stream.encoding
        assert stream.schema_id
        assert stream.schema_text
        assert stream.metadata


@every_source
def test_the_same_file_twice_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    file, _, first = full(name, tmp_path)
    again = joined(read_all([file], source=name)[1])
    assert list(again) == list(first)
    assert all(again[key].equals(first[key]) or equal(again[key], first[key]) for key in first)


@every_source
@pytest.mark.parametrize("group_bytes", [1, 3_000, 20_000])
def test_rows_do_not_depend_on_the_group_size(name: str, tmp_path: Path, group_bytes: int) -> None:
    file, _, first = full(name, tmp_path)
    small = joined(read_all([file], Limits(group_bytes=group_bytes), source=name)[1])
    assert set(small) == set(first)
    assert all(equal(small[key], first[key]) for key in first)


@every_source
def test_a_cut_file_gives_a_prefix_and_says_so_or_an_error(name: str, tmp_path: Path) -> None:
    file, _, whole = full(name, tmp_path)
    data = file.path.read_bytes()
    rng = random.Random(5)
    cuts = {at + step for at in SAMPLES[name].boundaries(data) for step in (-1, 0, 1)}
    cuts |= {rng.randrange(len(data)) for _ in range(60)}
    outcomes = {"prefix": 0, "error": 0}
    for cut in sorted(at for at in cuts if 0 <= at < len(data)):
        try:
            reading, batches = read_all([written(tmp_path, data[:cut], "cut.mcap")], source=name)
        except QuarantineError:
            outcomes["error"] += 1
            continue
        outcomes["prefix"] += 1
        assert reading.summary.lost, cut
        assert reading.summary.lost[-1].end == cut
        for key, rows in joined(batches).items():
            assert equal(rows, whole[key].slice(0, rows.num_rows)), (cut, key)
        for stream, count in reading.summary.messages.items():
            assert count <= 40, stream
    print(f"{name}: {outcomes}")
    assert outcomes["prefix"] > outcomes["error"]


@every_source
def test_a_flipped_bit_never_gives_a_wrong_row(name: str, tmp_path: Path) -> None:
    file, _, whole = full(name, tmp_path)
    data = file.path.read_bytes()
    rng = random.Random(6)
    places = {rng.randrange(len(data)) for _ in range(250)}
    places |= {at + rng.randrange(9) for at in SAMPLES[name].boundaries(data)[:-1] for _ in "ab"}
    refused = 0
    for place in sorted(at for at in places if at < len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randrange(8)
        try:
            reading, batches = read_all(
                [written(tmp_path, bytes(damaged), "bad.mcap")], source=name
            )
        except QuarantineError:
            refused += 1
            continue
        found = joined(batches)
        for key, rows in found.items():
            assert equal(rows, whole[key].slice(0, rows.num_rows)), (place, key)
        if {k: t.num_rows for k, t in found.items()} != SAMPLES[name].tables:
            assert reading.summary.lost, place
    print(f"{name}: {refused} of {len(places)} flips refused, no wrong row")
    assert refused > len(places) / 2


MEASURE = """
import json, sys
from pathlib import Path
from connectors.registry import load
from connectors.source import Limits, SourceFile
path = Path(sys.argv[2])
file = SourceFile(path, path.name, path.stat().st_size, "0" * 64)
reading = load(sys.argv[1]).read([file], Limits())
rows = sum(batch.rows.num_rows for batch in reading.batches())
# Not ru_maxrss: across fork and exec that also counts what the parent held.
peak = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
print(json.dumps({"rows": rows, "mb": int(peak.split()[1]) / 1024}))
"""


@every_source
def test_memory_is_bounded_by_the_group_and_not_by_the_file(name: str, tmp_path: Path) -> None:
    peaks = []
    for megabytes in (40, 400):
        file = SAMPLES[name].large(tmp_path, megabytes)
        command = [sys.executable, "-c", MEASURE, name, str(file.path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        result = json.loads(done.stdout)
        assert result["rows"] > 0
        peaks.append(result["mb"])
    print(f"{name}: peak {peaks[0]:.0f} MB at 40 MB, {peaks[1]:.0f} MB at 400 MB")
    assert peaks[1] < 300
    assert peaks[1] < peaks[0] + 60


@every_source
def test_nothing_but_empty_files_is_an_empty_recording(name: str, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with pytest.raises(EmptyRecordingError):
        load(name).read([source_file(path)], Limits())
