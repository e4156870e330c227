"""Tables and JSON from the figures of one bench run."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final

from contender import CONTENDERS

_OURS: Final = "ours"
_MB: Final = 1e6


@dataclass(slots=True)
class Figures:
    """All runs of one contender on one case; CPU and wall in seconds, memory in bytes."""

    name: str
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    validator_s: list[float] = field(default_factory=list)
    cold_cpu_s: list[float] = field(default_factory=list)
    cold_wall_s: list[float] = field(default_factory=list)
    cold_validator_s: list[float] = field(default_factory=list)
    peak_rss: list[int] = field(default_factory=list)
    validator_rss: list[int] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """Median warm CPU seconds, validator excluded."""
        return median(self.cpu_s)


@dataclass(frozen=True, slots=True)
class Case:
    """One log that all contenders read, and how busy the machine was before (load average)."""

    name: str
    seconds: float
    messages: int
    file_bytes: int
    raw_bytes: int
    load: float


def machine() -> dict[str, str | int]:
    """Processor, cores, memory and Python of this machine."""
    cpu = "unknown"
    cores = 0
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            cores += 1
    memory = Path("/proc/meminfo").read_text().split(maxsplit=2)[1]
    return {
        "cpu": cpu,
        "cores": cores,
        "memory_gib": round(int(memory) / (1 << 20)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def versions() -> dict[str, str]:
    """Versions of what was measured and of what all share."""
    names = {name for contender in CONTENDERS.values() for name in contender.packages}
    shared = ("numpy", "pyarrow", "zstandard", "deltalake", "tanada-platform")
    found = {}
    for name in sorted(names | set(shared)):
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            found[name] = "-"
    return found


def document(case: Case, figures: list[Figures], date: str, left_out: dict[str, str]) -> str:
    """The case's results as JSON."""
    return json.dumps(
        {
            "date": date,
            "case": asdict(case),
            "machine": machine(),
            "versions": versions(),
            "contenders": [asdict(f) for f in figures],
            "left_out": left_out,
        },
        indent=1,
    )


def table(case: Case, figures: list[Figures], date: str, left_out: dict[str, str]) -> str:
    """The case's results as Markdown."""
    reference = next((f for f in figures if f.name == _OURS), None)
    base = reference or next((f for f in figures if f.name == "ours-decode"), None)
    about = machine()
    size = (
        f"{case.seconds:g} s, {case.messages:,} messages, {case.raw_bytes / _MB:.1f} MB of CDR, "
        f"{case.file_bytes / _MB:.1f} MB file. {about['cores']} x {about['cpu']}, "
        f"{about['memory_gib']} GiB, Python {about['python']}, {about['system']}; "
        f"load average before: {case.load:.1f}."
    )
    heads = (
        "contender",
        "CPU s",
        "spread",
        f"/ {base.name if base else '-'}",
        "wall s",
        "MB/s of file per CPU s",
        "cold CPU s",
        "peak RSS MB",
        "validator CPU s (cold)",
    )
    lines = [f"## {case.name}, {date}", "", size, "", f"| {' | '.join(heads)} |"]
    lines.append("|---" * len(heads) + "|")
    lines += [_row(case, f, base) for f in sorted(figures, key=lambda f: f.cpu)]
    lines += [f"\nLeft out: {name}: {why}" for name, why in left_out.items()]
    pairs = ", ".join(f"{name} {number}" for name, number in versions().items())
    rounds = len(figures[0].cpu_s) if figures else 0
    lines += ["", f"Medians of {rounds} interleaved rounds. {pairs}.", ""]
    return "\n".join(lines)


def _row(case: Case, f: Figures, base: Figures | None) -> str:
    ratio = f"{f.cpu / base.cpu:.2f}" if base else "-"
    cold = f"{median(f.cold_cpu_s):.2f}" if f.cold_cpu_s else "-"
    checked = f"{median(f.validator_s):.2f}"
    if f.cold_validator_s:
        checked += f" ({median(f.cold_validator_s):.2f})"
    return (
        f"| {CONTENDERS[f.name].title} | {f.cpu:.3f} | {min(f.cpu_s):.3f}-{max(f.cpu_s):.3f} "
        f"| {ratio} | {median(f.wall_s):.2f} | {case.file_bytes / _MB / f.cpu:.1f} | {cold} "
        f"| {max(f.peak_rss) / _MB:.0f} | {checked} |"
    )
