"""One batch of one organisation: decode each recording in a child, check, judge, commit.

`tanada ingest` and `tanada worker` differ in where recordings come from, never in this.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import select

from connectors.stores import originals
from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.models import Robot
from pipelines.check.docs_site import DocsSite
from pipelines.check.frame import validator_rows
from pipelines.check.validator import Validator
from pipelines.check.verdict import judge
from pipelines.commit import Committer, Judged
from pipelines.decode.child import empty_folder
from pipelines.decode.task import DecodeTask
from pipelines.engine import Work, engine_of
from pipelines.observe import FinishedBatch, failure_told
from pipelines.staging import discard, hold
from schemas.errors import RetryError, TanadaError
from schemas.quality import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from pipelines.cli.platform import Platform
    from pipelines.commit import Plan
    from pipelines.engine import Decoded
    from schemas.quality import CheckResult

BATCH_BYTES: Final = 8 << 30
"""Recordings are committed at the latest when a batch holds this many bytes."""
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recording.

    Attributes:
        recording_id: Id.
        status: accepted, accepted_with_warnings, quarantined, duplicate, conflict or failed.
        reasons: Why it is not simply accepted.
        tables: Rows per table that were committed.
        seconds: From the start of its decode to its commit.
        path: What it was handed in as, where that is known.
        retry: Whether trying again may help (status failed).
    """

    recording_id: str
    status: str
    reasons: tuple[Reason, ...] = ()
    tables: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    path: str = ""
    retry: bool = False

    def as_json(self) -> dict[str, Any]:
        """The object that `ingest --json` prints for it."""
        return {
            "path": self.path,
            "recording_id": self.recording_id,
            "status": self.status,
            "reasons": [reason.as_json() for reason in self.reasons],
            "tables": self.tables,
            "seconds": round(self.seconds, 3),
        }


class Watch:
    """Told how the work goes; override what is of interest."""

    def found(self, recordings: int) -> None:
        """So many recordings were found."""

    def left_out(self, text: str) -> None:
        """A file is no recording, or no part of one."""

    def decided(self, outcome: Outcome) -> None:
        """One recording is decided."""

    def trouble(self, text: str) -> None:
        """Something failed that another try may mend."""


@dataclass(slots=True)
class Batch:
    """Recordings being decoded together; made by `Station.open`."""

    id: str
    organisation: str
    folder: Path
    lock: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    reports: list[Future[Decoded]] = field(default_factory=list)
    started: list[float] = field(default_factory=list)

    def close(self) -> None:
        """Give up the lock."""
        os.close(self.lock)

    @property
    def bytes(self) -> int:
        """Size of its recordings' data files."""
        return sum(row["bytes"] for row in self.rows)


class Station:
    """What stays up between batches: engine, validator, committer, lease renewal.

    Args:
        platform: The opened platform.
        trace: Told of every step, for tests that stop the process between two of them.
        validator: A running one to share, which stays up; None = one of its own.
    """

    def __init__(
        self,
        platform: Platform,
        trace: Callable[[str], None] = lambda _step: None,
        validator: Validator | None = None,
    ) -> None:
        self._platform = platform
        self._trace = trace
        self.worker = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(3)}"
        self.committer = Committer(
            platform.root,
            platform.lake,
            platform.engine,
            platform.clock,
            worker=self.worker,
            trace=trace,
            observer=platform.observer,
        )
        self._decoders = engine_of(platform.settings, platform.clock)
        self._docs = DocsSite(platform.root)
        self._shares = validator is not None
        self._validator = validator or Validator(self._docs.folder, platform.clock)
        self._leases = _Leases(platform, self.worker)

    def __enter__(self) -> Self:
        self._leases.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leases.stop()
        self._decoders.close()
        if not self._shares:
            self._validator.close()

    def lease(self, limit: int, only: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Take waiting recordings of one organisation; parks those tried too often."""
        settings, now = self._platform.settings, self._platform.clock()
        lease_ns = settings.lease_seconds * 1_000_000_000
        rows = recordings.lease(self._platform.engine, self.worker, limit, now, lease_ns, only=only)
        for row in rows:
            if row["attempts"] > settings.max_attempts:
                self._park(row["id"], row["attempts"])
        kept = [row for row in rows if row["attempts"] <= settings.max_attempts]
        self._leases.hold(row["id"] for row in kept)
        return kept

    def open(self, organisation: str) -> Batch:
        """An empty batch. Its folder is locked while this process lives."""
        # Great Expectations takes seconds to import: it does so while the batch is decoded.
        self._decoders.start()
        self._validator.start()
        self._platform.observer.validator_started(self._validator.starts)
        batch = secrets.token_hex(16)
        folder = empty_folder(self._platform.root.staging / batch)
        return Batch(batch, organisation, folder, hold(folder, self.worker))

    def add(self, batch: Batch, row: dict[str, Any]) -> None:
        """Start decoding one leased recording; returns at once."""
        batch.rows.append(row)
        batch.started.append(time.perf_counter())
        batch.reports.append(self._decode(batch, row))

    def full(self, batch: Batch) -> bool:
        """Whether it is time to commit."""
        limit = self._platform.settings.batch_recordings
        return len(batch.rows) >= limit or batch.bytes >= BATCH_BYTES

    def finish(self, batch: Batch) -> list[Outcome]:
        """Wait for the decodes, check, judge and commit.

        A recording that fails for a reason of ours is given back, to be tried again; the others
        go on.

        Raises:
            RetryError: nothing of the batch was decided (no validator, disk full); all leases
                are given back.
        """
        ids = [row["id"] for row in batch.rows]
        with failure_told(
            self._platform.observer,
            self._platform.clock,
            "ingest",
            batch.id,
            organisation=batch.organisation,
            recordings=ids,
        ):
            plan, failed, versions = self._decided(batch, ids)
        outcomes = failed + ([] if plan is None else self._outcomes(batch, plan))
        self._tell(batch, plan, outcomes, versions)
        return outcomes

    def _decided(
        self, batch: Batch, ids: Sequence[str]
    ) -> tuple[Plan | None, list[Outcome], Mapping[str, int]]:
        """Plan and commit; what failed for a reason of ours, and the tables' versions."""
        try:
            plan, failed = self._planned(batch)
        except BaseException as error:
            # Nothing is planned: what was placed already is nobody's.
            discard(self._platform.root, batch.id)
            batch.close()
            self._release(ids, blame=not isinstance(error, RetryError))
            raise
        finally:
            self._leases.drop(ids)
        versions: dict[str, int] = {}
        try:
            if plan is not None:
                versions = self.committer.execute(plan)
        finally:
            batch.close()
        return plan, failed, versions

    def _tell(
        self,
        batch: Batch,
        plan: Plan | None,
        outcomes: Sequence[Outcome],
        versions: Mapping[str, int],
    ) -> None:
        now = self._platform.clock()
        self._platform.observer.batch_finished(
            FinishedBatch(
                plan=batch.id,
                organisation=batch.organisation,
                started_ns=now if plan is None else plan.created_ns,
                finished_ns=now,
                outcomes=tuple(outcomes),
                versions=dict(versions),
            )
        )

    def _planned(self, batch: Batch) -> tuple[Plan | None, list[Outcome]]:
        decoded: dict[str, Decoded] = {}
        failed: list[Outcome] = []
        for row, future in zip(batch.rows, batch.reports, strict=True):
            try:
                decoded[row["id"]] = future.result()
            except TanadaError as error:
                failed.append(self._give_back(row["id"], error))
        rows = [row for row in batch.rows if row["id"] in decoded]
        self._trace("check")
        judged = self._judged(batch, rows, decoded)
        if not judged:
            discard(self._platform.root, batch.id)
            return None, failed
        self._note_steps(batch, judged, decoded)
        return self.committer.plan(batch.id, batch.organisation, judged), failed

    def _decode(self, batch: Batch, row: dict[str, Any]) -> Future[Decoded]:
        self._trace(f"decode {row['id'][:8]}")
        copies = empty_folder(batch.folder / f"{row['id']}.originals")
        begun = time.perf_counter()

        def ended(one: Future[Decoded]) -> None:
            shutil.rmtree(copies, ignore_errors=True)
            if one.cancelled():
                return
            well = one.exception() is None
            seconds = one.result().seconds if well else time.perf_counter() - begun
            self._platform.observer.decoded(seconds, well=well)

        decoded = self._decoders.submit(lambda: self._work(batch, row, copies))
        decoded.add_done_callback(ended)
        return decoded

    def _work(self, batch: Batch, row: dict[str, Any], copies: Path) -> Work:
        settings, root = self._platform.settings, self._platform.root
        task = DecodeTask(
            recording_id=row["id"],
            organisation=row["organisation_id"],
            folder=empty_folder(batch.folder / row["id"]),
            files=(),
            received_ns=row["received_ns"],
            joint_limits=self._robot(row)["joint_limits"],
            memory_bytes=settings.child_memory_bytes,
            seconds=settings.child_seconds,
            file_bytes=settings.child_output_bytes,
        )
        files = tuple(originals.of(root, self._platform.engine, row["id"]))
        return Work(task, files, copies, root.exchange(batch.id) / row["id"])

    def _robot(self, row: dict[str, Any]) -> dict[str, Any]:
        query = select(Robot.site, Robot.joint_limits).where(
            Robot.id == row["robot_id"], Robot.organisation_id == row["organisation_id"]
        )
        with reading(self._platform.engine) as connection:
            found = connection.execute(query).mappings().one()
        limits = {name: (low, high) for name, (low, high) in found["joint_limits"].items()}
        return {"site": found["site"], "joint_limits": limits}

    def _judged(
        self, batch: Batch, rows: Sequence[dict[str, Any]], decoded: dict[str, Decoded]
    ) -> list[Judged]:
        reports = {key: one.report for key, one in decoded.items()}
        asked = [
            line
            for row in rows
            if reports[row["id"]].ok
            for line in validator_rows(reports[row["id"]], row["sector"])
        ]
        results: dict[str, list[CheckResult]] = {row["id"]: [] for row in rows}
        for recording, result in self._validator.validate(batch.organisation, batch.id, asked):
            results[recording].append(result)
        self._docs.publish(batch.organisation)
        judged = []
        for row in rows:
            report = reports[row["id"]]
            verdict, reasons, checked = judge(report, results[row["id"]])
            judged.append(
                Judged(
                    row=row | {"site": self._robot(row)["site"]},
                    files=self._data_files(row["id"]),
                    report=report,
                    verdict=verdict,
                    reasons=tuple(reasons),
                    results=tuple(checked),
                    folder=decoded[row["id"]].folder,
                )
            )
        return judged

    def _note_steps(
        self, batch: Batch, judged: Sequence[Judged], decoded: Mapping[str, Decoded]
    ) -> None:
        """Put on record what was decoded and judged: one transaction for the batch."""
        now = self._platform.clock()
        steps = [
            {
                "recording_id": one.recording_id,
                "step": step,
                "at_ns": at_ns,
                "worker": self.worker,
                "detail": detail,
            }
            for one in judged
            for step, at_ns, detail in (
                (
                    "decode",
                    decoded[one.recording_id].at_ns,
                    {"source": one.report.source, "messages": one.report.messages}
                    | decoded[one.recording_id].who,
                ),
                ("check", now, {"run": batch.id, "rules": len(one.results)}),
            )
        ]
        with writing(self._platform.engine) as connection:
            recordings.add_steps(connection, steps)

    def _data_files(self, recording_id: str) -> int:
        with reading(self._platform.engine) as connection:
            files = recordings.files_of(connection, recording_id)
        return sum(not file["sidecar"] for file in files)

    def _outcomes(self, batch: Batch, plan: Plan) -> list[Outcome]:
        now = time.perf_counter()
        started = {row["id"]: at for row, at in zip(batch.rows, batch.started, strict=True)}
        names = {row["id"]: row["name"] for row in batch.rows}
        return [
            Outcome(
                recording_id=one.recording_id,
                status=one.verdict.value,
                reasons=one.reasons,
                tables=dict(one.tables or {}),
                seconds=now - started[one.recording_id],
                path=names[one.recording_id],
            )
            for one in plan.recordings
        ]

    def _give_back(self, recording_id: str, error: TanadaError) -> Outcome:
        """Let a recording be tried again; the reason is ours, so no verdict is made of it."""
        retry = isinstance(error, RetryError)
        self._release([recording_id], blame=not retry)
        reason = Reason(type(error).__name__, error.found, error.expected, detail=str(error))
        return Outcome(recording_id, FAILED, (reason,), retry=retry)

    def _release(self, ids: Sequence[str], *, blame: bool) -> None:
        with writing(self._platform.engine) as connection:
            recordings.release_lease(connection, self.worker, ids, count_attempt=blame)

    def _park(self, recording_id: str, attempts: int) -> None:
        reason = Reason(
            "too_many_attempts",
            observed=str(attempts - 1),
            limit=str(self._platform.settings.max_attempts),
            detail="every worker that took it ended before it was decided",
        )
        now = self._platform.clock()
        with writing(self._platform.engine) as connection:
            recordings.set_state(
                connection, recording_id, FAILED, reasons=[reason.as_json()], decided_ns=now
            )
            recordings.add_step(connection, recording_id, "fail", now, self.worker)


class _Leases:
    """Renews the leases of the recordings at work, from a thread of its own."""

    def __init__(self, platform: Platform, worker: str) -> None:
        self._platform = platform
        self._worker = worker
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def hold(self, ids: Iterable[str]) -> None:
        with self._lock:
            self._held.update(ids)
            self._platform.observer.leased(len(self._held))

    def drop(self, ids: Iterable[str]) -> None:
        with self._lock:
            self._held.difference_update(ids)
            self._platform.observer.leased(len(self._held))

    def _run(self) -> None:
        seconds = self._platform.settings.lease_seconds
        while not self._stopped.wait(seconds / 3):
            with self._lock:
                held = sorted(self._held)
            until = self._platform.clock() + seconds * 1_000_000_000
            # A catalog that is busy, or refuses the login while its password is changed, is no
            # reason to stop: the next renewal comes before the lease ends, and a lease that was
            # lost is noticed before anything is planned.
            with suppress(TanadaError), writing(self._platform.engine) as connection:
                recordings.renew_lease(connection, self._worker, held, until)
