"""Whole builds on a small lake: values, marks, splits, digests, and what a crash leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from sqlalchemy import select

from connectors.settings import Settings
from connectors.stores.catalog import models
from connectors.stores.catalog.database import reading, writing
from connectors.stores.initialise import initialise
from connectors.stores.store import store_of
from pipelines.cli.platform import Platform
from pipelines.release.build import build
from pipelines.release.publish import building
from pipelines.release.recipe_file import parse_recipe
from schemas.errors import CatalogBusyError, ConflictError, DamagedError, GoneError, WrongUseError
from tests.servers.lakes import environment_of


def frames_of(platform, dataset="arms", version=1):
    return table_of(platform.root.release(dataset, version) / "tables/frames")


def table_of(place):
    uri, options = store_of(place).delta(place)
    return DeltaTable(uri, storage_options=options).to_pyarrow_table()


def episodes_of(platform, dataset="arms", version=1):
    path = platform.root.release(dataset, version) / "tables/episodes"
    return table_of(path).to_pylist()


def document(platform, name, dataset="arms", version=1):
    return json.loads((platform.root.release(dataset, version) / name).read_text())


def rows_of(platform, model):
    with reading(platform.engine) as connection:
        return [
            dict(row) for row in connection.execute(select(*model.__table__.columns)).mappings()
        ]


def test_nearest_values_are_the_samples_themselves(platform, lake, arms):
    build(platform, lake.recipe())
    frames = frames_of(platform).to_pylist()
    t = [lake.START + k * 10**9 // 30 for k in range(31)]
    assert [f["t_ns"] for f in frames] == t * 3
    samples = arms[0].rows["/joint_states", "joint_states"].to_pylist()
    for frame in frames:
        best = min(samples, key=lambda s: abs(s["t_ns"] - frame["t_ns"]))
        assert frame["state"] == best["position"]
        assert frame["state.skew_ns"] == best["t_ns"] - frame["t_ns"]
        assert not frame["state.held"]


def test_keys_count_through_episodes_and_frames(platform, lake, arms):
    release = build(platform, lake.recipe())
    frames = frames_of(platform)
    assert frames["index"].to_pylist() == list(range(93))
    assert frames["frame_index"].to_pylist() == list(range(31)) * 3
    assert frames["episode"].unique().to_pylist() == [a.episode for a in arms]
    episodes = episodes_of(platform)
    assert [e["first_index"] for e in episodes] == [0, 31, 62]
    assert [e["frames"] for e in episodes] == [31, 31, 31]
    assert {e["robot_index"] for e in episodes} == {0}
    assert release.summary["frames"] == 93


def test_linear_values_follow_numpy(platform, lake, arms):
    build(platform, lake.recipe())
    frames = frames_of(platform).slice(0, 31)
    source = arms[0].rows["/wrench", "wrenches"]
    t = frames["t_ns"].to_numpy() - lake.START
    got = np.array(frames["force"].to_pylist())
    for column, axis in enumerate("xyz"):
        values = source[f"force_{axis}"].to_numpy()
        expected = np.interp(t, source["t_ns"].to_numpy() - lake.START, values)
        np.testing.assert_allclose(got[:, column], expected, rtol=1e-12, atol=1e-12)
    exact = t % (5 * lake.MS) == 0
    assert (frames["force.held"].to_numpy(zero_copy_only=False) == ~exact).all()


def test_pictures_are_copied_once_and_marked_when_held(platform, lake, arms):
    build(platform, lake.recipe(features=lake.features(camera=lake.CAMERA)))
    root = platform.root.release("arms", 1)
    for number, arm in enumerate(arms):
        rows = frames_of(platform).slice(31 * number, 31).to_pylist()
        blob = (root / rows[0]["camera.path"]).read_bytes()
        assert blob == b"".join(arm.pictures)
        for row in rows:
            shown = (row["t_ns"] - lake.START) // (100 * lake.MS)
            end = row["camera.offset"] + row["camera.size"]
            assert blob[row["camera.offset"] : end] == arm.pictures[shown]
            assert row["camera.skew_ns"] <= 0
        assert [r["camera.held"] for r in rows] == [
            k > 0 and k * 10**9 // 30 // 10**8 == (k - 1) * 10**9 // 30 // 10**8 for k in range(31)
        ]
    assert (root / "preview.jpg").read_bytes() in arms[0].pictures
    facts = document(platform, "statistics.json")["features"]["camera"]
    assert facts["pictures"] == 33
    assert facts["sizes"] == [[64, 48]]
    assert facts["bytes"] == sum(len(p) for arm in arms for p in arm.pictures)


def test_only_the_pictures_that_frames_show_are_copied(platform, lake, arms):
    build(platform, lake.recipe(rate_hz=2, features=lake.features(camera=lake.CAMERA)))
    row = frames_of(platform).to_pylist()[1]
    assert (row["camera.offset"], row["t_ns"]) == (len(arms[0].pictures[0]), lake.START + 5 * 10**8)
    blob = (platform.root.release("arms", 1) / row["camera.path"]).read_bytes()
    assert blob == arms[0].pictures[0] + arms[0].pictures[5] + arms[0].pictures[10]


@pytest.mark.usefixtures("arms")
def test_statistics_agree_with_numpy_and_polars_over_the_whole_table(platform, lake):
    build(platform, lake.recipe(splits={"fractions": {"train": 0.5, "test": 0.5}, "seed": 1}))
    frames = frames_of(platform)
    found = document(platform, "statistics.json")
    for part, facts in {None: found, **found["splits"]}.items():
        table = frames if part is None else frames.filter(pa.compute.equal(frames["split"], part))
        values = np.array(table["force"].to_pylist())
        force = facts["features"]["force"]
        np.testing.assert_allclose(force["mean"], values.mean(axis=0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(force["std"], values.std(axis=0), rtol=1e-12)
        for key, share in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
            for i in range(3):
                series = pl.Series(values[:, i])
                expected = series.quantile(share, interpolation="linear")
                assert force[key][i] == pytest.approx(expected, rel=1e-12)
        assert force["min"] == values.min(axis=0).tolist()
        assert force["max"] == values.max(axis=0).tolist()
        assert force["count"] == [len(values)] * 3
    assert set(found["splits"]) == set(frames["split"].to_pylist())


@pytest.mark.usefixtures("arms")
def test_the_same_recipe_twice_is_one_version(platform, lake):
    recipe = lake.recipe(features=lake.features(camera=lake.CAMERA))
    first = build(platform, recipe)
    platform.clock.advance(1e6)
    second = build(platform, recipe)
    assert (first.created, second.created) == (True, False)
    assert (first.version, first.digest) == (second.version, second.digest)
    assert not platform.root.release("arms", 2).exists()
    assert len(rows_of(platform, models.Release)) == 1
    assert list(platform.root.staging.iterdir()) == []


@pytest.mark.usefixtures("arms")
def test_another_recipe_is_another_version(platform, lake):
    first = build(platform, lake.recipe())
    second = build(platform, lake.recipe(rate_hz=15))
    assert (first.version, second.version) == (1, 2)
    assert first.digest != second.digest
    assert len(frames_of(platform, version=1)) == 93
    assert len(frames_of(platform, version=2)) == 48


def test_the_same_content_in_another_lake_has_the_same_digest(platform, lake, tmp_path, catalogs):
    """No clock, no random id and no path of this machine goes into a release."""
    recipe = lake.recipe(features=lake.features(camera=lake.CAMERA))
    for number in range(2):
        lake.arm(start_ns=lake.START + number)
    first = build(platform, recipe)
    root, url = tmp_path / "other", catalogs.new(tmp_path / "other")
    initialise(root, "Acme", platform.clock, database_url=url)
    settings = Settings(root=str(root), database_url=url)
    with Platform.open(settings, platform.clock) as other:
        twin = type(lake)(other)
        for number in range(2):
            twin.arm(start_ns=lake.START + number)
        assert build(other, recipe).digest == first.digest


def test_a_clock_that_ran_away_is_said_and_not_filled(platform, lake):
    rows = lake.joints(2, step_ns=10**17)
    lake.recording(streams={("/joint_states", "joint_states"): rows})
    state = lake.features()["state"]
    with pytest.raises(WrongUseError, match="too long for its frame rate"):
        build(platform, lake.recipe(features={"state": state}))


@pytest.mark.usefixtures("arms")
def test_the_digest_is_what_its_definition_says(platform, lake):
    release = build(platform, lake.recipe())
    root = platform.root.release("arms", 1)
    lines = []
    for path in root.rglob("*"):
        if path.is_file() and "_delta_log" not in path.parts:
            content = path.read_bytes()
            name = path.relative_to(root).as_posix()
            lines.append(f"{hashlib.sha256(content).hexdigest()} {len(content)} {name}\n")
    assert hashlib.sha256("".join(sorted(lines)).encode()).hexdigest() == release.digest


def test_the_catalog_lists_every_file_and_recording(platform, lake, arms):
    build(platform, lake.recipe())
    root = platform.root.release("arms", 1)
    files = {row["path"]: row for row in rows_of(platform, models.ReleaseFile)}
    on_disk = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert set(files) == on_disk
    assert "tables/frames/_delta_log/00000000000000000000.json" in files
    for name, row in files.items():
        content = (root / name).read_bytes()
        assert (row["size"], row["sha256"]) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
    assert files["tables/frames/part-00000.parquet"]["rows"] == 93
    recordings = rows_of(platform, models.ReleaseRecording)
    assert {(r["recording_id"], r["rows"]) for r in recordings} == {(a.recording, 31) for a in arms}
    (release,) = rows_of(platform, models.Release)
    assert release["state"] == "published"
    assert parse_recipe(json.dumps(release["recipe"]).encode()) == lake.recipe()
    (dataset,) = rows_of(platform, models.Dataset)
    assert (dataset["organisation_id"], dataset["sectors"]) == ("acme", ["factory"])


def test_documents_name_units_and_no_robot_or_site(platform, lake):
    lake.robot("acme", "secret-robot", "ur5e")
    lake.arm(robot="secret-robot")
    build(platform, lake.recipe(filter={"robots": ["secret-robot"]}))
    columns = {c["name"]: c for c in document(platform, "schema.json")["tables"]["frames"]}
    assert columns["force"] | {"doc": ""} == {
        "name": "force",
        "type": "list<double>",
        "unit": "N",
        "doc": "",
    }
    assert columns["t_ns"]["unit"] == "ns"
    plot = document(platform, "plot.json")
    assert plot["title"] == "state"
    assert [s["name"] for s in plot["series"]] == ["a", "b", "c"]
    assert plot["series"][1]["v"][0] == 0.1
    assert plot["series"][0]["t"][1] == pytest.approx(1 / 30, abs=1e-6)
    root = platform.root.release("arms", 1)
    for path in root.rglob("*"):
        if path.is_file():
            assert b"secret-robot" not in path.read_bytes(), path
    assert "ur5e" in (root / "release.json").read_text()
    assert episodes_of(platform)[0]["robot_type"] == "ur5e"


def test_an_episode_longer_than_a_slice_is_put_together_without_a_seam(platform, lake):
    count = 80_001
    lake.recording(
        streams={
            ("/joint_states", "joint_states"): lake.joints(count, step_ns=lake.MS),
            ("/wrench", "wrenches"): lake.wrenches(count, step_ns=lake.MS),
        }
    )
    build(platform, lake.recipe(rate_hz=1000))
    frames = frames_of(platform)
    assert frames["index"].to_pylist() == list(range(count))
    flat = frames["state"].combine_chunks().flatten().to_numpy().reshape(-1, 3)
    assert np.array_equal(flat[:, 0], np.arange(count))
    assert not any(frames["state.held"].to_pylist())


@pytest.mark.parametrize("missing", ["drop_frame", "drop_episode", "keep_null"])
def test_a_gap_is_never_filled(platform, lake, missing):
    rows = lake.joints()
    gap = rows.filter(
        pa.array([not 300 <= (t - lake.START) // lake.MS < 600 for t in rows["t_ns"].to_pylist()])
    )
    whole = lake.arm(start_ns=lake.START)
    lake.recording(
        streams={("/joint_states", "joint_states"): gap, ("/wrench", "wrenches"): lake.wrenches()},
        start_ns=lake.START + 1,
    )
    release = build(platform, lake.recipe(missing=missing))
    second = frames_of(platform).slice(31).to_pylist()
    if missing == "drop_episode":
        assert second == []
        assert list(release.dropped.values()) == ["8 frames without state"]
        assert rows_of(platform, models.ReleaseRecording)[0]["recording_id"] == whole.recording
        return
    times = [k * 10**9 // 30 for k in range(31)]
    there = [not 310 * lake.MS < t < 580 * lake.MS for t in times]
    if missing == "drop_frame":
        assert [f["t_ns"] - lake.START for f in second] == [
            t for t, kept in zip(times, there, strict=True) if kept
        ]
        assert episodes_of(platform)[1]["frames_dropped"] == 8
        assert all(f["state"] is not None for f in second)
    else:
        assert [f["state"] is not None for f in second] == there
        assert [f["state.skew_ns"] is not None for f in second] == there
        assert [f["state.held"] is not None for f in second] == there


def test_optional_features_stay_null_where_a_robot_has_none(platform, lake):
    lake.robot("acme", "amr", "amr")
    lake.arm()
    lake.recording(
        robot="amr",
        streams={("/wrench", "wrenches"): lake.wrenches()},
        start_ns=lake.START + 5,
    )
    state = lake.features()["state"] | {"required": False}
    build(platform, lake.recipe(features=lake.features(state=state)))
    frames = frames_of(platform)
    assert frames["state"].null_count == 31
    assert frames["state.held"].slice(31).null_count == 31
    assert document(platform, "statistics.json")["features"]["state"]["missing"] == 31


def test_joints_are_found_by_name_whatever_their_order(platform, lake):
    first = lake.arm()
    other = lake.joints(names=("c", "a", "x", "b"))
    lake.recording(
        streams={
            ("/joint_states", "joint_states"): other,
            ("/wrench", "wrenches"): lake.wrenches(),
        },
        start_ns=lake.START + 1,
    )
    build(platform, lake.recipe())
    frames = frames_of(platform).to_pylist()
    assert frames[0]["state"] == first.rows["/joint_states", "joint_states"]["position"][0].as_py()
    assert frames[31]["state"] == [0.1, 0.3, 0.0]
    (schema,) = [
        c for c in document(platform, "schema.json")["tables"]["frames"] if c["name"] == "state"
    ]
    assert schema["doc"].endswith("[a, b, c]")


def test_streams_and_joints_may_differ_by_robot_type(platform, lake):
    lake.robot("acme", "r2", "two")
    lake.arm()
    lake.recording(
        robot="r2",
        streams={
            ("/left/joints", "joint_states"): lake.joints(names=("u", "v", "w")),
            ("/wrench", "wrenches"): lake.wrenches(),
        },
        start_ns=lake.START + 1,
    )
    state = lake.features()["state"] | {
        "stream": {"two": "/left/joints", "*": "/joint_states"},
        "joints": {"two": ["w", "u"], "*": ["a", "b"]},
    }
    build(platform, lake.recipe(features=lake.features(state=state)))
    frames = frames_of(platform).to_pylist()
    assert (frames[0]["state"], frames[31]["state"]) == ([0.0, 0.1], [0.2, 0.0])


CHILD = """
import os, signal, sys
from connectors.settings import Settings
from pipelines.cli.platform import Platform
from connectors.stores.initialise import initialise
from connectors.stores.store import store_of
from connectors.settings import Settings
from pipelines.cli.platform import Platform
from pipelines.release.build import build
from pipelines.release.recipe_file import parse_recipe

def progress(step, done, total):
    if step == sys.argv[3] and done == 0:
        os.kill(os.getpid(), signal.SIGKILL)

with Platform.open(Settings.from_environment(os.environ, root=sys.argv[1])) as opened:
    build(opened, parse_recipe(sys.argv[2].encode()), progress=progress)
"""


def building_process(platform, recipe, kill_at=""):
    """A build in a process of its own, which kills itself where it is told."""
    text = json.dumps(recipe.model_dump(mode="json"))
    path = str(platform.root.path)
    environment = os.environ | environment_of(platform.settings)
    return subprocess.Popen([sys.executable, "-c", CHILD, path, text, kill_at], env=environment)


@pytest.mark.parametrize("step", ["statistics", "seal", "publish"])
@pytest.mark.usefixtures("arms")
def test_a_killed_build_leaves_nothing_that_readers_see(platform, lake, step):
    build(platform, lake.recipe())
    assert building_process(platform, lake.recipe(rate_hz=10), step).wait(60) == -signal.SIGKILL
    assert [r["version"] for r in rows_of(platform, models.Release)] == [1]
    assert not platform.root.release("arms", 2).exists()
    assert list(platform.root.staging.iterdir()) != []
    second = build(platform, lake.recipe(rate_hz=10))
    assert (second.version, second.created) == (2, True)
    assert list(platform.root.staging.iterdir()) == []


@pytest.mark.folder("in a bucket a tree is no rename; its builds claim their version")
@pytest.mark.usefixtures("arms")
def test_a_crash_between_rename_and_catalog_is_made_good(platform, lake):
    orphan = platform.root.release("arms", 1)
    with writing(platform.engine):
        # The child waits for the catalog's lock, which this transaction holds, behind its rename.
        child = building_process(platform, lake.recipe())
        until = time.monotonic() + 300
        while not orphan.exists() and child.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        child.kill()
        assert child.wait(60) == -signal.SIGKILL
    assert orphan.exists()
    assert rows_of(platform, models.Release) == []
    (orphan / "stray").write_bytes(b"half")
    release = build(platform, lake.recipe())
    assert (release.version, release.created) == (1, True)
    assert not (orphan / "stray").exists()
    assert len(frames_of(platform)) == 93


@pytest.mark.usefixtures("arms")
def test_two_builds_of_one_dataset_exclude_each_other(platform, lake):
    with building(platform.root, "arms"), pytest.raises(CatalogBusyError, match="another process"):
        build(platform, lake.recipe())
    assert build(platform, lake.recipe(dataset="other")).created


def test_a_withdrawal_during_the_build_stops_it(platform, lake, arms):
    def withdraw(step, done, _total):
        if (step, done) == ("publish", 0):
            lake.withdraw(arms[1].recording)

    with pytest.raises(GoneError, match=arms[1].recording):
        build(platform, lake.recipe(), progress=withdraw)
    assert not platform.root.release("arms", 1).exists()
    assert rows_of(platform, models.Release) == []
    assert build(platform, lake.recipe()).summary["episodes"] == 2


@pytest.mark.usefixtures("arms")
def test_what_is_not_visible_stays_out(platform, lake):
    lake.recording(streams={("/joint_states", "joint_states"): lake.joints()}, visible=False)
    assert build(platform, lake.recipe()).summary["episodes"] == 3


@pytest.mark.usefixtures("arms")
def test_a_revoked_dataset_gets_no_release(platform, lake):
    build(platform, lake.recipe())
    with writing(platform.engine) as connection:
        connection.execute(models.Dataset.__table__.update().values(state="revoked"))
    with pytest.raises(ConflictError, match="not active"):
        build(platform, lake.recipe(rate_hz=10))
    assert not platform.root.release("arms", 2).exists()


@pytest.mark.usefixtures("arms")
def test_missing_pictures_are_damage(platform, lake):
    for blob in platform.root.path.glob("media/**/camera.blob"):
        blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="pictures are missing"):
        build(platform, lake.recipe(features=lake.features(camera=lake.CAMERA)))
    assert list(platform.root.staging.iterdir()) == []


def test_one_transform_of_many_is_chosen_by_its_child(platform, lake):
    t = [lake.START + k * 10 * lake.MS for k in range(11) for _ in range(2)]
    rows = pa.table(
        {
            "t_ns": t,
            "item": [0, 1] * 11,
            "child_frame_id": ["tool0", "camera"] * 11,
            "translation_x": [float(k) for k in range(22)],
        }
    )
    lake.recording(streams={("/tf", "transforms"): rows})
    feature = {"table": "transforms", "stream": "/tf", "columns": ["translation_x"]}
    feature |= {"where": {"child_frame_id": "camera"}, "align": "nearest", "max_skew_ms": 0}
    build(platform, lake.recipe(rate_hz=100, features={"x": feature}))
    assert frames_of(platform)["x"].to_pylist() == [float(k) for k in range(1, 22, 2)]


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ({"stream": "/nothing"}, "no episode has a value"),
        ({"joints": ["a", "zz"]}, "no frame is left"),
        ({"joints": ["a", "zz"], "required": False}, "no episode has a value"),
    ],
)
@pytest.mark.usefixtures("arms")
def test_a_feature_that_nothing_feeds_is_wrong_use(platform, lake, feature, said):
    state = lake.features()["state"] | feature
    with pytest.raises(WrongUseError, match=said):
        build(platform, lake.recipe(features=lake.features(state=state)))


def test_a_pattern_that_fits_two_streams_is_refused(platform, lake):
    rows = lake.joints()
    lake.recording(streams={("/a/j", "joint_states"): rows, ("/b/j", "joint_states"): rows})
    state = lake.features()["state"] | {"stream": "/*/j"}
    with pytest.raises(WrongUseError, match="/a/j, /b/j"):
        build(platform, lake.recipe(features={"state": state}))
