"""Each metric fires on a stream with that defect and is silent on the clean one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.check.measured import MEASURED
from pipelines.check.metrics import METRICS, PLACES, RecordingMetrics
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Any]
    Measure = Callable[..., dict[str, Any]]

MS = 1_000_000
SIGNALS = [name for name in MEASURED if name != "video_frames"]


def test_metric_columns_are_those_of_the_streams_table() -> None:
    names = [column.name for column in TABLES["streams"].columns]
    first = names.index("rate_hz")
    assert list(METRICS) == names[first : first + len(METRICS)]
    assert names[-1] == METRICS[-1]


def test_measured_columns_exist() -> None:
    for table, rule in MEASURED.items():
        known = {column.name for column in TABLES[table].columns} | {"data"}
        asked = {*rule.finite, *rule.or_nan, *rule.finite_if_fix, *rule.quaternion}
        asked |= {*rule.saturating, *rule.compared, *rule.not_given, *rule.not_given.values()}
        assert asked <= known, table


@pytest.mark.parametrize("table", sorted(MEASURED))
def test_clean_stream_is_silent(stream: Make, measure: Measure, table: str) -> None:
    found = measure(stream(table))
    assert found["rate_hz"] == pytest.approx(100.0, rel=1e-3)
    assert found["gap_median_ns"] == pytest.approx(10 * MS, rel=0.01)
    assert (found["gaps"], found["duplicates"], found["out_of_order"]) == (0, 0, 0)
    assert (found["lag_median_ns"], found["lag_max_ns"]) == (150_000, 150_000)
    assert found["non_finite"] in {0, None}
    assert found["norm_error_max"] is None or found["norm_error_max"] < 1e-12
    assert found["stuck_share"] in {0, None}
    assert found["saturated_share"] in {0, None}
    assert set(found) <= {*METRICS, *PLACES}


def test_gap_is_counted_and_located(stream: Make, measure: Measure) -> None:
    made = stream("imu")
    for name in ("t_ns", "log_ns", "header_ns"):
        made.columns[name][100:] += 700 * MS
    found = measure(made)
    assert found["gaps"] == 1
    assert found["gap_max_ns"] == pytest.approx(710 * MS, rel=1e-3)
    assert found["gap_max_at_ns"] == made.columns["t_ns"][99]


def test_duplicates_and_steps_back(stream: Make, measure: Measure) -> None:
    made = stream("imu")
    t = made.columns["t_ns"]
    t[50] = t[49]
    t[200] = t[198] - 1
    found = measure(made)
    assert (found["duplicates"], found["duplicates_at_ns"]) == (1, t[50])
    assert (found["out_of_order"], found["out_of_order_at_ns"]) == (1, t[200])


def test_lag_is_signed_and_ignores_unset_headers(stream: Make, measure: Measure) -> None:
    made = stream("wrenches")
    made.columns["header_ns"] = made.columns["log_ns"] + 26 * MS
    made.columns["header_ns"][7] = 0
    made.columns["header_ns"][9] = made.columns["log_ns"][9] - 3_000 * MS
    found = measure(made)
    assert found["lag_median_ns"] == -26 * MS
    assert (found["lag_max_ns"], found["lag_max_at_ns"]) == (3_000 * MS, made.columns["t_ns"][9])


def test_null_headers_give_no_lag(stream: Make, measure: Measure) -> None:
    made = stream("wrenches")
    header = made.columns["header_ns"].tolist()
    made.columns["header_ns"] = [None] * 400
    assert measure(made)["lag_median_ns"] is None
    made.columns["header_ns"] = [None, *header[1:]]
    assert measure(made)["lag_median_ns"] == 150_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("table", sorted(set(SIGNALS) - {"battery", "nav_sat", "scans"}))
def test_non_finite_is_counted_in_every_finite_column(
    stream: Make, measure: Measure, table: str, value: float
) -> None:
    for name in MEASURED[table].finite:
        made = stream(table)
        if pa.types.is_list(made.types[name]):
            made.columns[name][33] = [value, 0.0]
        else:
            made.columns[name][33] = value
        found = measure(made)
        assert (found["non_finite"], found["non_finite_at_ns"]) == (1, made.columns["t_ns"][33])


def test_nan_is_allowed_where_the_message_allows_it(stream: Make, measure: Measure) -> None:
    scan = stream("scans")
    scan.columns["ranges"][3] = [np.nan, np.inf]
    assert measure(scan)["non_finite"] == 0
    battery = stream("battery")
    battery.columns["temperature"][:] = np.nan
    battery.columns["percentage"][:] = np.nan
    assert measure(battery)["non_finite"] == 0
    battery.columns["current"][4] = np.inf
    assert measure(battery)["non_finite"] == 1
    joints = stream("joint_states")
    joints.columns["effort"] = [[np.nan, np.nan]] * 400
    assert measure(joints)["non_finite"] == 0
    joints.columns["velocity"][2] = [np.inf, np.nan]
    assert measure(joints)["non_finite"] == 1


def test_null_is_not_wrong(stream: Make, measure: Measure) -> None:
    made = stream("wrenches")
    made.columns["force_x"] = [None, *made.columns["force_x"][1:]]
    assert measure(made)["non_finite"] == 0
    made.columns["force_x"][1] = float("nan")
    found = measure(made)
    assert (found["non_finite"], found["non_finite_at_ns"]) == (1, made.columns["t_ns"][1])


def test_position_needs_a_fix_to_count(stream: Make, measure: Measure) -> None:
    made = stream("nav_sat")
    made.columns["latitude"][5] = np.nan
    assert measure(made)["non_finite"] == 1
    made.columns["status"][5] = -1
    assert measure(made)["non_finite"] == 0


def test_quaternion_norm_error(stream: Make, measure: Measure) -> None:
    for table, prefix in (
        ("imu", "orientation"),
        ("poses", "orientation"),
        ("transforms", "rotation"),
    ):
        made = stream(table)
        for axis in "xyzw":
            made.columns[f"{prefix}_{axis}"][12] *= 195.7
        found = measure(made)
        assert found["norm_error_max"] == pytest.approx(194.7)
        assert found["norm_error_max_at_ns"] == made.columns["t_ns"][12]


def test_zero_orientation_is_wrong_unless_declared_not_given(
    stream: Make, measure: Measure
) -> None:
    made = stream("imu")
    for axis in "xyzw":
        made.columns[f"orientation_{axis}"][:] = 0.0
    assert measure(made)["norm_error_max"] == 1.0
    made.columns["orientation_covariance"] = [[-1.0] + [0.0] * 8] * 400
    made.columns["orientation_x"][3] = np.nan
    found = measure(made)
    assert (found["norm_error_max"], found["non_finite"]) == (None, 0)


def test_joint_limits(stream: Make, measure: Measure) -> None:
    made = stream("joint_states")
    made.columns["position"] = [[0.1, 0.2]] * 400
    made.columns["position"][60] = [9.0, -9.0]
    assert measure(made)["limit_violations"] is None
    assert measure(made, {"wrist": (-1.0, 1.0)})["limit_violations"] is None
    found = measure(made, {"elbow": (-1.0, 1.0)})
    assert (found["limit_violations"], found["limit_violations_at_ns"]) == (
        1,
        made.columns["t_ns"][60],
    )
    # The joints' order may change from message to message.
    made.columns["names"][60] = ["elbow", "shoulder"]
    made.columns["position"][60] = [-9.0, 0.5]
    made.columns["position"][61] = []
    assert measure(made, {"elbow": (-1.0, 1.0), "shoulder": (0.0, 1.0)})["limit_violations"] == 1


@pytest.mark.parametrize("table", sorted(t for t, rule in MEASURED.items() if rule.compared))
def test_stuck(stream: Make, measure: Measure, table: str) -> None:
    made = stream(table)
    for name in MEASURED[table].compared:
        for row in range(101, 300):
            made.columns[name][row] = made.columns[name][100]
    found = measure(made)
    assert found["stuck_share"] == 200 / 400
    assert found["stuck_share_at_ns"] == made.columns["t_ns"][100]


def test_stuck_needs_every_column_to_repeat(stream: Make, measure: Measure) -> None:
    made = stream("imu")
    for name in MEASURED["imu"].compared[:-1]:
        made.columns[name][:] = 0.5
    assert measure(made)["stuck_share"] == 0.0


def test_stuck_with_lists_of_varying_length(stream: Make, measure: Measure) -> None:
    made = stream("scans")
    made.columns["ranges"] = [[float(i)] * (1 + i % 3) for i in range(400)]
    made.columns["intensities"] = [[]] * 400
    assert measure(made)["stuck_share"] == 0.0
    for row in range(10, 20):
        made.columns["ranges"][row] = [np.nan, 2.0]
    assert measure(made)["stuck_share"] == 10 / 400
    made.columns["ranges"] = [[]] * 400
    assert measure(made)["stuck_share"] == 0.0


@pytest.mark.parametrize("table", ["imu", "wrenches", "joint_states"])
def test_saturated(stream: Make, measure: Measure, table: str) -> None:
    for name in MEASURED[table].saturating:
        made = stream(table)
        if table == "joint_states":
            values = np.array(made.columns[name])
            values[:, 1] = np.clip(values[:, 1], -9.0, 0.5)
            share = float((values[:, 1] == 0.5).mean())
            made.columns[name] = values.tolist()
        else:
            made.columns[name] = np.clip(made.columns[name], -0.5, 9.0)
            share = float((made.columns[name] == -0.5).mean())
        assert share > 0.2
        assert measure(made)["saturated_share"] == pytest.approx(share)


def test_constant_column_is_not_saturated(stream: Make, measure: Measure) -> None:
    made = stream("wrenches")
    made.columns["force_x"][:] = 0.0
    assert measure(made)["saturated_share"] == 0.0


def test_messages_with_several_rows_count_once(stream: Make, measure: Measure) -> None:
    found = measure(stream("transforms", per_message=3))
    assert found["rate_hz"] == pytest.approx(100.0, rel=1e-3)
    assert (found["duplicates"], found["gaps"], found["stuck_share"]) == (0, 0, None)


def test_odometry_counts_once_and_is_stuck_only_as_a_whole(stream: Make) -> None:
    poses, twists = stream("poses"), stream("twists")
    for name in MEASURED["twists"].compared:
        twists.columns[name][:] = 0.0
    metrics = RecordingMetrics()
    metrics.update("/odom", "poses", poses.batch())
    metrics.update("/odom", "twists", twists.batch())
    found = metrics.finish()["/odom"]
    assert found["duplicates"] == 0
    assert found["rate_hz"] == pytest.approx(100.0, rel=1e-3)
    assert found["stuck_share"] == 0.0


def test_camera_is_compared_with_the_joints(stream: Make) -> None:
    camera, joints = stream("video_frames", 60, 30.0), stream("joint_states", 200, 100.0)
    late = stream("video_frames", 60, 30.0)
    late.columns["t_ns"] += 5_000 * MS
    metrics = RecordingMetrics()
    for name, made in (("/joints", joints), ("/camera", camera), ("/late", late)):
        metrics.update(name, made.table, made.batch())
    found: dict[str, Any] = metrics.finish()
    assert 0 <= found["/camera"]["sync_offset_ns"] <= 5 * MS
    assert found["/late"]["sync_offset_ns"] == pytest.approx(4_000 * MS, rel=0.05)
    assert found["/joints"]["sync_offset_ns"] is None


def test_cameras_alone_are_compared_with_the_fullest(stream: Make) -> None:
    metrics = RecordingMetrics()
    for name, rate in (("/slow", 10.0), ("/fast", 30.0)):
        metrics.update(name, "video_frames", stream("video_frames", int(rate), rate).batch())
    found: dict[str, Any] = metrics.finish()
    assert found["/fast"]["sync_offset_ns"] is None
    assert found["/slow"]["sync_offset_ns"] <= 2 * MS


def test_types_without_a_table_are_measured_on_time_alone(stream: Make, measure: Measure) -> None:
    found = measure(stream("messages"))
    assert found["rate_hz"] == pytest.approx(100.0, rel=1e-3)
    for name in ("non_finite", "norm_error_max", "stuck_share", "saturated_share"):
        assert found[name] is None


def test_streams_without_a_message_get_an_entry() -> None:
    found = RecordingMetrics().finish({"/quiet": 12})
    assert found == {"/quiet": dict.fromkeys(METRICS)}


def test_one_message_has_no_rate(stream: Make, measure: Measure) -> None:
    found = measure(stream("imu", 1))
    assert (found["rate_hz"], found["gap_median_ns"], found["gaps"]) == (None, None, None)
