from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.source import Lost
from pipelines.check.frame import NUMBERS, TEXTS, derived, observed_text, validator_rows
from pipelines.check.verdict import judge
from pipelines.decode.report import DecodeReport, StreamReport
from schemas.quality import CheckResult, Reason, Severity, Verdict

CHATTER = StreamReport("/chatter", ("messages",), "std_msgs/msg/String", "cdr", messages=20)
REPORT = DecodeReport("r" * 64, "acme", messages=20, streams=(CHATTER,))


def held(*, severity: Severity = Severity.ERROR, passed: bool = True) -> CheckResult:
    return CheckResult("gap", severity, passed, "/imu", "gaps 2", "none", 17)


def with_counts(read: int, declared: int | None) -> DecodeReport:
    return replace(REPORT, streams=(replace(CHATTER, messages=read, declared=declared),))


def test_nothing_broken_is_accepted_and_passed_results_stay() -> None:
    verdict, reasons, results = judge(REPORT, [held()])
    assert (verdict, reasons, results) == (Verdict.ACCEPTED, [], [held()])


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        (Severity.WARNING, Verdict.ACCEPTED_WITH_WARNINGS),
        (Severity.ERROR, Verdict.QUARANTINED),
    ],
)
def test_a_broken_rule_gives_its_reason(severity: Severity, expected: Verdict) -> None:
    verdict, reasons, _ = judge(REPORT, [held(), held(severity=severity, passed=False)])
    assert verdict is expected
    assert reasons == [Reason("gap", "gaps 2", "none", "/imu", 17, severity)]


def test_what_stopped_the_decoder_quarantines() -> None:
    corrupt = Reason("corrupt", observed="CRC of chunk 3")
    verdict, reasons, _ = judge(replace(REPORT, reasons=(corrupt,)), [])
    assert (verdict, reasons) == (Verdict.QUARANTINED, [corrupt])


def test_a_cut_is_a_warning_that_names_the_range() -> None:
    lost = (Lost("log_0.mcap", 4096, 5000, "the file ends inside a chunk"),)
    verdict, reasons, results = judge(replace(REPORT, lost=lost), [])
    assert verdict is Verdict.ACCEPTED_WITH_WARNINGS
    assert [reason.rule for reason in reasons] == ["cut"]
    assert "4096 to 5000 of log_0.mcap" in reasons[0].observed
    assert results[0].rule == "cut"


@pytest.mark.parametrize(("read", "declared"), [(19, 20), (21, 20), (20, 0)])
def test_another_count_than_declared_quarantines(read: int, declared: int) -> None:
    verdict, reasons, _ = judge(with_counts(read, declared), [])
    assert verdict is Verdict.QUARANTINED
    assert reasons[0].rule == "count_mismatch"
    assert (reasons[0].observed, reasons[0].limit) == (f"{read} messages", f"{declared} declared")


@pytest.mark.parametrize("declared", [None, 20])
def test_the_declared_count_or_none_is_accepted(declared: int | None) -> None:
    assert judge(with_counts(20, declared), [])[0] is Verdict.ACCEPTED


def test_a_cut_explains_fewer_messages_but_never_more() -> None:
    lost = (Lost("log_0.mcap", 4096, 5000, "the file ends inside a chunk"),)
    fewer = replace(with_counts(19, 20), lost=lost)
    assert judge(fewer, [])[0] is Verdict.ACCEPTED_WITH_WARNINGS
    more = replace(with_counts(21, 20), lost=lost)
    assert judge(more, [])[0] is Verdict.QUARANTINED


def test_missing_checksums_are_common_and_no_reason() -> None:
    assert judge(replace(REPORT, unverified=("chunk 1",)), [])[0] is Verdict.ACCEPTED


def test_a_signal_kept_raw_is_said() -> None:
    noted = replace(REPORT, streams=(replace(CHATTER, note="schema differs from the table"),))
    verdict, reasons, _ = judge(noted, [])
    assert (verdict, reasons[0].rule) == (Verdict.ACCEPTED_WITH_WARNINGS, "kept_raw")


def test_errors_come_first() -> None:
    broken = [held(severity=Severity.WARNING, passed=False), held(passed=False)]
    _, reasons, _ = judge(REPORT, broken)
    assert [reason.severity for reason in reasons] == [Severity.ERROR, Severity.WARNING]


def test_rows_for_the_validator() -> None:
    odometry = StreamReport(
        "/odom",
        ("poses", "twists"),
        "nav_msgs/msg/Odometry",
        "cdr",
        clock="header",
        messages=3,
        declared=3,
        rows={"poses": 3, "twists": 3},
        metrics={"gaps": 1, "gap_max_at_ns": 17},
    )
    silent = replace(CHATTER, messages=0)
    rows = validator_rows(replace(REPORT, streams=(odometry, silent)), "food")
    assert [row["stream"] for row in rows] == ["/odom"]
    assert rows[0]["table"] == "poses"
    assert rows[0]["rows"] == 3
    assert rows[0]["sector"] == "food"
    assert rows[0]["gap_max_at_ns"] == 17
    assert {*TEXTS, "messages", "declared_messages"} <= set(rows[0])


def test_derived_columns() -> None:
    row = {
        "table": "video_frames",
        "messages": 100,
        "rows": 98,
        "gap_max_ns": 2_000,
        "gap_median_ns": 100,
        "duplicates": 5,
        "lag_median_ns": -7,
    }
    assert derived(row) == {
        "outage_ns": 2_000,
        "duplicate_share": 0.05,
        "clock_offset_ns": 7,
        "missing_frames": 2,
    }
    assert derived(row | {"gap_median_ns": 200})["outage_ns"] == 0
    assert derived({"table": "imu"}) == dict.fromkeys(set(NUMBERS) & set(derived({})))


def test_observed_values_are_written_in_units_people_read() -> None:
    row = {"gap_max_ns": 683_000_000, "stuck_share": 0.25, "gaps": 3, "norm": 194.7, "rate": None}
    text = observed_text("{gaps} {gap_max_ns} {stuck_share} {norm} {rate}", row)
    assert text == "3 0.683 s 25.00% 194.7 none"
