"""What a release holds is what foreign readers find in the source file.

The log is decoded by mcap-ros2-support and joined by pandas and scipy; nothing of the platform
takes part in the expectation.
"""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from scipy.spatial.transform import Rotation, Slerp

from connectors.stores.initialise import initialise
from infra.demo.robot_log import LogSpec, write_log
from pipelines.cli.platform import Platform
from pipelines.ingest import Contribution, ingest
from pipelines.release.build import build
from pipelines.release.recipe_file import parse_recipe
from tests.servers.lakes import Lakes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.catalogs import Catalogs

RATE = Fraction(30_000, 1001)
PAUSE = ("/joint_states", 1.1, 1.4)
RECIPE = """
dataset: golden
title: Golden
purposes: [evaluation]
rate_hz: 30000/1001
missing: keep_null
features:
  joints: {table: joint_states, stream: /joint_states, columns: [position], max_skew_ms: 3}
  speeds:
    table: joint_states
    stream: /joint_states
    columns: [velocity]
    align: hold
    max_skew_ms: 100
  wrench:
    table: wrenches
    stream: /wrench
    columns: [force_x, force_y, force_z, torque_x, torque_y, torque_z]
    align: hold
    max_skew_ms: 5
  imu:
    table: imu
    stream: /imu
    columns:
      [angular_velocity_z, orientation_x, orientation_y, orientation_z, orientation_w]
    align: linear
    max_skew_ms: 10
  position:
    table: poses
    stream: /odom
    columns: [position_x, position_y]
    align: linear
    max_skew_ms: 25
  speed: {table: twists, stream: /odom, columns: [linear_x], align: nearest, max_skew_ms: 10}
  ranges: {table: scans, stream: /scan, columns: [ranges], align: hold, max_skew_ms: 200}
  camera: {table: video_frames, stream: /camera/compressed, align: nearest, max_skew_ms: 40}
"""
Rows = list[tuple[int, Any]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("log") / "robot.mcap"
    write_log(path, LogSpec(seconds=3.0, seed=11, pauses=(PAUSE,), distinct_frames=0))
    return path


@pytest.fixture(scope="module")
def foreign(log: Path) -> dict[str, Rows]:
    """Topic -> (header stamp in ns, message), by stamp, as a foreign reader decodes them."""
    found: dict[str, Rows] = {}
    with log.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, channel, _, message in reader.iter_decoded_messages():
            header = getattr(message, "header", None)
            if header is not None:
                stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
                found.setdefault(channel.topic, []).append((stamp, message))
    return {topic: sorted(rows, key=lambda row: row[0]) for topic, rows in found.items()}


@pytest.fixture(scope="module")
def root(
    log: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    session_catalogs: Catalogs,
) -> Path:
    """Folder of the release, built from the ingested log; of a bucket, a copy of it."""
    folder = tmp_path_factory.mktemp("platform")
    clock = itertools.count(1_795_000_000_000_000_000, 1_000_000).__next__
    on_s3 = request.config.getoption("--store") == "s3"
    minio = request.getfixturevalue("minio") if on_s3 else None
    settings = Lakes(folder, session_catalogs, minio).settings()
    url, access = settings.database_url, settings.access
    initialise(settings.root, "Acme", clock, database_url=url, access=access)
    with Platform.open(settings, clock) as platform:
        result = ingest(platform, [log], Contribution("acme", "default", "acme-own-use"))
        assert [o.status for o in result.outcomes] in (["accepted"], ["accepted_with_warnings"])
        release = build(platform, parse_recipe(RECIPE.encode()))
        assert build(platform, parse_recipe(RECIPE.encode())).digest == release.digest
        place = platform.root.release("golden", release.version)
        if isinstance(place, Path):
            return place
        for found in place.rglob("*"):
            copy = folder / "copy" / found.relative_to(place)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(found.read_bytes())
        return folder / "copy"


@pytest.fixture(scope="module")
def frames(root: Path) -> pa.Table:
    return DeltaTable(str(root / "tables" / "frames")).to_pyarrow_table()


def joined(frames: pa.Table, rows: Rows, direction: str, tolerance_ms: int) -> list[int | None]:
    """Position in `rows` of each frame's sample, by pandas; None = nothing near enough."""
    left = pd.DataFrame({"t": frames["t_ns"].to_numpy()})
    right = pd.DataFrame({"t": [t for t, _ in rows], "row": range(len(rows))})
    found = pd.merge_asof(
        left, right, on="t", direction=direction, tolerance=tolerance_ms * 1_000_000
    )
    return [None if pd.isna(row) else int(row) for row in found["row"]]


def test_frames_stand_on_the_exact_grid(frames: pa.Table, foreign: dict[str, Rows]) -> None:
    topics = [f["stream"] for f in yaml.safe_load(RECIPE)["features"].values()]
    start = min(foreign[topic][0][0] for topic in topics)
    end = max(foreign[topic][-1][0] for topic in topics)
    expected = []
    while (t := start + int(len(expected) * 10**9 / RATE)) <= end:
        expected.append(t)
    assert frames["t_ns"].to_pylist() == expected
    assert 85 <= len(expected) <= 91


@pytest.mark.parametrize(
    ("feature", "source", "value"),
    [
        ("joints", ("/joint_states", "nearest", 3), lambda m: list(m.position)),
        ("speeds", ("/joint_states", "backward", 100), lambda m: list(m.velocity)),
        (
            "wrench",
            ("/wrench", "backward", 5),
            lambda m: [
                getattr(getattr(m.wrench, k), a) for k in ("force", "torque") for a in "xyz"
            ],
        ),
        ("speed", ("/odom", "nearest", 10), lambda m: m.twist.twist.linear.x),
        ("ranges", ("/scan", "backward", 200), lambda m: list(m.ranges)),
    ],
)
def test_chosen_samples_are_bit_for_bit_those_of_the_file(
    frames: pa.Table,
    foreign: dict[str, Rows],
    feature: str,
    source: tuple[str, str, int],
    value: Callable[[Any], Any],
) -> None:
    topic, direction, tolerance = source
    rows = foreign[topic]
    times = frames["t_ns"].to_pylist()
    before: int | None = None
    found = zip(
        frames[feature].to_pylist(),
        frames[f"{feature}.skew_ns"].to_pylist(),
        frames[f"{feature}.held"].to_pylist(),
        joined(frames, rows, direction, tolerance),
        times,
        strict=True,
    )
    present = 0
    for got, skew, held, row, t in found:
        if row is None:
            assert (got, skew, held) == (None, None, None)
        else:
            present += 1
            expected = value(rows[row][1])
            assert (
                np.asarray(got).tobytes() == np.asarray(expected, np.asarray(got).dtype).tobytes()
            )
            assert got == expected
            assert skew == rows[row][0] - t
            assert held == (row == before)
        before = row
    assert present > len(frames) / 2


def test_the_pause_is_missing_and_not_filled(frames: pa.Table, foreign: dict[str, Rows]) -> None:
    times = [t for t, _ in foreign["/joint_states"]]
    gap = max(itertools.pairwise(times), key=lambda pair: pair[1] - pair[0])
    assert gap[1] - gap[0] > 290_000_000
    t = frames["t_ns"].to_numpy()
    inside = (t > gap[0] + 3_000_000) & (t < gap[1] - 3_000_000)
    assert inside.sum() >= 8
    missing = frames["joints"].is_null().to_numpy()
    assert missing[inside].all()
    # Held for at most 100 ms, and said so.
    speeds = frames["speeds"].is_null().to_numpy()
    assert (speeds[inside] == (t[inside] - gap[0] > 100_000_000)).all()
    held = inside & ~speeds
    assert all(frames["speeds.held"].filter(pa.array(held)).to_pylist()[1:])


def test_interpolated_values_agree_with_scipy(frames: pa.Table, foreign: dict[str, Rows]) -> None:
    rows = foreign["/imu"]
    times = np.array([t for t, _ in rows])
    base = times[0]
    q = np.array([[getattr(m.orientation, axis) for axis in "xyzw"] for _, m in rows])
    slerp = Slerp((times - base) / 1e9, Rotation.from_quat(q))
    rate = np.array([m.angular_velocity.z for _, m in rows])
    present = frames["imu"].is_valid().to_numpy()
    t = frames["t_ns"].to_numpy()
    assert (present == ((t >= times[0]) & (t <= times[-1]))).all()
    got = np.array(frames["imu"].drop_null().to_pylist())
    at = (t[present] - base) / 1e9
    np.testing.assert_allclose(got[:, 0], np.interp(at, (times - base) / 1e9, rate), atol=1e-9)
    turned = (slerp(at).inv() * Rotation.from_quat(got[:, 1:])).magnitude()
    assert turned.max() < 1e-7
    np.testing.assert_allclose(np.linalg.norm(got[:, 1:], axis=1), 1.0, atol=1e-12)


def test_positions_are_interpolated_as_numpy_does(
    frames: pa.Table, foreign: dict[str, Rows]
) -> None:
    rows = foreign["/odom"]
    times = np.array([t for t, _ in rows])
    t = frames["t_ns"].to_numpy()[frames["position"].is_valid().to_numpy()]
    got = np.array(frames["position"].drop_null().to_pylist())
    for column, axis in enumerate("xy"):
        values = np.array([getattr(m.pose.pose.position, axis) for _, m in rows])
        expected = np.interp((t - times[0]).astype(float), (times - times[0]).astype(float), values)
        np.testing.assert_allclose(got[:, column], expected, rtol=1e-12, atol=1e-12)


def test_pictures_are_the_bytes_of_the_messages(
    root: Path, frames: pa.Table, foreign: dict[str, Rows]
) -> None:
    rows = foreign["/camera/compressed"]
    used = joined(frames, rows, "nearest", 40)
    assert sum(row is not None for row in used) > 80
    for frame, row in zip(frames.to_pylist(), used, strict=True):
        if row is None:
            assert frame["camera.path"] is None
            continue
        content = (root / frame["camera.path"]).read_bytes()
        shown = content[frame["camera.offset"] :][: frame["camera.size"]]
        assert shown == bytes(rows[row][1].data)


def test_statistics_are_those_of_the_whole_table(root: Path, frames: pa.Table) -> None:
    features = json.loads((root / "statistics.json").read_text())["features"]
    for name in ("joints", "speeds", "wrench", "imu", "position", "ranges"):
        values = np.array(frames[name].drop_null().to_pylist(), np.float64)
        for key, expected in {
            "min": np.nanmin(values, axis=0),
            "max": np.nanmax(values, axis=0),
            "mean": values.mean(axis=0),
            "std": values.std(axis=0),
            "q01": np.quantile(values, 0.01, axis=0),
            "q50": np.quantile(values, 0.50, axis=0),
            "q99": np.quantile(values, 0.99, axis=0),
        }.items():
            np.testing.assert_allclose(features[name][key], expected, rtol=1e-9, atol=1e-12)
        assert features[name]["missing"] == frames[name].null_count
