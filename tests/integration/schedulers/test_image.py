"""The schedulers' image, without an engine: its environment, its layout, each service's health.

The commands and health checks are the compose file's own. Where it says `postgresql` a throw-away
cluster stands, prepared by the same script as there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.schedulers.world import end, free_port, wait_for
from tests.servers.images import INFRA, Image, differences
from tests.servers.postgresql import running

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.full
SECRETS = {
    **{f"{name}_DB_PASSWORD": f"{name.lower()}-it-is" for name in ("PLATFORM", "AIRFLOW")},
    "MINIO_ROOT_USER": "u",
    "MINIO_ROOT_PASSWORD": "p",
    "AIRFLOW_FERNET_KEY": "YWxsIG9mIHRoZXNlIGFyZSB0aGlydHktdHdvIGJ5dGU=",
    "AIRFLOW_SECRET": "only for one run of the tests, on 127.0.0.1",
}


@pytest.fixture
def image(tmp_path: Path) -> Image:
    swap = {port: str(free_port()) for port in ("8080", "8974", "4000", "3000")}
    names = ("0.0.0.0", "airflow-api-server", "dagster-code")  # noqa: S104
    made = Image("schedulers", tmp_path / "image", Path(sys.prefix), swap, dict(SECRETS))
    made.swap |= dict.fromkeys(names, "127.0.0.1")
    return made


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    end(processes)


def logs(folder: Path) -> str:
    return "\n".join(path.read_text("utf-8", "replace")[-3000:] for path in folder.glob("*.log"))


def test_this_environment_holds_what_the_image_s_lock_says() -> None:
    assert differences("schedulers", Path(sys.prefix)) == ""


def test_dagster_s_three_services_are_healthy(
    image: Image, started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    image.lay_out()
    for service in ("dagster-code", "dagster-webserver", "dagster-daemon"):
        started.append(image.start(service, tmp_path / f"{service}.log"))
        wait_for(service, lambda name=service: image.healthy(name), 120, 2)
        assert all(process.poll() is None for process in started), logs(tmp_path)
    workspace = image.native("/opt/platform/dagster/workspace.yaml")
    validate = ["dagster", "definitions", "validate", "--workspace", workspace]
    done = image.run(validate, "dagster-code")
    assert done.returncode == 0, done.stderr
    assert list((image.folder / "var/lib/dagster").iterdir())
    assert image.strays("dagster-code") == []


def test_airflow_s_services_are_healthy_on_postgresql(
    image: Image, started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    image.lay_out()
    with running(logins=False) as cluster:
        cluster.run_script(INFRA / "images" / "postgresql-logins.sh", SECRETS)
        image.swap["postgresql:5432"] = f"127.0.0.1:{cluster.port}"
        own = {
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": image.swap["8974"],
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        }
        done = image.run(image.command("airflow-init"), "airflow-init", **own)
        assert done.returncode == 0, done.stderr[-3000:]
        services = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor")
        started += [image.start(one, tmp_path / f"{one}.log", **own) for one in services]
        for service in services:
            wait_for(service, lambda name=service: image.healthy(name, **own), 180, 3)
        assert all(process.poll() is None for process in started), logs(tmp_path)
        # Where operations.md says that the admin's password is.
        assert (image.folder / "var/lib/airflow/passwords.json").stat().st_size > 0
        assert image.strays("airflow-scheduler") == []
        end(started)
        started.clear()
