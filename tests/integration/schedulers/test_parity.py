"""Airflow and Dagster schedule what `pipelines.jobs` lists, as it says: no more and no less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipelines.jobs import JOBS, POOLS
from schemas.sectors import SECTORS
from tests.integration.schedulers.airflow_server import airflow_environment
from tests.integration.schedulers.world import REPOSITORY, lines_of

if TYPE_CHECKING:
    from pipelines.jobs import Job
    from tests.integration.schedulers.world import World

pytestmark = pytest.mark.full
SCHEDULED = {name: job for name, job in JOBS.items() if job.schedule is not None}


def waits(job: Job) -> dict[str, Any]:
    return {
        "retries": job.retries,
        "retry_minutes": job.retry_minutes,
        "pool": f"tanada_{job.pool}",
    }


def defaults(job: Job) -> dict[str, Any]:
    return {parameter.name: parameter.default for parameter in job.parameters}


@pytest.fixture(scope="module")
def airflow_list(tmp_path_factory: pytest.TempPathFactory, world: World) -> dict[str, Any]:
    """What an Airflow makes of the folder of DAGs, in a process of its own."""
    home = tmp_path_factory.mktemp("parse")
    environment = world.environment | airflow_environment(home)
    folder = str(REPOSITORY / "dags" / "airflow_dags")
    document: dict[str, Any] = lines_of("list_airflow.py", folder, environment=environment)
    return document


@pytest.fixture(scope="module")
def dagster_list(world: World) -> dict[str, Any]:
    """What a Dagster makes of the definitions, in a process of its own."""
    document: dict[str, Any] = lines_of("list_dagster.py", environment=world.environment)
    return document


def test_every_dag_parses_and_loads_nothing_heavy(airflow_list: dict[str, Any]) -> None:
    assert airflow_list["errors"] == {}
    assert airflow_list["heavy"] == []


def test_airflow_runs_each_job_as_listed(airflow_list: dict[str, Any]) -> None:
    dags = airflow_list["dags"]
    of_job = {
        f"tanada_{name}_{sector}" if job.by_day else f"tanada_{name}": job
        for name, job in SCHEDULED.items()
        for sector in (SECTORS if job.by_day else [""])
    }
    assert dags.keys() == of_job.keys()
    for name, job in of_job.items():
        dag = dags[name]
        assert (dag["schedule"], dag["timezone"]) == (job.schedule, "UTC"), name
        limits = waits(job) | {"timeout_minutes": job.timeout_minutes}
        assert dag["tasks"][job.name] == limits, name
        # A run about a day takes the day; its sector and organisations are the DAG's own.
        by_day = {key: defaults(job).get(key) for key in ("day", "settled_seconds")}
        assert dag["parameters"] == (by_day if job.by_day else defaults(job)), name


def test_airflow_looks_for_landings_as_listed(airflow_list: dict[str, Any]) -> None:
    for sector in SECTORS:
        task = airflow_list["dags"][f"tanada_ingest_{sector}"]["tasks"]["landed"]
        assert {key: task[key] for key in waits(JOBS["landings"])} == waits(JOBS["landings"])


def test_the_definitions_use_nothing_that_dagster_warns_of(dagster_list: dict[str, Any]) -> None:
    assert dagster_list["warned"] == []


def test_dagster_runs_each_job_as_listed(dagster_list: dict[str, Any]) -> None:
    assert dagster_list["jobs"].keys() == {f"tanada_{name}" for name in SCHEDULED}
    assert dagster_list["schedules"] == {
        f"tanada_{name}": {"schedule": job.schedule, "timezone": "UTC"}
        for name, job in SCHEDULED.items()
    }
    for name, job in SCHEDULED.items():
        found = dagster_list["jobs"][f"tanada_{name}"]
        assert found["timeout_minutes"] == job.timeout_minutes, name
        ((op, limits),) = found["ops"].items()
        assert op == ("releases__mill_motion" if name == "releases" else name)
        given = limits.pop("parameters")
        assert limits == waits(job), name
        # Partition and recipe are the assets' own; what is left is a run's configuration.
        own = {"ingest": {"settled_seconds": 60}, "releases": {}}
        assert given == own.get(name, defaults(job)), name


def test_pools_are_the_lists(dagster_list: dict[str, Any], airflow_list: dict[str, Any]) -> None:
    from dags.airflow_dags.pools import pools

    assert {name: one["slots"] for name, one in pools().items()} == {
        f"tanada_{name}": slots for name, slots in POOLS.items()
    }
    used = {op["pool"] for job in dagster_list["jobs"].values() for op in job["ops"].values()}
    tasks = [t for dag in airflow_list["dags"].values() for t in dag["tasks"].values()]
    used |= {task["pool"] for task in tasks} - {"default_pool"}
    assert used <= pools().keys()
