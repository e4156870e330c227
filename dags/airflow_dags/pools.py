"""The pools that the DAGs need, as `airflow pools import` reads them.

python -m dags.airflow_dags.pools > pools.json && airflow pools import pools.json
"""

from __future__ import annotations

import json
import sys

from pipelines.jobs import POOLS


def pools() -> dict[str, dict[str, object]]:
    """Pool -> slots."""
    return {
        f"tanada_{name}": {
            "slots": slots,
            "description": f"Tanada jobs of the pool {name}",
            "include_deferred": False,
        }
        for name, slots in POOLS.items()
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(pools(), indent=2) + "\n")
