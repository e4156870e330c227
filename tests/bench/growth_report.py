"""Tables and JSON from the figures of `growth.py`."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

import report
from seeding import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from growth import Lake

_VERSIONS: Final = ("deltalake", "pyarrow", "tanada-platform", "zstandard")
_ONE: Final = "whole command, 1 known file"
_STEPS: Final = {
    "receive": "receive, decode",
    "check": "check",
    "pack": "pack",
    "promote": "promote",
    "plan": "plan",
    "commit": "commit, 6 tables",
    "finish": "finish",
}


def document(lakes: Sequence[Lake], facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, as JSON."""
    versions = report.versions()
    return {
        **facts,
        "machine": report.machine(),
        "versions": {name: versions[name] for name in _VERSIONS},
        "lakes": [
            {
                "store": lake.store,
                "files": lake.files,
                "objects": lake.objects,
                "rounds": lake.rounds,
                "looks": lake.looks,
            }
            for lake in lakes
        ],
    }


def table(found: dict[str, Any]) -> str:
    """The same as Markdown: medians, with the whole spread in brackets."""
    about, before, after = found["machine"], *found["load"]
    pairs = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    head = (
        f"{found['rounds']} rounds, the lakes taking turns. {about['cores']} x {about['cpu']}, "
        f"{about['memory_gib']} GiB, Python {about['python']}, {about['system']}; {pairs}; "
        f"load average {before:.1f} before, {after:.1f} after. CPU is that of the command and "
        f"everything below it; the object store's own stands beside it."
    )
    lakes = sorted(found["lakes"], key=lambda lake: (lake["store"], lake["files"]))
    sections = [f"# Growth, {found['date']}", head, *_sections(lakes)]
    return "\n\n".join(sections) + "\n"


def _sections(lakes: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"## One more file\n\n{BATCH} new files a round; Great Expectations is up already.",
        _rows(
            ("lake", "CPU ms", "/ smallest", "wall ms", "without decode: CPU ms", "store's CPU ms"),
            [_new(lake, lakes) for lake in lakes],
        ),
        "## What it is made of\n\nCPU ms (wall ms) for each new file, medians.",
        _rows(
            ("step", *map(_name, lakes)),
            [(title, *(_step(lake, step) for lake in lakes)) for step, title in _STEPS.items()],
        ),
        "## All files once more\n\nThe whole command `tanada ingest FOLDER`, start included.",
        _rows(
            ("lake", "CPU ms a file", "wall ms a file", "CPU s", "1 known file: CPU s", "store's"),
            [_known(lake) for lake in lakes],
        ),
        "## Look-ups\n\nCPU ms of this process (wall ms) each time, medians.",
        _rows(
            ("look-up", *map(_name, lakes)),
            [
                (look, *(_look(lake["looks"][look]) for lake in lakes))
                for look in lakes[0]["looks"]
                if look not in {_ONE, "process"}
            ],
        ),
    ]


def _name(lake: dict[str, Any]) -> str:
    return f"{lake['store']} {lake['files']:,}"


def _each(lake: dict[str, Any], figure: Callable[[dict[str, Any]], float], by: int) -> list[float]:
    """One figure of every round, in milliseconds for each of so many files."""
    return [figure(one) * 1e3 / by for one in lake["rounds"]]


def _cell(values: Sequence[float], digits: int = 1) -> str:
    least, most = min(values), max(values)
    return f"{median(values):.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def _new(lake: dict[str, Any], lakes: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    def cpu(one: dict[str, Any]) -> float:
        return float(one["new"]["cpu_s"])

    def later(one: dict[str, Any]) -> float:
        steps = one["new"]["steps"]["cpu_s"]
        return sum(seconds for step, seconds in steps.items() if step != "receive")

    smallest = next(other for other in lakes if other["store"] == lake["store"])
    own, least = (median(_each(one, cpu, BATCH)) for one in (lake, smallest))
    return (
        _name(lake),
        _cell(_each(lake, cpu, BATCH)),
        f"{own / least:.2f}",
        _cell(_each(lake, lambda one: one["new"]["wall_s"], BATCH)),
        _cell(_each(lake, later, BATCH), 2),
        _server(lake, "new", BATCH),
    )


def _server(lake: dict[str, Any], what: str, by: int) -> str:
    if lake["store"] == "folder":
        return "-"

    def used(one: dict[str, Any]) -> float:
        return float(one[what].get("process", one[what])["server_cpu_s"])

    return _cell(_each(lake, used, by), 2)


def _step(lake: dict[str, Any], step: str) -> str:
    cpu, wall = (
        median(_each(lake, lambda one, of=of: one["new"]["steps"][of].get(step, 0.0), BATCH))
        for of in ("cpu_s", "wall_s")
    )
    return f"{cpu:.2f} ({wall:.2f})"


def _known(lake: dict[str, Any]) -> tuple[str, ...]:
    cpu, wall = (
        _each(lake, lambda one, of=of: one["known"][of], lake["files"])
        for of in ("cpu_s", "wall_s")
    )
    return (
        _name(lake),
        _cell(cpu, 3),
        _cell(wall, 3),
        f"{median(cpu) * lake['files'] / 1e3:.2f}",
        f"{lake['looks'][_ONE]['cpu_s']:.2f}",
        _server(lake, "known", lake["files"]),
    )


def _look(figures: dict[str, list[float]]) -> str:
    cpu, wall = (median(figures[of]) * 1e3 for of in ("cpu_s", "wall_s"))
    return f"{cpu:.2f} ({wall:.2f})"


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
