"""The worker: processes what was received, by whomever, until it is told to stop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from pipelines.batch import FAILED, Station, Watch
from pipelines.recover import recover
from schemas.errors import CommitConflictError, RetryError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.batch import Outcome
    from pipelines.check.validator import Validator
    from pipelines.cli.platform import Platform

POLL_SECONDS: Final = 1.0
RECOVER_ROUNDS: Final = 60
"""Idle rounds after which leases and dead batches are looked at again."""


def work(
    platform: Platform,
    *,
    once: bool = False,
    stopped: threading.Event | None = None,
    watch: Watch | None = None,
    validator: Validator | None = None,
    trace: Callable[[str], None] = lambda _step: None,
) -> int:
    """Process recordings in batches of one organisation each.

    Args:
        platform: The opened platform.
        once: End when nothing waits.
        stopped: When set, the batch at work is finished and this returns.
        watch: Told of what is decided, and of trouble.
        validator: A running one to share; None = one of its own.
        trace: Told of every step, for tests that stop the process between two of them.

    Returns:
        Recordings decided.

    Raises:
        RetryError: with `once`, the platform cannot work now.
        DamagedError: acknowledged rows are gone.
    """
    stopped, watch = stopped or threading.Event(), watch or Watch()
    decided = idle = 0
    recover(platform, trace=trace)
    with Station(platform, trace, validator) as station:
        while not stopped.is_set():
            try:
                outcomes = _round(platform, station)
            except RetryError as error:
                if once:
                    raise
                watch.trouble(str(error))
                if isinstance(error, CommitConflictError | StoreUnavailableError):
                    # A plan may be left open: what it holds is committed before new work.
                    _recover_when_free(platform, watch, trace)
                stopped.wait(POLL_SECONDS)
                continue
            for outcome in outcomes:
                watch.decided(outcome)
            decided += sum(outcome.status != FAILED for outcome in outcomes)
            if outcomes:
                idle = 0
                continue
            if once:
                break
            idle += 1
            if idle % RECOVER_ROUNDS == 0:
                _recover_when_free(platform, watch, trace)
            stopped.wait(POLL_SECONDS)
    return decided


def _round(platform: Platform, station: Station) -> list[Outcome]:
    rows = station.lease(platform.settings.batch_recordings)
    outcomes: list[Outcome] = []
    while rows:
        batch = station.open(rows[0]["organisation_id"])
        while rows and not station.full(batch):
            station.add(batch, rows.pop(0))
        outcomes += station.finish(batch)
    return outcomes


def _recover_when_free(platform: Platform, watch: Watch, trace: Callable[[str], None]) -> None:
    try:
        recover(platform, trace=trace)
    except RetryError as error:
        watch.trouble(str(error))
