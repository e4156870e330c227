"""Tanada's ways: the whole ingest, the decoder alone, and the limit that the hardware sets."""

from __future__ import annotations

import atexit
import hashlib
import subprocess
import sys
import time
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import zstandard
from mcap.reader import make_reader
from parquet_files import GROUP_BYTES, TableFiles

from connectors.registry import load
from connectors.ros2.decode import decode_messages
from connectors.settings import Settings
from connectors.source import Limits, SourceFile
from connectors.stores.initialise import initialise as make_root
from connectors.stores.receive import Receiver
from pipelines.batch import Station
from pipelines.cli.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcap.records import ChunkIndex

    from connectors.source import Reading
    from connectors.stores.initialise import Initialised

    Counts = dict[str, int]

_BLOCK: Final = 4 << 20
_CHUNK_HEADER: Final = 9 + 8 + 8  # opcode and length, first and last time
_prepared: dict[Path, list[tuple[str, pa.RecordBatch]]] = {}
_chunks: dict[Path, list[ChunkIndex]] = {}
_open: list[tuple[Platform, Station, Initialised]] = []
_closing = ExitStack()
atexit.register(_closing.close)


def _source_file(log: Path) -> SourceFile:
    with log.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SourceFile(log, log.name, log.stat().st_size, digest)


def _batches(log: Path, counts: Counts) -> Iterator[tuple[str, pa.RecordBatch]]:
    reading = load("mcap").read([_source_file(log)], Limits())
    for batch in reading.batches():
        yield f"{batch.table}/{batch.stream.strip('/')}", batch.rows
    counts |= reading.summary.messages


def decode(log: Path, out: Path) -> Counts:
    """Hash, decode in this process, one Parquet file per table and stream; pictures in Parquet."""
    counts: Counts = {}
    files = TableFiles(out)
    for key, rows in _batches(log, counts):
        files.add(key, rows)
    files.close()
    return counts


def decode_all(log: Path, out: Path) -> Counts:
    """Like `decode`, and messages without a signal table decoded too, as a lake query does."""
    reading = load("mcap").read([_source_file(log)], Limits())
    files = TableFiles(out)
    waiting: dict[str, list[pa.RecordBatch]] = {}
    for batch in reading.batches():
        if batch.table != "messages":
            files.add(f"{batch.table}/{batch.stream.strip('/')}", batch.rows)
            continue
        held = waiting.setdefault(batch.stream, [])
        held.append(batch.rows)
        if sum(rows.nbytes for rows in held) >= GROUP_BYTES:
            files.add(f"messages/{batch.stream.strip('/')}", _opened(reading, batch.stream, held))
            held.clear()
    for stream, held in waiting.items():
        if held:
            files.add(f"messages/{stream.strip('/')}", _opened(reading, stream, held))
    files.close()
    return dict(reading.summary.messages)


def _opened(reading: Reading, stream: str, held: list[pa.RecordBatch]) -> pa.RecordBatch:
    """The messages' own columns in place of their payload."""
    said = next(s for s in reading.streams if s.name == stream)
    rows = pa.concat_batches(held)
    values = decode_messages(said.schema_text, said.schema_name, rows.column("payload"))
    kept = {name: rows.column(name) for name in rows.schema.names if name != "payload"}
    own = {f"value.{name}": values.column(name) for name in values.schema.names}
    return pa.RecordBatch.from_pydict(kept | own)


def columns(log: Path, out: Path) -> None:
    """Decode in advance what `raw_limit` writes."""
    del out
    _prepared[log] = list(_batches(log, {}))
    with log.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    if summary is None:
        raise ValueError(f"{log} has no summary")
    _chunks[log] = summary.chunk_indexes


def raw_limit(log: Path, out: Path) -> Counts:
    """Read, SHA-256, decompress, CRC, and write the same columns that the decoder yields.

    No message is looked at: nothing that produces these tables can cost less.
    """
    digest, whole = hashlib.sha256(), bytearray(log.stat().st_size)
    with log.open("rb", buffering=0) as stream, memoryview(whole) as view:
        for start in range(0, len(whole), _BLOCK):
            block = view[start : start + _BLOCK]
            stream.readinto(block)
            digest.update(block)
    codec = zstandard.ZstdDecompressor()
    for index in _chunks[log]:
        header = index.chunk_start_offset + _CHUNK_HEADER
        size = int.from_bytes(whole[header : header + 8], "little")
        crc = int.from_bytes(whole[header + 8 : header + 12], "little")
        name = int.from_bytes(whole[header + 12 : header + 16], "little")
        start = header + 16 + name + 8
        data = memoryview(whole)[start : start + index.compressed_size]
        if zlib.crc32(codec.decompress(data, max_output_size=size)) != crc:
            raise ValueError(f"{log}: chunk at {index.chunk_start_offset} fails its CRC")
    files = TableFiles(out)
    for key, rows in _prepared[log]:
        files.add(key, _stored_pictures(out, rows) if "data" in rows.schema.names else rows)
    files.close()
    return {}


def _stored_pictures(out: Path, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Pictures go to a blob file, one after the other, as they do in the lake."""
    with (out / "pictures.blob").open("ab") as blob:
        for picture in rows.column("data"):
            blob.write(picture.as_buffer())
    kept = [name for name in rows.schema.names if name != "data"]
    return rows.select(kept)


def initialise(log: Path, out: Path) -> None:
    """Make a root and start what stays up between recordings: fork server, validator."""
    del log
    if _open:
        return
    folder = _root(out)
    made = make_root(folder, "bench", time.time_ns)
    platform = Platform.open(Settings.from_environment({}, root=str(folder)))
    station = _closing.enter_context(Station(platform))
    _open.append((platform, station, made))


def ingest(log: Path, out: Path) -> Counts:
    """The whole ingest of one recording: receive, decode, check, commit."""
    del out
    platform, station, made = _open[0]
    receiver = Receiver(platform.root, platform.engine, platform.clock)
    received = receiver.receive_paths(made.organisation, [log], made.robot, made.agreement)
    (row,) = station.lease(1, only=[received.recording_id])
    batch = station.open(made.organisation)
    station.add(batch, row)
    (outcome,) = station.finish(batch)
    if not outcome.status.startswith("accepted"):
        raise RuntimeError(f"{log}: {outcome.as_json()}")
    return {}


def initialise_command(log: Path, out: Path) -> None:
    """`tanada init`."""
    del log
    _tanada("init", "--organisation", "bench", "--root", str(_root(out)))


def command(log: Path, out: Path) -> Counts:
    """`tanada ingest LOG` as a person runs it, start of every process included."""
    _tanada("ingest", str(log), "--root", str(_root(out)))
    return {}


def ingested(log: Path, out: Path) -> Counts:
    """Messages per topic of the recording that was committed last; not timed."""
    from connectors.stores.lake import Lake
    from connectors.stores.root import Root

    lake = Lake(Root.open(str(_root(out))))
    pinned = lake.pin()
    episodes = lake.read("episodes", pinned).to_pylist()
    size = log.stat().st_size
    (recording,) = {row["recording_id"] for row in episodes if row["bytes"] == size}
    streams = lake.read("streams", pinned, recordings=[recording]).to_pylist()
    return {row["stream"]: row["messages"] for row in streams}


def _root(out: Path) -> Path:
    return out.parent / "root"


def _tanada(*arguments: str) -> None:
    argv = [str(Path(sys.executable).parent / "tanada"), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"tanada {arguments[0]} ended with {done.returncode}: {done.stderr}")
