"""DAGs of every job in `pipelines.jobs`; parsing them reads nothing but that list.

`tanada_ingest_<sector>` runs once a day and is about one day (its logical date, or the parameter
`day`): a sensor waits for the day's landings, then one task per organisation that delivered. Which
organisations there are is asked when a run starts, so that a new one needs no new DAG.
`tanada_<job>` is every other scheduled job: one task.

Days before a DAG was switched on: `airflow backfill create`, or set `TANADA_SCHEDULE_FROM`.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import (
    DAG,
    Asset,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    Param,
    PokeReturnValue,
    get_current_context,
    task,
)
from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dags.command import RefusedError, TryAgainError, end_jobs, run_job
from pipelines.jobs import JOBS
from schemas.sectors import SECTORS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator

    from pipelines.jobs import Job

log = logging.getLogger(__name__)
LATE_HOURS: Final = 6
"""How long after the end of its day a run waits for the first landing."""
POKE_SECONDS: Final = 300
RUNS_AT_ONCE: Final = 4
_FROM: Final = os.environ.get("TANADA_SCHEDULE_FROM")
_START: Final = dt.datetime.fromisoformat(_FROM or "2026-01-01").replace(tzinfo=dt.UTC)
_DATE: Final = r"^\d{4}-\d{2}-\d{2}$"


def pool(job: Job) -> str:
    """Name of its pool here; `python -m dags.airflow_dags.pools` lists them all."""
    return f"tanada_{job.pool}"


def _limits(job: Job) -> dict[str, Any]:
    return {
        "retries": job.retries,
        "retry_delay": dt.timedelta(minutes=job.retry_minutes),
        "execution_timeout": dt.timedelta(minutes=job.timeout_minutes),
        "pool": pool(job),
    }


class JobTask(DecoratedOperator, PythonOperator):
    """A function that runs a job; whoever stops the task stops the job's command too."""

    custom_operator_name = "@job_task"
    template_fields = ("op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any],
        op_kwargs: Mapping[str, Any],
        **arguments: Any,
    ) -> None:
        own = {"python_callable": python_callable, "op_args": op_args, "op_kwargs": op_kwargs}
        super().__init__(kwargs_to_upstream=own, **own, **arguments)

    def on_kill(self) -> None:
        """Called when the task is stopped: marked as failed, cleared, or out of time."""
        end_jobs()


def job_task(**arguments: Any) -> TaskDecorator:
    """Like `task`, for a function that runs a job."""
    return task_decorator_factory(decorated_operator_class=JobTask, **arguments)


def _run(job: Job, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run it; what no retry mends fails at once."""
    try:
        return run_job(job, parameters)
    except RefusedError as error:
        raise AirflowFailException(str(error)) from error
    except TryAgainError as error:
        raise AirflowException(str(error)) from error


# --- ingest, by sector and day -------------------------------------------------------------------


def _day(context: Context) -> str:
    """The day a run is about: as asked for, else the day its interval begins."""
    asked = context["params"].get("day")
    if asked:
        return str(asked)
    begin = context.get("data_interval_start")
    if begin is None:
        begin = context["dag_run"].run_after - dt.timedelta(days=1)
    return begin.astimezone(dt.UTC).date().isoformat()


def _too_late(day: str) -> bool:
    midnight = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
    return dt.datetime.now(dt.UTC) > midnight + dt.timedelta(days=1, hours=LATE_HOURS)


def ingest_dag(job: Job, sector: str) -> DAG:
    """The DAG that ingests one sector's landings, day by day."""
    with DAG(
        f"tanada_{job.name}_{sector}",
        description=job.doc,
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable(job.schedule, timezone="UTC"),
        start_date=_START,
        catchup=_FROM is not None,
        max_active_runs=RUNS_AT_ONCE,
        tags=["tanada", sector],
        params={
            "day": Param(None, type=["null", "string"], pattern=_DATE, title="Another day"),
            "settled_seconds": Param(60, type="integer", title="A younger file is still written"),
        },
    ) as dag:
        look = JOBS["landings"]

        @task.sensor(
            task_id="landed",
            mode="reschedule",
            poke_interval=POKE_SECONDS,
            timeout=LATE_HOURS * 3600,
            soft_fail=True,
            retries=look.retries,
            retry_delay=dt.timedelta(minutes=look.retry_minutes),
            pool=pool(look),
        )
        def landed() -> PokeReturnValue:
            """Wait for the day's first landing; answer with who delivered."""
            context = get_current_context()
            day = _day(context)
            settled = context["params"]["settled_seconds"]
            found = _run(look, {"sector": sector, "day": day, "settled_seconds": settled})
            owners = sorted({landing["organisation"] for landing in found["landings"]})
            if not owners and _too_late(day):
                raise AirflowSkipException(f"nothing landed on {day}")
            return PokeReturnValue(is_done=bool(owners), xcom_value=owners)

        @job_task(task_id=job.name, map_index_template="{{ organisation }}", **_limits(job))
        def ingest(organisation: str) -> dict[str, Any]:
            """Ingest one organisation's landings of the day; what is known is a duplicate."""
            context = get_current_context()
            context["organisation"] = organisation
            return _run(
                job,
                {
                    "organisation": organisation,
                    "sector": sector,
                    "day": _day(context),
                    "settled_seconds": context["params"]["settled_seconds"],
                },
            )

        @task(task_id="report", outlets=[Asset(f"tanada://episodes/{sector}")])
        def report(answers: list[dict[str, Any]]) -> dict[str, Any]:
            """Sum up; episodes were updated only if something new was accepted."""
            summary = _summed(list(answers))
            log.info("%s", _lines(summary))
            if not summary["accepted"]:
                raise AirflowSkipException(f"nothing new: {summary}")
            return summary

        report(ingest.expand(organisation=landed()))
    return dag


def _summed(answers: list[dict[str, Any]]) -> dict[str, Any]:
    def total(name: str, *keys: str) -> int:
        return sum(answer[name].get(key, 0) for answer in answers for key in keys)

    return {
        "accepted": total("statuses", "accepted", "accepted_with_warnings"),
        "quarantined": total("verdicts", "quarantined"),
        "duplicate": total("statuses", "duplicate"),
        "refused": [
            f"{one['path']}: {', '.join(reason['rule'] for reason in one['reasons'])}"
            for answer in answers
            for one in answer["recordings"]
            if one["status"] in {"quarantined", "conflict"}
        ],
        "left_out": [text for answer in answers for text in answer["left_out"]],
    }


def _lines(summary: dict[str, Any]) -> str:
    counts = ", ".join(f"{summary[key]} {key}" for key in ("accepted", "quarantined", "duplicate"))
    return "\n".join([counts, *summary["refused"], *summary["left_out"]])


# --- every other job -----------------------------------------------------------------------------


def job_dag(job: Job) -> DAG:
    """The DAG of a job that is about the whole platform."""
    with DAG(
        f"tanada_{job.name}",
        description=job.doc,
        schedule=CronTriggerTimetable(job.schedule, timezone="UTC"),
        start_date=_START,
        catchup=False,
        max_active_runs=1,
        tags=["tanada"],
        params={p.name: Param(p.default, description=p.doc) for p in job.parameters},
    ) as dag:

        @job_task(task_id=job.name, **_limits(job))
        def work() -> dict[str, Any]:
            """Run the job with the run's parameters."""
            return _run(job, dict(get_current_context()["params"]))

        done = work()
        if job.name == "releases":

            @task(task_id="published", outlets=[Asset("tanada://releases")])
            def published(answer: dict[str, Any]) -> list[str]:
                """Releases were updated only if there is a new version."""
                new = [f"{r['dataset']}@{r['version']}" for r in answer["releases"] if r["created"]]
                if not new:
                    raise AirflowSkipException("no recipe has new sources")
                return new

            published(done)
    return dag


for _job in JOBS.values():
    if _job.by_day:
        for _sector in SECTORS:
            globals()[f"tanada_{_job.name}_{_sector}"] = ingest_dag(_job, _sector)
    elif _job.schedule is not None:
        globals()[f"tanada_{_job.name}"] = job_dag(_job)
