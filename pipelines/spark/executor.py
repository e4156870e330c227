"""What runs on an executor: the same decode, in the same limited child, with the same writer.

A task's input and answer are JSON text. It never raises for anything that a recording or a disk
does. What an executor dies of is noticed by the next attempt, which finds what the dead one began:

```
<exchange>/attempt-<task attempt>-<pid>/begun         before its decode
<exchange>/attempt-<task attempt>-<pid>/files/…       staged files
<exchange>/attempt-<task attempt>-<pid>/answer.json   after it; given again where it got lost
```
The exchange is the batch's folder where every executor shares the root's. With a root in a bucket
it lies there: an executor fetches the originals and leaves its files by itself, under the
`TANADA_S3_*` of its own environment.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.settings import Settings
from connectors.stores.originals import Original
from connectors.stores.store import SCHEME, Place, matching, store_of
from pipelines.decode.child import DECODER_CRASHED, Decoder, empty_folder
from pipelines.decode.report import DecodeReport
from pipelines.decode.task import DecodeTask, failure_of
from schemas.errors import StoreUnavailableError, TanadaError
from schemas.quality import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from connectors.stores.bucket import Bucket
    from pipelines.engine import Work

DEATHS: Final = 2
"""Executors that one recording may take down before it is refused."""
_BEGUN: Final = "begun"
_ANSWER: Final = "answer.json"
_OWN: Final = "tanada-executor-"


def asked(work: Work) -> str:
    """One recording's work as the JSON text that `decode_each` takes."""
    originals = [
        {
            "place": str(original.place),
            "name": original.name,
            "size": original.size,
            "sha256": original.sha256,
            "sidecar": original.sidecar,
        }
        for original in work.originals
    ]
    document = {"task": work.task.as_json(), "originals": originals, "exchange": str(work.exchange)}
    return json.dumps(document)


def decode_each(lines: Iterable[str]) -> Iterator[str]:
    """Decode the recordings of one partition: results of `asked`.

    Returns:
        JSON for each, in their order: host, pid, seconds, and `report` with `folder` (below the
        exchange), or `failure`.
    """
    from pyspark import TaskContext

    context = TaskContext.get()
    attempt = 0 if context is None else context.taskAttemptId()
    for line in lines:
        yield json.dumps(_answer(json.loads(line), attempt))


def _answer(document: dict[str, Any], attempt: int) -> dict[str, Any]:
    """Decode one recording, or give the answer that an earlier attempt left."""
    started = time.perf_counter()
    task = DecodeTask.from_json(document["task"])
    answer: dict[str, Any] = {"host": os.uname().nodename, "pid": os.getpid()}
    folder: Place | None = None
    try:
        exchange = _place(document["exchange"])
        begun = matching(exchange, f"attempt-*/{_BEGUN}")
        for place in begun:
            with suppress(FileNotFoundError):
                known: dict[str, Any] = json.loads((place.parent / _ANSWER).read_bytes())
                return known
        if len(begun) >= DEATHS:
            answer |= {"report": _died(task).as_json(), "folder": ""}
        else:
            folder = _begin(exchange, f"attempt-{attempt}-{os.getpid()}")
            with _originals(document["originals"], task) as files:
                report = _decoded(replace(task, files=files), folder / "files")
            answer |= {"report": report.as_json(), "folder": f"{folder.name}/files"}
    except (TanadaError, OSError) as error:
        answer["failure"] = failure_of(_told(error))
    answer["seconds"] = time.perf_counter() - started
    if folder is not None:
        # A failure is an answer too: without one, this attempt would count as an executor's death.
        with suppress(TanadaError, OSError):
            (folder / _ANSWER).write_bytes(json.dumps(answer).encode())
    return answer


def _told(error: TanadaError | OSError) -> TanadaError:
    if isinstance(error, TanadaError):
        return error
    return StoreUnavailableError(
        "an executor cannot use its disk",
        subject=str(error.filename or ""),
        found=f"{os.strerror(error.errno or 0)} on {os.uname().nodename}",
        next_step="free space, or set TANADA_SCRATCH where executors run",
    )


def _begin(exchange: Place, name: str) -> Place:
    """A folder for this attempt.

    An attempt that is believed dead and is not goes on writing to its own. Nothing above is made:
    where the batch's folder is gone, this attempt is the one that is late.
    """
    folder = exchange / name
    try:
        folder.mkdir(mode=0o700)
        (folder / _BEGUN).write_bytes(b"")
    except OSError as error:
        raise StoreUnavailableError(
            "an executor cannot write to the batch's folder",
            subject=str(exchange),
            expected="the root's folder shared with every executor",
            found=f"{os.strerror(error.errno or 0)} on {os.uname().nodename}",
        ) from error
    return folder


def _decoded(task: DecodeTask, target: Place) -> DecodeReport:
    """Decode, with the staged files at the target."""
    if isinstance(target, Path):
        target.mkdir(mode=0o700)
        return _decoder().decode(replace(task, folder=target))
    folder = empty_folder(_scratch() / task.recording_id)
    try:
        report = _decoder().decode(replace(task, folder=folder))
        staged = {file.path: file.sha256 for file in report.files}
        for path, sha256 in (staged | {blob.path: blob.sha256 for blob in report.blobs}).items():
            store_of(target).put(folder / path, target / path, sha256)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report


@contextmanager
def _originals(documents: list[dict[str, Any]], task: DecodeTask) -> Iterator[tuple[Any, ...]]:
    """The recording's files as local ones."""
    originals = [Original(**(file | {"place": _place(file["place"])})) for file in documents]
    if all(isinstance(original.place, Path) for original in originals):
        yield tuple(original.local(task.folder) for original in originals)
        return
    folder = empty_folder(_scratch() / f"{task.recording_id}.originals")
    try:
        yield tuple(original.local(folder) for original in originals)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(text: str) -> Place:
    if not text.startswith(SCHEME):
        return Path(text)
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    return _bucket(bucket).place(key)


@functools.cache
def _bucket(name: str) -> Bucket:
    # The driver asked already whether the store is fit.
    from connectors.stores.bucket import Bucket

    return Bucket(name, Settings.from_environment(os.environ).access)


@functools.cache
def _scratch() -> Path:
    """Local folder of this Python process; those that killed ones left are removed.

    A living one holds a lock on its folder, which the kernel drops with it.
    """
    above = Path(Settings.from_environment(os.environ).scratch or tempfile.gettempdir())
    above.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in above.glob(f"{_OWN}*"):
        if left.is_symlink() or left.stat().st_uid != os.geteuid():
            continue
        with suppress(OSError):
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)
    own = Path(tempfile.mkdtemp(prefix=_OWN, dir=above))
    # Kept open for as long as this process lives.
    fcntl.flock(os.open(own, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _died(task: DecodeTask) -> DecodeReport:
    reason = Reason(
        DECODER_CRASHED,
        observed=f"{DEATHS} executors lost",
        detail="every executor that took it died before it was decoded",
    )
    return DecodeReport(task.recording_id, task.organisation, reasons=(reason,))


@functools.cache
def _decoder() -> Decoder:
    """The fork server of this Python process, kept from task to task."""
    return Decoder()
