"""Recipes: what they mean, and what is said of wrong ones."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
import yaml

from pipelines.release.recipe_file import GREATEST_BYTES, load_recipe, parse_recipe
from schemas.errors import NotFoundError, WrongUseError
from schemas.recipe import Align, Feature, Recipe

TEXT = """\
dataset: arms
title: Arms
purposes: [pretraining]
rate_hz: 30000/1001
filter:
  time_from: 2026-11-22T00:00:00Z
  time_to: 2026-11-23
features:
  state:
    table: joint_states
    stream: /joint_states
    columns: [position]
    max_skew_ms: 12.5
  camera:
    table: video_frames
    stream: {ur5e: /cam, "*": /camera/*}
    align: hold
    max_skew_ms: null
splits:
  fractions: {train: 0.8, validation: 0.1, test: 0.1}
"""


def test_a_recipe_means_what_it_says_exactly():
    recipe = parse_recipe(TEXT.encode())
    assert recipe.rate_hz == Fraction(30000, 1001)
    assert recipe.filter.time_from == 1_795_305_600_000_000_000
    assert recipe.filter.time_to == recipe.filter.time_from + 86_400 * 10**9
    assert recipe.features["state"].max_skew_ns == 12_500_000
    assert recipe.features["state"].align is Align.NEAREST
    assert recipe.features["camera"].max_skew_ns is None
    assert recipe.features["camera"].stream_pattern("arm-1", "ur5e") == "/cam"
    assert recipe.features["camera"].stream_pattern("arm-1", "x") == "/camera/*"
    assert sum(recipe.splits.shares.values()) == 1


def test_a_recipe_survives_storage_as_json():
    recipe = parse_recipe(TEXT.encode())
    stored = json.loads(json.dumps(recipe.model_dump(mode="json")))
    assert Recipe.model_validate(stored) == recipe
    assert parse_recipe(yaml.safe_dump(stored).encode()) == recipe


@pytest.mark.parametrize(
    ("rate", "exact"),
    [
        (30, Fraction(30)),
        ("29.97", Fraction(2997, 100)),
        (29.97, Fraction(2997, 100)),
        (0.1, Fraction(1, 10)),
    ],
)
def test_rates_are_exact(rate, exact):
    document = yaml.safe_load(TEXT) | {"rate_hz": rate}
    assert Recipe.model_validate(document).rate_hz == exact


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rate_hz: 30000/1001", "rate_hz: 0", r"line 4, rate_hz: rate_hz has to be above 0"),
        ("rate_hz: 30000/1001", "rate_hz: fast", r"line 4, rate_hz: .*ratio"),
        ("rate_hz: 30000/1001", "rate_hz: [1]", r"line 4, rate_hz: .*ratio"),
        ("title: Arms", "titel: Arms", r"line 2, titel: an unknown field is not permitted"),
        ("title: Arms\n", "", r"line 1, title: Field required"),
        ("[pretraining]", "[world_peace]", r"line 3, purposes.0: .*'pretraining'"),
        ("[pretraining]", "[]", r"line 3, purposes: "),
        ("table: joint_states", "table: joints", r"line 9, features.state: no signal table"),
        ("columns: [position]", "columns: [positon]", r"unknown: positon"),
        ("columns: [position]", "columns: [position, velocity]", r"one list column"),
        ("columns: [position]", "columns: []", r"columns of joint_states are needed"),
        ("max_skew_ms: 12.5", "max_skew_ms: -1", r"line 13, features.state.max_skew_ms"),
        ("max_skew_ms: 12.5", "max_skew_ms: null", r"max_skew_ms is needed for align: nearest"),
        ("    max_skew_ms: 12.5\n", "", r"features.state.max_skew_ms: Field required"),
        ("align: hold", "align: linear", r"max_skew_ms is needed"),
        ("test: 0.1}", "test: 0.2}", r"line 19, splits: the fractions add up to 1.1, not 1"),
        ("test: 0.1}", "test: 0.1}\n  explicit: {a: [b]}", r"either fractions or explicit"),
        ("2026-11-22T00:00:00Z", "2026-11-22T00:00:00", r"line 6, filter.time_from: .*zone"),
        ("2026-11-23", "2026-11-21", r"time_from has to be before time_to"),
        ("  camera:", "  state.held:", r"'state.held' cannot name"),
        ("  camera:", "  Camera:", r"'Camera' cannot name a feature"),
        ("  camera:", "  t_ns:", r"'t_ns' cannot name a feature"),
        ("  camera:", "  state:", r"line 14.*state is given twice"),
        ("dataset: arms", "dataset: ../arms", r"line 1, dataset: "),
        ("title: Arms", "title: [", r"line 4: not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(old, new, said):
    assert old in TEXT
    with pytest.raises(WrongUseError, match=said):
        parse_recipe(TEXT.replace(old, new, 1).encode())


def test_every_fault_is_said_at_once():
    text = TEXT.replace("rate_hz: 30000/1001", "rate_hz: 0").replace("title: Arms", "titel: Arms")
    with pytest.raises(WrongUseError, match=r"titel: .*rate_hz: |rate_hz: .*titel: "):
        parse_recipe(text.encode())


@pytest.mark.parametrize("content", [b"", b"- a\n", b"just text", b"\xff\xfe\x00", b"\x00"])
def test_what_is_no_mapping_is_refused(content):
    with pytest.raises(WrongUseError):
        parse_recipe(content)


def test_files_that_are_none_or_too_long(tmp_path):
    with pytest.raises(NotFoundError):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(NotFoundError):
        load_recipe(tmp_path)
    long = tmp_path / "long.yaml"
    long.write_bytes(b"#" * (GREATEST_BYTES + 1))
    with pytest.raises(WrongUseError, match="too long"):
        load_recipe(long)


def feature(**changes):
    given = {"table": "imu", "stream": "/imu", "align": "linear", "max_skew_ms": 10}
    return Feature.model_validate(given | changes)


def test_quaternions_are_interpolated_whole_or_not_at_all():
    names = [f"orientation_{axis}" for axis in "xyzw"]
    assert feature(columns=["angular_velocity_x", *names]).quaternions == (1,)
    for columns in (names[:3], names[::-1], ["orientation_w"]):
        with pytest.raises(ValueError, match="alone cannot be interpolated"):
            feature(columns=columns)
    assert feature(columns=names[:3], align="nearest").quaternions == ()
    assert feature(columns=["angular_velocity_x"]).quaternions == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"columns": ["frame_id"]}, "only floating-point"),
        ({"columns": ["angular_velocity_x", "frame_id"]}, "of one type"),
        ({"columns": ["t_ns"]}, "unknown: t_ns"),
        ({"columns": ["angular_velocity_x"] * 2}, "named twice"),
        ({"columns": ["angular_velocity_x"], "joints": ["a"]}, "joints go with"),
        ({"columns": ["angular_velocity_x"], "stream": {}}, "empty"),
        ({"table": "messages", "columns": ["payload"]}, "no signal table"),
        ({"table": "video_frames", "columns": ["width"]}, "no columns"),
        ({"columns": ["angular_velocity_x"], "where": {"frame": "a"}}, "no column 'frame' of imu"),
        ({"table": "transforms", "columns": ["translation_x"]}, "holds several"),
        ({"table": "video_frames"}, "cannot be interpolated"),
        (
            {"table": "joint_states", "columns": ["position"], "joints": {"a": ["x"], "b": []}},
            "equally many",
        ),
        ({"table": "joint_states", "columns": ["position"], "joints": ["x", "x"]}, "twice"),
        ({"table": "joint_states", "columns": ["names"], "align": "hold"}, "numbers is needed"),
    ],
)
def test_features_that_do_not_fit_their_table(changes, said):
    with pytest.raises(ValueError, match=said):
        feature(**changes)
