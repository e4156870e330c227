"""Rows for a release, read by Spark: the same rows that the embedded reader finds.

Spark finds partitions, files and rows for many episodes at once, on every core it has. The driver
takes what fits into its memory, and writes the release as it always does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from pipelines.release.reader import Reader
from pipelines.release.samples import columns_to_read
from pipelines.spark.session import session_of
from pipelines.spark.tables import frame
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipelines.cli.platform import Platform
    from pipelines.release.select import Episode
    from schemas.recipe import Feature, Recipe

JOB_GROUP: Final = "release"
PART_EPISODES: Final = 256
PART_NS: Final = 7_200_000_000_000
"""Most episodes, and most recorded time, whose rows the driver holds at once."""
_POSITION: Final = "_position"
"""Of an episode in the release; no column of a table begins with an underscore."""


class SparkReader(Reader):
    """Samples by episode and feature, asked for in the order of the episodes.

    Args:
        platform: The opened platform.
        pinned: Result of `Lake.pin`.
        recipe: Whose features.
        episodes: All that will be asked for, in order.

    Raises:
        MissingDependencyError: Spark, or Delta's jars, are not there.
    """

    def __init__(
        self,
        platform: Platform,
        pinned: Mapping[str, int],
        recipe: Recipe,
        episodes: Sequence[Episode],
    ) -> None:
        super().__init__(platform.lake, pinned)
        self._session = session_of(platform.settings)
        self._recipe = recipe
        self._frames = {
            table: frame(self._session, platform.root, table, pinned, visible_only=False)
            for table in sorted({feature.table for feature in recipe.features.values()})
        }
        self._parts = _parts(episodes)
        self._held: dict[str, dict[str, pa.Table]] = {}
        """Episode -> feature -> its rows, of the part at work."""

    def _rows(self, episode: Episode, name: str, feature: Feature, stream: str) -> pa.Table:
        del stream
        while episode.episode not in self._held:
            part = next(self._parts)
            self._held = {one.episode: {} for one in part}
            for other, asked in self._recipe.features.items():
                for key, rows in self._read(part, other, asked):
                    self._held[key][other] = rows
        kind = pa.schema([TABLES[feature.table].arrow.field(c) for c in columns_to_read(feature)])
        found = self._held[episode.episode].get(name)
        return kind.empty_table() if found is None else found.cast(kind)

    def _read(
        self, part: Sequence[Episode], name: str, feature: Feature
    ) -> Iterator[tuple[str, pa.Table]]:
        """Rows of one feature, episode by episode."""
        from pyspark.sql import functions as sf

        wanted = _wanted(part, name, feature)
        if not wanted.num_rows:
            return
        rows = self._frames[feature.table]
        # Of the partitions of these episodes only: other files are not opened.
        days = sorted({episode.day for episode in part})
        organisations = sorted({episode.organisation for episode in part})
        rows = rows.where(rows["day"].isin(days) & rows["organisation"].isin(organisations))
        for column, value in feature.where.items():
            rows = rows.where(sf.col(column) == sf.lit(value))
        asked = sf.broadcast(self._session.createDataFrame(wanted))
        found = rows.join(asked, ["recording_id", "episode", "stream"])
        self._session.sparkContext.setJobGroup(JOB_GROUP, f"{name} of {len(part)} episodes")
        table = found.select(_POSITION, *columns_to_read(feature)).toArrow()
        table = table.sort_by(_POSITION)
        positions = table[_POSITION].to_numpy()
        edges = np.flatnonzero(np.diff(positions)) + 1
        for start, end in zip([0, *edges], [*edges, len(positions)], strict=True):
            if start < end:
                content = table.slice(start, end - start).drop_columns([_POSITION])
                yield part[int(positions[start])].episode, content


def _parts(episodes: Sequence[Episode]) -> Iterator[list[Episode]]:
    part: list[Episode] = []
    length = 0
    for episode in episodes:
        part.append(episode)
        length += episode.end_ns - episode.start_ns
        if len(part) >= PART_EPISODES or length >= PART_NS:
            yield part
            part, length = [], 0
    if part:
        yield part


def _wanted(part: Sequence[Episode], name: str, feature: Feature) -> pa.Table:
    """Which stream of which episode a feature is made of."""
    found = [
        (position, episode.recording_id, episode.episode, stream)
        for position, episode in enumerate(part)
        if (stream := episode.stream_of(name, feature)) is not None
    ]
    columns = list(zip(*found, strict=True)) or [(), (), (), ()]
    kinds = (pa.int64(), pa.string(), pa.string(), pa.string())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, [_POSITION, "recording_id", "episode", "stream"])
