"""A recipe: which episodes, which streams become which features, on which time grid.

A recipe is written as YAML and stored as the JSON that `Recipe.model_dump(mode="json")` gives.
Building it twice on the same table versions gives the same release, byte for byte, so nothing in
it may depend on a clock or on chance. `infra/demo/recipe.yaml` is a complete example.

Not here: reading files (`pipelines.release.recipe_file`) and building (`pipelines.release.build`).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

import pyarrow as pa
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from schemas.licences import Purpose
from schemas.quality import Verdict
from schemas.tables import COMMON, TABLES, Column, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

GREATEST_RATE: Final = 10_000
"""Frames per second; a faster grid is a mistake in the recipe."""
GREATEST_NAME: Final = 100
"""Characters of a feature's name."""
CAMERA_TABLE: Final = "video_frames"
JOINT_TABLE: Final = "joint_states"
TRANSFORM_TABLE: Final = "transforms"
MARKS: Final = ("held", "skew_ns")
"""Columns `<feature>.<mark>` that stand beside every feature."""
CAMERA_COLUMNS: Final = ("path", "offset", "size")
"""Columns `<feature>.<column>` of a camera feature; it has no column of its own name."""
RESERVED: Final = frozenset({"episode", "episode_index", "frame_index", "index", "split", "t_ns"})

_SUFFIXES: Final = frozenset({*MARKS, *CAMERA_COLUMNS})
_COMMON_NAMES: Final = frozenset(c.name for c in COMMON)
_AXES: Final = ("x", "y", "z", "w")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*")

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=200)]
DatasetId = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?$", max_length=100)
]


def _rational(value: object) -> Fraction:
    try:
        # Through its text, so that 29.97 means 2997/100 and not the nearest binary fraction.
        return value if isinstance(value, Fraction) else Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError('a number or a ratio like "30000/1001" is needed') from error


def _nanoseconds(value: object) -> int:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(
                "an ISO 8601 time with its zone is needed, e.g. 2026-11-22T09:00:00Z"
            ) from error
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("the time needs a zone, e.g. 2026-11-22T09:00:00Z")
        since = value - datetime(1970, 1, 1, tzinfo=UTC)
        micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        return micros * 1_000
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days * 86_400 * 1_000_000_000
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("an ISO 8601 time with its zone, or int nanoseconds, is needed")


Rate = Annotated[
    Fraction, BeforeValidator(_rational), PlainSerializer(str, return_type=str, when_used="json")
]
Nanoseconds = Annotated[int, BeforeValidator(_nanoseconds)]


class Align(StrEnum):
    """How a feature's value at a frame's time is found among its stream's samples."""

    NEAREST = "nearest"
    """The sample nearest in time, before or after; of two equally near ones the earlier."""
    HOLD = "hold"
    """The last sample at or before the frame's time: never one from the future."""
    LINEAR = "linear"
    """Between the two neighbours; quaternions on the sphere; not over a gap above the skew."""


class Missing(StrEnum):
    """What happens where a required feature has no value."""

    DROP_FRAME = "drop_frame"
    """The frame is left out; `t_ns` shows the gap, and the episode counts it."""
    DROP_EPISODE = "drop_episode"
    """The whole episode is left out, and said so."""
    KEEP_NULL = "keep_null"
    """The frame stays, with null in the feature and in its marks."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Filter(_Strict):
    """Which visible episodes go in. Every list is a set of alternatives; empty = any.

    Attributes:
        sectors / organisations / robots / robot_types / recordings: Ids to take.
        verdicts: Verdicts to take; both accepting ones by default.
        time_from / time_to: Bounds on the episode's first stamp, [from, to), as ISO 8601 with a
            zone, a date (UTC) or int ns.
        min_seconds: Shortest episode, first to last stamp.
        episodes: At most so many, drawn by the hash of their ids (not the oldest or the newest).
    """

    sectors: tuple[Identifier, ...] = ()
    organisations: tuple[Identifier, ...] = ()
    robots: tuple[Identifier, ...] = ()
    robot_types: tuple[Identifier, ...] = ()
    recordings: tuple[Identifier, ...] = ()
    verdicts: tuple[Literal[Verdict.ACCEPTED, Verdict.ACCEPTED_WITH_WARNINGS], ...] = (
        Verdict.ACCEPTED,
        Verdict.ACCEPTED_WITH_WARNINGS,
    )
    time_from: Nanoseconds | None = None
    time_to: Nanoseconds | None = None
    min_seconds: float = Field(default=0.0, ge=0)
    episodes: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        first, end = self.time_from, self.time_to
        if first is not None and end is not None and first >= end:
            raise ValueError("time_from has to be before time_to")
        return self


class Feature(_Strict):
    """One feature of a frame.

    Attributes:
        table: Lake table that holds its samples.
        stream: Stream name or shell pattern (`/camera*/compressed`); or a mapping from robot id,
            robot type or `*` to one, where robots name their topics differently.
        columns: Columns of the table. One scalar column gives a scalar, several of one type a
            vector in this order, one list column a vector as recorded. Empty for `video_frames`.
        joints: For `joint_states`: joint names in the order of the vector (or a mapping from
            robot id, robot type or `*` to as many); samples that lack one of them are no samples
            of this feature. Empty = the joints of the first episode, and every other episode
            must have the same ones.
        where: Column -> value that a row must have to be a sample, as one transform of many:
            `{child_frame_id: tool0}`.
        align: How a frame's value is found.
        max_skew_ms: Greatest distance between frame and sample (nearest), greatest age (hold) or
            greatest gap that is interpolated (linear). null (hold only) = any age.
        required: Whether a frame without it falls under `Recipe.missing`.
        doc: What it is, for the card; by default what the table says of its columns.
    """

    table: str
    stream: Identifier | dict[Identifier, Identifier]
    columns: tuple[str, ...] = ()
    joints: tuple[Identifier, ...] | dict[Identifier, tuple[Identifier, ...]] = ()
    where: dict[str, StrictBool | StrictInt | StrictStr] = Field(default_factory=dict)
    align: Align = Align.NEAREST
    max_skew_ms: float | None = Field(ge=0, le=1e12)
    required: bool = True
    doc: str = ""

    @property
    def is_camera(self) -> bool:
        """Whether its values are pictures."""
        return self.table == CAMERA_TABLE

    @property
    def max_skew_ns(self) -> int | None:
        """`max_skew_ms` in whole nanoseconds, rounded down; None = any."""
        if self.max_skew_ms is None:
            return None
        return int(Fraction(repr(self.max_skew_ms)) * 1_000_000)

    @property
    def specs(self) -> tuple[Column, ...]:
        """The columns' definitions, in the feature's order."""
        by_name = {c.name: c for c in TABLES[self.table].columns}
        return tuple(by_name[name] for name in self.columns)

    @property
    def is_list(self) -> bool:
        """Whether its one column is a list column."""
        return bool(self.columns) and pa.types.is_list(self.specs[0].type)

    @property
    def value_type(self) -> pa.DataType:
        """Arrow type of one element."""
        kind = self.specs[0].type
        return kind.value_type if pa.types.is_list(kind) else kind

    @property
    def quaternions(self) -> tuple[int, ...]:
        """First positions of the runs `…_x, …_y, …_z, …_w` among the columns."""
        return _quaternion_starts(self.columns)

    def stream_pattern(self, robot: str, robot_type: str) -> str | None:
        """The stream name or pattern for one robot; None = this robot has no such feature."""
        if isinstance(self.stream, str):
            return self.stream
        return next((self.stream[k] for k in (robot, robot_type, "*") if k in self.stream), None)

    def joint_names(self, robot: str, robot_type: str) -> tuple[str, ...] | None:
        """The joints asked for of one robot; empty = any, None = it has no such feature."""
        if isinstance(self.joints, tuple):
            return self.joints
        return next((self.joints[k] for k in (robot, robot_type, "*") if k in self.joints), None)

    @model_validator(mode="after")
    def _fits_its_table(self) -> Self:
        spec = TABLES.get(self.table)
        if spec is None or spec.kind not in {"signal", "frames"}:
            names = ", ".join(s.name for s in TABLES.values() if s.kind in {"signal", "frames"})
            raise ValueError(f"no signal table {self.table!r}; there are {names}")
        if isinstance(self.stream, dict) and not self.stream:
            raise ValueError("the mapping of streams is empty")
        if self.max_skew_ms is None and self.align is not Align.HOLD:
            raise ValueError(f"max_skew_ms is needed for align: {self.align.value}")
        self._check_where(spec)
        if self.is_camera:
            self._check_camera()
        else:
            self._check_columns(spec)
        return self

    def _check_where(self, spec: TableSpec) -> None:
        known = {c.name: c for c in spec.columns if c.name not in _COMMON_NAMES}
        for name in self.where:
            if name not in known or pa.types.is_nested(known[name].type):
                raise ValueError(f"where: no column {name!r} of {spec.name} to compare with")
        if spec.name == TRANSFORM_TABLE and "child_frame_id" not in self.where:
            raise ValueError(
                "a stream of transforms holds several: name one, where: {child_frame_id: …}"
            )

    def _check_camera(self) -> None:
        if self.columns or self.joints:
            raise ValueError("a camera feature has no columns and no joints")
        if self.align is Align.LINEAR:
            raise ValueError("pictures cannot be interpolated: use nearest or hold")

    def _check_columns(self, spec: TableSpec) -> None:
        known = {c.name: c for c in spec.columns if c.name not in _COMMON_NAMES}
        unknown = [name for name in self.columns if name not in known]
        if unknown or not self.columns:
            raise ValueError(
                f"columns of {spec.name} are needed, out of {', '.join(known)}"
                + (f"; unknown: {', '.join(unknown)}" if unknown else "")
            )
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("a column is named twice")
        types = {known[name].type for name in self.columns}
        if len(types) > 1 or (len(self.columns) > 1 and pa.types.is_list(next(iter(types)))):
            raise ValueError(
                "a vector is made of scalar columns of one type, or of one list column; "
                "make several features of these"
            )
        if len(self.columns) > 1 and not _is_number(self.value_type):
            raise ValueError("a vector is made of numbers; make several features of these")
        if self.is_list and not _is_number(self.value_type):
            raise ValueError("a list column of numbers is needed")
        self._check_joints()
        if self.align is Align.LINEAR:
            self._check_linear()

    def _check_joints(self) -> None:
        if self.joints and (self.table != JOINT_TABLE or not self.is_list):
            raise ValueError(f"joints go with one list column of {JOINT_TABLE}")
        lists = [self.joints] if isinstance(self.joints, tuple) else list(self.joints.values())
        if any(len(set(names)) != len(names) for names in lists):
            raise ValueError("a joint is named twice")
        if len({len(names) for names in lists}) > 1:
            raise ValueError("every robot has to name equally many joints")

    def _check_linear(self) -> None:
        if not pa.types.is_floating(self.value_type):
            raise ValueError("only floating-point columns can be interpolated: use nearest or hold")
        whole = {start + i for start in self.quaternions for i in range(4)}
        for position, name in enumerate(self.columns):
            if position not in whole and _of_quaternion(TABLES[self.table], name):
                raise ValueError(
                    f"{name} alone cannot be interpolated: name all of "
                    f"{', '.join(f'{name[:-2]}_{axis}' for axis in _AXES)}, in this order"
                )


class Splits(_Strict):
    """Which episode belongs to which split.

    Either `fractions` (by the hash of the seed and the episode's id: an episode keeps its split
    when others are added) or `explicit` ids.

    Attributes:
        seed: Changes the draw.
        by: What is never torn apart: an episode, a recording or a robot.
        fractions: Split name -> share; together exactly 1.
        explicit: Split name -> episode or recording ids.
        rest: Split of the episodes that `explicit` does not name; null = they are left out.
    """

    seed: int = 0
    by: Literal["episode", "recording", "robot"] = "episode"
    fractions: dict[Identifier, float] = Field(default_factory=dict)
    explicit: dict[Identifier, tuple[Identifier, ...]] = Field(default_factory=dict)
    rest: Identifier | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.fractions) == bool(self.explicit):
            raise ValueError("give either fractions or explicit")
        if any(share <= 0 for share in self.fractions.values()):
            raise ValueError("every fraction has to be above 0")
        if self.fractions and sum(self.shares.values()) != 1:
            raise ValueError(f"the fractions add up to {float(sum(self.shares.values()))}, not 1")
        named = [i for ids in self.explicit.values() for i in ids]
        if len(set(named)) != len(named):
            raise ValueError("an id stands in two splits")
        if self.rest is not None and not self.explicit:
            raise ValueError("rest goes with explicit")
        return self

    @property
    def shares(self) -> dict[str, Fraction]:
        """The fractions as the decimals that were written, exactly."""
        return {name: Fraction(repr(share)) for name, share in self.fractions.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """All splits, in the recipe's order."""
        named = (*self.fractions, *self.explicit)
        return named if self.rest is None or self.rest in named else (*named, self.rest)


class Recipe(_Strict):
    """What one release holds.

    Attributes:
        dataset: Id of the dataset that it is a version of.
        title / description: For people, on the card and in the catalog.
        purposes: What the release is built for; every contribution's terms must allow all.
        filter: Which episodes.
        rate_hz: Frames per second: an integer, a decimal, or a ratio like "30000/1001". Frame k
            of an episode stands at start + floor(k * 10^9 / rate_hz) ns, without drift. The grid
            starts where every required feature has begun and ends where the first one ends (with
            `missing: keep_null` or no required feature: from the first begin to the last end).
        features: Feature name -> where its values come from.
        missing: What happens to a frame that lacks a required feature.
        splits: Which episode belongs to which split; all to `train` by default.
    """

    dataset: DatasetId
    title: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    description: str = ""
    purposes: tuple[Purpose, ...] = Field(min_length=1)
    filter: Filter = Filter()
    rate_hz: Rate
    features: dict[str, Feature] = Field(min_length=1)
    missing: Missing = Missing.DROP_FRAME
    splits: Splits = Splits(fractions={"train": 1.0})

    @field_validator("rate_hz")
    @classmethod
    def _sensible_rate(cls, rate: Fraction) -> Fraction:
        if not 0 < rate <= GREATEST_RATE:
            raise ValueError(f"rate_hz has to be above 0 and at most {GREATEST_RATE}")
        if rate.numerator > 10**9 or rate.denominator > 10**9:
            raise ValueError("rate_hz has too many digits")
        return rate

    @field_validator("purposes")
    @classmethod
    def _in_order(cls, purposes: tuple[Purpose, ...]) -> tuple[Purpose, ...]:
        return tuple(sorted(set(purposes)))

    @field_validator("features")
    @classmethod
    def _free_names(cls, features: dict[str, Feature]) -> dict[str, Feature]:
        for name in features:
            well_formed = _NAME.fullmatch(name) and len(name) <= GREATEST_NAME
            if not well_formed or name in RESERVED or name.split(".")[-1] in _SUFFIXES:
                raise ValueError(
                    f"{name!r} cannot name a feature: lower-case words joined by dots, none of "
                    f"{', '.join(sorted(RESERVED))}, not ending in {', '.join(sorted(_SUFFIXES))}"
                )
        return features


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _quaternion_starts(columns: Iterable[str]) -> tuple[int, ...]:
    names = tuple(columns)
    starts = []
    for i in range(len(names) - 3):
        prefix = names[i].removesuffix("_x")
        if names[i : i + 4] == tuple(f"{prefix}_{axis}" for axis in _AXES):
            starts.append(i)
    return tuple(starts)


def _of_quaternion(spec: TableSpec, name: str) -> bool:
    prefix, _, axis = name.rpartition("_")
    return axis in _AXES and any(c.name == f"{prefix}_w" for c in spec.columns)
