"""Run by tests as a process of its own: `driver.py ROOT MASTER JARS PATH…`; prints steps."""

import sys
from pathlib import Path

from connectors.settings import Settings
from pipelines.cli.platform import Platform
from pipelines.ingest import contribution, ingest


def main() -> None:
    root, master, jars, *paths = sys.argv[1:]

    def trace(step: str) -> None:
        sys.stdout.write(f"step {step}\n")
        sys.stdout.flush()

    settings = Settings(root=root, engine="spark", spark_master=master, spark_jars=jars)
    with Platform.open(settings) as platform:
        ingest(platform, [Path(p) for p in paths], contribution(platform), trace=trace)


if __name__ == "__main__":
    main()
