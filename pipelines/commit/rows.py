"""Rows of `episodes`, `streams` and `quality`: what a batch says about its recordings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.check.metrics import METRICS
from pipelines.decode.stage import utc_day
from schemas.quality import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.stores.store import Place
    from pipelines.decode.report import DecodeReport, StreamReport
    from schemas.quality import CheckResult, Reason


@dataclass(frozen=True, slots=True)
class Judged:
    """One recording of a batch after its verdict.

    Attributes:
        row: Its row of `recordings` in the catalog, with `site` of its robot.
        files: Data files it has.
        report: What decoding produced.
        verdict / reasons / results: What the checks said.
        folder: Where its staged files lie.
    """

    row: Mapping[str, Any]
    files: int
    report: DecodeReport
    verdict: Verdict
    reasons: tuple[Reason, ...]
    results: tuple[CheckResult, ...]
    folder: Place

    @property
    def recording_id(self) -> str:
        """Recording id."""
        return self.report.recording_id

    @property
    def accepted(self) -> bool:
        """Whether its rows go into the lake."""
        return self.verdict != Verdict.QUARANTINED

    @property
    def day(self) -> str:
        """Partition day; a recording that could not be decoded has its day of receipt."""
        return self.report.day or utc_day(self.row["received_ns"])

    @property
    def tables(self) -> dict[str, int]:
        """Rows per table that its acceptance adds, without its `quality` rows."""
        return self.report.tables | {"streams": len(self.report.streams), "episodes": 1}

    def episode_row(self, check_run: str) -> dict[str, Any]:
        """Its row of `episodes`."""
        report, row = self.report, self.row
        return {
            "episode": report.episode,
            "recording_id": report.recording_id,
            "robot": row["robot_id"],
            "sector": row["sector"],
            "site": row.get("site"),
            "agreement": row["agreement_id"],
            "verdict": self.verdict.value,
            "check_run": check_run,
            "source": report.source,
            "decoder_version": report.decoder_version,
            "start_ns": report.start_ns,
            "end_ns": report.end_ns,
            "log_start_ns": report.log_start_ns,
            "log_end_ns": report.log_end_ns,
            "received_ns": row["received_ns"],
            "messages": report.messages,
            "files": self.files,
            "bytes": row["bytes"],
        }

    def stream_rows(self) -> list[dict[str, Any]]:
        """Its rows of `streams`."""
        ids = {"episode": self.report.episode, "recording_id": self.report.recording_id}
        return [ids | _stream_row(stream) for stream in self.report.streams]

    def quality_rows(self, check_run: str, checked_ns: int) -> list[dict[str, Any]]:
        """Its rows of `quality`: every rule's result, and the reasons that no rule gave."""
        rows = [
            {
                "stream": result.stream or None,
                "rule": result.rule,
                "severity": result.severity.value,
                "passed": result.passed,
                "observed": result.observed,
                "limit": result.limit,
                "t_ns": result.t_ns,
            }
            for result in self.results
        ]
        judged = {result.reason for result in self.results if not result.passed}
        known = {(reason.rule, reason.stream) for reason in judged}
        rows += [
            {
                "stream": reason.stream or None,
                "rule": reason.rule,
                "severity": reason.severity.value,
                "passed": False,
                "observed": reason.observed,
                "limit": reason.limit,
                "t_ns": reason.t_ns,
            }
            for reason in self.reasons
            if (reason.rule, reason.stream) not in known
        ]
        ids = {"check_run": check_run, "recording_id": self.recording_id, "checked_ns": checked_ns}
        return [ids | row for row in rows]


def _stream_row(stream: StreamReport) -> dict[str, Any]:
    row = {
        "stream": stream.name,
        "tables": list(stream.tables),
        "message_type": stream.message_type,
        "encoding": stream.encoding,
        "schema_id": stream.schema_id,
        "clock": stream.clock,
        "frame_id": stream.frame_id,
        "source_units": json.dumps(dict(stream.source_units), sort_keys=True),
        "metadata": json.dumps(dict(stream.metadata), sort_keys=True),
        "messages": stream.messages,
        "declared_messages": stream.declared,
        "rows": sum(stream.rows.values()),
        "start_ns": stream.start_ns,
        "end_ns": stream.end_ns,
    }
    return row | {name: stream.metrics.get(name) for name in METRICS}
