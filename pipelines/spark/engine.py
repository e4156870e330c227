"""Decoding on Spark's executors: one recording is one task, tried again where its executor is lost.

Each recording is a job of its own, so that one which cannot be decoded anywhere stops no other,
and its verdict does not wait for the slowest. The driver judges and commits as it always does.
"""

from __future__ import annotations

import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.decode.report import DecodeReport
from pipelines.decode.task import failure_from
from pipelines.engine import SPARK, Decoded
from pipelines.spark.executor import decode_each
from pipelines.spark.session import session_of
from schemas.errors import RetryError, TanadaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from connectors.settings import Settings
    from pipelines.decode.task import DecodeTask

JOBS: Final = 256
"""Recordings handed to Spark at once; its scheduler queues what the executors have no core for."""


class SparkEngine:
    """Decodes on executors that share the root's folder.

    Args:
        settings: Master and Python of the executors.
        clock: Nanoseconds UTC.
    """

    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._clock = clock
        self._group = f"decode-{secrets.token_hex(4)}"
        self._pool = ThreadPoolExecutor(JOBS, "spark-decode")

    def start(self) -> None:
        """Start the session, if this process has none yet."""
        threading.Thread(target=self._warm, name="spark-start", daemon=True).start()

    def submit(self, prepare: Callable[[], DecodeTask]) -> Future[Decoded]:
        """Decode one recording on some executor."""
        return self._pool.submit(self._decode, prepare)

    def close(self) -> None:
        """Cancel what is at work; the session stays, for as long as this process lives."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with suppress(TanadaError):
            session_of(self._settings).sparkContext.cancelJobGroup(self._group)
        self._pool.shutdown()

    def _warm(self) -> None:
        # Whoever needs the session next gets the same error, and reports it.
        with suppress(TanadaError):
            session_of(self._settings)

    def _decode(self, prepare: Callable[[], DecodeTask]) -> Decoded:
        answer = self._ask(prepare())
        if "failure" in answer:
            raise failure_from(answer["failure"])
        return Decoded(
            DecodeReport.from_json(answer["report"]),
            Path(answer["folder"]),
            SPARK,
            host=answer["host"],
            pid=answer["pid"],
            seconds=answer["seconds"],
            at_ns=self._clock(),
        )

    def _ask(self, task: DecodeTask) -> dict[str, Any]:
        from py4j.protocol import Py4JError

        context = session_of(self._settings).sparkContext
        # Of this thread's jobs only; interrupting ends the executor's Python, and so the child.
        context.setJobGroup(self._group, f"recording {task.recording_id}", interruptOnCancel=True)
        try:
            line = json.dumps(task.as_json())
            (answer,) = context.parallelize([line], 1).mapPartitions(decode_each).collect()
        except (Py4JError, OSError) as error:
            raise RetryError(
                "Spark gave up on a recording, or was told to stop",
                subject=f"recording {task.recording_id}",
                found=_first_cause(error),
                next_step="look at its messages above, then try again",
            ) from error
        document: dict[str, Any] = json.loads(answer)
        return document


def _first_cause(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Exception" in line or "Error" in line]
    return (told or lines or [type(error).__name__])[0][:300]
