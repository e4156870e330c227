"""Fixtures that every test may use: real recordings, a clock, an initialised platform."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import event

from connectors.stores.initialise import initialise
from pipelines.cli.platform import Platform
from tests.servers.lakes import Lakes
from tests.servers.minio import MinioServer, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine

    from tests.servers.catalogs import Catalogs

pytest_plugins = ["tests.servers.catalogs"]
# Suites of large environments: `make test-full` makes each environment and names its suite.
ENVIRONMENTS = {"integration/spark": "pyspark", "integration/schedulers": "airflow"}
collect_ignore = [suite for suite, package in ENVIRONMENTS.items() if find_spec(package) is None]
REPOSITORY = Path(__file__).parents[1]
IN_CI = os.environ.get("CI", "").lower() == "true"

# No test asserts a time, Hypothesis' own deadline included; CI tries the same examples every time.
settings.register_profile(
    "tanada", deadline=None, derandomize=IN_CI, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tanada")


BEGINNINGS = ("BEGIN", "SELECT pg_advisory_xact_lock", "SELECT set_config")


class Clock:
    """A clock that only moves when it is asked (1 ms each time) or told."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock(1_795_000_000_000_000_000)  # 2026-11-18T11:06:40Z


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of the real recordings; without it the test is left out, and in CI it fails."""
    folder = Path(os.environ.get("TANADA_SAMPLES") or REPOSITORY.parent / "shared" / "data")
    if (folder / "README.md").is_file():
        return folder
    reason = f"real recordings left out: none at {folder} (set TANADA_SAMPLES)"
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--store",
        choices=("folder", "s3"),
        default="folder",
        help="where the lakes of the tests lie: a folder, or a real MinIO",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("folder")
    if marker is not None and item.config.getoption("--store") == "s3":
        pytest.skip(f"about a folder itself: {marker.args[0]}")


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A real MinIO; without its program the test fails."""
    with running(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def lakes(tmp_path: Path, request: pytest.FixtureRequest, catalogs: Catalogs) -> Lakes:
    """Settings for the lakes of a test, of the kinds that `--store` and `--catalog` say."""
    on_s3 = request.config.getoption("--store") == "s3"
    return Lakes(tmp_path, catalogs, request.getfixturevalue("minio") if on_s3 else None)


@pytest.fixture
def platform(lakes: Lakes, clock: Clock) -> Iterator[Platform]:
    """A new platform: operator `acme`, robot `default`, agreement `acme-own-use`."""
    settings = lakes.settings()
    initialise(
        settings.root, "Acme", clock, database_url=settings.database_url, access=settings.access
    )
    with Platform.open(settings, clock) as opened:
        yield opened


@pytest.fixture
def statements() -> Callable[[Engine], AbstractContextManager[list[tuple[str, Any]]]]:
    """Collects the SQL statements, with parameters, that an engine runs inside the block.

    What every transaction begins with is left out.
    """

    @contextmanager
    def collect(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
        seen: list[tuple[str, Any]] = []

        def note(_c, _cursor, words: str, parameters: Any, _context, _many) -> None:
            if not words.startswith(BEGINNINGS):
                seen.append((words, parameters))

        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)

    return collect


@pytest.fixture
def chromium() -> str:
    """A Chromium to look at pages with; without one the test is left out, or fails if required."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is not None:
        return found
    reason = "pages left out: no Chromium (TANADA_REQUIRE_BROWSER=1 makes this a failure)"
    if os.environ.get("TANADA_REQUIRE_BROWSER") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once what was left out; the reports also come from worker processes."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    if left_out := sum("real recordings left out" in reason for reason in skipped):
        terminalreporter.write_line(
            f"real recordings left out: {left_out} tests need ../shared/data or TANADA_SAMPLES",
            yellow=True,
        )
