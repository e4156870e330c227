"""Run by tests as a process of its own: `driver.py ROOT ingest|worker|commit [PATH…|PLAN…]`.

It prints every step.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from connectors.settings import Settings
from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import CommitPlan
from pipelines.cli.platform import Platform
from pipelines.commit import Committer, Plan
from pipelines.ingest import contribution, ingest
from pipelines.worker import work


def main() -> None:
    root, mode, *paths = sys.argv[1:]

    def trace(step: str) -> None:
        sys.stdout.write(f"step {step}\n")
        sys.stdout.flush()

    with Platform.open(Settings.from_environment(os.environ, root=root, workers=2)) as platform:
        if mode == "commit":
            commit(platform, paths, trace)
            return
        if mode == "worker":
            work(platform, once=True, trace=trace)
            return
        result = ingest(platform, [Path(p) for p in paths], contribution(platform), trace=trace)
    sys.stdout.write(json.dumps(result.as_json()) + "\n")


def commit(platform: Platform, plans: list[str], trace: Callable[[str], None]) -> None:
    """Execute plans of the catalog, whoever else does so."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    query = select(CommitPlan.document)
    for key in plans:
        with reading(platform.engine) as connection:
            document = connection.execute(query.where(CommitPlan.id == key)).scalar_one()
        worker = f"writer-{os.getpid()}"
        Committer(
            platform.root,
            platform.lake,
            platform.engine,
            platform.clock,
            worker=worker,
            trace=trace,
        ).execute(Plan.from_json(document))


if __name__ == "__main__":
    main()
