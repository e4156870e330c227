"""The arithmetic of the capacity plan. Pure: numbers in, numbers out.

Quantities are expected values, so they are not rounded. Every figure of a sector is linear in, or
grows with, its robots; figures of a sector add up to those of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipelines.capacity.inputs import Assumptions, General, Measured, SectorAssumptions

DAYS_PER_YEAR: Final = 365.0
SECONDS_PER_YEAR: Final = DAYS_PER_YEAR * 86_400
_GB: Final = 1e9
_HOUR_S: Final = 3_600.0
_MONTHS: Final = 12.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one sector, or all of them, need in one year.

    Attributes:
        robots: Robots at work.
        recordings: Recordings handed in.
        bytes_in: Bytes received.
        rows: Rows committed, of messages.
        table_bytes: Bytes added to the tables.
        media_bytes: Bytes added as blob files.
        objects: Objects written that stay: originals, blobs, data files, log entries, manifests.
        puts: Write requests to an object store.
        gets: Read requests to an object store, of ingest alone.
        batches: Batches committed.
        commits: Delta commits, over all tables.
        versions: New versions of the busiest table.
        files_written: Data files written, over all tables.
        files_kept: Data files left after compaction, over all tables.
        files_kept_busiest: The same of the busiest table.
        markers: New markers of the busiest table.
        log_bytes: Bytes of log entries, over all tables, checkpoints aside.
        catalog_rows: Rows added to the catalog database.
        catalog_bytes: Bytes added to it.
        catalog_transactions: Durable transactions of it.
        worker_hours: CPU hours of ingest.
        stored_bytes: Originals, tables and blobs at the end of the year, of all years so far.
        cost_storage: Price of keeping them this year [USD].
        cost_requests: Price of the requests [USD].
        cost_compute: Price of the worker hours [USD].
    """

    robots: float = 0.0
    recordings: float = 0.0
    bytes_in: float = 0.0
    rows: float = 0.0
    table_bytes: float = 0.0
    media_bytes: float = 0.0
    objects: float = 0.0
    puts: float = 0.0
    gets: float = 0.0
    batches: float = 0.0
    commits: float = 0.0
    versions: float = 0.0
    files_written: float = 0.0
    files_kept: float = 0.0
    files_kept_busiest: float = 0.0
    markers: float = 0.0
    log_bytes: float = 0.0
    catalog_rows: float = 0.0
    catalog_bytes: float = 0.0
    catalog_transactions: float = 0.0
    worker_hours: float = 0.0
    stored_bytes: float = 0.0
    cost_storage: float = 0.0
    cost_requests: float = 0.0
    cost_compute: float = 0.0

    @property
    def cost(self) -> float:
        """Storage, requests and compute [USD]."""
        return self.cost_storage + self.cost_requests + self.cost_compute

    def as_json(self) -> dict[str, float]:
        """Plain values by name, the cost's sum included."""
        return {name: getattr(self, name) for name in FIGURES} | {"cost": self.cost}


FIGURES: Final = tuple(field.name for field in fields(Figures))


@dataclass(frozen=True, slots=True)
class Lake:
    """The whole lake at the end of one year: what does not add up over sectors.

    Attributes:
        markers: Markers of the busiest table.
        files: Data files of the busiest table.
        versions: Versions of the busiest table so far.
        checkpoint_bytes: Its newest checkpoint.
        checkpoints_kept_bytes: All its checkpoints within the log's retention.
        open_seconds: To open it, from its files.
        look_up_seconds: To look up a batch's markers in it.
        commit_seconds: One commit of it: fixed part, recordings, markers and files.
    """

    markers: float
    files: float
    versions: float
    checkpoint_bytes: float
    checkpoints_kept_bytes: float
    open_seconds: float
    look_up_seconds: float
    commit_seconds: float

    def as_json(self) -> dict[str, float]:
        """Plain values by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Year:
    """One year: its sectors, their sum, the lake at its end."""

    year: int
    sectors: dict[str, Figures]
    total: Figures
    lake: Lake
    prefixes: float
    """Organisations that contribute: prefixes below raw/."""


@dataclass(frozen=True, slots=True)
class PerSecond:
    """What one robot of a sector sends in one second of recording."""

    bytes_in: float
    rows: float
    table_bytes: float
    media_bytes: float
    cpu_seconds: float
    tables: int
    media_objects: float
    """Blob files of one recording."""


def per_second(sector: SectorAssumptions, measured: Measured) -> PerSecond:
    """Rates of one robot, summed over its streams.

    Raises:
        WrongUseError: a kind of message was not measured.
    """
    sums: dict[str, float] = dict.fromkeys(
        ("raw_bytes", "rows", "table_bytes", "media_bytes", "cpu_seconds"), 0.0
    )
    tables: set[str] = set()
    media = 0.0
    for stream in sector.streams:
        rates = measured.kinds.get(stream.kind)
        if rates is None:
            raise WrongUseError(
                "no measurement of this kind of message",
                subject=stream.kind,
                expected=", ".join(sorted(measured.kinds)),
                next_step="measure it with tests/bench/capacity.py",
            )
        messages = stream.rate_hz * stream.count
        for name in sums:
            sums[name] += messages * getattr(rates, name)
        if messages > 0:
            tables |= rates.tables
            media += stream.count if rates.media_bytes > 0 else 0.0
    return PerSecond(
        bytes_in=sums["raw_bytes"],
        rows=sums["rows"],
        table_bytes=sums["table_bytes"],
        media_bytes=sums["media_bytes"],
        cpu_seconds=sums["cpu_seconds"],
        tables=len(tables),
        media_objects=media,
    )


def batches_per_year(
    sector: SectorAssumptions, general: General, robots: float, recordings: float, size: float
) -> float:
    """Batches: full ones where a day's recordings of one organisation fill them, else one a day.

    Args:
        sector: Its assumptions.
        general: Those of every sector.
        robots: Robots of the sector.
        recordings: Its recordings a year.
        size: Bytes of one recording.
    """
    organisation_days = organisations(sector, robots) * sector.days_per_year
    if organisation_days <= 0:
        return 0.0
    full = general.batch_recordings
    if size > 0:
        full = max(1.0, min(full, general.batch_bytes / size))
    a_day = recordings / organisation_days
    return organisation_days * max(a_day / full, min(a_day, 1.0))


def organisations(sector: SectorAssumptions, robots: float) -> float:
    """Contributing organisations; at least one where there is any robot."""
    return max(robots / sector.robots_per_organisation, 1.0 if robots > 0 else 0.0)


def sector_year(
    sector: SectorAssumptions,
    general: General,
    measured: Measured,
    robots: float,
    stored_before: float,
) -> Figures:
    """One sector in one year.

    Args:
        sector: Its assumptions.
        general: Those of every sector.
        measured: What was measured.
        robots: Robots of the sector in that year.
        stored_before: Its stored bytes at the end of the year before.
    """
    fixed, rates = measured.fixed, per_second(sector, measured)
    seconds = robots * sector.hours_per_day * _HOUR_S * sector.days_per_year * sector.handed_in
    recordings = seconds / sector.recording_seconds
    size = rates.bytes_in * sector.recording_seconds
    batches = batches_per_year(sector, general, robots, recordings, size)
    tables = rates.tables + general.catalog_tables_per_batch
    commits = batches * tables
    bytes_in, table_bytes = seconds * rates.bytes_in, seconds * rates.table_bytes
    media_bytes = seconds * rates.media_bytes
    big_files = table_bytes / general.table_file_bytes
    files = commits * fixed.files_per_table_and_batch + big_files
    partitions = min(organisations(sector, robots) * sector.days_per_year, batches)
    raw_objects = recordings * fixed.raw_objects_per_recording
    media_objects = recordings * rates.media_objects
    log_objects = 2 * commits + commits / general.versions_per_checkpoint
    # An original is put into quarantine/ and copied to raw/; large ones are put in parts.
    puts = 2 * raw_objects + bytes_in / general.part_bytes + media_objects + files + log_objects
    gets = bytes_in / general.range_bytes + recordings + commits * general.gets_per_commit
    cpu_seconds = (
        seconds * rates.cpu_seconds
        + recordings * fixed.cpu_seconds_per_recording
        + batches * fixed.cpu_seconds_per_batch
    )
    added = bytes_in + table_bytes + media_bytes
    months = general.price_storage_gb_month * _MONTHS / _GB
    return Figures(
        robots=robots,
        recordings=recordings,
        bytes_in=bytes_in,
        rows=seconds * rates.rows,
        table_bytes=table_bytes,
        media_bytes=media_bytes,
        objects=raw_objects + media_objects + files + log_objects,
        puts=puts,
        gets=gets,
        batches=batches,
        commits=commits,
        versions=batches,
        files_written=files,
        files_kept=partitions * tables + big_files,
        files_kept_busiest=partitions + big_files,
        markers=recordings,
        log_bytes=recordings * tables * fixed.entry_bytes_per_marker
        + files * fixed.entry_bytes_per_file,
        catalog_rows=recordings * fixed.catalog_rows_per_recording + batches,
        catalog_bytes=recordings * fixed.catalog_bytes_per_recording,
        catalog_transactions=recordings * fixed.catalog_transactions_per_recording,
        worker_hours=cpu_seconds / _HOUR_S,
        stored_bytes=stored_before + added,
        cost_storage=(stored_before + added / 2) * months,
        cost_requests=puts / 1000 * general.price_put_1000 + gets / 1000 * general.price_get_1000,
        cost_compute=cpu_seconds / _HOUR_S * general.price_core_hour,
    )


def total_of(parts: Iterable[Figures]) -> Figures:
    """Sum, figure by figure."""
    sums = dict.fromkeys(FIGURES, 0.0)
    for part in parts:
        for name in FIGURES:
            sums[name] += getattr(part, name)
    return Figures(**sums)


def plan(
    assumptions: Assumptions,
    measured: Measured,
    robots: float,
    sectors: Sequence[str] | None = None,
) -> list[Year]:
    """Every year from the first to the last; robots grow by the same number each year.

    Args:
        assumptions: What is assumed.
        measured: What was measured.
        robots: Robots of all sectors in the last year.
        sectors: Only these sectors' part of them; None = all.

    Raises:
        WrongUseError: no such sector, or a kind of message was not measured.
    """
    general = assumptions.general
    chosen = _chosen(assumptions.sectors, sectors)
    first, last = int(general.first_year), int(general.last_year)
    stored = dict.fromkeys((sector.name for sector in chosen), 0.0)
    years: list[Year] = []
    grown = _Grown()
    for number, year in enumerate(range(first, last + 1), 1):
        there = robots * number / (last - first + 1)
        found = {
            sector.name: sector_year(
                sector, general, measured, there * sector.share_of_robots, stored[sector.name]
            )
            for sector in chosen
        }
        stored = {name: figures.stored_bytes for name, figures in found.items()}
        total = total_of(found.values())
        grown = _Grown(
            grown.markers + total.markers,
            grown.files + total.files_kept_busiest,
            grown.versions + total.versions,
        )
        lake = _lake(general, measured, total, grown)
        prefixes = sum(organisations(s, there * s.share_of_robots) for s in chosen)
        years.append(Year(year, found, total, lake, prefixes))
    return years


def _chosen(
    known: Sequence[SectorAssumptions], wanted: Sequence[str] | None
) -> list[SectorAssumptions]:
    names = [sector.name for sector in known]
    if unknown := sorted(set(wanted or ()) - set(names)):
        raise WrongUseError("no such sector", subject=unknown[0][:80], expected=", ".join(names))
    return [sector for sector in known if wanted is None or sector.name in wanted]


@dataclass(frozen=True, slots=True)
class _Grown:
    """What the busiest table holds after some years."""

    markers: float = 0.0
    files: float = 0.0
    versions: float = 0.0


def _lake(general: General, measured: Measured, total: Figures, grown: _Grown) -> Lake:
    fixed = measured.fixed
    checkpoint = (
        grown.markers * fixed.checkpoint_bytes_per_marker
        + grown.files * fixed.checkpoint_bytes_per_file
    )
    kept = total.versions / DAYS_PER_YEAR * general.log_retention_days
    a_batch = total.recordings / total.batches if total.batches else 0.0
    return Lake(
        markers=grown.markers,
        files=grown.files,
        versions=grown.versions,
        checkpoint_bytes=checkpoint,
        checkpoints_kept_bytes=kept / general.versions_per_checkpoint * checkpoint,
        open_seconds=grown.files * fixed.open_seconds_per_file,
        look_up_seconds=grown.markers * fixed.marker_seconds_per_marker,
        commit_seconds=fixed.commit_seconds_per_table
        + a_batch * fixed.commit_seconds_per_table_and_recording
        + grown.markers * fixed.commit_seconds_per_marker
        + grown.files * fixed.commit_seconds_per_file,
    )


def as_json(years: Sequence[Year]) -> list[dict[str, Any]]:
    """Plain values: one object a year."""
    return [
        {
            "year": year.year,
            "sectors": {name: figures.as_json() for name, figures in year.sectors.items()},
            "total": year.total.as_json(),
            "lake": year.lake.as_json(),
        }
        for year in years
    ]
