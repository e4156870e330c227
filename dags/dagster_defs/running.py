"""Dagster's way to run a job: its retries, pool and what is worth no retry."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from dags.command import RefusedError, run_job
from pipelines.jobs import Job


def limits(job: Job) -> dict[str, Any]:
    """Retries and pool of an op or asset, as the list says."""
    wait = dg.RetryPolicy(max_retries=job.retries, delay=job.retry_minutes * 60)
    return {"retry_policy": wait, "pool": f"tanada_{job.pool}"}


def tags(job: Job) -> dict[str, str]:
    """Tags of a run; `dagster/max_runtime` also ends one whose process hangs."""
    return {"dagster/max_runtime": str(job.timeout_minutes * 60)}


def run(job: Job, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run it; what no retry mends fails at once.

    Raises:
        dagster.Failure: a person has to act.
    """
    try:
        return run_job(job, parameters)
    except RefusedError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def answer(job: Job, parameters: dict[str, Any]) -> dict[str, Any]:
    """The job's document also where it is an alarm, for checks that judge it themselves.

    Raises:
        dagster.Failure: it answered nothing.
    """
    try:
        return run_job(job, parameters)
    except RefusedError as error:
        if "outcome" in error.document:
            return error.document
        raise dg.Failure(str(error), allow_retries=False) from error


def yesterday() -> str:
    """The last whole day, UTC."""
    return (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
