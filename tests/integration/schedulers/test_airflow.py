"""A real Airflow ingests landings: broken files, twice at once, killed mid-way."""

from __future__ import annotations

import shutil
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import sync_playwright
from sqlalchemy import func, select

from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Recording
from pipelines import jobs
from tests.integration.schedulers.world import make_world, wait_for

if TYPE_CHECKING:
    from pathlib import Path

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
    assert {airflow.finished(run["dag_run_id"], 400) for run in runs} == {"success"}
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


def test_a_task_killed_mid_way_is_retried_and_nothing_is_lost_or_doubled(
    airflow: Airflow, world: World, tmp_path: Path
) -> None:
    day = "2026-11-22"
    paths = [world.record(world.day(day), 300 + seed) for seed in range(4)]
    run = airflow.trigger(day)
    command = wait_for("the job", lambda: airflow.working_on(day), every=0.05)
    wait_for("recordings at work", lambda: leased(world), every=0.05)
    task = command.parent()
    assert task is not None
    killed = [task, command, *command.children(recursive=True)]
    for process in killed:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    assert airflow.finished(run) == "success"
    (instance,) = airflow.tasks(run, "ingest")
    assert instance["try_number"] == 2
    world.exactly_once(paths)
    other = make_world(tmp_path)
    folder = other.day(day)
    for path in paths:
        shutil.copy2(path, folder)
    with other.platform() as platform:
        whole = jobs.run(platform, "ingest", {"day": day})
    assert whole["statuses"] == {"accepted": 4}
    copied = [folder / path.name for path in paths]
    assert world.content(paths) == other.content(copied)


def test_the_page_of_the_ingest_shows_its_tasks(
    airflow: Airflow, chromium: str, pictures: Path
) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 800})
        page.goto(f"{airflow.url}/dags/{airflow.DAG}")
        for task in ("landed", "ingest", "report"):
            page.get_by_text(task, exact=False).first.wait_for(timeout=60_000)
        page.wait_for_timeout(3000)
        page.screenshot(path=pictures / "airflow-ingest.png")
        browser.close()
