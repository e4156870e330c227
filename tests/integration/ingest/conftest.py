"""Small generated logs, a process that ingests them and says where it is, and a lake's content."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pytest

from connectors.stores.initialise import initialise
from infra.demo.robot_log import STANDARD, LogSpec, write_log
from pipelines.check.validator import Validator
from pipelines.cli.platform import Platform
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.lakes import Lakes

REPOSITORY = Path(__file__).parents[3]
# What differs between two runs over the same recordings, and says so.
PER_RUN = frozenset({"check_run", "checked_ns", "received_ns"})


class MakeLogs(Protocol):
    def __call__(
        self, folder: Path, count: int, *, first_seed: int = 1, seconds: float = 0.5
    ) -> list[Path]: ...


@pytest.fixture(scope="session")
def make_logs() -> MakeLogs:
    """Different small logs of all signal kinds; every third with a camera."""

    def make(folder: Path, count: int, *, first_seed: int = 1, seconds: float = 0.5) -> list[Path]:
        folder.mkdir(exist_ok=True)
        paths = []
        for seed in range(first_seed, first_seed + count):
            topics = tuple(t for t in STANDARD if seed % 3 == 0 or "camera" not in t.name)
            paths.append(folder / f"log-{seed}.mcap")
            write_log(paths[-1], LogSpec(seconds=seconds, seed=seed, topics=topics))
        return paths

    return make


@pytest.fixture(scope="session")
def validator() -> Iterator[Validator]:
    """Great Expectations, imported once."""
    with Validator(None, time.time_ns) as running:
        yield running


@pytest.fixture(scope="session")
def content() -> Callable[[Platform], dict[str, dict[str, str]]]:
    """recording -> table -> rows and digest of what the lake shows of it, in a fixed order."""

    def read(platform: Platform) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        pinned = platform.lake.pin()
        for name, spec in TABLES.items():
            columns = [c.name for c in spec.columns if c.name not in PER_RUN]
            rows = platform.lake.read(name, pinned, columns)
            order = [
                (c, "ascending")
                for c in ("recording_id", "stream", "seq", "item", "rule", "schema_id", "episode")
                if c in columns
            ]
            rows = rows.sort_by(order)
            for recording in rows["recording_id"].unique().to_pylist():
                own = rows.filter(pa.compute.equal(rows["recording_id"], recording))
                digest = hashlib.sha256(repr(own.to_pylist()).encode()).hexdigest()[:16]
                found.setdefault(recording, {})[name] = f"{own.num_rows} {digest}"
        return found

    return read


class Driver(Protocol):
    def __call__(self, root: object, *arguments: str | Path) -> subprocess.Popen[str]: ...


@pytest.fixture
def driver(lakes: Lakes) -> Iterator[Driver]:
    """Starts `driver.py` in a session of its own; what is left of it is killed afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(root: object, *arguments: str | Path) -> subprocess.Popen[str]:
        script = str(Path(__file__).with_name("driver.py"))
        process = subprocess.Popen(
            [sys.executable, script, str(root), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"} | lakes.environment(root),
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def second_platform(lakes: Lakes) -> Callable[[], object]:
    """A platform beside the first one, for uninterrupted runs of the same recordings."""

    @contextmanager
    def opened(name: str = "reference") -> Iterator[Platform]:
        settings = lakes.settings(name, workers=2)
        access, url = settings.access, settings.database_url
        initialise(settings.root, "Acme", time.time_ns, database_url=url, access=access)
        with Platform.open(settings) as platform:
            yield platform

    return opened
