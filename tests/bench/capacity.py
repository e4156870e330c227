"""Measure on this machine, with the real platform, the rates that `tanada plan` reckons with.

Run it: `.venv/bin/python tests/bench/capacity.py`. It writes `results/<date>-capacity.json`; the
plan takes such a file with `--from`, and ships the newest one as
`pipelines/capacity/measurements.json`. CPU seconds are of this process and all below it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import platform as machine
import sqlite3
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event, func, select

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script

from connectors.settings import Settings
from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.models import Base, Recording
from connectors.stores.initialise import initialise
from connectors.stores.receive import Receiver
from infra.demo.robot_log import STANDARD, LogSpec, write_log
from infra.demo.sectors import SECTOR_ROBOTS, write_sector_recording
from infra.demo.streams import GENERATORS
from infra.demo.window import Topic
from pipelines.batch import Station
from pipelines.cli.platform import Platform
from pipelines.commit.committer import add_action, settle, transact
from pipelines.commit.log import checkpoint_path, entry_path, markers
from pipelines.commit.plan import PlannedFile
from schemas.tables import TABLES
from tests.bench.measure import tree_cpu

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from connectors.stores.initialise import Initialised
    from infra.demo.robot_log import LogFacts

RESULTS: Final = Path(__file__).with_name("results")
SHORT_S: Final = 5.0
LONG_S: Final = 65.0
MANY: Final = 200
"""Recordings of the batch that fixed costs are taken from; a worker's default batch."""
RATES: Final = {
    "sensor_msgs/CompressedImage": 30.0,
    "sensor_msgs/LaserScan": 20.0,
    "vision_msgs/Detection2DArray": 30.0,
}
"""Rates of heavy kinds; the others are written at `RATE`."""
RATE: Final = 2_000.0
FRAMES: Final = {
    "sensor_msgs/JointState": "",
    "sensor_msgs/CompressedImage": "camera_optical_frame",
}
DISTINCT_FRAMES: Final = 300
ROUNDS: Final = 3
"""The least CPU time of so many counts: what else runs only adds."""
PER_MESSAGE: Final = frozenset({"signal", "frames", "messages"})
"""Kinds of table whose rows come from messages."""
COMMITS: Final = 100
PER_COMMIT: Final = 1_000
_TEN: Final = 10


@dataclass(slots=True)
class Bench:
    """A platform at work, and what its steps and statements are."""

    platform: Platform
    made: Initialised
    station: Station | None = None
    steps: list[tuple[float, str]] = field(default_factory=list)
    transactions: int = 0

    def note(self, step: str) -> None:
        """A step of the committer begins."""
        self.steps.append((time.perf_counter(), step))

    def ingest(self, logs: Sequence[Path]) -> dict[str, Any]:
        """One batch, receive to commit: CPU s, wall s of each part, rows by table."""
        if self.station is None:
            raise RuntimeError("the station is not open")
        begin, start = tree_cpu(), time.perf_counter()
        before = self.transactions
        receiver = Receiver(self.platform.root, self.platform.engine, self.platform.clock)
        ids = [
            receiver.receive_paths(
                self.made.organisation, [log], self.made.robot, self.made.agreement
            ).recording_id
            for log in logs
        ]
        received = time.perf_counter()
        rows = self.station.lease(len(ids), only=ids)
        batch = self.station.open(self.made.organisation)
        self.steps.clear()
        for row in rows:
            self.station.add(batch, row)
        outcomes = self.station.finish(batch)
        done = time.perf_counter()
        wrong = [o.as_json() for o in outcomes if not o.status.startswith("accepted")]
        if wrong or len(outcomes) != len(logs):
            raise RuntimeError(f"not accepted: {wrong[:1]}")
        times = [*self.steps, (done, "end")]
        commits = [
            after - at for (at, step), (after, _) in pairwise(times) if step.startswith("commit ")
        ]
        counted: dict[str, int] = {}
        for outcome in outcomes:
            for table, count in outcome.tables.items():
                counted[table] = counted.get(table, 0) + count
        return {
            "cpu": tree_cpu() - begin,
            "receive_s": received - start,
            "wall_s": done - start,
            "commits": commits,
            "rows": counted,
            "transactions": self.transactions - before,
        }

    def size(self, part: str, suffix: str = "") -> tuple[int, int]:
        """Files and bytes below a folder of the root; a table's log and manifest aside."""
        found = [
            path.stat().st_size
            for path in (self.platform.root.path / part).rglob("*" + suffix)
            if path.is_file() and not {"_delta_log", "_manifest"} & set(path.parts)
        ]
        return len(found), sum(found)

    def log_bytes(self) -> int:
        """Bytes of all tables' logs and manifests."""
        return sum(
            path.stat().st_size
            for path in (self.platform.root.path / "tables").rglob("*")
            if path.is_file() and {"_delta_log", "_manifest"} & set(path.parts)
        )

    def catalog(self) -> tuple[int, int]:
        """Rows and bytes of the catalog database."""
        with reading(self.platform.engine) as connection:
            counts = [select(func.count()).select_from(t) for t in Base.metadata.sorted_tables]
            rows = sum(connection.execute(count).scalar_one() for count in counts)
        with sqlite3.connect(self.platform.root.path / "catalog.db") as base:
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (pages,) = base.execute("PRAGMA page_count").fetchone()
            (page,) = base.execute("PRAGMA page_size").fetchone()
        return rows, pages * page


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """A new platform with one decoding process, warm."""
    made = initialise(folder / "root", "Bench", time.time_ns)
    with Platform.open(Settings(root=str(folder / "root"))) as platform:
        opened = Bench(platform, made)

        def begun(_c: Any, _cursor: Any, words: str, _p: Any, _x: Any, _many: Any) -> None:
            opened.transactions += words.startswith("BEGIN IMMEDIATE")

        event.listen(platform.engine, "before_cursor_execute", begun)
        with Station(platform, opened.note) as opened.station:
            warm = folder / "warm.mcap"
            write_log(warm, LogSpec(seconds=1.0, seed=999))
            opened.ingest([warm])
            yield opened


def measure_kinds(work: Bench, folder: Path) -> dict[str, dict[str, Any]]:
    """Per message of each kind: the difference of a long and a short log of nothing else."""
    found: dict[str, dict[str, Any]] = {}
    for seed, kind in enumerate(sorted(GENERATORS)):
        rate = RATES.get(kind, RATE)
        topic = Topic("/topic", kind, rate, FRAMES.get(kind, "base_link"), low=1, high=3)
        short, long = (_least(work, folder, topic, seed, s) for s in (SHORT_S, LONG_S))
        messages = long["messages"] - short["messages"]
        found[kind] = {
            name: round((long[name] - short[name]) / messages, 9)
            for name in ("raw_bytes", "table_bytes", "media_bytes", "rows", "cpu_seconds")
        }
        found[kind]["tables"] = long["tables"]
        if min(value for value in found[kind].values() if isinstance(value, float)) < 0:
            raise RuntimeError(f"{kind}: the difference drowns in noise, write longer logs")
        print(kind, found[kind], flush=True)
    return found


def _least(work: Bench, folder: Path, topic: Topic, seed: int, seconds: float) -> dict[str, Any]:
    """Several logs that differ in their noise alone; sizes of the last, CPU of the cheapest."""
    log, found = folder / "kind.mcap", []
    for number in range(ROUNDS):
        spec = LogSpec(
            seconds=seconds,
            seed=seed * 100 + number,
            topics=(topic,),
            distinct_frames=DISTINCT_FRAMES,
            jpeg_quality=80,
        )
        found.append(_difference(work, log, write_log(log, spec)))
    return found[-1] | {"cpu_seconds": min(one["cpu_seconds"] for one in found)}


def _difference(work: Bench, log: Path, facts: LogFacts) -> dict[str, Any]:
    """What one recording adds."""
    tables, media = work.size("tables", ".parquet")[1], work.size("media")[1]
    done = work.ingest([log])
    signals = {
        name: rows for name, rows in done["rows"].items() if TABLES[name].kind in PER_MESSAGE
    }
    return {
        "messages": sum(facts.messages.values()),
        "raw_bytes": facts.size,
        "table_bytes": work.size("tables", ".parquet")[1] - tables,
        "media_bytes": work.size("media")[1] - media,
        "rows": sum(signals.values()),
        "cpu_seconds": done["cpu"],
        "tables": sorted(signals),
    }


def measure_sectors(work: Bench, folder: Path) -> dict[str, dict[str, float]]:
    """Per second of the demo's robot of each sector: a check on what the kinds add up to."""
    found = {}
    for seed, sector in enumerate(SECTOR_ROBOTS):
        log = folder / "sector.mcap"
        facts = write_sector_recording(sector, log, seed=100 + seed, seconds=60.0)
        added = _difference(work, log, facts)
        del added["tables"]
        found[sector] = {name: round(value / 60.0, 6) for name, value in added.items()}
        print(sector, found[sector], flush=True)
    return found


def measure_fixed(work: Bench, folder: Path) -> dict[str, dict[str, Any]]:
    """What a recording and a batch cost, however short they are."""
    topics = tuple(t for t in STANDARD if "camera" not in t.name)
    logs = []
    for seed in range(MANY + 1):
        logs.append(folder / f"short-{seed}.mcap")
        write_log(logs[-1], LogSpec(seconds=0.5, seed=1_000 + seed, topics=topics))
    one = work.ingest(logs[:1])
    rows, catalog_bytes = work.catalog()
    log_bytes, files = work.log_bytes(), work.size("tables", ".parquet")[0]
    raw, quarantine = work.size("raw")[0], work.size("quarantine")[0]
    many = work.ingest(logs[1:])
    rows_after, catalog_after = work.catalog()
    tables = len(many["commits"])
    print("fixed", one, many, flush=True)
    per_table = (sum(many["commits"]) - sum(one["commits"])) / tables / (MANY - 1)
    return {
        "cpu_seconds_per_recording": _said(
            (many["cpu"] - one["cpu"]) / (MANY - 1), "s", "batch of 200 less batch of 1, 0.5 s logs"
        ),
        "cpu_seconds_per_batch": _said(
            one["cpu"] - (many["cpu"] - one["cpu"]) / (MANY - 1), "s", "batch of 1 less a recording"
        ),
        "receive_seconds_per_recording": _said(
            many["receive_s"] / MANY, "s", "wall clock, copy, SHA-256, fsync, registration"
        ),
        "commit_seconds_per_table": _said(
            sum(one["commits"]) / len(one["commits"]), "s", "wall clock, batch of 1, mean of tables"
        ),
        "commit_seconds_per_table_and_recording": _said(
            max(per_table, 0.0), "s", "wall clock, batch of 200 less batch of 1"
        ),
        "tables_per_batch": _said(tables, "tables", "with a commit in the batch of 200"),
        "files_per_table_and_batch": _said(
            (work.size("tables", ".parquet")[0] - files) / tables, "files", "batch of 200"
        ),
        "raw_objects_per_recording": _said(
            (work.size("raw")[0] - raw + work.size("quarantine")[0] - quarantine) / MANY,
            "objects",
            "files below raw/ and quarantine/ after the batch of 200",
        ),
        "catalog_rows_per_recording": _said(
            (rows_after - rows) / MANY, "rows", "all tables of the catalog, batch of 200"
        ),
        "catalog_bytes_per_recording": _said(
            (catalog_after - catalog_bytes) / MANY, "B", "size of the database file, batch of 200"
        ),
        "catalog_transactions_per_recording": _said(
            (many["transactions"] - one["transactions"]) / (MANY - 1),
            "transactions",
            "writing ones, batch of 200 less batch of 1",
        ),
        "log_bytes_per_batch_and_table": _said(
            (work.log_bytes() - log_bytes) / tables,
            "B",
            "entry, manifest and checkpoints, batch of 200",
        ),
    }


def measure_catalog(work: Bench) -> dict[str, dict[str, Any]]:
    """Durable write transactions a second."""
    count = 300
    with reading(work.platform.engine) as connection:
        recording = connection.execute(select(Recording.id).limit(1)).scalar_one()
    begin = time.perf_counter()
    for at in range(count):
        with writing(work.platform.engine) as connection:
            recordings.add_step(connection, recording, "bench", at, "bench")
    seconds = time.perf_counter() - begin
    how = f"{count} transactions of one row each, one after the other, SQLite, synchronous=FULL"
    return {"catalog_transactions_per_second": _said(count / seconds, "1/s", how)}


def measure_log(work: Bench) -> dict[str, dict[str, Any]]:
    """A table's log with many markers, and one with many files."""
    marked = _grown(work, "imu", files=1, marks=PER_COMMIT)
    filed = _grown(work, "twists", files=PER_COMMIT, marks=1)
    total, between = COMMITS * PER_COMMIT, (COMMITS - _TEN) * PER_COMMIT
    grown = "mean of the last 10 of 100 commits less the first 10, a checkpoint among each ten"
    return {
        "checkpoint_bytes_per_marker": _said(
            marked["checkpoint"] / total, "B", f"checkpoint of {total} markers"
        ),
        "checkpoint_bytes_per_file": _said(
            filed["checkpoint"] / total, "B", f"checkpoint of {total} files"
        ),
        "entry_bytes_per_marker": _said(
            marked["entry"] / PER_COMMIT, "B", f"log entry of {PER_COMMIT} markers"
        ),
        "entry_bytes_per_file": _said(
            filed["entry"] / PER_COMMIT, "B", f"log entry of {PER_COMMIT} files"
        ),
        "marker_seconds_per_marker": _said(
            marked["look"] / total, "s", f"look-up of 200 among {total}"
        ),
        "open_seconds_per_file": _said(
            filed["open"] / total, "s", f"table of {total} files opened and listed"
        ),
        "commit_seconds_per_marker": _said(marked["growth"] / between, "s", grown),
        "commit_seconds_per_file": _said(filed["growth"] / between, "s", grown),
    }


def _grown(work: Bench, table: str, *, files: int, marks: int) -> dict[str, float]:
    """Commit through the platform's own transaction; the data files need not exist for that."""
    root, lake = work.platform.root, work.platform.lake
    folder, spent = root.table(table), []
    for number in range(COMMITS):
        begin = time.perf_counter()
        snapshot = lake.open(table)
        actions = [add_action(_file(table, number * files + at), 0) for at in range(files)]
        keys = [_marker(table, number * marks + at) for at in range(marks)]
        if not transact(snapshot, table, actions, plan="bench", markers=keys):
            raise RuntimeError("a commit was refused")
        settle(root, lake, table, snapshot.version() + 1, {a.path: "0" * 64 for a in actions})
        spent.append(time.perf_counter() - begin)
    head = lake.open(table).version()
    last = max(v for v in range(head + 1) if checkpoint_path(folder, v).exists())
    begin = time.perf_counter()
    lake.open(table).get_add_actions()
    opened = time.perf_counter()
    markers(folder, head, {_marker(table, at) for at in range(200)})
    looked = time.perf_counter()
    print(table, head, last, spent[0], spent[-1], flush=True)
    return {
        "checkpoint": checkpoint_path(folder, last).stat().st_size,
        "entry": entry_path(folder, head).stat().st_size,
        "open": opened - begin,
        "look": looked - opened,
        "growth": max(sum(spent[-_TEN:]) - sum(spent[:_TEN]), 0.0) / _TEN,
    }


def _marker(table: str, number: int) -> str:
    """As long and as random as a real one."""
    return f"ing1/{table}/{hashlib.sha256(f'{table} {number}'.encode()).hexdigest()}"


def _file(table: str, number: int) -> PlannedFile:
    day, recording = "2026-11-22", hashlib.sha256(f"{number}".encode()).hexdigest()
    return PlannedFile(
        table=table,
        path=f"organisation=bench/day={day}/{recording[:40]}.parquet",
        organisation="bench",
        day=day,
        rows=1_000,
        bytes=1_000_000,
        sha256=recording,
        recordings=(recording,),
        t_min=number,
        t_max=number,
    )


def _said(value: float, unit: str, how: str) -> dict[str, Any]:
    return {"value": round(float(value), 9), "unit": unit, "how": how}


def _machine() -> dict[str, Any]:
    said = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in said if "model name" in line), "unknown")
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": machine.python_version(),
        "system": f"{machine.system()} {machine.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def main() -> int:
    """Measure everything and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    parser.add_argument("--out", type=Path, default=RESULTS / f"{today}-capacity.json")
    parser.add_argument("--only", choices=("kinds", "sectors", "fixed", "log"), default=None)
    chosen = parser.parse_args()
    document: dict[str, Any] = {
        "format": 1,
        "date": today,
        "source": "tests/bench/capacity.py",
        "machine": _machine(),
        "versions": {name: version(name) for name in ("deltalake", "pyarrow", "tanada-platform")},
    }
    with tempfile.TemporaryDirectory(prefix="tanada-capacity-") as name:
        folder = Path(name)
        with bench(folder) as work:
            if chosen.only in {None, "kinds"}:
                document["kinds"] = measure_kinds(work, folder)
            if chosen.only in {None, "sectors"}:
                document["sectors"] = measure_sectors(work, folder)
            if chosen.only in {None, "fixed"}:
                document["fixed"] = measure_fixed(work, folder) | measure_catalog(work)
            if chosen.only in {None, "log"}:
                document.setdefault("fixed", {}).update(measure_log(work))
    document["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    chosen.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
