"""From rows to samples: order, doubles, subsets of joints, bytes that stay as they are."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest

from pipelines.release.align import match
from pipelines.release.frames import EpisodeFrames, Layout, value_columns
from pipelines.release.samples import columns_to_read, samples
from schemas.errors import WrongUseError
from schemas.recipe import Align, Feature

STRINGS, FLOATS = pa.list_(pa.string()), pa.list_(pa.float64())


def feature(table, *columns, align="nearest", **more):
    given = {"table": table, "stream": "/x", "columns": columns, "align": align, "max_skew_ms": 1e6}
    return Feature.model_validate(given | more)


def joint_rows(names, positions, t=None):
    count = len(names)
    return pa.table(
        {
            "t_ns": pa.array(t or list(range(count)), pa.int64()),
            "seq": pa.array(range(count), pa.int64()),
            "names": pa.array(names, STRINGS),
            "position": pa.array(positions, FLOATS),
        }
    )


def test_rows_are_put_in_order_and_of_one_time_the_last_stands():
    rows = pa.table({"t_ns": [5, 3, 5, 1], "seq": [2, 1, 3, 0], "force_x": [0.5, 0.3, 0.55, 0.1]})
    found = samples(rows, feature("wrenches", "force_x"), (), "x")
    assert found.t_ns.tolist() == [1, 3, 5]
    assert found.values.to_pylist() == [0.1, 0.3, 0.55]


def test_rows_without_a_value_are_no_samples():
    rows = pa.table({"t_ns": [1, 2, 3], "seq": [0, 1, 2], "force_x": [1.0, None, 3.0]})
    assert samples(rows, feature("wrenches", "force_x"), (), "x").t_ns.tolist() == [1, 3]


def test_two_publishers_of_parts_of_the_joints():
    rows = joint_rows(
        [["a", "b"], ["g"], ["b", "a"], ["g", "b", "a"]], [[1, 2], [9], [20, 10], [7, 8, 6]]
    )
    arm = samples(rows, feature("joint_states", "position"), ("a", "b"), "x")
    assert arm.t_ns.tolist() == [0, 2, 3]
    assert arm.values.tolist() == [[1, 2], [10, 20], [6, 8]]
    hand = samples(rows, feature("joint_states", "position"), ("g",), "x")
    assert (hand.t_ns.tolist(), hand.values.tolist()) == ([1, 3], [[9], [7]])
    assert len(samples(rows, feature("joint_states", "position"), ("z",), "x")) == 0


def test_without_joints_the_first_row_gives_the_order():
    rows = joint_rows([["b", "a"], ["a", "b"]], [[1, 2], [3, 4]])
    found = samples(rows, feature("joint_states", "position"), (), "x")
    assert found.names == ("b", "a")
    assert found.values.tolist() == [[1, 2], [4, 3]]


def test_joint_states_without_positions_are_no_samples():
    rows = joint_rows([["a"], ["a"], []], [[], [2], []])
    found = samples(rows, feature("joint_states", "position"), (), "x")
    assert (found.t_ns.tolist(), found.values.tolist()) == ([1], [[2]])


def test_vectors_of_different_lengths_are_refused():
    rows = pa.table(
        {"t_ns": [1, 2], "seq": [0, 1], "ranges": pa.array([[1], [1, 2]], pa.list_(pa.float32()))}
    )
    with pytest.raises(WrongUseError, match="different lengths"):
        samples(rows, feature("scans", "ranges"), (), "stream /x")


def test_slices_of_larger_arrays_keep_their_rows():
    rows = joint_rows([["a"]] * 10, [[float(i)] for i in range(10)]).slice(4, 3)
    found = samples(rows, feature("joint_states", "position"), (), "x")
    assert found.values.ravel().tolist() == [4.0, 5.0, 6.0]


def test_pictures_that_need_others_are_refused():
    camera = Feature.model_validate(
        {"table": "video_frames", "stream": "/c", "align": "hold", "max_skew_ms": None}
    )
    given = {name: [0, 0] for name in columns_to_read(camera)}
    rows = pa.table(given | {"t_ns": [1, 2], "keyframe": [True, False]})
    with pytest.raises(WrongUseError, match="need others"):
        samples(rows, camera, (), "x")


@pytest.mark.parametrize("align", ["nearest", "hold", "linear"])
def test_values_are_copied_bit_for_bit(align):
    payload = struct.unpack("<d", b"\x01\x02\x03\x04\x05\x06\xf8\x7f")[0]  # a NaN with a payload
    bits = np.array([payload, -0.0, 5e-324, 1.0])
    t = np.arange(4, dtype=np.int64)
    rows = pa.table({"t_ns": t, "seq": t, "force_x": bits, "force_y": bits})
    for columns in (("force_x",), ("force_x", "force_y")):
        wanted = feature("wrenches", *columns, align=align)
        found = samples(rows, wanted, (), "x")
        matches = match(Align(align), found.t_ns, t, 10)
        frames = EpisodeFrames(t, {"f": matches})
        layout = Layout(vector=len(columns) > 1, width=len(columns))
        column = value_columns(wanted, layout, found, frames, "f")
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        flat = column.flatten() if len(columns) > 1 else column
        assert flat.to_numpy().tobytes() == np.repeat(bits, len(columns)).tobytes()


def test_text_and_flags_are_held():
    rows = pa.table(
        {"t_ns": [0, 10], "seq": [0, 1], "location": ["a", "b"], "present": [True, False]}
    )
    grid = np.array([0, 5, 10, 15])
    for name, expected in (
        ("location", ["a", "a", "b", "b"]),
        ("present", [True, True, False, False]),
    ):
        wanted = feature("battery", name, align="hold")
        found = samples(rows, wanted, (), "x")
        frames = EpisodeFrames(grid, {"f": match(Align.HOLD, found.t_ns, grid, None)})
        assert value_columns(wanted, Layout(), found, frames, "f").to_pylist() == expected
