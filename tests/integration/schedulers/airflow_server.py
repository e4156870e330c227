"""A real Airflow of one's own: its database on PostgreSQL, few processes, on 127.0.0.1."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from pipelines.jobs import JOBS
from schemas.sectors import SECTORS
from tests.integration.schedulers.world import BIN, REPOSITORY, end, free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.schedulers.world import World

DAGS = len(SECTORS) + sum(job.schedule is not None and not job.by_day for job in JOBS.values())


class Airflow:
    """A running Airflow over one world; its REST API as methods.

    Args:
        home: Its folder.
        world: What its jobs work on.
        database: URL of an empty PostgreSQL database of its own. On SQLite a backfill beside a
            running scheduler meets a lock.
    """

    DAG = "tanada_ingest_factory"

    def __init__(self, home: Path, world: World, database: str) -> None:
        self.home = home
        self.world = world
        self.url = f"http://127.0.0.1:{free_port()}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._files = ExitStack()
        self.environment = world.environment | airflow_environment(home, self.url, database)
        self._client = httpx.Client(base_url=self.url, timeout=30)

    def airflow(self, *words: str) -> str:
        """Run one command to its end."""
        done = subprocess.run(
            [BIN / "airflow", *words],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def start(self) -> None:
        """Database and pools, then the three processes."""
        config = self.home / "config"
        config.mkdir(parents=True)
        # A cluster policy, as an operator would set one: the waits are shorter than in the list.
        (config / "airflow_local_settings.py").write_text(
            "from datetime import timedelta\n\n"
            "def task_policy(task):\n"
            "    task.retry_delay = timedelta(seconds=2)\n"
        )
        self.airflow("db", "migrate")
        pools = self.home / "pools.json"
        listed = [sys.executable, "-m", "dags.airflow_dags.pools"]
        pools.write_bytes(
            subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True).stdout
        )
        self.airflow("pools", "import", str(pools))
        port = self.url.rsplit(":", 1)[1]
        for words in (
            ("api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1"),
            ("scheduler",),
            ("dag-processor",),
        ):
            log = self._files.enter_context((self.home / f"{words[0]}.log").open("wb"))
            self.processes.append(
                subprocess.Popen(
                    [BIN / "airflow", *words],
                    env=self.environment,
                    cwd=self.home,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
        wait_for("Airflow's API", self._healthy)
        token = self._client.get("/auth/token").json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"
        wait_for("the DAGs", lambda: self.get("/dags")["total_entries"] >= DAGS)
        self.patch(f"/dags/{self.DAG}", {"is_paused": False})

    def _healthy(self) -> bool:
        assert all(p.poll() is None for p in self.processes), "an Airflow process ended"
        try:
            health = self._client.get("/api/v2/monitor/health").json()
        except (httpx.HTTPError, ValueError):
            return False
        return bool(health["scheduler"]["status"] == "healthy")

    def stop(self) -> None:
        """End everything."""
        self._client.close()
        end(self.processes)
        self._files.close()

    def get(self, path: str, **params: Any) -> Any:
        """One document of the REST API."""
        answer = self._client.get(f"/api/v2{path}", params=params)
        answer.raise_for_status()
        return answer.json()

    def patch(self, path: str, body: dict[str, Any]) -> None:
        """Change something."""
        self._client.patch(f"/api/v2{path}", json=body).raise_for_status()

    def trigger(self, day: str) -> str:
        """Start a run about a day; returns its id."""
        body = {"logical_date": None, "conf": {"day": day}}
        answer = self._client.post(f"/api/v2/dags/{self.DAG}/dagRuns", json=body)
        assert answer.is_success, answer.text
        run: str = answer.json()["dag_run_id"]
        return run

    def fail(self, run: str, task: str, index: int) -> None:
        """Mark a task as failed, as its page does."""
        path = f"/dags/{self.DAG}/dagRuns/{run}/taskInstances/{task}/{index}"
        self.patch(path, {"new_state": "failed"})

    def clear(self, run: str, task: str) -> None:
        """Let a task run again with what comes after it, as its page does."""
        body = {
            "dry_run": False,
            "dag_run_id": run,
            "task_ids": [task],
            "include_downstream": True,
            "only_failed": False,
        }
        answer = self._client.post(f"/api/v2/dags/{self.DAG}/clearTaskInstances", json=body)
        assert answer.is_success, answer.text

    def finished(self, run: str, seconds: float = 480) -> str:
        """State of a run when it is over."""

        def state() -> str:
            found: str = self.get(f"/dags/{self.DAG}/dagRuns/{run}")["state"]
            return found if found in {"success", "failed"} else ""

        answer: str = wait_for(f"run {run}", state, seconds)
        return answer

    def backfilled(self) -> list[dict[str, Any]]:
        """Runs that a backfill made."""
        runs = self.get(f"/dags/{self.DAG}/dagRuns", limit=100)["dag_runs"]
        return [run for run in runs if run["run_type"] == "backfill"]

    def tasks(self, run: str, task: str) -> list[dict[str, Any]]:
        """Instances of a task in a run."""
        listed = self.get(f"/dags/{self.DAG}/dagRuns/{run}/taskInstances")["task_instances"]
        return [one for one in listed if one["task_id"] == task]

    def answer(self, run: str, task: str, index: int = -1) -> Any:
        """What a task returned."""
        path = f"/dags/{self.DAG}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        return self.get(path, map_index=index, deserialize="true")["value"]

    def working_on(self, day: str) -> psutil.Process | None:
        """The `tanada jobs run ingest` process of that day, while it runs below this Airflow."""
        for server in self.processes:
            for child in psutil.Process(server.pid).children(recursive=True):
                try:
                    words = child.cmdline()
                except psutil.Error:
                    continue
                if "ingest" in words and f"day={day}" in words:
                    return child
        return None


def airflow_environment(home: Path, url: str = "", database: str = "") -> dict[str, str]:
    """Settings of an Airflow of one's own: few processes, everyone an admin.

    Without a database it has a SQLite file, which suffices to parse.
    """
    at = database.replace("postgresql://", "postgresql+psycopg://")
    own = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": at} if database else {}
    return own | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags" / "airflow_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API_AUTH__JWT_SECRET": "only for one run of the tests, and only on 127.0.0.1 "
        * 2,
        # What is looked for every few seconds in service is looked for at once here.
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # The DAGs do not change while the tests run.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
