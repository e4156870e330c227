"""The verdict over one recording: what decoding found, and what the rules found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.quality import CheckResult, Reason, Severity, Verdict, verdict_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.decode.report import DecodeReport

CUT = "cut"
COUNT_MISMATCH = "count_mismatch"
KEPT_RAW = "kept_raw"


def judge(
    report: DecodeReport, results: Sequence[CheckResult]
) -> tuple[Verdict, list[Reason], list[CheckResult]]:
    """Judge a recording.

    Decoding contributes: the reasons it stopped with (errors); `cut` (warning) for every byte
    range that was lost; `count_mismatch` where a stream yielded another number of messages than
    the file declares: an error, or a warning where a cut explains that there are fewer; and
    `kept_raw` (warning) where a type with a signal table could not be decoded. Parts without a
    checksum are common and no reason: they stand in the report.

    Args:
        report: What decoding found.
        results: The validator's results for this recording, passed or not.

    Returns:
        The verdict, its reasons (errors first), and every result, those of decoding included.
    """
    decoded = [*_counts(report), *_lost(report), *_kept_raw(report)]
    checked = [*decoded, *results]
    reasons = [*report.reasons, *(result.reason for result in checked if not result.passed)]
    reasons.sort(key=lambda reason: (reason.severity is not Severity.ERROR, reason.stream))
    return verdict_of(checked, reasons), reasons, checked


def _lost(report: DecodeReport) -> list[CheckResult]:
    return [
        CheckResult(
            rule=CUT,
            severity=Severity.WARNING,
            passed=False,
            observed=f"bytes {lost.start} to {lost.end} of {lost.file} lost: {lost.reason}",
            limit="a whole file",
        )
        for lost in report.lost
    ]


def _counts(report: DecodeReport) -> list[CheckResult]:
    results = []
    for stream in report.streams:
        if stream.declared is None or report.reasons:
            continue
        fewer_by_cut = bool(report.lost) and stream.messages < stream.declared
        results.append(
            CheckResult(
                rule=COUNT_MISMATCH,
                severity=Severity.WARNING if fewer_by_cut else Severity.ERROR,
                passed=stream.messages == stream.declared,
                stream=stream.name,
                observed=f"{stream.messages} messages",
                limit=f"{stream.declared} declared",
            )
        )
    return results


def _kept_raw(report: DecodeReport) -> list[CheckResult]:
    return [
        CheckResult(
            rule=KEPT_RAW,
            severity=Severity.WARNING,
            passed=False,
            stream=stream.name,
            observed=stream.note,
            limit="decoded into its signal table",
        )
        for stream in report.streams
        if stream.note
    ]
