"""Write a release's tree: tables, pictures, statistics, documents. One episode in memory at a time.

Everything written here is a function of the recipe, the pinned tables and the terms; nothing of
it names a contributor, a robot or a site.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from connectors.stores.durable import make_folder
from pipelines.release.frames import (
    KEY_COLUMNS,
    EpisodeFrames,
    arrange,
    feature_fields,
    mark_columns,
    value_columns,
)
from pipelines.release.media import copy_pictures, is_jpeg
from pipelines.release.reader import Reader, no_values
from pipelines.release.select import split_of
from pipelines.release.tree import TableWriter
from schemas.errors import WrongUseError
from schemas.tables import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from connectors.stores.store import Place
    from pipelines.release.frames import Layout
    from pipelines.release.media import Copied
    from pipelines.release.samples import Samples
    from pipelines.release.select import Episode
    from schemas.recipe import Recipe

    Progress = Callable[[str, int, int], None]
    """(step, done, total)."""

SLICE_FRAMES: Final = 1 << 15
"""Frames that are put together at a time."""
EPISODE_COLUMNS: Final = (
    Column("episode_index", pa.int64(), "position in the release, from 0", nullable=False),
    Column("episode", pa.string(), "episode id", nullable=False),
    Column("split", pa.string(), "split", nullable=False),
    Column("sector", pa.string(), "sector id", nullable=False),
    Column("robot_type", pa.string(), "type of the robot", nullable=False),
    Column("robot_index", pa.int64(), "number of the robot within this release", nullable=False),
    Column("verdict", pa.string(), "accepted or accepted_with_warnings", nullable=False),
    Column("source", pa.string(), "source that decoded it", nullable=False),
    Column("decoder_version", pa.string(), "version of that source", nullable=False),
    Column("first_index", pa.int64(), "`index` of its first frame", nullable=False),
    Column("frames", pa.int64(), "frames", nullable=False),
    Column("frames_dropped", pa.int64(), "frames left out for a missing feature", nullable=False),
    Column("start_ns", pa.int64(), "t_ns of its first frame", "ns", nullable=False),
    Column("end_ns", pa.int64(), "t_ns of its last frame", "ns", nullable=False),
)


@dataclass(slots=True)
class CameraFacts:
    """What one camera feature adds up to."""

    pictures: int = 0
    bytes: int = 0
    frames: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)


@dataclass(slots=True)
class Written:
    """What went into the tree.

    Attributes:
        frames / episodes: The table writers, closed.
        layouts: Feature -> shape.
        members: (episode, split, frames) of what is in, in order.
        dropped: Episode -> why it is not in.
        values: Feature -> frames that have a value.
        cameras: Camera feature -> its facts.
    """

    frames: TableWriter
    episodes: TableWriter
    layouts: dict[str, Layout]
    members: list[tuple[Episode, str, int]] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    values: Counter[str] = field(default_factory=Counter)
    cameras: dict[str, CameraFacts] = field(default_factory=dict)


def write_rows(
    folder: Path,
    recipe: Recipe,
    reader: Reader,
    episodes: Sequence[Episode],
    shapes: dict[str, Layout],
    *,
    media_root: Place,
    progress: Progress,
) -> Written:
    """Write tables, pictures and the preview of a release into an empty folder.

    Args:
        folder: The empty folder.
        recipe: What goes in.
        reader: Of the pinned tables.
        episodes: Episodes, in their final order, in which the reader is asked for them.
        shapes: Result of `layouts`.
        media_root: Folder that the lake's blob paths start from.
        progress: Called with ("episodes", done, total).

    Raises:
        WrongUseError: a feature has no value, or no frame is left.
        DamagedError: pictures are missing.
    """
    build = _Build(folder, recipe, shapes, media_root)
    for number, episode in enumerate(episodes):
        progress("episodes", number, len(episodes))
        split = split_of(episode, recipe.splits)
        if split is None:
            build.written.dropped[episode.episode] = "no split takes it"
            continue
        build.add(episode, split, _samples(reader, recipe, shapes, episode))
    progress("episodes", len(episodes), len(episodes))
    return build.finish()


def _samples(
    reader: Reader, recipe: Recipe, shapes: Mapping[str, Layout], episode: Episode
) -> dict[str, Samples]:
    found = {}
    for name, feature in recipe.features.items():
        layout = shapes[name]
        samples = reader.samples(episode, name, feature, layout.names if feature.is_list else ())
        if samples is None:
            continue
        if layout.vector and samples.width != layout.width:
            raise WrongUseError(
                "vectors of different lengths in one feature",
                subject=f"feature {name}, {episode.episode}",
                expected=str(layout.width),
                found=str(samples.width),
                next_step="give robot types features of their own, or filter",
            )
        found[name] = samples
    return found


class _Build:
    """State while episodes are added one by one."""

    def __init__(
        self, folder: Path, recipe: Recipe, shapes: dict[str, Layout], media_root: Place
    ) -> None:
        self._folder = folder
        self._recipe = recipe
        self._media_root = media_root
        self._robots: dict[tuple[str, str], int] = {}
        self._rows: list[tuple[Any, ...]] = []
        fields = [column.field for column in KEY_COLUMNS]
        for name, feature in recipe.features.items():
            fields += feature_fields(name, feature, shapes[name])
        self.written = Written(
            TableWriter(folder / "tables" / "frames", pa.schema(fields), "one row per frame"),
            TableWriter(
                folder / "tables" / "episodes",
                pa.schema([column.field for column in EPISODE_COLUMNS]),
                "one row per episode",
            ),
            shapes,
            cameras={n: CameraFacts() for n, f in recipe.features.items() if f.is_camera},
        )

    def add(self, episode: Episode, split: str, samples: Mapping[str, Samples]) -> None:
        """Write one episode's frames, or note why it has none."""
        frames = arrange(self._recipe, samples, episode.episode)
        if frames.reason:
            self.written.dropped[episode.episode] = frames.reason
            return
        pictures = {
            name: self._copy(episode, name, samples[name], frames)
            for name in self.written.cameras
            if name in samples and frames.matches[name].present.any()
        }
        first = self.written.frames.rows
        for start in range(0, len(frames.grid), SLICE_FRAMES):
            part = frames.part(start, start + SLICE_FRAMES)
            cameras = {
                name: _picture_columns(pictures.get(name), start, part, name, episode.episode)
                for name in self.written.cameras
            }
            columns = [
                *self._keys(episode, split, start, len(part.grid)),
                pa.array(part.grid),
                *self._features(samples, cameras, part),
            ]
            names = self.written.frames.schema.names
            self.written.frames.write(pa.table([_plain(c) for c in columns], names=names))
        for name, matches in frames.matches.items():
            self.written.values[name] += int(np.count_nonzero(matches.present))
        robot = (episode.organisation, episode.robot)
        self._rows.append(
            (
                len(self.written.members),
                episode.episode,
                split,
                episode.sector,
                episode.robot_type,
                self._robots.setdefault(robot, len(self._robots)),
                episode.verdict,
                episode.source,
                episode.decoder_version,
                first,
                len(frames.grid),
                frames.dropped,
                int(frames.grid[0]),
                int(frames.grid[-1]),
            )
        )
        self.written.members.append((episode, split, len(frames.grid)))

    def finish(self) -> Written:
        """Close the tables."""
        written = self.written
        if not written.members:
            reasons = "; ".join(
                f"{e[:16]}…: {why}" for e, why in sorted(written.dropped.items())[:3]
            )
            raise WrongUseError(
                "no frame is left",
                subject=f"recipe of {self._recipe.dataset}",
                found=reasons,
                next_step="widen max_skew_ms, make features optional, or set missing: keep_null",
            )
        for name, feature in self._recipe.features.items():
            if not written.values[name]:
                raise no_values(name, feature)
        columns = zip(*self._rows, strict=True)
        schema = written.episodes.schema
        arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
        written.episodes.write(pa.table(arrays, schema=schema))
        written.frames.close("frames")
        written.episodes.close("episodes")
        return written

    def _copy(self, episode: Episode, name: str, found: Samples, frames: EpisodeFrames) -> Copied:
        target = self._folder / "media" / episode.episode / f"{name}.blob"
        make_folder(target.parent)
        index = frames.matches[name].index
        copied = copy_pictures(self._media_root, found.values, index, target)
        facts = self.written.cameras[name]
        facts.pictures += copied.pictures
        facts.bytes += copied.size_total
        facts.frames += int(np.count_nonzero(index >= 0))
        facts.sizes |= copied.sizes
        self._preview(target, copied)
        return copied

    def _preview(self, blob: Path, copied: Copied) -> None:
        """`preview.jpg`: the picture in the middle of the first episode that has a JPEG."""
        target = self._folder / "preview.jpg"
        shown = np.flatnonzero(copied.size)
        if target.exists() or not len(shown):
            return
        middle = int(shown[len(shown) // 2])
        offset, size = int(copied.offset[middle]), int(copied.size[middle])
        if is_jpeg(blob, offset):
            with blob.open("rb") as file:
                file.seek(offset)
                target.write_bytes(file.read(size))

    def _keys(self, episode: Episode, split: str, first_frame: int, count: int) -> list[pa.Array]:
        first = self.written.frames.rows
        return [
            pa.array(np.arange(first, first + count)),
            pa.array(np.full(count, len(self.written.members))),
            pa.array(np.arange(first_frame, first_frame + count)),
            pa.repeat(episode.episode, count),
            pa.repeat(split, count),
        ]

    def _features(
        self,
        samples: Mapping[str, Samples],
        cameras: Mapping[str, list[pa.Array]],
        part: EpisodeFrames,
    ) -> list[pa.Array]:
        """Columns of all features for one part of the episode."""
        columns: list[pa.Array] = []
        for name, feature in self._recipe.features.items():
            if feature.is_camera:
                columns += cameras[name]
            else:
                layout = self.written.layouts[name]
                columns.append(value_columns(feature, layout, samples.get(name), part, name))
            columns += mark_columns(part.matches.get(name), len(part.grid))
        return columns


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _picture_columns(
    copied: Copied | None, start: int, part: EpisodeFrames, name: str, episode: str
) -> list[pa.Array]:
    """`path`, `offset` and `size` of the pictures of frames from `start` on."""
    count = len(part.grid)
    if copied is None:
        return [pa.nulls(count, kind) for kind in (pa.string(), pa.int64(), pa.int64())]
    missing = ~part.matches[name].present
    path = f"media/{episode}/{name}.blob"
    return [
        pa.array(np.full(count, path, object), pa.string(), mask=missing),
        pa.array(copied.offset[start : start + count], mask=missing),
        pa.array(copied.size[start : start + count], mask=missing),
    ]
