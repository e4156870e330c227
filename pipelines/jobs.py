"""The one list of scheduled work; Airflow's DAGs and Dagster's definitions are made from it.

A job's function takes an opened platform and plain parameters and returns a plain JSON document;
`outcome` in it is `well`, `refused` (something was quarantined, refused or found damaged) or
`retry` (the same call later may do more). Every job may be run again, and twice at once: what is
done already is left as it is.

This module imports nothing but the standard library and `schemas.errors`: a scheduler parses it
every few seconds, in an environment that need not hold what the work itself needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipelines.cli.platform import Platform

    Value = str | int | bool | None
    Document = dict[str, Any]

WELL: Final = "well"
REFUSED: Final = "refused"
RETRY: Final = "retry"
OUTCOMES: Final = (WELL, REFUSED, RETRY)
"""From best to worst."""

POOLS: Final[Mapping[str, int]] = MappingProxyType({"decode": 2, "lake": 1, "catalog": 1})
"""What limits how many jobs run at once: CPU for decoding, one maintenance of the lake, one of
the catalog. Waiting is cheaper than conflicts, which would only be retried."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a job.

    Attributes:
        name: Keyword of the function.
        kind: text, number or flag.
        default: Value when it is not given.
        doc: What it does.
    """

    name: str
    kind: str
    default: Value
    doc: str

    def parsed(self, text: str) -> Value:
        """Its value from a command line.

        Raises:
            WrongUseError: not of its kind.
        """
        if self.kind == "text":
            return text
        if self.kind == "flag" and text.lower() in {"true", "false"}:
            return text.lower() == "true"
        if self.kind == "number" and text.isascii() and text.isdigit():
            return int(text)
        raise WrongUseError(
            "not a value of this parameter",
            subject=self.name,
            expected={"flag": "true or false", "number": "a whole number"}[self.kind],
            found=text[:80],
        )


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of scheduled work.

    Attributes:
        name: Key of `JOBS`.
        doc: What it does, for those who watch a scheduler.
        function: `function(platform, **parameters)` -> document.
        schedule: Cron in UTC; None = only when asked, for sensors and checks.
        timeout_minutes: Stopped and counted as failed after that; tried again like any failure.
        retries: How often it is tried again after `retry`, a crash or the timeout.
        retry_minutes: Wait before that.
        pool: Key of `POOLS`.
        parameters: What it takes.
        by_day: Whether one run is about one day (parameter `day`) and one sector (`sector`), so
            that missed days are caught up and past ones can be run again.
        refusal_fails: Whether `refused` is an alarm, so that the run counts as failed. What a
            partner sent broken is reported and no alarm: quarantine stops the recording alone.
    """

    name: str
    doc: str
    function: Callable[..., Document]
    schedule: str | None
    timeout_minutes: int
    retries: int
    retry_minutes: int
    pool: str
    parameters: tuple[Parameter, ...] = ()
    by_day: bool = False
    refusal_fails: bool = False

    def as_json(self) -> Document:
        """Plain values: what `tanada jobs list` shows."""
        return {
            "name": self.name,
            "schedule": self.schedule,
            "timeout_minutes": self.timeout_minutes,
            "retries": self.retries,
            "retry_minutes": self.retry_minutes,
            "pool": self.pool,
            "by_day": self.by_day,
            "refusal_fails": self.refusal_fails,
            "parameters": {p.name: p.default for p in self.parameters},
            "does": self.doc,
        }


def run(platform: Platform, name: str, given: Mapping[str, str]) -> Document:
    """Run one job with parameters as a command line gives them.

    Raises:
        NotFoundError: no such job.
        WrongUseError: no such parameter, or not a value of it.
    """
    job = JOBS.get(name)
    if job is None:
        raise NotFoundError("no such job", subject=name[:80], next_step="tanada jobs list")
    known = {parameter.name: parameter for parameter in job.parameters}
    if unknown := sorted(given.keys() - known.keys()):
        raise WrongUseError(
            "no such parameter",
            subject=f"job {name}",
            expected=", ".join(known) or "none",
            found=", ".join(unknown)[:200],
        )
    values = {key: parameter.default for key, parameter in known.items()}
    values |= {key: known[key].parsed(text) for key, text in given.items()}
    return job.function(platform, **values)


# --- what arrives --------------------------------------------------------------------------------


def _ingest(
    platform: Platform,
    *,
    organisation: str | None,
    sector: str | None,
    day: str | None,
    agreement: str | None,
    settled_seconds: int,
) -> Document:
    from pipelines.delivery import ingest_incoming

    return ingest_incoming(
        platform,
        organisation=organisation,
        sector=sector,
        day=day,
        agreement=agreement,
        settled_seconds=settled_seconds,
    )


def _landings(
    platform: Platform,
    *,
    organisation: str | None,
    sector: str | None,
    day: str | None,
    settled_seconds: int,
) -> Document:
    from pipelines.incoming import incoming

    found = incoming(
        platform,
        organisation=organisation,
        sector=sector,
        day=day,
        settled_seconds=settled_seconds,
    )
    return {
        "outcome": WELL,
        "landings": [landing.as_json() for landing in found.landings],
        "unknown": found.unknown,
    }


def _process(platform: Platform) -> Document:
    from pipelines.batch import FAILED, Outcome, Watch
    from pipelines.worker import work

    counts: dict[str, int] = {}

    class Counting(Watch):
        """Counts what is decided."""

        def decided(self, outcome: Outcome) -> None:
            counts[outcome.status] = counts.get(outcome.status, 0) + 1

    decided = work(platform, once=True, watch=Counting())
    outcome = RETRY if FAILED in counts else REFUSED if "quarantined" in counts else WELL
    return {"outcome": outcome, "decided": decided, "statuses": counts}


# --- upkeep --------------------------------------------------------------------------------------


def _recover(platform: Platform) -> Document:
    from pipelines.recover import recover

    return {"outcome": WELL, **recover(platform).as_json()}


def _optimize(platform: Platform) -> Document:
    from pipelines.maintain import optimize

    return {"outcome": WELL, "tables": optimize(platform)}


def _vacuum(platform: Platform, *, retention_hours: int) -> Document:
    from pipelines.maintain import vacuum

    removed = vacuum(platform, retention_hours=retention_hours)
    return {"outcome": WELL, "tables": {table: len(paths) for table, paths in removed.items()}}


def _verify(platform: Platform, *, table: str | None, deep: bool) -> Document:
    from pipelines.maintain import verify

    done = verify(platform, None if table is None else [table], deep=deep)
    return {"outcome": WELL if done.ok else REFUSED, **done.as_json()}


def _verdicts(platform: Platform) -> Document:
    from pipelines.check.settled import unsettled

    found = unsettled(platform)
    return {"outcome": REFUSED if found.findings else WELL, **found.as_json()}


# --- what is made of it --------------------------------------------------------------------------


def _releases(platform: Platform, *, recipe: str | None) -> Document:
    from pipelines.release.scheduled import build_recipes

    return build_recipes(platform, recipe)


def _expire(platform: Platform, *, soon_days: int) -> Document:
    from pipelines.expiry import expire

    done = expire(platform, soon_days=soon_days)
    now_ns = platform.clock()
    return {
        "outcome": WELL,
        "ended": [one.as_json(now_ns) for one in done.ended],
        "ending": [one.as_json(now_ns) for one in done.ending],
    }


_OF = (
    Parameter("organisation", "text", None, "only of this organisation"),
    Parameter("sector", "text", None, "only of robots of this sector"),
    Parameter("day", "text", None, "only this day's folders, YYYY-MM-DD"),
)
_SETTLED = Parameter(
    "settled_seconds", "number", 60, "a file that changed since is still being written"
)

JOBS: Final[Mapping[str, Job]] = MappingProxyType(
    {
        job.name: job
        for job in (
            Job(
                "ingest",
                "Ingest what partners' transfers left in the landing folder on one day.",
                _ingest,
                "30 0 * * *",
                timeout_minutes=360,
                retries=3,
                retry_minutes=5,
                pool="decode",
                parameters=(
                    *_OF,
                    Parameter("agreement", "text", None, "default: the only one in force"),
                    _SETTLED,
                ),
                by_day=True,
            ),
            Job(
                "landings",
                "Look what lies in the landing folder; reads no file.",
                _landings,
                None,
                timeout_minutes=5,
                retries=3,
                retry_minutes=1,
                pool="catalog",
                parameters=(*_OF, _SETTLED),
            ),
            Job(
                "process",
                "Process recordings that were received through the API.",
                _process,
                "*/10 * * * *",
                timeout_minutes=180,
                retries=2,
                retry_minutes=5,
                pool="decode",
            ),
            Job(
                "recover",
                "Finish what a crash interrupted.",
                _recover,
                "5 * * * *",
                timeout_minutes=30,
                retries=2,
                retry_minutes=5,
                pool="catalog",
            ),
            Job(
                "optimize",
                "Compact small files of the tables.",
                _optimize,
                "0 2 * * *",
                timeout_minutes=180,
                retries=2,
                retry_minutes=15,
                pool="lake",
            ),
            Job(
                "vacuum",
                "Remove files that no version within the retention needs.",
                _vacuum,
                "0 3 * * 0",
                timeout_minutes=180,
                retries=2,
                retry_minutes=15,
                pool="lake",
                parameters=(
                    Parameter("retention_hours", "number", 168, "how long removed files stay"),
                ),
            ),
            Job(
                "verify",
                "Compare the tables with their manifests; finds what was lost or changed.",
                _verify,
                "0 4 * * *",
                timeout_minutes=360,
                retries=1,
                retry_minutes=15,
                pool="lake",
                parameters=(
                    Parameter("table", "text", None, "only this table"),
                    Parameter("deep", "flag", default=False, doc="read every data file"),
                ),
                refusal_fails=True,
            ),
            Job(
                "verdicts",
                "Judge every visible recording again from its recorded results.",
                _verdicts,
                "30 4 * * *",
                timeout_minutes=60,
                retries=1,
                retry_minutes=15,
                pool="lake",
                refusal_fails=True,
            ),
            Job(
                "releases",
                "Build a release of every recipe whose sources changed.",
                _releases,
                "0 5 * * *",
                timeout_minutes=720,
                retries=2,
                retry_minutes=10,
                pool="lake",
                parameters=(Parameter("recipe", "text", None, "only this file of the folder"),),
                refusal_fails=True,
            ),
            Job(
                "expire",
                "End agreements and grants whose terms are over; report what ends soon.",
                _expire,
                "15 0 * * *",
                timeout_minutes=10,
                retries=2,
                retry_minutes=5,
                pool="catalog",
                parameters=(
                    Parameter("soon_days", "number", 30, "report what ends within so many days"),
                ),
            ),
        )
    }
)
"""Every job by name."""
