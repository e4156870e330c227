"""What a batch is about to commit: durable in the catalog before the first commit.

Recovery replays a plan as it stands and never judges again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from schemas.quality import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

RECORDING = "recording"
CHECK_RUN = "check_run"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One data file at its final path, not referenced by its table yet.

    Attributes:
        table: Table name.
        path: Path below the table's folder.
        organisation / day: Partition values.
        rows / bytes / sha256: Of the file.
        recordings: Recordings it has rows of, sorted.
        t_min / t_max: Smallest and largest t_ns; None for tables without it.
        keyed_by: `recording` (one marker each), or `check_run` (quality of refused recordings,
            which must not be marked: they may be tried again).
    """

    table: str
    path: str
    organisation: str
    day: str
    rows: int
    bytes: int
    sha256: str
    recordings: tuple[str, ...]
    t_min: int | None = None
    t_max: int | None = None
    keyed_by: str = RECORDING


@dataclass(frozen=True, slots=True)
class PlannedRecording:
    """One recording's verdict and what the catalog will say about it.

    Attributes:
        recording_id: Id.
        verdict: The verdict.
        reasons: Why it is not simply accepted.
        tables: Rows per table; empty where it is quarantined.
        source / decoder_version: Who decoded it; "" where nobody could.
        episodes: Episode ids.
        start_ns / end_ns / messages: As decoded.
    """

    recording_id: str
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    tables: Mapping[str, int] | None = None
    source: str = ""
    decoder_version: str = ""
    episodes: tuple[str, ...] = ()
    start_ns: int | None = None
    end_ns: int | None = None
    messages: int | None = None

    @property
    def accepted(self) -> bool:
        """Whether its rows are committed."""
        return self.verdict != Verdict.QUARANTINED


@dataclass(frozen=True, slots=True)
class Plan:
    """One batch of one organisation.

    Attributes:
        id: Also the name of the batch's staging folder, the prefix of its files' names, and the
            id of its check run.
        organisation: Organisation id.
        created_ns: When it was planned.
        recordings: All of the batch, whatever their verdict.
        files: All data files, `episodes` last.
        blobs: Paths below the root of picture files, already in place.
    """

    id: str
    organisation: str
    created_ns: int
    recordings: tuple[PlannedRecording, ...]
    files: tuple[PlannedFile, ...]
    blobs: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is its inverse."""
        recordings = [
            asdict(r) | {"verdict": r.verdict.value, "reasons": [x.as_json() for x in r.reasons]}
            for r in self.recordings
        ]
        return asdict(self) | {"recordings": recordings}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Inverse of `as_json`, also after a trip through JSON text."""
        recordings = tuple(
            PlannedRecording(
                **{
                    **r,
                    "verdict": Verdict(r["verdict"]),
                    "reasons": tuple(Reason.from_json(x) for x in r["reasons"]),
                    "episodes": tuple(r["episodes"]),
                }
            )
            for r in value["recordings"]
        )
        files = tuple(
            PlannedFile(**{**f, "recordings": tuple(f["recordings"])}) for f in value["files"]
        )
        nested = {"recordings": recordings, "files": files, "blobs": tuple(value["blobs"])}
        return cls(**{**value, **nested})

    def without(self, recordings: Collection[str]) -> Plan:
        """The same without the catalog rows of some recordings; files are left as they are."""
        kept = tuple(r for r in self.recordings if r.recording_id not in recordings)
        return replace(self, recordings=kept)

    def markers(self, file: PlannedFile) -> dict[str, str]:
        """Application-transaction id -> what it marks, for one file."""
        if file.keyed_by == CHECK_RUN:
            return {f"chk1/{file.table}/{self.id}": self.id}
        return {marker(file.table, recording): recording for recording in file.recordings}


def marker(table: str, recording: str) -> str:
    """Application-transaction id that says: this table holds this recording's rows.

    Not the decoder's version: with it, an upgrade would double rows.
    """
    return f"ing1/{table}/{recording}"
