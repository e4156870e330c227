"""What Dagster loads: `dagster-webserver -m dags.dagster_defs.definitions`, and the daemon.

Jobs and schedules bear the names of `pipelines.jobs`, with `tanada_` before them. The sensor
`landings` ingests a day as soon as something new has arrived whole, also a day long past; the
schedule of `ingest` comes behind it and finds duplicates.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import dagster as dg

from dags.dagster_defs.assets import (
    DAY,
    LANDING,
    SECTOR,
    START,
    ingest,
    intact,
    judged,
    landing,
    releases,
)
from dags.dagster_defs.running import limits, run, tags, yesterday
from pipelines.jobs import JOBS, Job
from schemas.sectors import SECTORS

RELEASES = releases(os.environ.get("TANADA_RECIPES"))
LOOK_SECONDS = 60


def partition(day: str, sector: str) -> dg.MultiPartitionKey:
    """Key of one day and sector."""
    return dg.MultiPartitionKey({DAY: day, SECTOR: sector})


ingest_job = dg.define_asset_job(
    "tanada_ingest",
    selection=dg.AssetSelection.assets(ingest),
    description=JOBS["ingest"].doc,
    tags=tags(JOBS["ingest"]),
)
CHECKS = dg.AssetSelection.checks(*intact.check_keys, *judged.check_keys)
releases_job = dg.define_asset_job(
    "tanada_releases",
    selection=dg.AssetSelection.groups("releases") | CHECKS if RELEASES else CHECKS,
    description=JOBS["releases"].doc,
    tags=tags(JOBS["releases"]),
)


def _job(job: Job) -> dg.JobDefinition:
    """A job of one op, with the job's parameters as its configuration."""
    kinds = {"text": dg.Noneable(str), "number": int, "flag": bool}
    schema = {
        p.name: dg.Field(kinds[p.kind], default_value=p.default, description=p.doc)
        for p in job.parameters
    }

    @dg.op(name=job.name, description=job.doc, config_schema=schema, **limits(job))
    def work(context: dg.OpExecutionContext) -> dict[str, Any]:
        return run(job, dict(context.op_config or {}))

    @dg.job(name=f"tanada_{job.name}", description=job.doc, tags=tags(job))
    def alone() -> None:
        work()

    return alone


UPKEEP = {
    job.name: _job(job)
    for job in JOBS.values()
    if job.schedule is not None and job.name not in {"ingest", "releases"}
}


def _schedule(job: Job) -> dg.ScheduleDefinition:
    named = {"ingest": ingest_job, "releases": releases_job} | UPKEEP
    name = f"tanada_{job.name}_schedule"
    if not job.by_day:
        return dg.ScheduleDefinition(
            name=name, job=named[job.name], cron_schedule=job.schedule, execution_timezone="UTC"
        )

    @dg.schedule(
        name=name, job=named[job.name], cron_schedule=job.schedule, execution_timezone="UTC"
    )
    def by_sector() -> Iterator[dg.RunRequest]:
        day = yesterday()
        for sector in sorted(SECTORS):
            yield dg.RunRequest(run_key=f"{day} {sector}", partition_key=partition(day, sector))

    return by_sector


@dg.sensor(name="landings", job=ingest_job, minimum_interval_seconds=LOOK_SECONDS)
def landings(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Ask for a run of every day and sector whose landings changed and are all there."""
    seen: dict[str, str] = json.loads(context.cursor or "{}")
    marks: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in run(JOBS["landings"], {})["landings"]:
        if one["day"] >= START.isoformat():
            marks.setdefault((one["day"], one["sector"]), []).append(one)
    requests, events = [], []
    for (day, sector), found in sorted(marks.items()):
        mark = " ".join(sorted(one["fingerprint"] for one in found))
        key = f"{day} {sector}"
        if seen.get(key) == mark or any(one["waiting"] for one in found):
            continue
        seen[key] = mark
        requests.append(
            dg.RunRequest(run_key=f"{key} {mark}", partition_key=partition(day, sector))
        )
        events.append(
            dg.AssetMaterialization(
                LANDING,
                partition=partition(day, sector),
                metadata={"recordings": sum(one["arrived"] for one in found)},
            )
        )
    return dg.SensorResult(
        run_requests=requests, cursor=json.dumps(seen, sort_keys=True), asset_events=events
    )


defs = dg.Definitions(
    # Every step starts a process already, the platform's command; and pools let few run at once.
    executor=dg.in_process_executor,
    assets=[landing, ingest, *RELEASES],
    asset_checks=[intact, judged],
    jobs=[ingest_job, releases_job, *UPKEEP.values()],
    schedules=[_schedule(job) for job in JOBS.values() if job.schedule is not None],
    sensors=[landings],
)
