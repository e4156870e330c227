"""Run by tests as a process of its own: `driver.py ROOT ingest|worker [PATH…]`; prints steps."""

import json
import os
import sys
from pathlib import Path

from connectors.settings import Settings
from pipelines.cli.platform import Platform
from pipelines.ingest import contribution, ingest
from pipelines.worker import work


def main() -> None:
    root, mode, *paths = sys.argv[1:]

    def trace(step: str) -> None:
        sys.stdout.write(f"step {step}\n")
        sys.stdout.flush()

    with Platform.open(Settings.from_environment(os.environ, root=root, workers=2)) as platform:
        if mode == "worker":
            work(platform, once=True, trace=trace)
            return
        result = ingest(platform, [Path(p) for p in paths], contribution(platform), trace=trace)
    sys.stdout.write(json.dumps(result.as_json()) + "\n")


if __name__ == "__main__":
    main()
