"""Which episodes a recipe takes: the visible ones that pass its filter, in a fixed order."""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import select

from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Recording, Robot
from schemas.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Engine

    from connectors.stores.lake import Lake
    from schemas.recipe import Feature, Filter, Recipe, Splits

READABLE: Final = frozenset({"accepted", "accepted_with_warnings"})
"""States of a recording whose rows may be copied; a withdrawn one is hidden at once."""
_PART: Final = 500
_COLUMNS: Final = (
    "episode",
    "recording_id",
    "organisation",
    "day",
    "robot",
    "sector",
    "agreement",
    "verdict",
    "check_run",
    "source",
    "decoder_version",
    "start_ns",
    "end_ns",
)


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode that may go into a release; fields as in the table `episodes`.

    Attributes:
        robot_type: From the catalog's robots.
        agreement_version: Version under which the recording was contributed.
        streams: Stream name -> tables that hold its rows.
    """

    episode: str
    recording_id: str
    organisation: str
    day: Any
    robot: str
    sector: str
    agreement: str
    verdict: str
    check_run: str
    source: str
    decoder_version: str
    start_ns: int
    end_ns: int
    robot_type: str
    agreement_version: int
    streams: Mapping[str, tuple[str, ...]]

    def stream_of(self, name: str, feature: Feature) -> str | None:
        """The stream that a feature comes from; None = this episode has none.

        Raises:
            WrongUseError: the pattern fits several streams.
        """
        pattern = feature.stream_pattern(self.robot, self.robot_type)
        if pattern is None:
            return None
        held = [s for s, tables in self.streams.items() if feature.table in tables]
        if pattern in held:
            return pattern
        found = sorted(s for s in held if fnmatch.fnmatchcase(s, pattern))
        if len(found) > 1:
            raise WrongUseError(
                f"the stream of {name} fits several",
                subject=self.episode,
                expected="one",
                found=", ".join(found),
                next_step="narrow the pattern, or map robot types to streams",
            )
        return found[0] if found else None


def select_episodes(
    lake: Lake, engine: Engine, pinned: Mapping[str, int], recipe: Recipe
) -> list[Episode]:
    """Visible episodes that pass the filter, by (start, id), the limit not yet applied.

    Raises:
        WrongUseError: none is left; the message says after which condition.
    """
    rows = lake.read("episodes", dict(pinned), columns=list(_COLUMNS))
    kept = _filtered(rows, recipe.filter)
    recordings = sorted(set(kept["recording_id"].to_pylist()))
    known, types = _catalog(engine, recordings)
    streams = _streams(lake, pinned, set(recordings))
    wanted = set(recipe.filter.robot_types)
    found = []
    for row in kept.to_pylist():
        robot_type = types.get((row["organisation"], row["robot"]), "unknown")
        state, version = known.get(row["recording_id"], ("unknown", 0))
        if state not in READABLE or (wanted and robot_type not in wanted):
            continue
        row["start_ns"], row["end_ns"] = row["start_ns"] or 0, row["end_ns"] or 0
        found.append(
            Episode(
                **row,
                robot_type=robot_type,
                agreement_version=version,
                streams=streams.get(row["episode"], {}),
            )
        )
    if not found:
        raise WrongUseError(
            "no episode passes the filter",
            subject=f"recipe of {recipe.dataset}",
            expected="at least one",
            found=f"{len(rows)} visible, {len(kept)} of them before robot types and withdrawals",
            next_step="tanada lake query 'SELECT sector, robot, verdict FROM episodes'",
        )
    return sorted(found, key=lambda e: (e.start_ns, e.episode))


def limit_episodes(episodes: Sequence[Episode], limit: int | None) -> list[Episode]:
    """At most `limit` of them, drawn by the hash of their ids; order is kept."""
    if limit is None or len(episodes) <= limit:
        return list(episodes)
    drawn = sorted(episodes, key=lambda e: hashlib.sha256(e.episode.encode()).digest())[:limit]
    chosen = {episode.episode for episode in drawn}
    return [episode for episode in episodes if episode.episode in chosen]


def split_of(episode: Episode, splits: Splits) -> str | None:
    """Split of one episode; None = it is left out."""
    if splits.explicit:
        for name, ids in splits.explicit.items():
            if episode.episode in ids or episode.recording_id in ids:
                return name
        return splits.rest
    unit = {
        "episode": episode.episode,
        "recording": episode.recording_id,
        "robot": f"{episode.organisation}/{episode.robot}",
    }[splits.by]
    digest = hashlib.sha256(f"{splits.seed}\n{unit}".encode()).digest()
    # 64 bits of the hash as an exact fraction of 1, so that borders are never a rounding matter.
    place = Fraction(int.from_bytes(digest[:8], "big"), 1 << 64)
    border = Fraction(0)
    for name, share in splits.shares.items():
        border += share
        if place < border:
            return name
    raise AssertionError(f"shares end at {border}")


def _filtered(rows: pa.Table, wanted: Filter) -> pa.Table:
    members = {
        "sector": wanted.sectors,
        "organisation": wanted.organisations,
        "robot": wanted.robots,
        "recording_id": wanted.recordings,
        "verdict": [verdict.value for verdict in wanted.verdicts],
    }
    for column, values in members.items():
        if values:
            rows = rows.filter(pc.is_in(rows[column], value_set=pa.array(values, pa.string())))
    if wanted.time_from is not None:
        rows = rows.filter(pc.greater_equal(rows["start_ns"], wanted.time_from))
    if wanted.time_to is not None:
        rows = rows.filter(pc.less(rows["start_ns"], wanted.time_to))
    if wanted.min_seconds:
        length = pc.subtract(rows["end_ns"], rows["start_ns"])
        shortest = int(Fraction(repr(wanted.min_seconds)) * 1_000_000_000)
        rows = rows.filter(pc.greater_equal(length, shortest))
    return rows


def _catalog(
    engine: Engine, recordings: Sequence[str]
) -> tuple[dict[str, tuple[str, int]], dict[tuple[str, str], str]]:
    """Recording -> (state, agreement version); (organisation, robot) -> type."""
    known = {}
    with reading(engine) as connection:
        for part in _parts(recordings):
            query = select(Recording.id, Recording.state, Recording.agreement_version)
            for key, state, version in connection.execute(query.where(Recording.id.in_(part))):
                known[key] = (state, version)
        robots = connection.execute(select(Robot.organisation_id, Robot.id, Robot.type))
        types = {(organisation, robot): kind for organisation, robot, kind in robots}
    return known, types


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _PART):
        yield keys[start : start + _PART]


def _streams(
    lake: Lake, pinned: Mapping[str, int], recordings: Iterable[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    columns = ["episode", "stream", "tables"]
    rows = lake.read("streams", dict(pinned), columns=columns, recordings=sorted(recordings))
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["episode"], {})[row["stream"]] = tuple(row["tables"])
    return found
