"""What runs on an executor: the same decode, in the same limited child, with the same writer.

A task's input and answer are JSON text. It never raises for anything that a recording or a disk
does; what an executor dies of is noticed by the next attempt, which finds the dead one's folder.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pipelines.decode.child import DECODER_CRASHED, Decoder
from pipelines.decode.report import DecodeReport
from pipelines.decode.task import DecodeTask, failure_of
from schemas.errors import StoreUnavailableError, TanadaError
from schemas.quality import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DEATHS: Final = 2
"""Executors that one recording may take down before it is refused."""
_decoders: list[Decoder] = []
"""The fork server of this Python process, kept from task to task; at most one."""


def decode_each(tasks: Iterable[str]) -> Iterator[str]:
    """Decode the recordings of one partition: JSON of a `DecodeTask` each.

    Returns:
        JSON for each: host, pid, seconds, and `report` with `folder`, or `failure`.
    """
    from pyspark import TaskContext

    context = TaskContext.get()
    attempt = 0 if context is None else context.taskAttemptId()
    for task in tasks:
        yield json.dumps(_answer(DecodeTask.from_json(json.loads(task)), attempt))


def _answer(task: DecodeTask, attempt: int) -> dict[str, Any]:
    started = time.perf_counter()
    who: dict[str, Any] = {"host": os.uname().nodename, "pid": os.getpid()}
    try:
        folder = _folder(task, attempt)
        if folder is None:
            folder, report = task.folder, _died(task)
        else:
            report = _decoder().decode(replace(task, folder=folder))
        who |= {"report": report.as_json(), "folder": str(folder)}
    except TanadaError as error:
        who["failure"] = failure_of(error)
    return who | {"seconds": time.perf_counter() - started}


def _folder(task: DecodeTask, attempt: int) -> Path | None:
    """A folder for this attempt; None where too many were begun and never came back.

    An attempt that is believed dead and is not goes on writing to its own. Nothing above is made:
    where the batch's folder is gone, this attempt is the one that is late.
    """
    if sum(1 for _ in task.folder.glob("attempt-*")) >= DEATHS:
        return None
    folder = task.folder / f"attempt-{attempt}-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise StoreUnavailableError(
            "an executor cannot write to the batch's folder",
            subject=str(task.folder),
            expected="the root's folder shared with every executor",
            found=f"{os.strerror(error.errno or 0)} on {os.uname().nodename}",
        ) from error
    return folder


def _died(task: DecodeTask) -> DecodeReport:
    reason = Reason(
        DECODER_CRASHED,
        observed=f"{DEATHS} executors lost",
        detail="every executor that took it died before it was decoded",
    )
    return DecodeReport(task.recording_id, task.organisation, reasons=(reason,))


def _decoder() -> Decoder:
    if not _decoders:
        _decoders.append(Decoder())
    return _decoders[0]
