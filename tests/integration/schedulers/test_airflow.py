"""A real Airflow ingests landings: broken files, seven past days, twice at once, ended mid-way."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Recording
from pipelines import jobs
from tests.integration.schedulers.pictures import in_sight, page_of, take_picture
from tests.integration.schedulers.world import alive, make_world, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psutil

    from tests.integration.schedulers.airflow_server import Airflow
    from tests.integration.schedulers.world import World

pytestmark = pytest.mark.full


def leased(world: World) -> int:
    with world.platform() as platform, reading(platform.engine) as connection:
        query = select(func.count()).where(Recording.state == "leased")
        count: int = connection.execute(query).scalar_one()
    return count


def test_a_days_landings_are_ingested_and_broken_files_reported(
    airflow: Airflow, world: World
) -> None:
    day = "2026-11-02"
    ours, theirs = world.day(day), world.day(day, "tetsu-works", "mill-1")
    good = [world.record(ours, 1), world.record(ours, 2), world.record(theirs, 3)]
    bad = world.record(ours, 4, broken="imu_norm")
    world.empty(ours)
    run = airflow.trigger(day)
    assert airflow.finished(run) == "success"
    world.exactly_once(good)
    summary = airflow.answer(run, "report")
    assert (summary["accepted"], summary["quarantined"]) == (3, 2)
    assert sorted(text.rsplit(": ", 1)[1] for text in summary["refused"]) == [
        "empty",
        "norm_error, norm_drift",
    ]
    assert len(airflow.tasks(run, "ingest")) == 2
    assert world.rows("episodes", [bad]) == {}


def test_a_backfill_of_seven_days_ingests_each_day_once(airflow: Airflow, world: World) -> None:
    days = [f"2026-11-{number}" for number in range(10, 17)]
    paths = [world.record(world.day(day), 100 + seed) for seed, day in enumerate(days)]
    airflow.airflow(
        *("backfill", "create", "--dag-id", airflow.DAG),
        *("--from-date", days[0], "--to-date", f"{days[-1]}T23:59:59"),
    )
    runs = airflow.backfilled()
    assert sorted(run["logical_date"][:10] for run in runs) == days
    assert {airflow.finished(run["dag_run_id"]) for run in runs} == {"success"}
    world.exactly_once(paths)


def test_the_same_day_twice_at_once_is_one_result(airflow: Airflow, world: World) -> None:
    day = "2026-11-20"
    paths = [world.record(world.day(day), 200), world.record(world.day(day), 201)]
    runs = [airflow.trigger(day), airflow.trigger(day)]
    assert [airflow.finished(run) for run in runs] == ["success", "success"]
    world.exactly_once(paths)
    answers = [airflow.answer(run, "ingest", 0) for run in runs]
    accepted = sum(answer["statuses"].get("accepted", 0) for answer in answers)
    assert accepted == 2
    assert sum(answer["statuses"].get("duplicate", 0) for answer in answers) == 2


def killed(task: psutil.Process, _airflow: Airflow, _run: str) -> None:
    """As the kernel does where memory runs out: the task alone, which can end nothing any more."""
    task.send_signal(signal.SIGKILL)


def stopped(_task: psutil.Process, airflow: Airflow, run: str) -> None:
    """As a person does on the web page: Airflow ends the task, which ends its command."""
    airflow.fail(run, "ingest", 0)


@pytest.mark.parametrize(("seed", "end"), [(300, killed), (400, stopped)])
def test_a_task_ended_mid_way_leaves_nothing_running_and_resumes_to_an_equal_result(
    seed: int,
    end: Callable[[psutil.Process, Airflow, str], None],
    airflow: Airflow,
    world: World,
    tmp_path: Path,
) -> None:
    day = f"2026-11-{seed // 100 + 19}"
    paths = [world.record(world.day(day), seed + number) for number in range(4)]
    run = airflow.trigger(day)
    command = wait_for("the job", lambda: airflow.working_on(day), every=0.05)
    wait_for("recordings at work", lambda: leased(world) == 4, every=0.05)
    task = command.parent()
    assert task is not None
    family = [command, *command.children(recursive=True)]
    end(task, airflow, run)
    wait_for("the end of all it started", lambda: not any(map(alive, family)), every=0.05)
    assert leased(world) == 4, "it was ended before anything was committed"
    if end is stopped:
        assert airflow.finished(run) == "failed"
        airflow.clear(run, "ingest")
    assert airflow.finished(run) == "success"
    (instance,) = airflow.tasks(run, "ingest")
    assert instance["try_number"] == 2
    world.exactly_once(paths)
    # The same files on a platform where nothing was ended.
    other = make_world(tmp_path)
    folder = other.day(day)
    for path in paths:
        shutil.copy2(path, folder)
    with other.platform() as platform:
        whole = jobs.run(platform, "ingest", {"day": day})
    assert whole["statuses"] == {"accepted": 4}
    copied = [folder / path.name for path in paths]
    assert world.content(paths) == other.content(copied)


def test_the_graph_of_the_ingest_shows_its_tasks(
    airflow: Airflow, chromium: str, pictures: Path
) -> None:
    with page_of(f"{airflow.url}/dags/{airflow.DAG}", chromium) as page:
        page.get_by_label("Show Graph").click()
        nodes = page.locator(".react-flow__node")
        for task in ("landed", "ingest", "report"):
            in_sight(page, nodes.filter(has_text=task).first)
        assert page.locator(".react-flow__edge").count() == 2
        take_picture(page, pictures / "airflow-ingest.png")
