"""A real standalone cluster and a real S3, both on free ports of 127.0.0.1; one session in here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connectors.settings import Settings
from connectors.stores.initialise import initialise
from infra.demo.robot_log import STANDARD, LogSpec, write_log
from pipelines.check.validator import Validator
from pipelines.cli.platform import Platform
from pipelines.ingest import contribution, ingest
from pipelines.spark import session as spark_session
from tests.servers.faults import proxy
from tests.servers.lakes import environment_of, s3_settings
from tests.servers.minio import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipelines.ingest import IngestResult
    from tests.servers.faults import FaultProxy
    from tests.servers.minio import MinioServer

REPOSITORY = Path(__file__).parents[3]
JARS = REPOSITORY / "infra" / "spark" / "target" / "jars"
CORES_OF_A_DRIVER = 2
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For the JVMs of tests: most end before what they compile thoroughly has paid."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.full)
            # py4j leaves the sockets of ended threads to the garbage collector.
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


@dataclass(frozen=True)
class Cluster:
    master: str
    settings: Settings
    processes: list[subprocess.Popen[bytes]]


def wait_for(what: str, reached: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return found


def answers(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read()
    except OSError:
        return b""


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[Any]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | environment
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def defaults(minio: MinioServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's own `spark-defaults.conf`: memory, share of the cluster, an object store."""
    folder = tmp_path_factory.mktemp("conf")
    values = {
        "spark.cores.max": str(CORES_OF_A_DRIVER),
        "spark.executor.memory": "512m",
        "spark.driver.memory": "1g",
        "spark.hadoop.fs.s3a.endpoint": minio.endpoint,
        "spark.hadoop.fs.s3a.access.key": minio.access_key,
        "spark.hadoop.fs.s3a.secret.key": minio.secret_key,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
    }
    lines = [f"{name} {value}\n" for name, value in values.items()]
    (folder / "spark-defaults.conf").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def before(minio: MinioServer) -> Iterator[FaultProxy]:
    """What stands between the executors and the store."""
    with proxy(minio.address) as running:
        yield running


@pytest.fixture(scope="session")
def cluster(
    defaults: Path, minio: MinioServer, before: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A master and two workers, enough for two drivers of two executors each.

    What executors have to know of the object store is in the workers' environment.
    """
    import pyspark

    home, folder = Path(pyspark.__file__).parent, tmp_path_factory.mktemp("cluster")
    spark_class = str(home / "bin" / "spark-class")
    scratch = folder / "scratch"
    scratch.mkdir()
    executors = environment_of(s3_settings(minio, folder, scratch=str(scratch)))
    executors["TANADA_S3_ENDPOINT"] = before.url
    for alone in ("TANADA_ROOT", "TANADA_DATABASE_URL", "TANADA_SECRET_KEY_FILE"):
        executors.pop(alone, None)
    environment = {
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(defaults),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_WORKER_DIR": str(folder / "work"),
        "JDK_JAVA_OPTIONS": SHORT_LIVED,
    }
    port, page = free_port(), free_port()
    address = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page)]
    master = f"spark://127.0.0.1:{port}"
    share = ["--cores", "2", "--memory", "1g", "--host", "127.0.0.1", "--webui-port", "0"]
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        deploy = "org.apache.spark.deploy"
        start = [
            [spark_class, f"{deploy}.master.Master", *address],
            *([spark_class, f"{deploy}.worker.Worker", *share, master] for _ in range(2)),
        ]
        processes = [
            stack.enter_context(running(command, folder / f"log-{number}", environment | executors))
            for number, command in enumerate(start)
        ]
        wait_for(
            "two workers",
            lambda: answers(f"http://127.0.0.1:{page}/json/").count(b'"ALIVE"') == 3,
        )
        yield Cluster(master, Settings(spark_master=master, spark_jars=str(JARS)), processes)
        spark_session.stop()


@pytest.fixture
def session(cluster: Cluster) -> Any:
    return spark_session.session_of(cluster.settings)


@pytest.fixture(scope="session")
def validator() -> Iterator[Validator]:
    with Validator(None, time.time_ns) as running_validator:
        yield running_validator


@pytest.fixture(scope="session")
def platform_of(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Platform]]:
    """Opens new platforms in a folder, or a known one under another engine or address."""
    with ExitStack() as stack:

        def opened(engine: str, known: Path | Settings | None = None) -> Platform:
            if known is None:
                known = tmp_path_factory.mktemp("root") / "lake"
                initialise(known, "Acme", time.time_ns)
            settings = known if isinstance(known, Settings) else Settings(root=str(known))
            settings = replace(
                settings,
                engine=engine,
                workers=2,
                spark_master=cluster.master,
                spark_jars=str(JARS),
            )
            return stack.enter_context(Platform.open(settings))

        yield opened


@pytest.fixture(scope="session")
def new_bucket_lake(
    minio: MinioServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Settings]:
    """Settings of new lakes in the bucket."""

    def made() -> Settings:
        settings = s3_settings(minio, tmp_path_factory.mktemp("local"))
        initialise(
            settings.root,
            "Acme",
            time.time_ns,
            database_url=settings.database_url,
            access=settings.access,
        )
        return settings

    return made


@pytest.fixture(scope="session")
def make_logs() -> Callable[..., list[Path]]:
    """Different small logs of all signal kinds; every third with a camera."""

    def make(folder: Path, count: int, *, first_seed: int = 1, seconds: float = 0.3) -> list[Path]:
        folder.mkdir(exist_ok=True)
        paths = []
        for seed in range(first_seed, first_seed + count):
            topics = tuple(t for t in STANDARD if seed % 3 == 0 or "camera" not in t.name)
            paths.append(folder / f"log-{seed}.mcap")
            write_log(paths[-1], LogSpec(seconds=seconds, seed=seed, topics=topics))
        return paths

    return make


@pytest.fixture
def drive() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that ingest, each in a group of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(settings: Settings, *paths: Path) -> subprocess.Popen[str]:
        script = str(Path(__file__).with_name("driver.py"))
        process = subprocess.Popen(
            [sys.executable, script, *map(str, paths)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment_of(settings) | {"PYTHONPATH": str(REPOSITORY)},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@dataclass(frozen=True)
class Both:
    paths: list[Path]
    embedded: Platform
    spark: Platform
    first: IngestResult
    second: IngestResult


@pytest.fixture(scope="session")
def both(platform_of, validator, make_logs, tmp_path_factory, samples: Path) -> Both:
    folder = tmp_path_factory.mktemp("logs")
    logs = make_logs(folder, 6)
    (folder / "empty.mcap").write_bytes(b"")
    (folder / "text.mcap").write_bytes(b"no recording")
    (folder / "cut.mcap").write_bytes(logs[0].read_bytes()[:-3000])
    damaged = bytearray(logs[1].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / "damaged.mcap").write_bytes(bytes(damaged))
    paths = [folder, *sorted(samples.rglob("*.mcap"))]
    embedded, spark = platform_of("embedded"), platform_of("spark")
    first = ingest(embedded, paths, contribution(embedded), validator=validator)
    second = ingest(spark, paths, contribution(spark), validator=validator)
    return Both(paths, embedded, spark, first, second)
