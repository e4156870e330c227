"""One episode's frames: the time grid, each feature's value on it, and the marks beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.release.align import Matches, frame_times, interpolate, match
from schemas.errors import WrongUseError
from schemas.recipe import Align, Missing
from schemas.tables import Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pipelines.release.samples import Samples
    from schemas.recipe import Feature, Recipe

GREATEST_FRAMES: Final = 20_000_000
"""Per episode; more means that a clock in it is wrong."""
KEY_COLUMNS: Final = (
    Column("index", pa.int64(), "position in the release, from 0", nullable=False),
    Column("episode_index", pa.int64(), "position of the episode, from 0", nullable=False),
    Column("frame_index", pa.int64(), "position in the episode, from 0", nullable=False),
    Column("episode", pa.string(), "episode id", nullable=False),
    Column("split", pa.string(), "split of the episode", nullable=False),
    Column("t_ns", pa.int64(), "the frame's time, UTC", "ns", nullable=False),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Shape of one feature, fixed by the first episode that has it.

    Attributes:
        vector: Whether its values are vectors.
        width: Elements of its vector; None = scalar or picture, or no episode has it.
        names: What each element is: column or joint names.
    """

    vector: bool = False
    width: int | None = None
    names: tuple[str, ...] = ()

    def type_of(self, feature: Feature) -> pa.DataType:
        """Arrow type of its column."""
        kind = feature.value_type
        return pa.list_(pa.field("element", kind)) if self.vector else kind


@dataclass(frozen=True, slots=True)
class EpisodeFrames:
    """Frames of one episode, before they are numbered.

    Attributes:
        grid: Times of the frames that stay.
        matches: Feature -> matches on `grid`; features without samples are not in it.
        dropped: Frames left out because a required feature was missing.
        reason: Why the episode is left out; "" = it is not.
    """

    grid: NDArray[np.int64]
    matches: dict[str, Matches] = field(default_factory=dict)
    dropped: int = 0
    reason: str = ""

    def part(self, start: int, stop: int) -> EpisodeFrames:
        """Frames [start, stop) of it."""
        cut = slice(start, stop)
        return EpisodeFrames(
            self.grid[cut],
            {
                name: Matches(m.index[cut], m.after[cut], m.skew_ns[cut], m.held[cut])
                for name, m in self.matches.items()
            },
        )


def feature_fields(name: str, feature: Feature, layout: Layout) -> list[pa.Field]:
    """Arrow fields of one feature's frame columns, with unit and doc as metadata."""
    fields: list[Column] = []
    if feature.is_camera:
        fields += [
            Column(f"{name}.path", pa.string(), "file below the release that holds the picture"),
            Column(f"{name}.offset", pa.int64(), "first byte in that file", "B"),
            Column(f"{name}.size", pa.int64(), "bytes of the picture", "B"),
        ]
    else:
        unit, doc = feature_unit(feature), feature_doc(feature, layout)
        fields.append(Column(name, layout.type_of(feature), doc, unit))
    fields += [
        Column(
            f"{name}.held",
            pa.bool_(),
            "true = no new measurement: repeated from the frame before, or interpolated; "
            "null = no value",
        ),
        Column(
            f"{name}.skew_ns", pa.int64(), "time of the sample minus t_ns; null = no value", "ns"
        ),
    ]
    return [column.field for column in fields]


def feature_doc(feature: Feature, layout: Layout) -> str:
    """What the feature is: the recipe's words, else the table's; then its elements' names."""
    text = feature.doc or (
        "; ".join(dict.fromkeys(spec.doc for spec in feature.specs))
        if not feature.is_camera
        else "pictures"
    )
    names = layout.names if feature.is_list else ()
    return f"{text} [{', '.join(names)}]" if names else text


def feature_unit(feature: Feature) -> str:
    """Unit of its elements; several units are listed once each."""
    return ", ".join(dict.fromkeys(spec.unit for spec in feature.specs if spec.unit))


def arrange(recipe: Recipe, samples: Mapping[str, Samples], subject: str) -> EpisodeFrames:
    """The grid of one episode, and which sample stands for which frame.

    Args:
        recipe: The recipe.
        samples: Feature -> its samples, features without any left out.
        subject: Episode id, for messages.

    Raises:
        WrongUseError: more frames than an episode can have.
    """
    required = [name for name, feature in recipe.features.items() if feature.required]
    keep = recipe.missing is Missing.KEEP_NULL
    absent = [name for name in required if name not in samples]
    if absent and not keep:
        return EpisodeFrames(np.empty(0, np.int64), reason=f"no samples of {', '.join(absent)}")
    spanning = [samples[name].t_ns for name in required or samples if name in samples]
    if not spanning:
        return EpisodeFrames(np.empty(0, np.int64), reason="no samples of any feature")
    grid = _grid(recipe, spanning, subject, union=keep or not required)
    if len(grid) == 0:
        return EpisodeFrames(grid, reason="no time at which all required features are there")
    matches = {
        name: match(feature.align, samples[name].t_ns, grid, feature.max_skew_ns)
        for name, feature in recipe.features.items()
        if name in samples
    }
    frames = EpisodeFrames(grid, matches)
    return frames if keep else _complete(recipe, frames, required)


def _complete(recipe: Recipe, frames: EpisodeFrames, required: list[str]) -> EpisodeFrames:
    """The frames that have every required feature, or none with the reason."""
    grid, matches = frames.grid, frames.matches
    complete = np.ones(len(grid), np.bool_)
    for name in required:
        complete &= matches[name].present
    dropped = int(len(grid) - np.count_nonzero(complete))
    if dropped == 0:
        return frames
    if recipe.missing is Missing.DROP_EPISODE or dropped == len(grid):
        worst = max(required, key=lambda name: np.count_nonzero(~matches[name].present))
        return EpisodeFrames(grid[:0], {}, dropped, f"{dropped} frames without {worst}")
    kept = {
        name: Matches(m.index[complete], m.after[complete], m.skew_ns[complete], m.held[complete])
        for name, m in matches.items()
    }
    return EpisodeFrames(grid[complete], kept, dropped)


def _grid(
    recipe: Recipe, spanning: list[NDArray[np.int64]], subject: str, *, union: bool
) -> NDArray[np.int64]:
    starts, ends = [int(t[0]) for t in spanning], [int(t[-1]) for t in spanning]
    start, end = (min(starts), max(ends)) if union else (max(starts), min(ends))
    if (end - start) * recipe.rate_hz > GREATEST_FRAMES * 1_000_000_000:
        raise WrongUseError(
            "the episode is too long for its frame rate: a clock in it may be wrong",
            subject=subject,
            expected=f"at most {GREATEST_FRAMES} frames",
            found=f"{(end - start) / 1e9:.0f} s at {recipe.rate_hz} Hz",
            next_step="leave the recording out with the recipe's filter, or lower rate_hz",
        )
    return frame_times(start, end, recipe.rate_hz)


def value_columns(
    feature: Feature, layout: Layout, found: Samples | None, frames: EpisodeFrames, name: str
) -> pa.Array:
    """Values of a feature that is no camera, one per frame; null where there is none."""
    kind = layout.type_of(feature)
    matches = frames.matches.get(name)
    if found is None or matches is None:
        return pa.nulls(len(frames.grid), kind)
    if feature.align is Align.LINEAR:
        values = _as_matrix(found.values)
        rows = interpolate(values, found.t_ns, frames.grid, matches, feature.quaternions)
        if not layout.vector:
            return _scattered(rows[:, 0], matches.present, kind)
        return _vectors(rows, matches.present, kind)
    if isinstance(found.values, np.ndarray):
        return _vectors(found.values[matches.index[matches.present]], matches.present, kind)
    # Arrow's own take, so that text, booleans and NaN payloads are copied as they are.
    return pc.take(found.values, pa.array(matches.index, mask=~matches.present))


def mark_columns(matches: Matches | None, count: int) -> list[pa.Array]:
    """`held` and `skew_ns` of one feature."""
    if matches is None:
        return [pa.nulls(count, pa.bool_()), pa.nulls(count, pa.int64())]
    missing = ~matches.present
    return [pa.array(matches.held, mask=missing), pa.array(matches.skew_ns, mask=missing)]


def _as_matrix(values: NDArray[np.generic] | pa.Array) -> NDArray[np.floating]:
    matrix = values if isinstance(values, np.ndarray) else values.to_numpy()[:, None]
    return matrix.astype(matrix.dtype, copy=False)


def _scattered(
    values: NDArray[np.generic], present: NDArray[np.bool_], kind: pa.DataType
) -> pa.Array:
    full = np.zeros(len(present), values.dtype)
    full[present] = values
    return pa.array(full, kind, mask=~present)


def _vectors(rows: NDArray[np.generic], present: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    offsets = np.zeros(len(present) + 1, np.int32)
    np.cumsum(present * np.int32(rows.shape[1]), out=offsets[1:])
    flat = pa.array(np.ascontiguousarray(rows).ravel(), kind.value_type)
    return pa.ListArray.from_arrays(
        pa.array(offsets), flat, type=kind, mask=None if present.all() else pa.array(~present)
    )
