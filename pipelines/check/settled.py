"""Whether the lake shows only what its recorded results allow: every verdict is judged again.

The rule is the one of ingest, `schemas.quality.verdict_of`, over the `quality` rows of the check
run that a visible episode names. A release must not be built on a verdict that says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from schemas.quality import CheckResult, Severity, verdict_of

if TYPE_CHECKING:
    from pipelines.cli.platform import Platform


@dataclass(frozen=True, slots=True)
class Unsettled:
    """One recording whose verdict does not follow from its results.

    Attributes:
        recording_id: Id.
        shown: Verdict that `episodes` shows.
        judged: What its results give.
        rules: Broken rules.
    """

    recording_id: str
    shown: str
    judged: str
    rules: tuple[str, ...]


@dataclass(slots=True)
class Settled:
    """Result of `unsettled`.

    Attributes:
        recordings: Visible recordings looked at.
        warnings: Rule -> recordings that broke it and are visible with a warning.
        findings: What does not follow.
    """

    recordings: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    findings: list[Unsettled] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "recordings": self.recordings,
            "warnings": dict(sorted(self.warnings.items())),
            "findings": [
                {
                    "recording_id": one.recording_id,
                    "shown": one.shown,
                    "judged": one.judged,
                    "rules": list(one.rules),
                }
                for one in self.findings
            ],
        }


def unsettled(platform: Platform) -> Settled:
    """Judge every visible recording again from its recorded results.

    Raises:
        DamagedError: a table cannot be read.
    """
    lake = platform.lake
    pinned = lake.pin()
    episodes = lake.read("episodes", pinned, ["recording_id", "check_run", "verdict"])
    shown = {(r["recording_id"], r["check_run"]): r["verdict"] for r in episodes.to_pylist()}
    rows = lake.read("quality", pinned, ["recording_id", "check_run", "rule", "severity", "passed"])
    broken: dict[tuple[str, str], list[CheckResult]] = {key: [] for key in shown}
    for row in rows.filter(pc.invert(rows["passed"])).to_pylist():
        key = (row["recording_id"], row["check_run"])
        if key in broken:
            broken[key].append(CheckResult(row["rule"], Severity(row["severity"]), passed=False))
    done = Settled(recordings=len(shown))
    for key, verdict in sorted(shown.items()):
        rules = sorted({result.rule for result in broken[key]})
        judged = verdict_of(broken[key], []).value
        if judged != verdict:
            done.findings.append(Unsettled(key[0], verdict, judged, tuple(rules)))
        for rule in rules:
            done.warnings[rule] = done.warnings.get(rule, 0) + 1
    return done
