"""Decoding on Spark's executors, tried again where one is lost.

Recordings are handed over in tasks of a few: as many as are waiting, spread over the executors
twice, so that tasks shrink towards the end and no executor is left alone with a long one. A job of
Spark's has one task, so that what cannot be decoded anywhere stops nothing else. The driver
judges and commits as it always does.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pipelines.decode.report import DecodeReport
from pipelines.decode.task import failure_from
from pipelines.engine import SPARK, Decoded
from pipelines.spark.executor import asked, decode_each
from pipelines.spark.session import session_of
from schemas.errors import RetryError, TanadaError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from connectors.settings import Settings
    from pipelines.engine import Work

TASK_RECORDINGS: Final = 16
"""Most recordings of one task."""
JOBS_PER_CORE: Final = 2
"""An executor that is done finds its next task waiting."""

_Waiting: TypeAlias = "tuple[Callable[[], Work], Future[Decoded]]"
_Prepared: TypeAlias = "tuple[Work, Future[Decoded]]"


class SparkEngine:
    """Decodes on executors that share the root's folder, or reach its bucket.

    Args:
        settings: Master and Python of the executors.
        clock: Nanoseconds UTC.
    """

    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._clock = clock
        self._group = f"decode-{secrets.token_hex(4)}"
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def start(self) -> None:
        """Start the session, if this process has none yet."""
        with self._changed:
            if not self._threads and not self._closed:
                self._grow(self._first)

    def submit(self, prepare: Callable[[], Work]) -> Future[Decoded]:
        """Decode one recording on some executor."""
        future: Future[Decoded] = Future()
        with self._changed:
            self._waiting.append((prepare, future))
            self._changed.notify()
        self.start()
        return future

    def close(self) -> None:
        """Cancel what is at work; the session stays, for as long as this process lives."""
        with self._changed:
            self._closed = True
            dropped, threads = list(self._waiting), list(self._threads)
            self._waiting.clear()
            self._changed.notify_all()
        for _, future in dropped:
            future.cancel()
        if threads:
            with suppress(TanadaError):
                session_of(self._settings).sparkContext.cancelJobGroup(self._group)
        for thread in threads:
            thread.join()

    # --- threads: each has one job of Spark's at a time ------------------------------------------

    def _grow(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name="spark-decode", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _first(self) -> None:
        """Start the session, then as many threads as its executors can keep busy."""
        with suppress(TanadaError):  # told to whoever waits for a recording
            cores = int(session_of(self._settings).sparkContext.defaultParallelism)
            with self._changed:
                for _ in range(cores * JOBS_PER_CORE - 1):
                    self._grow(self._serve)
        self._serve()

    def _serve(self) -> None:
        while (taken := self._take()) is not None:
            try:
                context = session_of(self._settings).sparkContext
            except BaseException as error:  # noqa: BLE001
                # Whatever else waits would meet the same, one after the other.
                _fail([*taken, *self._drop()], error)
            else:
                self._settle(context, _prepared(taken))

    def _take(self) -> list[_Waiting] | None:
        """What the next task consists of; waits for some, None = closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            fair = -(-len(self._waiting) // (JOBS_PER_CORE * len(self._threads)))
            taken = [self._waiting.popleft() for _ in range(min(fair, TASK_RECORDINGS))]
        return [one for one in taken if one[1].set_running_or_notify_cancel()]

    def _drop(self) -> list[_Waiting]:
        with self._changed:
            dropped = list(self._waiting)
            self._waiting.clear()
        return [one for one in dropped if one[1].set_running_or_notify_cancel()]

    def _settle(self, context: Any, pairs: Sequence[_Prepared]) -> None:
        """Settle the futures of some recordings, whatever happens."""
        try:
            answers = self._ask(context, [work for work, _ in pairs])
        except RetryError as error:
            if len(pairs) == 1 or self._closed:
                _fail(pairs, error)
                return
            # What was answered is answered again at once; what takes executors down stands alone.
            for pair in pairs:
                self._settle(context, [pair])
        except BaseException as error:  # noqa: BLE001
            _fail(pairs, error)
        else:
            for (work, future), answer in zip(pairs, answers, strict=True):
                if "failure" in answer:
                    future.set_exception(failure_from(answer["failure"]))
                else:
                    future.set_result(self._decoded(work, answer))

    def _decoded(self, work: Work, answer: dict[str, Any]) -> Decoded:
        folder = work.exchange / answer["folder"] if answer["folder"] else work.task.folder
        return Decoded(
            DecodeReport.from_json(answer["report"]),
            folder,
            SPARK,
            host=answer["host"],
            pid=answer["pid"],
            seconds=answer["seconds"],
            at_ns=self._clock(),
        )

    def _ask(self, context: Any, works: Sequence[Work]) -> list[dict[str, Any]]:
        if not works:
            return []
        from py4j.protocol import Py4JError

        first = works[0].task.recording_id
        # Of this thread's jobs only; interrupting ends the executor's Python, and so the child.
        context.setJobGroup(
            self._group, f"{len(works)} recordings from {first}", interruptOnCancel=True
        )
        try:
            lines = [asked(work) for work in works]
            answers = context.parallelize(lines, 1).mapPartitions(decode_each).collect()
        except (Py4JError, OSError) as error:
            raise RetryError(
                "Spark gave up on a recording, or was told to stop",
                subject=f"recording {first}",
                found=_first_cause(error),
                next_step="look at its messages above, then try again",
            ) from error
        return [json.loads(answer) for answer in answers]


def _prepared(taken: Sequence[_Waiting]) -> list[_Prepared]:
    prepared = []
    for prepare, future in taken:
        try:
            prepared.append((prepare(), future))
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
    return prepared


def _fail(pairs: Sequence[tuple[Any, Future[Decoded]]], error: BaseException) -> None:
    for _, future in pairs:
        future.set_exception(error)


def _first_cause(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Exception" in line or "Error" in line]
    return (told or lines or [type(error).__name__])[0][:300]
