"""The Spark engine beside the embedded one: the same recordings, decode to commit.

`python tests/bench/engines.py [--recordings 24] [--seconds 20] [--rounds 3]`; in the environment
of Spark (`make bench-spark`). Every run is a process and a lake of its own, interleaved. It first
takes one small recording, which pays for session, fork servers and validator; then all others,
received beforehand, go through decode, check and commit in one batch. "cold" is the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import tree_cpu

from connectors.settings import Settings
from connectors.stores.initialise import initialise
from connectors.stores.receive import Receiver
from infra.demo.robot_log import STANDARD, LogSpec, write_log
from pipelines.batch import Station
from pipelines.cli.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).resolve().parent
JARS: Final = HERE.parents[1] / "infra" / "spark" / "target" / "jars"
ENGINES: Final[dict[str, dict[str, Any]]] = {
    "embedded, 1 worker": {"workers": 1},
    "Spark local[1]": {"engine": "spark", "spark_master": "local[1]"},
    "embedded, 2 workers": {"workers": 2},
    "Spark local[2]": {"engine": "spark", "spark_master": "local[2]"},
}
BASES: Final = {
    "Spark local[1]": "embedded, 1 worker",
    "Spark local[2]": "embedded, 2 workers",
}


def take(platform: Platform, station: Station, logs: Sequence[Path]) -> dict[str, float]:
    """Receive; then decode, check and commit as one batch. Returns what the latter spent."""
    receiver = Receiver(platform.root, platform.engine, platform.clock)
    for log in logs:
        receiver.receive_paths("acme", [log], "default", "acme-own-use")
    os.sync()
    wall, cpu = time.perf_counter(), tree_cpu()
    batch = station.open("acme")
    for row in station.lease(len(logs)):
        station.add(batch, row)
    outcomes = station.finish(batch)
    if [outcome.status for outcome in outcomes] != ["accepted"] * len(logs):
        raise SystemExit(f"not all accepted: {[outcome.status for outcome in outcomes]}")
    return {"cpu_s": tree_cpu() - cpu, "wall_s": time.perf_counter() - wall}


def run_here(name: str, logs: Sequence[Path]) -> dict[str, float]:
    """One run in this process: the first log warms up, the others count."""
    with tempfile.TemporaryDirectory(dir=logs[0].parent) as folder:
        root = Path(folder) / "lake"
        initialise(root, "Acme", time.time_ns)
        settings = Settings(root=str(root), spark_jars=str(JARS), **ENGINES[name])
        with Platform.open(settings) as platform, Station(platform) as station:
            take(platform, station, logs[:1])
            spent = take(platform, station, logs[1:])
    return spent | {"total_cpu_s": tree_cpu()}


def measured(name: str, logs: Sequence[Path]) -> dict[str, float]:
    """One run in a process of its own."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), "--run", name, *map(str, logs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return json.loads(done.stdout) | {"total_wall_s": time.perf_counter() - started}


def table(runs: dict[str, list[dict[str, float]]], facts: dict[str, Any]) -> str:
    """The results as Markdown: median, and the whole spread in brackets."""
    first = f"{facts['recordings']} recordings of {facts['seconds']:g} s, "
    first += f"{facts['bytes'] >> 20} MiB, {facts['rounds']} rounds; "
    lines = [
        f"{first}load average before: {facts['load']}.",
        "",
        "| engine | CPU s | wall s | cold CPU s | cold wall s | CPU against embedded |",
        "|---|---|---|---|---|---|",
    ]
    for name, rounds in runs.items():
        cells = [
            f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
            for key in ("cpu_s", "wall_s", "total_cpu_s", "total_wall_s")
            for values in [[one[key] for one in rounds]]
        ]
        base = runs.get(BASES.get(name, ""))
        against = "-"
        if base:
            own, other = (statistics.median(one["cpu_s"] for one in r) for r in (rounds, base))
            each = (own - other) / facts["recordings"] * 1000
            against = f"{own / other:.2f} times, {each:+.0f} ms a recording"
        lines.append(f"| {name} | {' | '.join(cells)} | {against} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the logs, run every engine in every round, and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", nargs="+", metavar=("NAME", "LOG"))
    given = parser.parse_args()
    if given.run:
        name, *logs = given.run
        print(json.dumps(run_here(name, [Path(log) for log in logs])))
        return
    folder = Path(tempfile.mkdtemp(prefix="engines-"))
    try:
        logs = [folder / f"log-{seed}.mcap" for seed in range(given.recordings + 1)]
        for seed, log in enumerate(logs):
            seconds = given.seconds if seed else 0.5
            write_log(log, LogSpec(seconds=seconds, seed=seed, topics=STANDARD).without_camera())
        facts = {
            "recordings": given.recordings,
            "seconds": given.seconds,
            "rounds": given.rounds,
            "bytes": sum(log.stat().st_size for log in logs[1:]),
            "load": f"{os.getloadavg()[0]:.1f}",
        }
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ENGINES}
        for number in range(given.rounds):
            names = list(ENGINES)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                runs[name].append(measured(name, logs))
                print(f"round {number + 1}, {name}: {runs[name][-1]}", file=sys.stderr)
    finally:
        shutil.rmtree(folder)
    text = table(runs, facts)
    print(text)
    day = datetime.now(UTC).date().isoformat()
    (HERE / "results" / f"{day}-engines.md").write_text("# Engines\n\n" + text)
    document = {"facts": facts, "runs": runs}
    (HERE / "results" / f"{day}-engines.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
