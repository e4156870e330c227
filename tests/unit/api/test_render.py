from __future__ import annotations

from typing import Any

import pytest

from api.pages import render, rows
from schemas.licences import Purpose


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"),
     (99_950, "100 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (3.2e12, "3.2 TB")],
)  # fmt: skip
def test_sizes(size: float | None, text: str) -> None:
    assert render.bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 00 s"), (3599.6, "1 h 00 min"),
     (7265, "2 h 01 min"), (36_000_000, "10,000 h 00 min")],
)  # fmt: skip
def test_lengths_of_time(seconds: float | None, text: str) -> None:
    assert render.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (600, "600"), (1234567, "1,234,567"), (0.03125, "0.03125"), (1.0, "1"),
     (1e-9, "1.000e-09"), (123456.7, "1.235e+05"), ([0.5, None], "0.5, –"), ("30", "30")],
)  # fmt: skip
def test_numbers(value: Any, text: str) -> None:
    assert render.number_text(value) == text


def test_statistics_have_a_row_for_each_element() -> None:
    found = rows.statistic_rows(
        {
            "grip": {"count": 6, "min": 0.0},
            "state": {"count": [6, 5], "min": [0.1, None], "max": [0.3, 0.4]},
            "scan": {"count": [1] * 720},
            "camera": {"count": 6, "sizes": [[640, 480]]},
        }
    )
    named = {name: dict(zip(rows.STATISTICS, values, strict=True)) for name, values in found}
    assert named["grip"]["count"] == 6
    assert (named["state[1]"]["count"], named["state[1]"]["min"]) == (5, None)
    assert named["state[1]"]["max"] == 0.4
    assert "scan[7]" in named
    assert "scan[8]" not in named
    assert "scan: 712 more" in named
    assert named["camera"]["count"] == 6


def test_uses_are_summed_up_by_recipient_and_release() -> None:
    def use(recipient: str, version: int, size: int, at: int) -> dict[str, Any]:
        stamps = {"first_ns": at, "last_ns": at + 1}
        return {"recipient": recipient, "dataset": "d", "version": version, "bytes": size, **stamps}

    found = rows.by_recipient([use("a", 1, 5, 10), use("b", 1, 1, 40), use("a", 1, 7, 20)])
    assert [(row["recipient"], row["files"], row["bytes"]) for row in found] == [
        ("b", 1, 1),
        ("a", 2, 12),
    ]
    assert (found[1]["first_ns"], found[1]["last_ns"]) == (10, 21)


def test_words() -> None:
    assert render.instant_text(1_795_000_000_000_000_000) == "2026-11-18 11:06 UTC"
    assert render.rule_text("cap_hours_of_video_month") == (
        "it would exceed the cap on hours of video per month"
    )
    assert render.rule_text("some_new_rule") == "some new rule"
    assert render.language_of("厨房 kitchen") == "ja"
    assert render.language_of("Küche") == "en"
    assert render.duty_text("model_weights: no_release") == "Model weights: no release"
    assert render.kept_query({"q": "a&b", "sector": ""}) == "q=a%26b"


def test_every_purpose_has_a_name() -> None:
    assert set(render.PURPOSES) == {purpose.value for purpose in Purpose}
