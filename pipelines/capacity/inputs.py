"""What the plan reckons with: measured rates, and assumptions. Values only, no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class KindRates:
    """Measured of one kind of message, per message.

    Attributes:
        raw_bytes: In the file that is handed in, compressed as its writer does.
        table_bytes: In the tables' data files.
        media_bytes: In blob files.
        rows: Rows in the tables.
        cpu_seconds: From receipt to commit.
        tables: Tables that get rows of it.
    """

    raw_bytes: float
    table_bytes: float
    media_bytes: float
    rows: float
    cpu_seconds: float
    tables: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Measured of recordings, batches, tables and the catalog, however long recordings are.

    The names say the unit; `tests/bench/capacity.py` says how each was measured.
    """

    cpu_seconds_per_recording: float
    cpu_seconds_per_batch: float
    raw_objects_per_recording: float
    commit_seconds_per_table: float
    commit_seconds_per_table_and_recording: float
    commit_seconds_per_marker: float
    commit_seconds_per_file: float
    files_per_table_and_batch: float
    catalog_rows_per_recording: float
    catalog_bytes_per_recording: float
    catalog_transactions_per_recording: float
    catalog_transactions_per_second: float
    checkpoint_bytes_per_marker: float
    checkpoint_bytes_per_file: float
    entry_bytes_per_marker: float
    entry_bytes_per_file: float
    marker_seconds_per_marker: float
    open_seconds_per_file: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured rates with where they come from.

    Attributes:
        source: File, date and machine, in one line.
        kinds: Message type -> rates.
        fixed: The rest.
        how: Name of a fixed rate -> how it was measured.
    """

    source: str
    kinds: Mapping[str, KindRates]
    fixed: Fixed
    how: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stream:
    """So many streams of one kind on every robot of a sector."""

    kind: str
    rate_hz: float
    count: float = 1.0


@dataclass(frozen=True, slots=True)
class SectorAssumptions:
    """One sector.

    Attributes:
        name: Id of the sector.
        share_of_robots: Of all robots, 0..1.
        hours_per_day: Hours that a robot works.
        days_per_year: Days that it works.
        handed_in: Share of the worked hours that is recorded and handed in, 0..1.
        recording_seconds: Length of one recording.
        robots_per_organisation: Robots of one contributing organisation.
        streams: What each robot records.
    """

    name: str
    share_of_robots: float
    hours_per_day: float
    days_per_year: float
    handed_in: float
    recording_seconds: float
    robots_per_organisation: float
    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class General:
    """Assumptions that hold for every sector; the names say the unit."""

    first_year: float
    last_year: float
    robots: float
    peak_factor: float
    batch_recordings: float
    batch_bytes: float
    table_file_bytes: float
    catalog_tables_per_batch: float
    log_retention_days: float
    versions_per_checkpoint: float
    part_bytes: float
    range_bytes: float
    gets_per_commit: float
    price_storage_gb_month: float
    price_put_1000: float
    price_get_1000: float
    price_core_hour: float
    limit_markers_per_table: float
    limit_checkpoint_bytes: float
    limit_open_seconds: float
    limit_put_per_second: float
    limit_get_per_second: float
    limit_objects_per_prefix: float
    host_cores: float
    host_bits_per_second: float
    host_disk_bytes: float


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Everything that was not measured.

    Attributes:
        general: For every sector.
        sectors: By sector.
        sources: Dotted name -> where the value comes from; `given` for what was overridden.
    """

    general: General
    sectors: tuple[SectorAssumptions, ...]
    sources: Mapping[str, str]
