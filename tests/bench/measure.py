"""CPU seconds and resident memory of a process and everything below it.

Children count from the moment they live: a fork server's children are not waited for by the
process that is measured, so `getrusage` alone would miss them.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD_S: Final = 0.02
_TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")
# By its command line, not by the libraries it maps: pyarrow alone already imports pandas.
_VALIDATOR_MARK: Final = b"pipelines.check.validator_process"


def tree_cpu() -> float:
    """CPU seconds (user and system) of this process, its ended and its living descendants."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total + sum(own + ended for _, own, ended in _living(os.getpid()))


def _living(root: int) -> Iterator[tuple[int, float, float]]:
    """Living descendants: process id, its own CPU seconds, those of its ended children."""
    waiting = _children(root)
    while waiting:
        pid = waiting.pop()
        with suppress(OSError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks = [int(field) for field in fields[11:15]]
            yield pid, sum(ticks[:2]) * _TICK_S, sum(ticks[2:]) * _TICK_S
        waiting += _children(pid)


def process_cpu(pid: int) -> float:
    """CPU seconds of one living process and its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) * _TICK_S


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _peak_rss(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _is_validator(pid: int) -> bool:
    with suppress(OSError):
        return _VALIDATOR_MARK in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@dataclass(slots=True)
class Seen:
    """One process: peak memory [B], its own CPU seconds at moments of the monotonic clock."""

    peak: int = 0
    validator: bool = False
    cpu: list[tuple[float, float]] = field(default_factory=list)


class Watch:
    """Looks at all descendants of one process from outside, every 20 ms."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: dict[int, Seen] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def peak(self) -> int:
        """Largest resident memory of any one process but the validator [B]."""
        return max((s.peak for s in self._seen.values() if not s.validator), default=0)

    @property
    def validator_peak(self) -> int:
        """Largest resident memory of the validator [B], 0 where there is none."""
        return max((s.peak for s in self._seen.values() if s.validator), default=0)

    def validator_cpu(self, begin: float, end: float) -> float:
        """CPU seconds of the validator between two moments of the monotonic clock."""
        total = 0.0
        for seen in self._seen.values():
            if seen.validator:
                before = [cpu for at, cpu in seen.cpu if at <= begin]
                within = [cpu for at, cpu in seen.cpu if at <= end]
                total += (within[-1] if within else 0.0) - (before[-1] if before else 0.0)
        return total

    def _look_on(self) -> None:
        while not self._done.wait(PERIOD_S):
            now = time.monotonic()
            self._seen.setdefault(self._pid, Seen())
            self._note(self._pid)
            # Own time only: a child that ends is in its parent's sum, and was seen itself.
            for pid, own, _ in _living(self._pid):
                self._seen.setdefault(pid, Seen()).cpu.append((now, own))
                self._note(pid)

    def _note(self, pid: int) -> None:
        seen = self._seen[pid]
        seen.peak = max(seen.peak, _peak_rss(pid))
        seen.validator = seen.validator or _is_validator(pid)
