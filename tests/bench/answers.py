"""How quickly the small answers come: help, and whether a recording is known.

`python tests/bench/answers.py [--rounds 20] [--json]`. Medians and the whole spread; on a shared
machine the least is the figure that says most of the code, the median most of the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from connectors.settings import Settings
from connectors.stores.catalog import recordings
from connectors.stores.initialise import initialise
from connectors.stores.receive import FileEntry, Receiver
from pipelines.cli.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable

TANADA: Final = Path(sys.executable).with_name("tanada")
KNOWN: Final = 2000
"""Recordings in the catalog that is asked."""


def timed(action: Callable[[], object], rounds: int) -> list[float]:
    """Wall seconds of each round; one more before them is not counted."""
    action()
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        action()
        found.append(time.perf_counter() - begin)
    return found


def command(*words: str) -> Callable[[], object]:
    """A `tanada` command in a new process, output thrown away."""
    return lambda: subprocess.run([TANADA, *words], check=True, stdout=subprocess.DEVNULL)


def manifest(number: int) -> FileEntry:
    """One file's entry; its bytes need not exist."""
    content = str(number).encode()
    return FileEntry("log.mcap", len(content), hashlib.sha256(content).hexdigest())


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each answer by name, on a new platform in `folder`."""
    initialise(folder / "lake", "Acme", time.time_ns)
    with Platform.open(Settings(root=str(folder / "lake")), time.time_ns) as platform:
        receiver = Receiver(platform.root, platform.engine, time.time_ns)

        def begin(number: int) -> str:
            entries = [manifest(number)]
            return receiver.begin("acme", entries, "default", "acme-own-use").recording_id

        keys = [begin(number) for number in range(KNOWN)]
        return {
            "tanada --help": timed(command("--help"), rounds),
            "tanada pull --help": timed(command("pull", "--help"), rounds),
            "one recording is known": timed(
                lambda: recordings.known(platform.engine, keys[:1]), rounds
            ),
            "200 recordings are known": timed(
                lambda: recordings.known(platform.engine, keys[:200]), rounds
            ),
            "a recording is announced again": timed(lambda: begin(0), rounds),
        }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="counted rounds of each (20)")
    parser.add_argument("--json", action="store_true", help="all rounds, as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as text:
        found = measure(Path(text), args.rounds)
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print("| answer | median ms | least ms | most ms |\n|---|---|---|---|")
    for name, seconds in found.items():
        figures = (median(seconds), min(seconds), max(seconds))
        print(f"| {name} | {' | '.join(f'{s * 1e3:.2f}' for s in figures)} |")


if __name__ == "__main__":
    main()
