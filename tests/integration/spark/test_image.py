"""The Spark image, without an engine: its environment, its layout, a cluster started as there.

Commands, settings and health checks are the compose file's own. The jars are those that this
checkout's pom made, by the same command as the image's stage `jars`. The root is a real MinIO's
bucket; the catalog is a file, since what it lies in makes no difference to Spark.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.spark.conftest import SHORT_LIVED, running
from tests.servers.images import Image, differences, stages
from tests.servers.minio import BUCKET, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.minio import MinioServer

LOCAL = {
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_DAEMON_MEMORY": "256m",
    "JDK_JAVA_OPTIONS": SHORT_LIVED,
}


def test_this_environment_holds_what_the_image_s_lock_says() -> None:
    assert differences("spark", Path(sys.prefix)) == ""
    (made,) = next(stage for stage in stages("spark") if stage.name == "jars").of("RUN")
    makefile = (Path(__file__).parents[3] / "Makefile").read_text("utf-8")
    assert made in makefile


def until_healthy(image: Image, service: str) -> None:
    """Each look is a process: at a pace that leaves the machine to what starts."""
    deadline = time.monotonic() + 120
    while not image.healthy(service, **LOCAL):
        assert time.monotonic() < deadline, f"{service} is not healthy"
        time.sleep(1)


def test_a_recording_is_decoded_by_the_image_s_cluster(
    minio: MinioServer, tmp_path: Path, make_logs: Callable[..., list[Path]]
) -> None:
    swap = {port: str(free_port()) for port in ("7077", "8080", "8081", "9464")}
    swap |= dict.fromkeys(("spark-master", "0.0.0.0"), "127.0.0.1")  # noqa: S104
    swap |= {
        "minio:9000": minio.endpoint.removeprefix("http://"),
        "s3://tanada": f"s3://{BUCKET}",
    }
    # The machine of the tests is small.
    swap |= {"4g": "1g", "2g": "512m"}
    secrets = {
        "MINIO_ROOT_USER": minio.access_key,
        "MINIO_ROOT_PASSWORD": minio.secret_key,
        "PLATFORM_DB_PASSWORD": "unused",
    }
    image = Image("spark", tmp_path / "image", Path(sys.prefix), swap, secrets)
    image.lay_out()
    assert len(list((image.folder / "opt/spark/jars").glob("*.jar"))) > 40

    more = {**LOCAL, "TANADA_DATABASE_URL": f"sqlite:///{tmp_path / 'catalog.db'}"}

    def tanada(*words: str, **others: str) -> Any:
        done = image.run(["tanada", *words], "worker-spark", **more, **others)
        log = tmp_path.glob("*.log")
        said = "\n".join(path.read_text("utf-8", "replace")[-3000:] for path in log)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:] + said
        return json.loads(done.stdout) if "--json" in words else done.stdout

    with ExitStack() as stack:
        for service in ("spark-master", "spark-worker"):
            command = image.command(service)
            command[0] = str(Path(image.environment(service)["SPARK_HOME"]) / "bin" / command[0])
            environment = image.environment(service) | LOCAL
            stack.enter_context(running(command, tmp_path / f"{service}.log", environment))
            until_healthy(image, service)
        made = tanada("init", "--organisation", "Image", "--json")
        assert made["root"].startswith(f"s3://{BUCKET}/")
        (log,) = make_logs(tmp_path / "logs", 1)
        (answer,) = tanada("ingest", str(log), "--json")
        assert answer["status"].startswith("accepted"), answer
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as catalog:
        question = "SELECT detail FROM recording_steps WHERE step = 'decode'"
        (detail,) = (json.loads(row[0]) for row in catalog.execute(question))
    assert detail["engine"] == "spark"
    # `init` writes the pepper: in compose `setup` does that.
    assert image.strays("worker-spark") == []
