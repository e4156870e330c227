"""Rules' results and verdicts. A verdict names rule, observed value, limit and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """What a broken rule does to its recording."""

    ERROR = "error"
    WARNING = "warning"


class Verdict(StrEnum):
    """What became of a recording."""

    ACCEPTED = "accepted"
    ACCEPTED_WITH_WARNINGS = "accepted_with_warnings"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a recording was not simply accepted.

    Attributes:
        rule: Rule name, e.g. `norm_error` or a `QuarantineError.rule`.
        observed: Observed value, as text.
        limit: What the rule allows, as text.
        stream: Stream it was seen on; "" for the recording as a whole.
        t_ns: Where on the stream's time line, or None.
        severity: error quarantines, warning does not.
        detail: One sentence for people.
    """

    rule: str
    observed: str = ""
    limit: str = ""
    stream: str = ""
    t_ns: int | None = None
    severity: Severity = Severity.ERROR
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values, in the field order of the class."""
        return asdict(self) | {"severity": self.severity.value}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Reason:
        """Inverse of `as_json`."""
        return cls(**(value | {"severity": Severity(value.get("severity", "error"))}))


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One rule applied to one stream (or, with stream "", to the recording); a `quality` row."""

    rule: str
    severity: Severity
    passed: bool
    stream: str = ""
    observed: str = ""
    limit: str = ""
    t_ns: int | None = None

    @property
    def reason(self) -> Reason:
        """The reason it would give if it failed."""
        return Reason(self.rule, self.observed, self.limit, self.stream, self.t_ns, self.severity)


def verdict_of(results: list[CheckResult], reasons: list[Reason]) -> Verdict:
    """Error anywhere: quarantined; warning anywhere: accepted with warnings; else accepted."""
    broken = {r.severity for r in results if not r.passed} | {r.severity for r in reasons}
    if Severity.ERROR in broken:
        return Verdict.QUARANTINED
    return Verdict.ACCEPTED_WITH_WARNINGS if broken else Verdict.ACCEPTED
