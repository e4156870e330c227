"""Who is told of what the pipelines did: metrics, lineage, notices.

Work is finished, or has failed, before anyone is told of it, and no observer can make it fail.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from connectors.settings import Settings
    from pipelines.batch import Outcome

LOG: Final = logging.getLogger("tanada.pipelines")


@dataclass(frozen=True, slots=True)
class FinishedBatch:
    """A batch that is decided and committed.

    Attributes:
        plan: Id of its plan.
        organisation: Whose recordings these are.
        started_ns: When its plan was made, ns UTC.
        finished_ns: When it was done, ns UTC.
        outcomes: Of its recordings.
        versions: Table -> version that holds its rows; tables without any are left out.
    """

    plan: str
    organisation: str
    started_ns: int
    finished_ns: int
    outcomes: Sequence[Outcome]
    versions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FinishedRelease:
    """A release that was built.

    Attributes:
        dataset / version / digest: Which.
        started_ns / finished_ns: When, ns UTC.
        pinned: Table -> version that it was read at.
    """

    dataset: str
    version: int
    digest: str
    started_ns: int
    finished_ns: int
    pinned: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FailedWork:
    """A batch or a release build that ended with an error; nothing of it may be decided.

    Attributes:
        job: `ingest` or `release`.
        key: Id of the batch's plan, or the dataset.
        error: Code of the error: its class. Never its message, which may hold more than
            a receiver is to know.
        started_ns / failed_ns: When, ns UTC; a batch counts from where its decodes are awaited.
        organisation / recordings: Whose recordings the batch held, and which.
    """

    job: str
    key: str
    error: str
    started_ns: int
    failed_ns: int
    organisation: str = ""
    recordings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FinishedVerification:
    """A verification of the lake.

    Attributes:
        finished_ns: When, ns UTC.
        files: Data files looked at.
        damaged: Damage per table and sort, as `{"table": …, "what": …}`; surplus files are none.
    """

    finished_ns: int
    files: int
    damaged: Sequence[Mapping[str, Any]]


class Observer:
    """Told how the work goes; override what is of interest. Called from several threads."""

    def decoded(self, seconds: float, *, well: bool) -> None:
        """A recording was decoded, or its decode failed for a reason of ours."""

    def committed(self, table: str, version: int, seconds: float) -> None:
        """A table has a new version, or was found to hold the rows already."""

    def conflicted(self, table: str) -> None:
        """Another writer was first; the commit is tried again."""

    def leased(self, held: int) -> None:
        """This process holds so many leases now."""

    def validator_started(self, starts: int) -> None:
        """The validator process was started so many times so far."""

    def batch_finished(self, batch: FinishedBatch) -> None:
        """A batch is done."""

    def released(self, release: FinishedRelease) -> None:
        """A release is published."""

    def failed(self, work: FailedWork) -> None:
        """A batch or a release build ended with an error."""

    def verified(self, verification: FinishedVerification) -> None:
        """The lake was verified."""


@dataclass(slots=True)
class Observers(Observer):
    """Several, one after the other; what one of them raises is logged and goes no further."""

    members: list[Observer] = field(default_factory=list)

    def add(self, observer: Observer) -> None:
        """Tell this one too, from now on."""
        self.members.append(observer)

    def decoded(self, seconds: float, *, well: bool) -> None:
        """Tell all."""
        self._tell(lambda one: one.decoded(seconds, well=well))

    def committed(self, table: str, version: int, seconds: float) -> None:
        """Tell all."""
        self._tell(lambda one: one.committed(table, version, seconds))

    def conflicted(self, table: str) -> None:
        """Tell all."""
        self._tell(lambda one: one.conflicted(table))

    def leased(self, held: int) -> None:
        """Tell all."""
        self._tell(lambda one: one.leased(held))

    def validator_started(self, starts: int) -> None:
        """Tell all."""
        self._tell(lambda one: one.validator_started(starts))

    def batch_finished(self, batch: FinishedBatch) -> None:
        """Tell all."""
        self._tell(lambda one: one.batch_finished(batch))

    def released(self, release: FinishedRelease) -> None:
        """Tell all."""
        self._tell(lambda one: one.released(release))

    def failed(self, work: FailedWork) -> None:
        """Tell all."""
        self._tell(lambda one: one.failed(work))

    def verified(self, verification: FinishedVerification) -> None:
        """Tell all."""
        self._tell(lambda one: one.verified(verification))

    def _tell(self, call: Callable[[Observer], None]) -> None:
        for observer in self.members:
            try:
                call(observer)
            except Exception:
                # Whatever it is: the work is done, and must not look undone.
                LOG.exception("an observer failed")


@contextmanager
def failure_told(
    observer: Observer,
    clock: Callable[[], int],
    job: str,
    key: str,
    *,
    started_ns: int | None = None,
    organisation: str = "",
    recordings: Sequence[str] = (),
) -> Iterator[None]:
    """Tell of an error that ends the block, and let it pass on.

    Args:
        observer: Told.
        clock: Nanoseconds UTC.
        job: `ingest` or `release`.
        key: Id of the batch's plan, or the dataset.
        started_ns: None = when the block was entered.
        organisation: Whose recordings a batch holds.
        recordings: Which these are.
    """
    entered = time.perf_counter_ns()
    try:
        yield
    except Exception as error:
        failed_ns = clock()
        lasted_ns = time.perf_counter_ns() - entered
        observer.failed(
            FailedWork(
                job=job,
                key=key,
                error=type(error).__name__,
                started_ns=failed_ns - lasted_ns if started_ns is None else started_ns,
                failed_ns=failed_ns,
                organisation=organisation,
                recordings=tuple(recordings),
            )
        )
        raise


def observers_of(settings: Settings) -> Observers:
    """The observers that the settings ask for.

    Raises:
        WrongUseError: one of their settings is wrong.
    """
    found = Observers()
    if settings.openlineage_url:
        from pipelines.lineage import Lineage

        found.add(Lineage.to(settings.openlineage_url))
    if settings.notify_webhook or settings.notify_mail:
        from pipelines.notify import Notifier

        found.add(Notifier.of(settings))
    return found
