"""Run by tests as a process of its own, settings in its environment: `driver.py PATH…`.

Prints the steps that it comes to.
"""

import os
import sys
from pathlib import Path

from connectors.settings import Settings
from pipelines.cli.platform import Platform
from pipelines.ingest import contribution, ingest


def main() -> int:
    def trace(step: str) -> None:
        sys.stdout.write(f"step {step}\n")
        sys.stdout.flush()

    with Platform.open(Settings.from_environment(os.environ)) as platform:
        paths = [Path(path) for path in sys.argv[1:]]
        return ingest(platform, paths, contribution(platform), trace=trace).exit_code


if __name__ == "__main__":
    sys.exit(main())
