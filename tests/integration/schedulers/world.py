"""A platform with two organisations' landings, and what starts and ends servers over it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow.compute as pc
import yaml

from connectors.settings import Settings
from connectors.stores.catalog import parties
from connectors.stores.catalog.database import writing
from connectors.stores.initialise import initialise
from infra.demo.sectors import write_sector_recording
from pipelines.cli.platform import Platform
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REPOSITORY = Path(__file__).parents[3]
TERMS = REPOSITORY / "infra" / "demo" / "terms" / "contribution.yaml"
BIN = Path(sys.executable).parent
# What differs between two runs over the same recordings, and says so.
PER_RUN = frozenset({"check_run", "checked_ns", "received_ns"})
LONG_AGO = 1_700_000_000
RECIPE: dict[str, Any] = {
    "dataset": "mill-motion",
    "title": "Motion of machine-loading arms",
    "purposes": ["pretraining"],
    "filter": {"sectors": ["factory"]},
    "rate_hz": 10,
    "missing": "drop_frame",
    "features": {
        "acceleration": {
            "table": "imu",
            "stream": "/imu/data",
            "columns": ["linear_acceleration_x", "linear_acceleration_y"],
            "align": "nearest",
            "max_skew_ms": 20,
        }
    },
}


@dataclass
class World:
    """A platform's folders, and what was put into its landing folder."""

    folder: Path
    root: Path = field(init=False)
    landing: Path = field(init=False)
    recipes: Path = field(init=False)
    expected: dict[Path, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root, self.landing = self.folder / "root", self.folder / "landing"
        self.recipes = self.folder / "recipes"

    @property
    def environment(self) -> dict[str, str]:
        """What a scheduler's processes are started with."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TANADA_", "AIRFLOW"))}
        return kept | {
            "TANADA_ROOT": str(self.root),
            "TANADA_LANDING": str(self.landing),
            "TANADA_RECIPES": str(self.recipes),
        }

    @contextmanager
    def platform(self) -> Iterator[Platform]:
        """The platform, opened."""
        settings = Settings(
            root=str(self.root), landing=str(self.landing), recipes=str(self.recipes)
        )
        with Platform.open(settings) as opened:
            yield opened

    def day(self, day: str, owner: str = "acme", robot: str = "default") -> Path:
        """Folder of one robot's day, made if missing."""
        folder = self.landing / owner / robot / day
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def record(self, folder: Path, seed: int, *, broken: str | None = None) -> Path:
        """One small recording that has arrived; what a reader should find is kept."""
        path = folder / f"{seed}.mcap"
        facts = write_sector_recording("factory", path, seed=seed, seconds=2, broken=broken)
        os.utime(path, (LONG_AGO, LONG_AGO))
        if broken is None:
            self.expected[path] = dict(facts.messages)
        return path

    def empty(self, folder: Path) -> Path:
        """A file of 0 bytes that has arrived."""
        path = folder / "empty.mcap"
        path.touch()
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    def rows(self, table: str, paths: list[Path]) -> dict[str, int]:
        """Rows of a table that the lake shows, by recording, for recordings made from files."""
        with self.platform() as platform:
            rows = platform.lake.read(table, platform.lake.pin(), ["recording_id"])
        ids = {recording_of(path) for path in paths}
        counted = pc.value_counts(rows["recording_id"]).to_pylist()
        return {one["values"]: one["counts"] for one in counted if one["values"] in ids}

    def exactly_once(self, paths: list[Path]) -> None:
        """Every recording is there with exactly its messages."""
        ids = [recording_of(path) for path in paths]
        assert self.rows("episodes", paths) == dict.fromkeys(ids, 1)
        inertial = {recording_of(p): self.expected[p]["/imu/data"] for p in paths}
        assert self.rows("imu", paths) == inertial

    def content(self, paths: list[Path]) -> dict[str, dict[str, str]]:
        """recording -> table -> rows and digest of what the lake shows of it, in a fixed order."""
        ids = {recording_of(path) for path in paths}
        found: dict[str, dict[str, str]] = {}
        with self.platform() as platform:
            pinned = platform.lake.pin()
            for name, spec in TABLES.items():
                columns = [c.name for c in spec.columns if c.name not in PER_RUN]
                rows = platform.lake.read(name, pinned, columns, sorted(ids))
                keys = ("recording_id", "stream", "seq", "item", "rule", "schema_id", "episode")
                rows = rows.sort_by([(c, "ascending") for c in keys if c in columns])
                for key in sorted(ids):
                    own = rows.filter(pc.equal(rows["recording_id"], key))
                    digest = hashlib.sha256(repr(own.to_pylist()).encode()).hexdigest()[:16]
                    found.setdefault(key, {})[name] = f"{own.num_rows} {digest}"
        return found


def recording_of(path: Path) -> str:
    """Id of a recording of one file that lies in a landing folder."""
    from schemas.ids import recording_id

    owner = path.parents[2].name
    return recording_id(
        owner, [(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())]
    )


def make_world(folder: Path) -> World:
    """Operator `acme` with robot `default`, partner `tetsu-works` with robot `mill-1`: factory."""
    world = World(folder)
    initialise(world.root, "acme", time.time_ns)
    world.landing.mkdir()
    world.recipes.mkdir()
    (world.recipes / "mill-motion.yaml").write_text(yaml.safe_dump(RECIPE), "utf-8")
    terms = yaml.safe_load(TERMS.read_text("utf-8"))
    with world.platform() as platform, writing(platform.engine) as connection:
        clock = platform.clock
        owner = parties.add_organisation(connection, name="tetsu-works", clock=clock)
        parties.add_agreement(
            connection,
            organisation=owner,
            agreement="tetsu-2026",
            title="Contribution",
            terms=terms,
            clock=clock,
        )
        parties.add_robot(
            connection, organisation=owner, robot="mill-1", sector="factory", clock=clock
        )
    return world


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for(what: str, asked: Callable[[], Any], seconds: float = 480, every: float = 0.5) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := asked()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(every)
    return answer


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that nobody has waited for yet does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End servers and everything that they started, by their pids."""
    family: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            family += psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def lines_of(script: str, *words: str, environment: dict[str, str]) -> Any:
    """The JSON document that a script of this folder prints last, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(script), *words],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
