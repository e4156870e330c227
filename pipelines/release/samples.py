"""From lake rows of one stream to the samples of one feature: sorted, distinct, complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import WrongUseError
from schemas.recipe import JOINT_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from schemas.recipe import Feature

PICTURE_COLUMNS: Final = ("blob", "offset", "size", "width", "height", "codec", "keyframe")
# Cannot stand in a ROS name, so joined names are equal only where the lists are.
_SEPARATOR: Final = "\x1f"


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of one feature in one episode.

    Attributes:
        t_ns: Times, strictly increasing; of several rows at one time the last (by `seq`) stands.
        values: Their values: vectors as an array of shape (samples, width), scalars as an Arrow
            array, pictures as a table of `PICTURE_COLUMNS`.
        names: Joint names of the vector's elements, where there are any.
    """

    t_ns: NDArray[np.int64]
    values: NDArray[np.generic] | pa.Array | pa.Table
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.t_ns)

    @property
    def width(self) -> int | None:
        """Elements of a vector; None for scalars and pictures."""
        return self.values.shape[1] if isinstance(self.values, np.ndarray) else None


def columns_to_read(feature: Feature) -> list[str]:
    """Columns of the feature's table that its samples are made of."""
    if feature.is_camera:
        return ["t_ns", "seq", *PICTURE_COLUMNS]
    names = ["names"] if feature.table == JOINT_TABLE and feature.is_list else []
    return ["t_ns", "seq", *names, *feature.columns]


def samples(rows: pa.Table, feature: Feature, joints: Sequence[str], subject: str) -> Samples:
    """Samples of one feature.

    Args:
        rows: Rows of one stream of one episode, columns `columns_to_read`.
        feature: The feature.
        joints: Joint names in the vector's order; empty = as the first row has them.
        subject: What messages name.

    Raises:
        WrongUseError: vectors of different lengths, or a video that is no stream of pictures.
    """
    rows = _distinct(rows.combine_chunks())
    if feature.is_camera:
        keyframes = rows.filter(rows["keyframe"])
        if len(keyframes) < len(rows):
            raise WrongUseError(
                "the stream is a video with frames that need others to be decoded",
                subject=subject,
                next_step="choose a stream of single pictures",
            )
        return Samples(_stamps(rows), rows.select(PICTURE_COLUMNS))
    rows = rows.drop_null()
    if not feature.is_list:
        columns = [_whole(rows[name]) for name in feature.columns]
        if len(columns) == 1:
            return Samples(_stamps(rows), columns[0])
        return Samples(_stamps(rows), np.stack([c.to_numpy() for c in columns], axis=1))
    if feature.table == JOINT_TABLE:
        return _by_joints(rows, feature.columns[0], tuple(joints), subject)
    rows = rows.filter(pc.greater(pc.list_value_length(rows[feature.columns[0]]), 0))
    return Samples(_stamps(rows), _matrix(_whole(rows[feature.columns[0]]), subject))


def _distinct(rows: pa.Table) -> pa.Table:
    """Rows by (t_ns, seq); of equal times the last."""
    t = rows["t_ns"].to_numpy()
    order = np.lexsort((rows["seq"].to_numpy(), t))
    t = t[order]
    last = np.ones(len(t), np.bool_)
    last[:-1] = t[1:] != t[:-1]
    if last.all() and np.array_equal(order, np.arange(len(t))):
        return rows
    return rows.take(pa.array(order[last]))


def _stamps(rows: pa.Table) -> NDArray[np.int64]:
    return np.asarray(_whole(rows["t_ns"]).to_numpy(), np.int64)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array of a column, without an offset left by slicing."""
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _matrix(column: pa.Array, subject: str) -> NDArray[np.generic]:
    """A list column of one length as (rows, length)."""
    flat = column.flatten().to_numpy(zero_copy_only=False)
    lengths = np.diff(column.offsets.to_numpy())
    if len(lengths) and (lengths != lengths[0]).any():
        raise WrongUseError(
            "vectors of different lengths in one feature",
            subject=subject,
            expected=str(lengths[0]),
            found=str(lengths[lengths != lengths[0]][0]),
        )
    return np.asarray(flat.reshape(len(column), int(lengths[0]) if len(lengths) else 0))


def _by_joints(rows: pa.Table, column: str, joints: tuple[str, ...], subject: str) -> Samples:
    """Values of the joints asked for, whatever order or subset each row has them in."""
    names = _whole(rows["names"])
    complete = pc.and_(
        pc.equal(pc.list_value_length(names), pc.list_value_length(_whole(rows[column]))),
        pc.greater(pc.list_value_length(names), 0),
    )
    rows = rows.filter(complete)
    if len(rows) == 0:
        return Samples(np.empty(0, np.int64), np.empty((0, len(joints))), joints)
    coded = pc.binary_join(_whole(rows["names"]), _SEPARATOR).dictionary_encode()
    orders = [tuple(text.split(_SEPARATOR)) for text in coded.dictionary.to_pylist()]
    joints = joints or orders[0]
    code = coded.indices.to_numpy()
    values = np.empty((len(rows), len(joints)))
    known = np.zeros(len(rows), np.bool_)
    for number, order in enumerate(orders):
        if set(joints) <= set(order):
            chosen = code == number
            block = _matrix(_whole(rows[column].filter(pa.array(chosen))), subject)
            values[chosen] = block[:, [order.index(joint) for joint in joints]]
            known |= chosen
    return Samples(_stamps(rows)[known], values[known], joints)
