from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from connectors.stores.catalog import parties
from connectors.stores.catalog.database import writing
from dags.command import RefusedError, TryAgainError, end_jobs, run_job
from infra.demo.sectors import write_sector_recording
from pipelines import jobs
from pipelines.cli.platform import Platform
from pipelines.expiry import expire
from pipelines.incoming import incoming
from schemas.errors import NotFoundError, WrongUseError
from schemas.licences import format_instant

DAY = "2026-11-10"
LONG_AGO = 1_700_000_000
TERMS = {
    "purposes_allowed": ["pretraining"],
    "territory": {"storage": ["JP"], "processing": ["JP"]},
    "personal": {"contains_pi": False},
    "medical": {"contains_medical": False},
}


@pytest.fixture
def landing(tmp_path):
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder


@pytest.fixture
def recipes(tmp_path):
    folder = tmp_path / "recipes"
    folder.mkdir()
    return folder


@pytest.fixture
def served(platform, landing, recipes, clock):
    """The platform with a landing folder, and acme's robot `mill-1` of the factory."""
    with writing(platform.engine) as connection:
        parties.add_robot(
            connection, organisation="acme", robot="mill-1", sector="factory", clock=clock
        )
    settings = dataclasses.replace(platform.settings, landing=str(landing), recipes=str(recipes))
    with Platform.open(settings, clock) as opened:
        yield opened


def put(landing, path, content=b"x", seconds=LONG_AGO):
    target = landing / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    os.utime(target, (seconds, seconds))
    return target


# --- the list ------------------------------------------------------------------------------------


def test_every_job_names_a_pool_and_has_room_to_end():
    for name, job in jobs.JOBS.items():
        assert (job.name, job.pool in jobs.POOLS) == (name, True)
        assert job.timeout_minutes > 0
        assert {"day", "sector"} <= {p.name for p in job.parameters} or not job.by_day


def test_what_a_command_line_gives_is_read_by_kind(served):
    with pytest.raises(NotFoundError, match="no such job"):
        jobs.run(served, "brew", {})
    with pytest.raises(WrongUseError, match="no such parameter"):
        jobs.run(served, "verify", {"depth": "3"})
    with pytest.raises(WrongUseError, match="true or false"):
        jobs.run(served, "verify", {"deep": "perhaps"})
    with pytest.raises(WrongUseError, match="a whole number"):
        jobs.run(served, "expire", {"soon_days": "-1"})
    assert jobs.run(served, "verify", {"deep": "true", "table": "imu"})["outcome"] == jobs.WELL


@pytest.mark.parametrize("name", ["process", "recover", "optimize", "vacuum", "verdicts", "expire"])
def test_upkeep_of_an_empty_platform_is_well_and_repeatable(served, name):
    assert jobs.run(served, name, {})["outcome"] == jobs.WELL
    assert jobs.run(served, name, {})["outcome"] == jobs.WELL


# --- landings ------------------------------------------------------------------------------------


def test_a_landing_is_one_robots_day_and_the_catalog_knows_the_sector(served, landing):
    put(landing, f"acme/mill-1/{DAY}/a.mcap")
    put(landing, "acme/mill-1/2026-11-11/b.mcap")
    found = incoming(served, day=DAY)
    assert [(x.organisation, x.robot, x.sector, x.day) for x in found.landings] == [
        ("acme", "mill-1", "factory", DAY)
    ]
    assert [one.day for one in incoming(served, sector="factory").landings] == [DAY, "2026-11-11"]
    assert incoming(served, sector="food").landings == []
    assert incoming(served, organisation="rival").landings == []


def test_folders_of_nobody_are_named_and_not_read(served, landing):
    put(landing, f"acme/mill-9/{DAY}/a.mcap")
    put(landing, f"rival/mill-1/{DAY}/a.mcap")
    put(landing, "acme/mill-1/yesterday/a.mcap")
    found = incoming(served)
    assert found.landings == []
    assert sorted(text.split(":")[0] for text in found.unknown) == [
        "acme/mill-1/yesterday",
        "acme/mill-9",
        "rival",
    ]


def test_what_is_still_written_waits(served, landing, clock):
    put(landing, f"acme/mill-1/{DAY}/a.mcap")
    put(landing, f"acme/mill-1/{DAY}/b.mcap", seconds=clock.now_ns // 10**9 - 5)
    (found,) = incoming(served).landings
    assert [one.path.name for one in found.arrived] == ["a.mcap"]
    assert found.waiting == (f"acme/mill-1/{DAY}/b.mcap",)
    (later,) = incoming(served, settled_seconds=1).landings
    assert (len(later.arrived), later.waiting) == (2, ())
    assert later.fingerprint == found.fingerprint
    put(landing, f"acme/mill-1/{DAY}/c.mcap")
    (more,) = incoming(served).landings
    assert more.fingerprint != found.fingerprint


def test_no_folder_no_landings(platform, served, landing):
    with pytest.raises(WrongUseError, match="no landing folder is configured"):
        incoming(platform)
    with pytest.raises(WrongUseError, match="not a day"):
        incoming(served, day="2026-02-30")
    landing.rmdir()
    with pytest.raises(NotFoundError, match="does not exist"):
        incoming(served)


def test_a_days_ingest_takes_the_good_and_names_the_bad_and_again_changes_nothing(served, landing):
    good = put(landing, f"acme/mill-1/{DAY}/good.mcap")
    write_sector_recording("factory", good, seed=1, seconds=1)
    os.utime(good, (LONG_AGO, LONG_AGO))
    put(landing, f"acme/mill-1/{DAY}/empty.mcap", b"")
    given = {"sector": "factory", "day": DAY}
    first = jobs.run(served, "ingest", given)
    assert (first["outcome"], first["statuses"]) == (
        jobs.REFUSED,
        {"accepted": 1, "quarantined": 1},
    )
    assert first["rules"] == {"empty": 1}
    again = jobs.run(served, "ingest", given)
    assert again["statuses"] == {"duplicate": 2}
    assert (again["verdicts"], again["rows"]) == (first["verdicts"], first["rows"])
    assert jobs.run(served, "verdicts", {})["recordings"] == 1
    assert jobs.run(served, "ingest", given | {"day": "2026-11-11"})["recordings"] == []


# --- recipes and terms ---------------------------------------------------------------------------


def test_a_recipe_that_is_refused_is_reported_and_stops_no_other(served, recipes):
    (recipes / "a.yaml").write_text("dataset: 7")
    (recipes / "b.yml").write_text("[")
    (recipes / "readme.md").write_text("no recipe")
    done = jobs.run(served, "releases", {})
    assert done["outcome"] == jobs.REFUSED
    assert [one["recipe"] for one in done["releases"]] == ["a.yaml", "b.yml"]
    assert all("error" in one for one in done["releases"])
    with pytest.raises(WrongUseError, match="name the file alone"):
        jobs.run(served, "releases", {"recipe": "../a.yaml"})
    with pytest.raises(NotFoundError, match="no such recipe"):
        jobs.run(served, "releases", {"recipe": "readme.md"})


def test_terms_that_end_are_set_and_what_ends_soon_is_said(served, clock):
    days = {"over": -1, "soon": 10, "later": 400}
    with writing(served.engine) as connection:
        for name, number in days.items():
            end = format_instant(clock.now_ns + number * 86_400 * 10**9)
            parties.add_agreement(
                connection,
                organisation="acme",
                agreement=name,
                title=name,
                terms=TERMS | {"expires_at": end},
                clock=clock,
            )
    done = expire(served)
    assert [one.id for one in done.ended] == ["over"]
    assert [one.id for one in done.ending] == ["soon"]
    assert done.ending[0].as_json(clock.now_ns)["days"] == 9
    assert expire(served).ended == ()
    clock.advance(11 * 86_400)
    assert [one.id for one in expire(served).ended] == ["soon"]


# --- a scheduler's call --------------------------------------------------------------------------

ANSWERS = """
import os, sys, time
assert not [k for k in os.environ if k.startswith("AIRFLOW")]
kind = dict(p.split("=") for p in sys.argv if "=" in p)["table"]
if kind == "hangs":
    with open(sys.argv[0] + ".pid", "w") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(600)
print({"well": '{"outcome": "well"}', "alarm": '{"outcome": "refused", "findings": [1]}',
       "retry": '{"outcome": "retry"}', "wrong": '{"error": "no such table"}'}.get(kind, ""))
if kind == "killed":
    os.kill(os.getpid(), 9)
sys.exit({"well": 0, "alarm": 1, "wrong": 2, "retry": 3}[kind])
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    path = tmp_path / "program.py"
    path.write_text(ANSWERS)
    monkeypatch.setenv("TANADA_COMMAND", f"{sys.executable} {path}")
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "the scheduler's own")
    return path


@pytest.mark.usefixtures("program")
def test_exit_codes_tell_a_scheduler_what_a_retry_can_mend():
    verify = jobs.JOBS["verify"]
    assert run_job(verify, {"table": "well", "deep": None}) == {"outcome": "well"}
    with pytest.raises(RefusedError) as alarm:
        run_job(verify, {"table": "alarm"})
    assert alarm.value.document["findings"] == [1]
    patient = dataclasses.replace(verify, refusal_fails=False)
    assert run_job(patient, {"table": "alarm"})["outcome"] == jobs.REFUSED
    with pytest.raises(RefusedError, match="no such table"):
        run_job(verify, {"table": "wrong"})
    with pytest.raises(TryAgainError, match="exit code 3"):
        run_job(verify, {"table": "retry"})
    with pytest.raises(TryAgainError, match="exit code -9"):
        run_job(verify, {"table": "killed"})


@pytest.mark.usefixtures("program")
def test_a_job_that_hangs_is_ended():
    brief = dataclasses.replace(jobs.JOBS["verify"], timeout_minutes=1 / 60)
    with pytest.raises(TryAgainError, match="not done within 1 s"):
        run_job(brief, {"table": "hangs"})


def pid_of_hanging(program: Path) -> int:
    """Its process, once it runs."""
    written = program.with_name("program.py.pid")
    deadline = time.monotonic() + 60
    while not (written.exists() and written.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(written.read_text())


def test_a_job_that_is_stopped_ends_and_another_try_may_follow(program):
    def stop():
        pid_of_hanging(program)
        end_jobs()

    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(stop)
        with pytest.raises(TryAgainError, match="exit code -15"):
            run_job(jobs.JOBS["verify"], {"table": "hangs"})
        stopping.result()


def test_a_job_does_not_outlive_the_task_that_asked_for_it(program):
    words = "from dags.command import run_job; from pipelines.jobs import JOBS"
    task = subprocess.Popen(
        [sys.executable, "-c", f"{words}; run_job(JOBS['verify'], {{'table': 'hangs'}})"],
        cwd=Path(__file__).parents[3],
    )
    hanging = psutil.Process(pid_of_hanging(program))
    task.kill()
    task.wait()
    # No longer ours to wait for: whoever adopted it has to see its end.
    deadline = time.monotonic() + 60
    while hanging.is_running() and hanging.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_command_that_does_not_exist_is_for_a_person(monkeypatch, caplog):
    monkeypatch.setenv("TANADA_COMMAND", "/nowhere/tanada")
    caplog.set_level("INFO")
    with pytest.raises(RefusedError, match="exit code 127"):
        run_job(jobs.JOBS["verify"], {})
    assert "/nowhere/tanada: No such file or directory" in caplog.text
