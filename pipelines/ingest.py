"""Ingest: from files on disk to rows in the lake. Read this one first.

    find     which files belong together as one recording          connectors.stores.grouping
    know     those that were handed in before, many at a time      connectors.stores.known
    receive  bytes and SHA-256 into quarantine/, durable            connectors.stores.receive
    decode   in a limited child: source -> staged files             pipelines.decode
    check    fused metrics, then Great Expectations, a verdict      pipelines.check
    commit   plan, one Delta transaction per table, episodes last   pipelines.commit

`tanada worker` enters at decode, with what others received. A recording is known by its content:
handing it in again, renamed or not, changes nothing and is answered as `duplicate`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from connectors.stores.catalog import parties, recordings
from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Organisation, Robot
from connectors.stores.grouping import find_recordings
from connectors.stores.known import KnownRecordings
from connectors.stores.receive import Receiver
from connectors.stores.seen import SeenFiles
from pipelines.batch import FAILED, Outcome, Station, Watch
from pipelines.decode.task import reason_of
from pipelines.recover import recover
from schemas.errors import ConflictError, QuarantineError, WrongUseError
from schemas.quality import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Select

    from connectors.stores.grouping import Candidate
    from connectors.stores.receive import Received
    from pipelines.batch import Batch
    from pipelines.check.validator import Validator
    from pipelines.cli.platform import Platform

_PART: Final = 500
"""Recordings that the catalog is asked about at once, before any of them is received."""
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Contribution:
    """Under what recordings are handed in.

    Attributes:
        organisation / robot / agreement: Ids.
        sector: None = the robot's.
        start_time_ns: Start of a recording without a clock of its own.
    """

    organisation: str
    robot: str
    agreement: str
    sector: str | None = None
    start_time_ns: int | None = None


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of every recording, in the order they were found."""

    outcomes: tuple[Outcome, ...]

    def as_json(self) -> list[dict[str, Any]]:
        """One object per recording."""
        return [outcome.as_json() for outcome in self.outcomes]

    @property
    def exit_code(self) -> int:
        """0 all well, 1 something was refused, 3 something failed and may be tried again."""
        if any(o.status == FAILED for o in self.outcomes):
            return 3
        return int(any(o.status in {"quarantined", "conflict"} for o in self.outcomes))


def ingest(
    platform: Platform,
    paths: Sequence[Path],
    contribution: Contribution,
    *,
    watch: Watch | None = None,
    validator: Validator | None = None,
    rehash: bool = False,
    trace: Callable[[str], None] = lambda _step: None,
) -> IngestResult:
    """Receive what lies at and below the paths, and process it.

    Args:
        platform: The opened platform.
        paths: Files and folders.
        contribution: Under what they are handed in.
        watch: Told of what is found and decided.
        validator: A running one to share; None = one of its own.
        rehash: Read also large files that did not change since they were hashed.
        trace: Told of every step, for tests that stop the process between two of them.

    Raises:
        NotFoundError: no such path, robot or agreement.
        RetryError: the platform cannot work now (no validator, disk full); what was received
            stays received, and the same call again goes on from there.
    """
    watch = watch or Watch()
    candidates = find_recordings(paths, watch.left_out)
    return ingest_found(
        platform,
        candidates,
        contribution,
        watch=watch,
        validator=validator,
        rehash=rehash,
        trace=trace,
    )


def ingest_found(
    platform: Platform,
    candidates: Sequence[Candidate],
    contribution: Contribution,
    *,
    watch: Watch | None = None,
    validator: Validator | None = None,
    rehash: bool = False,
    trace: Callable[[str], None] = lambda _step: None,
) -> IngestResult:
    """The same for recordings that were found already."""
    watch = watch or Watch()
    watch.found(len(candidates))
    recover(platform, trace=trace)
    with (
        SeenFiles(platform.root.seen, platform.clock) as seen,
        Station(platform, trace, validator) as station,
    ):
        run = _Run(platform, station, contribution, candidates, watch, seen=seen, rehash=rehash)
        for start in range(0, len(candidates), _PART):
            for position in run.unknown(range(start, min(start + _PART, len(candidates)))):
                run.take(position)
        run.finish_batch()
        run.wait_for_others()
    return IngestResult(tuple(run.outcomes[position] for position in sorted(run.outcomes)))


class _Run:
    """One call of `ingest`: recordings are received one by one, and committed in batches."""

    def __init__(
        self,
        platform: Platform,
        station: Station,
        contribution: Contribution,
        candidates: Sequence[Candidate],
        watch: Watch,
        *,
        seen: SeenFiles,
        rehash: bool,
    ) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._platform = platform
        self._station = station
        self._contribution = contribution
        self._candidates = candidates
        self._watch = watch
        self._receiver = Receiver(platform.root, platform.engine, platform.clock, seen)
        self._known = KnownRecordings(
            platform.engine,
            contribution.organisation,
            contribution.robot,
            contribution.agreement,
            None if rehash else seen,
        )
        self._batch: Batch | None = None
        self._ours: dict[str, int] = {}
        self._others: dict[str, list[int]] = {}

    def unknown(self, positions: range) -> list[int]:
        """Answer what is known already; returns what has to be received."""
        started = time.perf_counter()
        found = self._known.among([self._candidates[position] for position in positions])
        seconds = (time.perf_counter() - started) / len(positions)
        left = []
        for position, known in zip(positions, found, strict=True):
            if known is None:
                left.append(position)
            else:
                self._decided(position, Outcome(known.recording_id, "duplicate", seconds=seconds))
        return left

    def take(self, position: int) -> None:
        """Receive one recording; its decode starts at once, in a child."""
        started = time.perf_counter()
        try:
            received = self._receive(self._candidates[position])
        except ConflictError as error:
            reason = Reason("conflict", error.found, error.expected, detail=str(error))
            self._decided(position, Outcome("", "conflict", (reason,)))
            return
        except QuarantineError as error:
            reason = reason_of(error)
            self._decided(position, Outcome("", "quarantined", (reason,)))
            return
        key = received.recording_id
        if received.duplicate and received.state in recordings.DECIDED:
            seconds = time.perf_counter() - started
            self._decided(position, Outcome(key, "duplicate", seconds=seconds))
        elif key in self._ours or not self._start(position, key):
            # In this batch already, or in the hands of another process.
            self._others.setdefault(key, []).append(position)

    def finish_batch(self) -> None:
        """Check, judge and commit what was taken since the last time."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        for outcome in self._station.finish(batch):
            self._decided(self._ours.pop(outcome.recording_id), outcome)

    def wait_for_others(self) -> None:
        """Wait for what other processes hold; take over what they drop."""
        while self._others:
            states = recordings.known(self._platform.engine, list(self._others))
            for key in list(self._others):
                state = states[key]["state"]
                if state in recordings.DECIDED or state == FAILED:
                    for position in self._others.pop(key):
                        self._decided(position, Outcome(key, "duplicate"))
                elif self._start(self._others[key][0], key):
                    self._others[key].pop(0)
            self.finish_batch()
            self._others = {key: left for key, left in self._others.items() if left}
            if any(state["state"] == "planned" for state in states.values()):
                recover(self._platform)
            if self._others:
                time.sleep(_POLL_SECONDS)

    def _receive(self, candidate: Candidate) -> Received:
        under = self._contribution
        return self._receiver.receive_paths(
            under.organisation,
            candidate.files,
            under.robot,
            under.agreement,
            sidecars=candidate.sidecars,
            sector=under.sector,
            name=str(candidate.path),
            start_time_ns=under.start_time_ns,
        )

    def _start(self, position: int, key: str) -> bool:
        rows = self._station.lease(1, only=[key])
        if not rows:
            return False
        if self._batch is None:
            self._batch = self._station.open(self._contribution.organisation)
        self._ours[key] = position
        self._station.add(self._batch, rows[0])
        if self._station.full(self._batch):
            self.finish_batch()
        return True

    def _decided(self, position: int, outcome: Outcome) -> None:
        named = replace(outcome, path=str(self._candidates[position].path))
        self.outcomes[position] = named
        self._watch.decided(named)


def contribution(
    platform: Platform,
    organisation: str | None = None,
    robot: str | None = None,
    agreement: str | None = None,
    *,
    sector: str | None = None,
    start_time_ns: int | None = None,
) -> Contribution:
    """What was said, with defaults where there is only one.

    Raises:
        WrongUseError: there is none, or several: the message names them.
    """
    with reading(platform.engine) as connection:
        if organisation is None:
            organisation = _only(
                connection,
                select(Organisation.id).where(Organisation.state == "active"),
                "organisation",
            )
        if robot is None:
            robots = select(Robot.id).where(
                Robot.organisation_id == organisation, Robot.state == "active"
            )
            robot = _only(connection, robots, "robot")
        if agreement is None:
            agreement = parties.default_agreement(connection, organisation)
    return Contribution(organisation, robot, agreement, sector, start_time_ns)


def _only(connection: Connection, query: Select[str], what: str) -> str:
    found = sorted(connection.execute(query).scalars())
    if len(found) != 1:
        raise WrongUseError(
            f"say which {what}",
            expected=f"one {what}",
            found=", ".join(found)[:300] or "none",
            next_step=f"pass --{what}, or tanada {what} add",
        )
    return found[0]
