"""What the validator looks at: one row per stream, and the texts of what was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipelines.check.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.decode.report import DecodeReport

TEXTS: Final = ("recording_id", "sector", "stream", "table", "message_type", "clock")
COUNTS: Final = ("messages", "declared_messages", "rows")
DERIVED: Final = ("outage_ns", "duplicate_share", "clock_offset_ns", "missing_frames")
NUMBERS: Final = (*COUNTS, *METRICS, *DERIVED)
OUTAGE_PERIODS: Final = 10
"""The longest gap counts as an outage where it is over this many median periods."""

_SECOND_NS: Final = 1e9


def validator_rows(report: DecodeReport, sector: str) -> list[dict[str, Any]]:
    """One row per stream that has messages, as `Validator.validate` wants them.

    Args:
        report: A recording that was read to its end.
        sector: Sector of its robot.

    Returns:
        Text columns, counts, metrics and the places where they were found. `table` is the first
        of the stream's tables (odometry: poses), and `rows` counts its rows.
    """
    return [
        {
            "recording_id": report.recording_id,
            "sector": sector,
            "stream": stream.name,
            "table": stream.tables[0] if stream.tables else "",
            "message_type": stream.message_type or "",
            "clock": stream.clock,
            "messages": stream.messages,
            "declared_messages": stream.declared,
            "rows": stream.rows.get(stream.tables[0], 0) if stream.tables else 0,
            **stream.metrics,
        }
        for stream in report.streams
        if stream.messages
    ]


def derived(row: Mapping[str, Any]) -> dict[str, int | float | None]:
    """Columns that rules need beside the metrics, by name; None where they can't be said."""
    longest, median = row.get("gap_max_ns"), row.get("gap_median_ns")
    outage = None
    if longest is not None and median is not None:
        outage = longest if longest > OUTAGE_PERIODS * median else 0
    messages, repeated = row.get("messages"), row.get("duplicates")
    lag = row.get("lag_median_ns")
    pictures = row.get("table") == "video_frames"
    return {
        "outage_ns": outage,
        "duplicate_share": repeated / messages if messages and repeated is not None else None,
        "clock_offset_ns": None if lag is None else abs(lag),
        "missing_frames": (messages or 0) - row.get("rows", 0) if pictures else None,
    }


def observed_text(template: str, row: Mapping[str, Any]) -> str:
    """Fill a rule's `observed` text with a row's values, each in a unit people read."""
    return template.format_map({name: _text(name, value) for name, value in row.items()})


def _text(name: str, value: object) -> str:
    if value is None:
        return "none"
    if not isinstance(value, int | float):
        return str(value)
    if name.endswith("_ns"):
        return f"{value / _SECOND_NS:.6g} s"
    if name.endswith("_share"):
        return f"{value:.2%}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
