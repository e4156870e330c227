"""A real Dagster of one's own: web server and daemon over a temporary instance, on 127.0.0.1."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx

from tests.integration.schedulers.world import BIN, REPOSITORY, end, free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.schedulers.world import World

MODULE = "dags.dagster_defs.definitions"
_BACKFILL = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_STATE = """
query State($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status error { message } }
  }
}
"""
_REPOSITORY = {
    "repositoryName": "__repository__",
    "repositoryLocationName": MODULE,
}
_REMEMBER = """
mutation Remember($selector: SensorSelector!, $cursor: String!) {
  setSensorCursor(sensorSelector: $selector, cursor: $cursor) {
    __typename
    ... on Sensor { sensorState { typeSpecificData { ... on SensorData { lastCursor } } } }
  }
}
"""
_SWITCH_ON = """
mutation SwitchOn($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) {
    __typename
    ... on Sensor { sensorState { status } }
  }
}
"""
_LAUNCH = """
mutation LaunchRun($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
_RUNS = """
query Runs($filter: RunsFilter!) {
  runsOrError(filter: $filter) {
    __typename
    ... on Runs { results { runId } }
  }
}
"""
_RUN = "query Run($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"
_ASSETS = "query Assets { assetNodes { assetKey { path } } }"


class Dagster:
    """A running Dagster over one world; what the tests ask of it as methods."""

    def __init__(self, home: Path, world: World) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = world.environment | {
            "DAGSTER_HOME": str(home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self._files = ExitStack()

    def start(self) -> None:
        """The instance's file as documented, then web server and daemon."""
        text = (REPOSITORY / "dags" / "dagster_defs" / "dagster.yaml").read_text("utf-8")
        (self.home / "dagster.yaml").write_text(text)
        serve = ("dagster-webserver", "-h", "127.0.0.1", "-p", str(self.port), "-m", MODULE)
        for words in (serve, ("dagster-daemon", "run", "-m", MODULE)):
            log = self._files.enter_context((self.home / f"{words[0]}.log").open("wb"))
            self.processes.append(
                subprocess.Popen(
                    [BIN / words[0], *words[1:]],
                    env=self.environment,
                    cwd=REPOSITORY,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
        wait_for("Dagster's web server", self._up)

    def _up(self) -> bool:
        assert all(p.poll() is None for p in self.processes), "a Dagster process ended"
        try:
            return httpx.get(f"{self.url}/server_info", timeout=10).is_success
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """End everything."""
        end(self.processes)
        self._files.close()

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """One GraphQL answer."""
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.url}/graphql", json=body, timeout=60)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        assert "errors" not in document, document
        data: dict[str, Any] = document["data"]
        return data

    def assets(self) -> list[str]:
        """Every asset of the graph."""
        return ["/".join(node["assetKey"]["path"]) for node in self.ask(_ASSETS)["assetNodes"]]

    def remember(self, sensor: str, cursor: str) -> None:
        """Set what a sensor knows of its last look."""
        selector = _REPOSITORY | {"sensorName": sensor}
        answer = self.ask(_REMEMBER, selector=selector, cursor=cursor)["setSensorCursor"]
        assert answer["sensorState"]["typeSpecificData"]["lastCursor"] == cursor, answer

    def switch_on(self, sensor: str) -> None:
        """Let the daemon ask a sensor from now on, as its page does."""
        answer = self.ask(_SWITCH_ON, selector=_REPOSITORY | {"sensorName": sensor})["startSensor"]
        assert answer["sensorState"]["status"] == "RUNNING", answer

    def launch(self, job: str) -> str:
        """Start a job as its page does; returns the run's id."""
        params = {"selector": _REPOSITORY | {"jobName": job}, "runConfigData": {}}
        answer = self.ask(_LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run: str = answer["run"]["runId"]
        return run

    def runs_of(self, sensor: str) -> list[str]:
        """Runs that a sensor asked for."""
        wanted = {"tags": [{"key": "dagster/sensor_name", "value": sensor}]}
        return [run["runId"] for run in self.ask(_RUNS, filter=wanted)["runsOrError"]["results"]]

    def succeeded(self, run: str) -> bool:
        """Whether a run is done; fails where it failed."""
        status = self.ask(_RUN, id=run)["runOrError"]["status"]
        assert status not in {"FAILURE", "CANCELED", "CANCELING"}, status
        return bool(status == "SUCCESS")

    def backfill(self, partitions: list[str]) -> str:
        """Start a backfill of the tables over these partitions; returns its id."""
        lake = [{"path": key.split("/")} for key in self.assets() if key.startswith("lake/")]
        params = {"partitionNames": partitions, "assetSelection": lake}
        answer = self.ask(_BACKFILL, params=params)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        key: str = answer["backfillId"]
        return key

    def backfilled(self, key: str) -> bool:
        """Whether a backfill is done; fails where it failed."""
        state = self.ask(_STATE, id=key)["partitionBackfillOrError"]
        assert state["status"] in {"REQUESTED", "COMPLETED_SUCCESS"}, state
        return bool(state["status"] == "COMPLETED_SUCCESS")
