"""Filters, limits and splits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.release.select import Episode, limit_episodes, select_episodes, split_of
from schemas.errors import WrongUseError
from schemas.recipe import Splits


def episode(name: str, robot: str = "r", recording: str | None = None) -> Episode:
    text = dict.fromkeys(
        ("sector", "agreement", "verdict", "check_run", "source", "decoder_version", "robot_type"),
        "",
    )
    return Episode(
        episode=name,
        recording_id=recording or name,
        organisation="o",
        day=None,
        robot=robot,
        start_ns=0,
        end_ns=0,
        agreement_version=1,
        streams={},
        **text,
    )


EPISODES = [episode(f"{i}-0", robot=f"r{i % 7}", recording=str(i // 2)) for i in range(4000)]


@pytest.fixture
def chosen(platform, lake):
    """Numbers of the recordings that a filter takes, out of five."""
    lake.organisation("alpha")
    lake.robot("acme", "r1", "ur5e")
    second = 10**9
    made = [
        lake.arm(start_ns=lake.START),
        lake.arm("alpha", start_ns=lake.START + second, sector="food"),
        lake.arm(robot="r1", start_ns=lake.START + 2 * second),
        lake.arm(verdict="accepted_with_warnings", start_ns=lake.START + 3 * second),
        lake.arm(start_ns=lake.START + 4 * second, end_ns=lake.START + 5 * second - 1),
    ]

    def choose(**conditions):
        conditions = {
            key: [made[i].recording for i in value] if key == "recordings" else value
            for key, value in conditions.items()
        }
        found = select_episodes(
            platform.lake, platform.engine, platform.lake.pin(), lake.recipe(filter=conditions)
        )
        order = [m.episode for m in made]
        return [order.index(e.episode) for e in found]

    choose.withdraw = lambda number: lake.withdraw(made[number].recording)
    return choose


def test_every_filter_takes_what_it_names(chosen, lake):
    second = 10**9
    assert chosen() == [0, 1, 2, 3, 4]
    assert chosen(sectors=["food"]) == [1]
    assert chosen(organisations=["acme"]) == [0, 2, 3, 4]
    assert chosen(robots=["r1"]) == [2]
    assert chosen(robot_types=["ur5e"]) == [2]
    assert chosen(recordings=[3, 1]) == [1, 3]
    assert chosen(verdicts=["accepted"]) == [0, 1, 2, 4]
    assert chosen(time_from=lake.START + second, time_to=lake.START + 3 * second) == [1, 2]
    assert chosen(min_seconds=1) == [0]
    assert chosen(sectors=["food", "factory"], robots=["default"]) == [0, 1, 3, 4]


def test_what_was_withdrawn_is_hidden_at_once(chosen):
    chosen.withdraw(1)
    assert chosen() == [0, 2, 3, 4]


def test_nothing_left_is_said(chosen):
    with pytest.raises(WrongUseError, match=r"found 5 visible, 0 of them"):
        chosen(sectors=["medical"])


def test_a_limit_draws_the_same_ones_in_any_order():
    limited = limit_episodes(EPISODES, 100)
    assert len(limited) == 100
    assert limited == sorted(limited, key=EPISODES.index)
    again = limit_episodes(EPISODES[::-1], 100)
    assert {e.episode for e in again} == {e.episode for e in limited}
    more = limit_episodes(EPISODES, 101)
    assert {e.episode for e in limited} < {e.episode for e in more}
    assert limit_episodes(EPISODES, None) == EPISODES


def test_fractions_are_met_and_seeds_differ():
    splits = Splits(fractions={"train": 0.8, "validation": 0.1, "test": 0.1})
    found = [split_of(e, splits) for e in EPISODES]
    for name, share in splits.fractions.items():
        assert found.count(name) / len(EPISODES) == pytest.approx(share, abs=0.02)
    other = [split_of(e, splits.model_copy(update={"seed": 1})) for e in EPISODES]
    assert found != other
    assert found == [split_of(e, splits) for e in EPISODES]


@pytest.mark.parametrize(
    ("by", "unit"), [("recording", lambda e: e.recording_id), ("robot", lambda e: e.robot)]
)
def test_what_belongs_together_is_never_torn_apart(by, unit):
    splits = Splits(fractions={"train": 0.5, "test": 0.5}, by=by)
    places: dict[str, set[str | None]] = {}
    for e in EPISODES:
        places.setdefault(unit(e), set()).add(split_of(e, splits))
    assert all(len(found) == 1 for found in places.values())
    assert {"train", "test"} == set().union(*places.values())


def test_robots_of_two_organisations_are_two_robots():
    splits = Splits(fractions={"train": 0.5, "test": 0.5}, by="robot", seed=3)
    places = {split_of(replace(EPISODES[0], organisation=f"o{i}"), splits) for i in range(20)}
    assert places == {"train", "test"}


def test_explicit_splits_take_episodes_and_recordings():
    splits = Splits(explicit={"train": ("0",), "test": ("2-0",)})
    assert [split_of(e, splits) for e in EPISODES[:4]] == ["train", "train", "test", None]
    rest = splits.model_copy(update={"rest": "train"})
    assert split_of(EPISODES[3], rest) == "train"
