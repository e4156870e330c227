"""Prints what Dagster loads: of every job what the list of jobs decides; times in minutes."""

from __future__ import annotations

import json
import warnings
from typing import Any

with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    from dags.dagster_defs.definitions import defs


def described(job: Any) -> dict[str, Any]:
    """Longest run, and the limits of each of its ops."""
    return {
        "timeout_minutes": int(job.tags["dagster/max_runtime"]) / 60,
        "ops": {
            op.name: {
                "retries": op.retry_policy.max_retries,
                "retry_minutes": op.retry_policy.delay / 60,
                "pool": op.pool,
                "parameters": _parameters(op),
            }
            for op in job.all_node_defs
            if op.retry_policy is not None
        },
    }


def _parameters(op: Any) -> dict[str, Any]:
    fields = getattr(op.config_schema.config_type, "fields", None) or {}
    return {name: one.default_value for name, one in fields.items() if one.default_provided}


named = [job for job in defs.resolve_all_job_defs() if job.name.startswith("tanada_")]
document = {
    "warned": [str(one.message) for one in warned if "/dagster_defs/" in one.filename],
    "jobs": {job.name: described(job) for job in named},
    "schedules": {
        one.job_name: {"schedule": one.cron_schedule, "timezone": one.execution_timezone}
        for one in defs.schedules
    },
}
print(json.dumps(document))
