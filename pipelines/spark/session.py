"""The one Spark session of this process: made once, ended with the process.

Spark itself allows one per process. It is shared by decoding, by table-wide checks and by
maintenance; a worker keeps it between batches.
"""

from __future__ import annotations

import atexit
import re
import shutil
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import MissingDependencyError, StoreUnavailableError, WrongUseError

if TYPE_CHECKING:
    from connectors.settings import Settings

INSTALL: Final = "pip install 'tanada-platform[spark]'"
JARS: Final = "make infra/spark/target/jars/.ready, or say where they lie in TANADA_SPARK_JARS"
LOG_STORE: Final = "tanada.ConditionalPutLogStore"
ATTEMPTS: Final = 4
"""How often Spark tries a task before it gives up."""
_EXECUTOR_SECONDS: Final = 60.0
_WITH_ONE_EXECUTOR: Final = 2  # the driver counts as one
_LOCAL: Final = re.compile(r"local(?:\[(\d+|\*)(?:,\d+)?\])?")
_LOOPBACK: Final = re.compile(r"spark://(?:127\.0\.0\.1|localhost|\[::1\]):\d+")

_lock = threading.Lock()
_running: dict[str, Any] = {}
"""Master as it was asked for -> session; at most one."""


def session_of(settings: Settings) -> Any:
    """The session, started where it is not yet (some 7 s).

    Raises:
        MissingDependencyError: pyspark or Java is not installed.
        StoreUnavailableError: the cluster cannot be reached, or gives no executor.
        WrongUseError: this process has a session on another master.
    """
    with _lock:
        for master, running in list(_running.items()):
            if not _lives(running):
                del _running[master]
            elif master == settings.spark_master:
                return running
            else:
                raise WrongUseError(
                    "this process has a Spark session already",
                    expected=master,
                    found=settings.spark_master[:200],
                )
        session = _start(settings)
        _running[settings.spark_master] = session
        return session


def stop() -> None:
    """End the session, if there is one."""
    with _lock:
        while _running:
            _, session = _running.popitem()
            session.stop()


def configuration(settings: Settings) -> dict[str, str]:
    """Spark's properties.

    Those of a site (memory, queues, security, the object store's address) belong into its
    `spark-defaults.conf`; here stands what this platform's promises need, and what keeps small
    tables from costing minutes.
    """
    conf = {
        "spark.master": _master(settings.spark_master),
        "spark.app.name": "tanada",
        # Two attempts at one recording at once would be safe, each in a folder of its own, and
        # would cost its whole decode again.
        "spark.speculation": "false",
        "spark.task.maxFailures": str(ATTEMPTS),
        # One recording at a time in an executor: which one took it down is then known.
        "spark.executor.cores": "1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "8",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        # Delta's own log store for S3 is safe within one driver only: a second one loses commits.
        "spark.delta.logStore.s3a.impl": LOG_STORE,
    }
    if conf["spark.master"].startswith("local") or _LOOPBACK.fullmatch(settings.spark_master):
        conf |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    jars = sorted(Path(settings.spark_jars).absolute().glob("*.jar"))
    if jars:
        conf["spark.jars"] = ",".join(map(str, jars))
    else:
        # Decoding needs none; without Delta's classes its extensions could not be loaded.
        del conf["spark.sql.extensions"], conf["spark.sql.catalog.spark_catalog"]
    return conf


def require_delta(session: Any) -> None:
    """Make sure that the session was started with Delta's jars.

    Raises:
        MissingDependencyError: it was not.
    """
    if not session.conf.get("spark.sql.extensions", ""):
        raise MissingDependencyError("Spark was started without Delta's jars", next_step=JARS)


def _lives(session: Any) -> bool:
    """Whether a session can still run jobs; what is left of a dead one is cleared away.

    Its context ends by itself when the cluster drops the application, its JVM when it runs out of
    memory: a worker then goes on with a new one.
    """
    from py4j.protocol import Py4JError
    from pyspark import SparkContext

    context = session.sparkContext
    try:
        if not context._jsc.sc().isStopped():
            return True
        session.stop()
    except (Py4JError, OSError):
        process = context._gateway.proc
        with suppress(Py4JError, OSError):
            context.stop()
        with suppress(OSError):  # it was the pipe that the JVM would have ended with
            process.stdin.close()
        SparkContext._active_spark_context = None
        SparkContext._gateway = SparkContext._jvm = None
        type(session)._instantiatedSession = None
    return False


def _master(asked: str) -> str:
    """Local masters with retries: `local[2]` alone would give every task one try."""
    found = _LOCAL.fullmatch(asked)
    return f"local[{found[1] or 1},{ATTEMPTS}]" if found else asked


def _start(settings: Settings) -> Any:
    try:
        from pyspark import SparkConf
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingDependencyError("pyspark is not installed", next_step=INSTALL) from error
    if shutil.which("java") is None:
        raise MissingDependencyError(
            "Spark needs Java 17 or 21", next_step="install openjdk-17-jre-headless, or the like"
        )
    from py4j.protocol import Py4JError

    conf = SparkConf().setAll(list(configuration(settings).items()))
    try:
        session = SparkSession.builder.config(conf=conf).getOrCreate()
    except (Py4JError, PySparkException) as error:
        raise StoreUnavailableError(
            "Spark does not start",
            subject=settings.spark_master,
            found=str(error).strip().splitlines()[0][:300],
            next_step="look at its messages above, then try again",
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    session.sparkContext.pythonExec = settings.spark_python or sys.executable
    atexit.register(stop)
    if not conf.get("spark.master", "").startswith("local"):
        _wait_for_executor(session, settings.spark_master)
    return session


def _wait_for_executor(session: Any, master: str) -> None:
    """Without this a cluster that has nothing to give would be waited for without a word."""
    status = session.sparkContext._jsc.sc()
    deadline = time.monotonic() + _EXECUTOR_SECONDS
    while status.getExecutorMemoryStatus().size() < _WITH_ONE_EXECUTOR:
        if time.monotonic() > deadline:
            session.stop()
            raise StoreUnavailableError(
                "the cluster gives no executor",
                subject=master,
                found=f"none after {_EXECUTOR_SECONDS:g} s",
                next_step="start workers, or free some of their cores",
            )
        time.sleep(0.1)
