"""Where recordings are decoded: the one place that chooses an engine.

Every engine runs the same decode in the same limited child with the same writer, and hands back a
report and the folder of the staged files. Who judges and who commits never depends on it.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from pipelines.decode.child import Decoder
from schemas.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from connectors.settings import Settings
    from connectors.stores.originals import Original
    from connectors.stores.store import Place
    from pipelines.decode.report import DecodeReport
    from pipelines.decode.task import DecodeTask

EMBEDDED: Final = "embedded"
SPARK: Final = "spark"


@dataclass(frozen=True, slots=True)
class Work:
    """One recording to decode, its originals where they lie.

    Attributes:
        task: What to do; without files.
        originals: Its files.
        copies: Existing local folder for copies of them.
        exchange: Where staged files lie until they are committed; with a root in a bucket that is
            not the task's folder, and what an executor on another machine leaves its files in.
    """

    task: DecodeTask
    originals: tuple[Original, ...]
    copies: Path
    exchange: Place

    def here(self) -> DecodeTask:
        """The task with its files on this machine.

        Raises:
            DamagedError: one has another SHA-256 than the one received.
        """
        return replace(self.task, files=tuple(one.local(self.copies) for one in self.originals))


@dataclass(frozen=True, slots=True)
class Decoded:
    """One recording after its decode.

    Attributes:
        report: What decoding produced, or why it stopped.
        folder: Where its staged files lie: the task's folder, or one below the exchange.
        engine / host / pid: Who decoded it: engine, machine, and process that asked for the child.
        seconds: Wall-clock time that this process spent on it.
        at_ns: When the report was there.
    """

    report: DecodeReport
    folder: Place
    engine: str
    host: str
    pid: int
    seconds: float
    at_ns: int

    @property
    def who(self) -> dict[str, Any]:
        """What the catalog notes of it."""
        return {
            "engine": self.engine,
            "host": self.host,
            "pid": self.pid,
            "seconds": round(self.seconds, 3),
        }


class Engine(Protocol):
    """Decodes recordings, several at a time."""

    def start(self) -> None:
        """Begin to get ready; returns at once."""

    def submit(self, prepare: Callable[[], Work]) -> Future[Decoded]:
        """Decode one recording; returns at once.

        Args:
            prepare: Finds its originals when its turn has come; the task's folder exists and is
                empty.

        Returns:
            A future whose error is a TanadaError where the platform, not the recording, is at
            fault; nothing is decided then.
        """

    def close(self) -> None:
        """Stop; what is at work is given up."""


class Embedded:
    """Children of this process.

    Args:
        workers: Recordings decoded at once.
        clock: Nanoseconds UTC.
    """

    def __init__(self, workers: int, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._decoder = Decoder()
        self._pool = ThreadPoolExecutor(workers, "decode")

    def start(self) -> None:
        """Start the process that makes the children."""
        self._decoder.start()

    def submit(self, prepare: Callable[[], Work]) -> Future[Decoded]:
        """Decode one recording in a child, as soon as one of the workers is free."""
        return self._pool.submit(self._decode, prepare)

    def close(self) -> None:
        """End the children."""
        self._decoder.close()
        self._pool.shutdown(cancel_futures=True)

    def _decode(self, prepare: Callable[[], Work]) -> Decoded:
        started = time.perf_counter()
        task = prepare().here()
        report = self._decoder.decode(task)
        return Decoded(
            report,
            task.folder,
            EMBEDDED,
            host=os.uname().nodename,
            pid=os.getpid(),
            seconds=time.perf_counter() - started,
            at_ns=self._clock(),
        )


def engine_of(settings: Settings, clock: Callable[[], int]) -> Engine:
    """The engine that the settings name.

    Raises:
        WrongUseError: there is no such engine.
        MissingDependencyError: it needs a package that is not installed.
    """
    if settings.engine == EMBEDDED:
        return Embedded(settings.workers, clock)
    if settings.engine == SPARK:
        from pipelines.spark.engine import SparkEngine

        return SparkEngine(settings, clock)
    raise WrongUseError(
        "no such engine",
        subject="TANADA_ENGINE",
        expected=f"{EMBEDDED} or {SPARK}",
        found=settings.engine[:40],
    )
