"""The validator: a real Great Expectations process, its Data Docs, and its deaths."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipelines.check.suites import suite_of
from pipelines.check.validator import Validator
from schemas.errors import ValidatorUnavailableError
from schemas.quality import CheckResult, Severity
from schemas.sectors import SECTORS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
AT_NS = 1_790_000_000_000_000_017
CANARY = "tnd_canary_0123456789"

CLEAN: dict[str, Any] = {
    "clock": "header",
    "messages": 1000,
    "declared_messages": 1000,
    "rows": 1000,
    "rate_hz": 100.0,
    "gap_median_ns": 10_000_000,
    "gap_max_ns": 12_000_000,
    "gap_max_at_ns": AT_NS,
    "gaps": 0,
    "duplicates": 0,
    "out_of_order": 0,
    "lag_median_ns": 100_000,
    "lag_max_ns": 900_000,
    "non_finite": 0,
    "norm_error_max": 1e-12,
    "limit_violations": 0,
    "stuck_share": 0.0,
    "saturated_share": 0.0,
    "sync_offset_ns": 1_000_000,
}
SILENT = {"gap_max_ns": 40_000_000_000}
# Rule -> table, the values that break it (and as little else as can be).
BREAKS: dict[str, tuple[str, dict[str, Any]]] = {
    "non_finite": ("joint_states", {"non_finite": 3, "non_finite_at_ns": AT_NS}),
    "non_finite_fix": ("nav_sat", {"non_finite": 1}),
    "norm_error": ("imu", {"norm_error_max": 194.7, "norm_error_max_at_ns": AT_NS}),
    "norm_drift": ("poses", {"norm_error_max": 0.002}),
    "joint_limits": ("joint_states", {"limit_violations": 1}),
    "frames": ("video_frames", {"rows": 999}),
    "gap": ("video_frames", {"gaps": 2, "gap_max_ns": 683_000_000}),
    "outage": ("wrenches", SILENT),
    "out_of_order": ("imu", {"out_of_order": 1}),
    "duplicate_stamps": ("poses", {"duplicates": 11}),
    "clock_offset": ("messages", {"lag_median_ns": -1_500_000_000, "clock": "log"}),
    "lag_jump": ("imu", {"lag_max_ns": 11_000_000_000}),
    "stuck": ("scans", {"stuck_share": 0.6}),
    "joints_stuck": ("joint_states", {"stuck_share": 1.0}),
    "saturated": ("imu", {"saturated_share": 0.02}),
    "sync": ("video_frames", {"sync_offset_ns": 150_000_000}),
    "blind": ("scans", SILENT),
    "rate": ("video_frames", {"rate_hz": 19.0}),
}
IMPLIED = {("norm_error", "norm_drift")}


def row(recording: str, sector: str, table: str, **values: Any) -> dict[str, Any]:
    named = {"recording_id": recording, "sector": sector, "stream": f"/{table}", "table": table}
    return {**CLEAN, **named, "message_type": "x", **values}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data-docs")


@pytest.fixture(scope="module")
def validator(site: Path) -> Iterator[Validator]:
    patch = pytest.MonkeyPatch()
    patch.setenv("TANADA_KEY", CANARY)
    ticks = iter(range(AT_NS, AT_NS + 10**12, 10**9))
    with Validator(lambda org: site / org, lambda: next(ticks), keep_runs=3) as started:
        yield started
    patch.undo()


def failures(results: list[tuple[str, CheckResult]]) -> dict[str, dict[str, CheckResult]]:
    found: dict[str, dict[str, CheckResult]] = {}
    for recording, result in results:
        if not result.passed:
            found.setdefault(recording, {})[result.rule] = result
    return found


def test_every_rule_of_every_sector_fires_on_its_defect_alone(validator: Validator) -> None:
    rows = []
    for sector in SECTORS:
        for expectation in suite_of(sector):
            rule = expectation["meta"]["rule"]
            table, values = BREAKS[rule]
            rows.append(row(f"{sector}/{rule}", sector, table, **values))
    found = failures(validator.validate("acme", "all-rules", rows))
    for sector in SECTORS:
        for expectation in suite_of(sector):
            rule = expectation["meta"]["rule"]
            broken = found[f"{sector}/{rule}"]
            assert broken[rule].severity == expectation["meta"]["severity"], (sector, rule)
            assert broken[rule].limit == expectation["meta"]["limit"]
            others = {(rule, other) for other in broken} - {(rule, rule)}
            assert others <= IMPLIED, (sector, rule, broken)


def test_clean_streams_pass_every_rule(validator: Validator) -> None:
    tables = {table for table, _ in BREAKS.values()}
    rows = [row(sector, sector, table) for sector in SECTORS for table in tables]
    results = validator.validate("acme", "clean", rows)
    assert failures(results) == {}
    for sector in SECTORS:
        asked = {e["meta"]["rule"] for e in suite_of(sector)}
        assert {result.rule for recording, result in results if recording == sector} == asked


def test_a_result_says_rule_value_limit_and_where(validator: Validator) -> None:
    table, values = BREAKS["norm_error"]
    results = validator.validate("acme", "norm", [row("r1", "food", table, **values)])
    assert (
        "r1",
        CheckResult(
            rule="norm_error",
            severity=Severity.ERROR,
            passed=False,
            stream="/imu",
            observed="off by 194.7",
            limit="quaternion norm within 0.05 of 1",
            t_ns=AT_NS,
        ),
    ) in results
    assert ("r1", "gap", True) in [(r, result.rule, result.passed) for r, result in results]


def test_event_topics_and_short_streams_are_not_asked_for_a_rate(validator: Validator) -> None:
    burst = {"gaps": 9, "gap_max_ns": 10**12, "gap_median_ns": 1, "clock": "log", "rate_hz": 0.1}
    rows = [
        row("events", "medical", "messages", **burst, duplicates=500, out_of_order=7),
        row("short", "medical", "imu", **burst, messages=9, stuck_share=1.0),
    ]
    assert failures(validator.validate("acme", "events", rows)) == {}


def test_what_was_not_measured_gives_no_result(validator: Validator) -> None:
    rows = [row("r1", "food", "imu", norm_error_max=None, lag_median_ns=None)]
    asked = {result.rule for _, result in validator.validate("acme", "none", rows)}
    assert "stuck" in asked
    assert not {"norm_error", "norm_drift", "clock_offset"} & asked


def test_nothing_to_ask_needs_no_process() -> None:
    asked = Validator(None, lambda: 0)
    assert asked.validate("acme", "empty", []) == []
    assert asked.pid is None


def test_a_batch_of_streams_without_any_rule_is_answered(validator: Validator) -> None:
    bare = {key: None for key in CLEAN if key not in {"clock", "messages", "rows"}}
    assert validator.validate("acme", "bare", [row("r1", "food", "messages", **bare)]) == []


def test_the_process_gets_no_secret_and_sends_no_analytics(validator: Validator) -> None:
    environment = Path(f"/proc/{validator.pid}/environ").read_bytes()
    assert b"GX_ANALYTICS_ENABLED=false" in environment
    assert b"canary" not in environment


def test_data_docs_need_nothing_else_and_show_no_value(validator: Validator, site: Path) -> None:
    hostile = "/<script>alert(1)</script>"
    rows = [
        row("r" * 64, "medical", "imu", stream=hostile, norm_error_max=0.123456789),
        row("q" * 64, "food", "imu", saturated_share=0.987654321),
    ]
    validator.validate("rival & sons", "b<1>", rows)
    pages = list((site / "rival & sons").rglob("*.html"))
    assert sorted(page.name for page in pages) == ["food.html", "index.html", "medical.html"]
    for page in pages:
        html = page.read_text(encoding="utf-8")
        for word in ("http://", "https://", "//cdn", "<script", "0.12345", "0.98765", "98.77"):
            assert word not in html, (page.name, word)
        assert 'href="' in html
    medical = next(page for page in pages if page.name == "medical.html").read_text()
    assert "/&lt;script&gt;" in medical
    assert "norm_error" in medical
    index = (site / "rival & sons" / "index.html").read_text()
    assert "rival &amp; sons" in index
    assert "medical.html" in index
    assert "acme" not in index


def test_only_the_newest_runs_stay(validator: Validator, site: Path) -> None:
    for number in range(5):
        validator.validate("many", f"batch-{number}", [row("r1", "food", "imu")])
    kept = sorted(folder.name.split("-", 1)[1] for folder in (site / "many" / "runs").iterdir())
    assert kept == ["batch-2", "batch-3", "batch-4"]
    index = (site / "many" / "index.html").read_text()
    assert [f"batch-{number}" in index for number in range(5)] == [False, False, True, True, True]


def test_unwritable_data_docs_fail_the_batch_and_spare_the_process(
    validator: Validator, site: Path
) -> None:
    (site / "blocked").write_text("a file where a folder should be")
    before = validator.pid
    with pytest.raises(ValidatorUnavailableError, match="Data Docs can't be written"):
        validator.validate("blocked", "b", [row("r1", "food", "imu")])
    assert validator.validate("acme", "after", [row("r1", "food", "imu")])
    assert validator.pid == before


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_look_right_offline(validator: Validator, site: Path, width: int) -> None:
    from playwright.sync_api import sync_playwright

    table, values = BREAKS["norm_error"]
    validator.validate("seen", f"b{width}", [row("r" * 64, "food", table, **values)])
    page_file = next((site / "seen").rglob(f"*-b{width}/food.html"))
    asked: list[str] = []
    said: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        for file in (page_file, site / "seen" / "index.html"):
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            sheet = page.locator(".sheet").first
            assert sheet.evaluate("e => getComputedStyle(e).borderTopWidth") == "1px"
        page.get_by_role("link", name=f"b{width}", exact=True).click()
        assert page.locator("h1").inner_text() == "1 error"
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []


def test_killed_while_it_works_and_started_again(tmp_path: Path) -> None:
    rows = [row("r1", "food", "imu")]
    with Validator(lambda org: tmp_path / org, time.time_ns) as asked:
        assert asked.validate("acme", "first", rows)
        first = asked.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        killer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
        killer.start()
        with pytest.raises(ValidatorUnavailableError, match="signal 9"):
            asked.validate("acme", "second", rows)
        killer.join()
        assert asked.pid is None
        assert asked.validate("acme", "third", rows)
        assert asked.pid != first
    names = [folder.name.split("-", 1)[1] for folder in (tmp_path / "acme" / "runs").iterdir()]
    assert sorted(names) == ["first", "third"]


def test_killed_while_it_imports() -> None:
    with Validator(None, time.time_ns) as asked:
        first = asked.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        # Found dead before it was asked: a new one is started, and answers.
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        asked.start()
        assert asked.pid != first


def test_silence_ends_the_process() -> None:
    with Validator(None, time.time_ns, timeout_seconds=0.05) as asked:
        with pytest.raises(ValidatorUnavailableError, match=r"silent for 0\.05 s"):
            asked.validate("acme", "b", [row("r1", "food", "imu")])
        assert asked.pid is None


def test_missing_package_names_the_install_line() -> None:
    plain = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    asked = Validator(None, time.time_ns, python=str(plain), search_path=[str(ROOT)])
    with asked, pytest.raises(ValidatorUnavailableError, match="great_expectations") as caught:
        asked.validate("acme", "b", [row("r1", "food", "imu")])
    assert "pip install 'tanada-platform[checks]'" in str(caught.value)
    assert asked.pid is None


def test_no_interpreter(tmp_path: Path) -> None:
    with pytest.raises(ValidatorUnavailableError, match="can't be started"):
        Validator(None, time.time_ns, python=str(tmp_path / "nothing")).start()


def test_start_does_not_wait_for_the_import(tmp_path: Path) -> None:
    """Its interpreter is one that never says that it is ready."""
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nread -r line\n", "utf-8")
    silent.chmod(0o700)
    with Validator(None, time.time_ns, python=str(silent)) as asked:
        assert asked.pid is not None
