"""Prints what Airflow parses: import errors, and of every DAG what the list of jobs decides."""

from __future__ import annotations

import json
import sys
from typing import Any

from airflow.dag_processing.dagbag import DagBag


def described(dag: Any) -> dict[str, Any]:
    """Schedule, parameters and each task's limits; times in minutes."""
    return {
        "schedule": dag.timetable.expression,
        "timezone": str(dag.timetable.timezone),
        "parameters": dict(dag.params.dump()),
        "tasks": {
            task.task_id: {
                "retries": task.retries,
                "retry_minutes": task.retry_delay.total_seconds() / 60,
                "timeout_minutes": task.execution_timeout
                and task.execution_timeout.total_seconds() / 60,
                "pool": task.pool,
            }
            for task in dag.tasks
        },
    }


found = DagBag(sys.argv[1])
document = {
    "errors": found.import_errors,
    "dags": {name: described(dag) for name, dag in found.dags.items()},
    "heavy": sorted(
        {name.split(".")[0] for name in sys.modules}
        & {"deltalake", "pyarrow", "duckdb", "great_expectations", "fastapi"}
    ),
}
print(json.dumps(document))
