"""Which limit breaks first, and at how many robots. Pure, as `model` is.

A limit is a use that grows with the robots, and a capacity. Where they meet is found by bisection
over the number of robots of the last year, with everything else as assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pipelines.capacity.model import SECONDS_PER_YEAR, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipelines.capacity.inputs import Assumptions, Measured
    from pipelines.capacity.model import Year

_LEAST_EXPONENT: Final = -3.0
_MOST_EXPONENT: Final = 12.0
"""Ten to this is more robots than anyone plans; a limit that holds there holds."""
_STEPS: Final = 50


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    Attributes:
        name: Machine-readable.
        scope: `machine` (one host holds all), `lake` (one set of tables), or `store` (an object
            store's own limit).
        what: What is limited, with its unit.
        change: What to change when it is near.
        capacity: Of the inputs: the limit, and where it comes from.
        use: Of one year, in the unit of the limit.
    """

    name: str
    scope: str
    what: str
    change: str
    capacity: Callable[[Assumptions, Measured], tuple[float, str]]
    use: Callable[[Year, Assumptions, Measured], float]


@dataclass(frozen=True, slots=True)
class Broken:
    """How one limit stands under a plan.

    Attributes:
        limit: Which.
        capacity: Its value.
        source: Where the value comes from.
        use: Greatest use in any year of the plan.
        year: First year in which use exceeds capacity; None = never within the plan.
        robots: Robots of the last year at which it is just reached; None = beyond any number.
    """

    limit: Limit
    capacity: float
    source: str
    use: float
    year: int | None
    robots: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.limit.name,
            "scope": self.limit.scope,
            "what": self.limit.what,
            "capacity": self.capacity,
            "source": self.source,
            "use": self.use,
            "breaks_in": self.year,
            "breaks_at_robots": self.robots,
            "change": self.limit.change,
        }


def _peak(amount_a_year: float, assumptions: Assumptions) -> float:
    """Per second in the busiest hour."""
    return amount_a_year / SECONDS_PER_YEAR * assumptions.general.peak_factor


def _assumed(name: str) -> Callable[[Assumptions, Measured], tuple[float, str]]:
    def capacity(assumptions: Assumptions, _measured: Measured) -> tuple[float, str]:
        return getattr(assumptions.general, name), assumptions.sources[f"general.{name}"]

    return capacity


def _measured_transactions(_assumptions: Assumptions, measured: Measured) -> tuple[float, str]:
    name = "catalog_transactions_per_second"
    return measured.fixed.catalog_transactions_per_second, f"measured: {measured.how[name]}"


def _one(_assumptions: Assumptions, _measured: Measured) -> tuple[float, str]:
    return 1.0, "commits of one table follow one another: a second holds one second of them"


def _busiest_prefix(amount: float, year: Year) -> float:
    """Of requests for originals and blobs, spread over organisations: the part of one of them."""
    return amount / max(year.prefixes, 1.0)


def _put_busiest(year: Year, assumptions: Assumptions, _measured: Measured) -> float:
    total, general = year.total, assumptions.general
    # Of one commit: data file, log entry, manifest entry, and now and then a checkpoint.
    a_commit = 3 + 1 / general.versions_per_checkpoint
    table = total.versions * a_commit
    originals = _busiest_prefix(total.puts - total.commits * a_commit, year)
    return _peak(max(table, originals), assumptions)


def _get_busiest(year: Year, assumptions: Assumptions, _measured: Measured) -> float:
    total, general = year.total, assumptions.general
    table = total.versions * general.gets_per_commit
    originals = _busiest_prefix(total.gets - total.commits * general.gets_per_commit, year)
    return _peak(max(table, originals), assumptions)


LIMITS: Final = (
    Limit(
        "one_committer",
        "lake",
        "seconds of commits a second, one process for all tables in turn",
        "let several workers commit: tables are independent, each keeps its own order",
        _one,
        lambda y, a, _m: _peak(y.total.commits, a) * y.lake.commit_seconds,
    ),
    Limit(
        "one_table",
        "lake",
        "seconds of commits a second, busiest table",
        "larger batches (TANADA_BATCH_RECORDINGS), batches of several organisations, then a lake "
        "for each group of sectors",
        _one,
        lambda y, a, _m: _peak(y.total.versions, a) * y.lake.commit_seconds,
    ),
    Limit(
        "markers_per_table",
        "lake",
        "markers in the busiest table",
        "one counter for each source in place of one marker for each recording, or tables by year",
        _assumed("limit_markers_per_table"),
        lambda y, _a, _m: y.lake.markers,
    ),
    Limit(
        "checkpoint_bytes",
        "lake",
        "bytes of the busiest table's checkpoint",
        "fewer markers and files: counters for each source, compaction, tables by year",
        _assumed("limit_checkpoint_bytes"),
        lambda y, _a, _m: y.lake.checkpoint_bytes,
    ),
    Limit(
        "open_seconds",
        "lake",
        "seconds to open the busiest table",
        "compaction over several days into larger files, tables by year",
        _assumed("limit_open_seconds"),
        lambda y, _a, _m: y.lake.open_seconds,
    ),
    Limit(
        "catalog_transactions",
        "machine",
        "durable transactions of the catalog a second",
        "PostgreSQL (TANADA_DATABASE_URL) in place of SQLite: writers no longer wait in one line",
        _measured_transactions,
        lambda y, a, _m: _peak(y.total.catalog_transactions, a),
    ),
    Limit(
        "put_per_prefix",
        "store",
        "write requests a second to the busiest prefix of an object store",
        "larger batches for tables; more prefixes below raw/ for originals",
        _assumed("limit_put_per_second"),
        _put_busiest,
    ),
    Limit(
        "get_per_prefix",
        "store",
        "read requests a second to the busiest prefix of an object store",
        "larger ranges, a cache of the newest checkpoint in the committer",
        _assumed("limit_get_per_second"),
        _get_busiest,
    ),
    Limit(
        "objects_per_prefix",
        "store",
        "files below the busiest table",
        "compaction, vacuum, tables by year",
        _assumed("limit_objects_per_prefix"),
        lambda y, _a, _m: y.lake.files + y.lake.versions * 2.1,
    ),
    Limit(
        "host_cores",
        "machine",
        "cores in the busiest hour, on one machine",
        "workers on more machines (TANADA_DATABASE_URL, TANADA_ROOT=s3://…), then Spark executors",
        _assumed("host_cores"),
        lambda y, a, _m: _peak(y.total.worker_hours * 3600, a),
    ),
    Limit(
        "host_network",
        "machine",
        "bits received a second in the busiest hour, by one machine",
        "several servers behind one address, or uploads straight to the object store",
        _assumed("host_bits_per_second"),
        lambda y, a, _m: _peak(y.total.bytes_in * 8, a),
    ),
    Limit(
        "host_disk",
        "machine",
        "bytes stored, on one file system",
        "an object store: TANADA_ROOT=s3://bucket/prefix",
        _assumed("host_disk_bytes"),
        lambda y, _a, _m: y.total.stored_bytes,
    ),
)


def standing(
    assumptions: Assumptions,
    measured: Measured,
    robots: float,
    sectors: Sequence[str] | None = None,
) -> list[Broken]:
    """Every limit, the one that breaks at the fewest robots first.

    Args:
        assumptions: What is assumed.
        measured: What was measured.
        robots: Robots of all sectors in the last year.
        sectors: Only these sectors' part of them; None = all.
    """
    years = plan(assumptions, measured, robots, sectors)
    found = []
    for limit in LIMITS:
        capacity, source = limit.capacity(assumptions, measured)
        uses = [limit.use(year, assumptions, measured) for year in years]
        late = (year.year for year, use in zip(years, uses, strict=True) if use > capacity)
        found.append(
            Broken(
                limit=limit,
                capacity=capacity,
                source=source,
                use=max(uses),
                year=next(late, None),
                robots=_breaks_at(limit, capacity, assumptions, measured, sectors),
            )
        )
    return sorted(found, key=lambda broken: math.inf if broken.robots is None else broken.robots)


def _breaks_at(
    limit: Limit,
    capacity: float,
    assumptions: Assumptions,
    measured: Measured,
    sectors: Sequence[str] | None,
) -> float | None:
    """Most robots at which the limit holds; None where it holds for any number."""

    def holds(robots: float) -> bool:
        years = plan(assumptions, measured, robots, sectors)
        return max(limit.use(year, assumptions, measured) for year in years) <= capacity

    if holds(10.0**_MOST_EXPONENT):
        return None
    low, high = _LEAST_EXPONENT, _MOST_EXPONENT
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(10.0**middle) else (low, middle)
    return float(10.0**low)
