"""Decode and ingest beside the peers: CPU seconds, interleaved, every contender in a new process.

`python tests/bench/run.py [--seconds 300] [--rounds 3] [--quick] [--json]`; the method stands in
README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import report
from contender import CONTENDERS
from measure import Watch
from report import Case, Figures

from infra.demo.robot_log import STANDARD, LogFacts, LogSpec, varying_topics, write_log

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).resolve().parent
CASES: Final = {
    "s300": LogSpec(seed=1, topics=STANDARD).without_camera(),
    "m300": LogSpec(seed=1, topics=STANDARD),
    "v300": LogSpec(seed=1, topics=varying_topics(0.25)),
}
"""Constant layouts; the same with a camera; a quarter of the messages of varying layout."""
_QUICK_S: Final = 60.0
_TINY_S: Final = 1.0


class RunError(Exception):
    """A contender failed, or did not find every message."""


def run_once(name: str, log: Path, folder: Path, tiny: Path | None) -> dict[str, Any]:
    """Run one contender in a new process.

    Args:
        name: Key of `CONTENDERS`.
        log: What it reads; brought into the page cache first.
        folder: Where it writes; removed afterwards.
        tiny: Log for its warm-up, or None for a cold run.

    Returns:
        What the contender printed, with `total_cpu_s`, `total_wall_s`, `validator_s`,
        `peak_rss`, `validator_rss`.

    Raises:
        RunError: it ended with an error; carries the end of its output.
    """
    os.sync()  # what the one before left to write is not this one's work
    with log.open("rb") as stream:
        while stream.read(1 << 24):
            pass
    argv = [sys.executable, str(HERE / "contender.py"), name, str(log), str(folder)]
    argv += ["--warm", str(tiny)] if tiny else []
    with (folder.parent / "errors.txt").open("w+") as errors:
        begin = time.monotonic()
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True)
        with Watch(child.pid) as watch:
            output = child.stdout.read() if child.stdout else ""
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        end = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        if child.returncode:
            errors.seek(0)
            raise RunError(f"{name} ended with {child.returncode}: {errors.read()[-2000:].strip()}")
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    total = used.ru_utime + used.ru_stime
    return found | {
        "total_cpu_s": total,
        "total_wall_s": end - begin,
        "total_validator_s": watch.validator_cpu(begin, end),
        "validator_s": watch.validator_cpu(found["begin"], found["end"]),
        "peak_rss": watch.peak,
        "validator_rss": watch.validator_peak,
    }


def check_counts(name: str, facts: LogFacts, found: dict[str, int]) -> None:
    """A contender that loses messages is not measured.

    Raises:
        RunError: a topic's count differs from what the generator wrote.
    """
    for topic, count in found.items():
        if facts.messages[topic] != count:
            raise RunError(f"{name} found {count} of {facts.messages[topic]} messages on {topic}")


def check_figures(name: str, found: dict[str, Any]) -> None:
    """What is subtracted for the validator must be a part of what was measured.

    Raises:
        RunError: more CPU was attributed to the validator than the whole tree used.
    """
    for part in ("", "total_"):
        whole, validator = found[f"{part}cpu_s"], found[f"{part}validator_s"]
        # The validator's time comes in steps of 10 ms.
        if validator > whole + 0.02:
            raise RunError(
                f"{name}: {part}validator_s {validator:.2f} s is more than {whole:.2f} s measured"
            )


def check_limit(figures: Sequence[Figures]) -> str:
    """Why the figures cannot be true, or nothing: our ingest does all that the limit does."""
    cpu = {f.name: f.cpu for f in figures}
    if "ours" in cpu and "raw" in cpu and cpu["ours"] < cpu["raw"]:
        return f"ours ({cpu['ours']:.3f} s) below the limit ({cpu['raw']:.3f} s): not credible"
    return ""


def measure_case(
    names: Sequence[str], facts: LogFacts, tiny: Path, folder: Path, rounds: int
) -> tuple[list[Figures], dict[str, str]]:
    """All rounds of one case, contenders taking turns; those that fail are left out by name."""
    figures = {name: Figures(name) for name in names}
    left_out: dict[str, str] = {}
    for number in range(rounds + 1):
        cold = number == rounds
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):  # nobody always comes first
            if name in left_out or (cold and not CONTENDERS[name].cold):
                continue
            try:
                found = run_once(name, facts.path, folder / "out", None if cold else tiny)
                check_counts(name, facts, found["messages"])
                check_figures(name, found)
            except RunError as error:
                left_out[f"{name}, cold" if cold else name] = str(error).splitlines()[-1]
                if not cold:
                    figures.pop(name)
                print(f"  {name}: left out: {error}", file=sys.stderr)
                continue
            _note(figures[name], found, cold=cold)
            print(
                f"  {'cold' if cold else number + 1} {name}: {found['cpu_s']:.3f}", file=sys.stderr
            )
    return list(figures.values()), left_out


def _note(figures: Figures, found: dict[str, Any], *, cold: bool) -> None:
    if cold:
        # A command of its own is timed from its start; the others' start is this process's.
        part = "" if CONTENDERS[figures.name].command else "total_"
        validator_s = found[f"{part}validator_s"]
        figures.cold_cpu_s.append(found[f"{part}cpu_s"] - validator_s)
        figures.cold_wall_s.append(found[f"{part}wall_s"])
        figures.cold_validator_s.append(validator_s)
        return
    figures.cpu_s.append(found["cpu_s"] - found["validator_s"])
    figures.wall_s.append(found["wall_s"])
    figures.validator_s.append(found["validator_s"])
    figures.peak_rss.append(found["peak_rss"])
    figures.validator_rss.append(found["validator_rss"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="length of the logs (300)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    parser.add_argument("--quick", action="store_true", help="60 s logs, one round")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; repeatable")
    parser.add_argument("--contender", action="append", choices=CONTENDERS, help="repeatable")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where to keep them")
    parser.add_argument("--no-results", action="store_true", help="print only")
    return parser.parse_args()


def main() -> int:
    """Command line; 1 when a contender had to be left out."""
    args = _arguments()
    seconds, rounds = (_QUICK_S, 1) if args.quick else (args.seconds, args.rounds)
    date = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d")
    complete = True
    with tempfile.TemporaryDirectory(prefix="bench-") as text:
        folder = Path(text)
        for key in args.case or CASES:
            name = f"{key[0]}{seconds:g}"
            load = os.getloadavg()[0]
            print(f"{name}: writing the log", file=sys.stderr)
            spec = replace(CASES[key], seconds=seconds)
            facts = write_log(folder / "log.mcap", spec)
            tiny = write_log(folder / "tiny.mcap", replace(spec, seconds=_TINY_S, seed=2)).path
            chosen = args.contender or list(CONTENDERS)
            figures, left_out = measure_case(chosen, facts, tiny, folder, rounds)
            if doubt := check_limit(figures):
                left_out["the whole case"] = doubt
            total = sum(facts.messages.values())
            case = Case(name, seconds, total, facts.size, facts.raw_bytes, load)
            found = (case, figures, date, left_out)
            print(report.document(*found) if args.json else report.table(*found))
            complete = complete and not left_out
            if not args.no_results:
                args.results.mkdir(parents=True, exist_ok=True)
                stem = args.results / f"{date}-{name}"
                stem.with_suffix(".json").write_text(report.document(*found) + "\n")
                stem.with_suffix(".md").write_text(report.table(*found))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
