"""One contender in a process of its own: `contender.py NAME LOG OUT [--warm TINY]`.

With `--warm` it first runs on a tiny log of the same kind, so that imports, lazy set-up and
process servers are paid before the clock starts. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import measure

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Contender:
    """One way from a log to tables.

    Attributes:
        module / function: Where it is: `function(log, out) -> messages per topic`; a topic that
            is missing there is not counted.
        title: Name in the tables.
        packages: Distributions whose versions are reported.
        prepare: Function of the module that runs first and is not timed: `prepare(log, out)`.
        cold: Whether a run without warm-up means anything for it.
        command: (prepare, function) of the run without warm-up, where it is a command of its own.
        counts: Function of the module that counts the messages afterwards, not timed.
    """

    module: str
    function: str
    title: str
    packages: tuple[str, ...] = ()
    prepare: str = ""
    cold: bool = True
    command: tuple[str, str] | None = None
    counts: str = ""


CONTENDERS: Final = {
    "ours": Contender(
        "ours",
        "ingest",
        "Tanada: ingest, the whole way",
        prepare="initialise",
        command=("initialise_command", "command"),
        counts="ingested",
    ),
    "ours-decode": Contender("ours", "decode", "Tanada: decode to Parquet only"),
    "ours-decode-all": Contender("ours", "decode_all", "Tanada: decode every type to Parquet"),
    "raw": Contender(
        "ours", "raw_limit", "limit: read, SHA-256, CRC, zstd, Parquet", (), "columns", cold=False
    ),
    "rerun": Contender("peers", "rerun_reflection", "rerun, ros2_reflection", ("rerun-sdk",)),
    "rerun-default": Contender("peers", "rerun_default", "rerun, default decoders", ("rerun-sdk",)),
    "rosbags": Contender("peers", "rosbags", "rosbags", ("rosbags",)),
    "mcap-ros2": Contender(
        "peers", "mcap_ros2_support", "mcap-ros2-support", ("mcap", "mcap-ros2-support")
    ),
}


def _timed(chosen: Contender, log: Path, out: Path, *, warm: bool) -> dict[str, Any]:
    module = importlib.import_module(chosen.module)
    prepare, name = chosen.prepare, chosen.function
    if chosen.command and not warm:
        prepare, name = chosen.command
    out.mkdir(parents=True, exist_ok=True)
    if prepare:
        getattr(module, prepare)(log, out)
    function: Callable[[Path, Path], dict[str, int]] = getattr(module, name)
    begin, cpu = time.monotonic(), measure.tree_cpu()
    messages = function(log, out)
    used, end = measure.tree_cpu() - cpu, time.monotonic()
    if chosen.counts:
        messages = getattr(module, chosen.counts)(log, out)
    return {"begin": begin, "end": end, "cpu_s": used, "wall_s": end - begin, "messages": messages}


def main() -> None:
    """Run once and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--warm", type=Path, metavar="TINY")
    args = parser.parse_args()
    chosen = CONTENDERS[args.name]
    if args.warm:
        _timed(chosen, args.warm, args.out / "warm", warm=True)
    figures = _timed(chosen, args.log, args.out / "timed", warm=bool(args.warm))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
