"""Hand in recordings: hash, announce, send what is missing, say that it is complete, wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from tanada.errors import CatalogUnavailableError, ConflictError, WrongUseError
from tanada.receipt import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tanada.grouping import Group
    from tanada.wire import Wire

JUDGED: Final = frozenset(
    {"accepted", "accepted_with_warnings", "quarantined", "failed", "withdrawn"}
)
"""States in which nothing more happens to a recording by itself."""
_BLOCK: Final = 1 << 20
_POLL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Sending:
    """Under which terms recordings are handed in.

    Attributes:
        robot: Robot id.
        agreement: Agreement id.
        sector: Sector; None: the robot's.
        start_time_ns: Start of a recording that has no clock of its own, ns UTC.
    """

    robot: str
    agreement: str
    sector: str | None = None
    start_time_ns: int | None = None


@dataclass(slots=True)
class Outcome:
    """What became of one recording."""

    path: str
    recording_id: str = ""
    status: str = "failed"
    reasons: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    detail: str = ""


def send(
    wire: Wire,
    group: Group,
    sending: Sending,
    progress: Callable[[str, int, int], None] = lambda _step, _more, _total: None,
) -> Outcome:
    """Hand in one recording; what the catalog has of it already is not sent again.

    Args:
        wire: The catalog.
        group: The files.
        sending: Robot, agreement, sector.
        progress: Told `(step and file, bytes more, bytes in all)`.

    Returns:
        Its id, and `duplicate`, `conflict` or the state it is in.

    Raises:
        RefusedError: the key may not hand in recordings.
        WrongUseError: unknown robot or agreement, or a file that changed meanwhile.
        CatalogUnavailableError: no answer after all retries; the same call goes on from there.
    """
    files = {group.name_of(path): path for path in (*group.files, *group.sidecars)}
    total = sum(path.stat().st_size for path in files.values())
    manifest = []
    for name, path in files.items():

        def advance(more: int, step: str = f"hashing {name}") -> None:
            progress(step, more, total)

        size = path.stat().st_size
        line = {"name": name, "size": size, "sha256": sha256_of(path, advance)}
        _unchanged(path, size)
        manifest.append(line | {"sidecar": path in group.sidecars})
    outcome = Outcome(str(group.path))
    try:
        received = _announce(wire, group, sending, manifest)
    except ConflictError as error:
        outcome.status, outcome.detail = "conflict", error.what
        return outcome
    outcome.recording_id = str(received["recording_id"])
    missing = [name for name in received["missing"] if name in files]
    for name in missing:
        _put(wire, outcome.recording_id, name, files[name], progress)
    if received["duplicate"] and not missing:
        outcome.status, outcome.detail = "duplicate", str(received["state"])
        return outcome
    complete = f"/v1/recordings/{outcome.recording_id}/complete"
    outcome.status = str(wire.json("POST", complete)["state"])
    return outcome


def _announce(
    wire: Wire, group: Group, sending: Sending, manifest: list[dict[str, Any]]
) -> dict[str, Any]:
    form: dict[str, Any] = {
        "name": group.path.name,
        "robot": sending.robot,
        "agreement": sending.agreement,
        "files": manifest,
    }
    for name in ("sector", "start_time_ns"):
        if (value := getattr(sending, name)) is not None:
            form[name] = value
    return wire.json("POST", "/v1/recordings", json=form)


def _put(
    wire: Wire,
    recording: str,
    name: str,
    path: Path,
    progress: Callable[[str, int, int], None],
) -> None:
    size = path.stat().st_size
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        progress(f"sending {name}", -sent, size)
        sent = 0
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                _unchanged(path, size)
                yield block
                sent += len(block)
                progress(f"sending {name}", len(block), size)

    url = f"/v1/recordings/{recording}/files/{quote(name)}"
    headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    try:
        wire.ask("PUT", url, body=body, headers=headers)
    except WrongUseError:
        _unchanged(path, size)
        raise


def _unchanged(path: Path, size: int) -> None:
    if path.stat().st_size != size:
        raise WrongUseError(
            f"{path} changed while it was handed in", next_step="upload it once it is complete"
        )


def wait(
    wire: Wire,
    outcome: Outcome,
    longest_s: float,
    clock: Callable[[], int],
) -> Outcome:
    """Ask until the recording is judged.

    Args:
        wire: The catalog.
        outcome: As `send` left it; updated.
        longest_s: Give up after so many seconds.
        clock: Nanoseconds.

    Raises:
        CatalogUnavailableError: it was not judged in time.
    """
    end = clock() + int(longest_s * 1e9)
    while True:
        document = wire.json("GET", f"/v1/recordings/{outcome.recording_id}")
        state = str(document["state"])
        if state in JUDGED:
            if outcome.status != "duplicate":
                outcome.status = state
            outcome.reasons = list(document.get("reasons", ()))
            outcome.tables = dict(document.get("tables", {}))
            return outcome
        if clock() >= end:
            raise CatalogUnavailableError(
                f"{outcome.path} is still {state} after {longest_s:.0f} s",
                next_step=f"tanada status {outcome.recording_id}; is a worker running?",
            )
        wire.sleep(_POLL_S)
