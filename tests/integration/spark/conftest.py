"""A real standalone cluster and a real S3, both on free ports of 127.0.0.1; one session in here."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from connectors.settings import Settings
from connectors.stores.initialise import initialise
from infra.demo.robot_log import STANDARD, LogSpec, write_log
from pipelines.check.validator import Validator
from pipelines.cli.platform import Platform
from pipelines.spark import session as spark_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[3]
JARS = REPOSITORY / "infra" / "spark" / "target" / "jars"
S3_KEY = "tanada-test"
CORES_OF_A_DRIVER = 2


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


@dataclass(frozen=True)
class Store:
    endpoint: str
    options: dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, reached: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return found


def answers(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
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
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """MinIO with the bucket `lake`."""
    found = shutil.which("minio") or str(Path.home() / "go" / "bin" / "minio")
    assert Path(found).exists(), "no minio: run infra/services/minio.sh"
    folder = tmp_path_factory.mktemp("minio")
    (folder / "data" / "lake").mkdir(parents=True)  # a folder of its root is a bucket
    address = f"127.0.0.1:{free_port()}"
    console = f"127.0.0.1:{free_port()}"
    command = [found, "server", "--address", address, "--console-address", console]
    secrets = {"MINIO_ROOT_USER": S3_KEY, "MINIO_ROOT_PASSWORD": S3_KEY}
    with running([*command, str(folder / "data")], folder / "log", secrets) as process:
        wait_for(
            "minio",
            lambda: process.poll() is not None or answers_ready(f"http://{address}"),
        )
        assert process.poll() is None, (folder / "log").read_text()
        yield Store(
            f"http://{address}",
            {
                "AWS_ENDPOINT_URL": f"http://{address}",
                "AWS_ACCESS_KEY_ID": S3_KEY,
                "AWS_SECRET_ACCESS_KEY": S3_KEY,
                "AWS_REGION": "us-east-1",
                "AWS_ALLOW_HTTP": "true",
            },
        )


def answers_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/minio/health/ready", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="session")
def defaults(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's own `spark-defaults.conf`: memory, share of the cluster, the object store."""
    folder = tmp_path_factory.mktemp("conf")
    values = {
        "spark.cores.max": str(CORES_OF_A_DRIVER),
        "spark.executor.memory": "512m",
        "spark.driver.memory": "1g",
        "spark.hadoop.fs.s3a.endpoint": store.endpoint,
        "spark.hadoop.fs.s3a.access.key": S3_KEY,
        "spark.hadoop.fs.s3a.secret.key": S3_KEY,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
        "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
    }
    lines = [f"{name} {value}\n" for name, value in values.items()]
    (folder / "spark-defaults.conf").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def cluster(defaults: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master and two workers, enough for two drivers of two executors each."""
    import pyspark

    home, folder = Path(pyspark.__file__).parent, tmp_path_factory.mktemp("cluster")
    spark_class = str(home / "bin" / "spark-class")
    environment = {
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(defaults),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_WORKER_DIR": str(folder / "work"),
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
            stack.enter_context(running(command, folder / f"log-{number}", environment))
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
    """Opens new platforms, or a known one under another engine."""
    with ExitStack() as stack:

        def opened(engine: str, root: Path | None = None) -> Platform:
            if root is None:
                root = tmp_path_factory.mktemp("root") / "lake"
                initialise(root, "Acme", time.time_ns)
            settings = Settings(
                root=str(root),
                engine=engine,
                workers=2,
                spark_master=cluster.master,
                spark_jars=str(JARS),
            )
            return stack.enter_context(Platform.open(settings))

        yield opened


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
