"""What the limited child is asked to do, and what it does.

`DecodeTask` crosses to the child as JSON; the child leaves one file in its folder, `report.json`:
`{"report": …}` or, where the platform itself is at fault, `{"failure": …}`.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.source import Limits, SourceFile
from pipelines.decode.report import DecodeReport
from schemas.errors import (
    LimitExceededError,
    QuarantineError,
    StoreUnavailableError,
    TanadaError,
    WrongFormatError,
)
from schemas.quality import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from connectors.source import Source

REPORT: Final = "report.json"
DECODER_ERROR: Final = "decoder_error"


@dataclass(frozen=True, slots=True)
class DecodeTask:
    """One recording to decode.

    Attributes:
        recording_id / organisation: Ids.
        folder: Empty folder of its own, for everything it writes.
        files: Data files and sidecars.
        received_ns: When its bytes were received.
        joint_limits: Joint name -> (lower, upper), in rad or m.
        limits: What the source may hold at once.
        memory_bytes: Address space it may use.
        seconds: CPU seconds, and wall-clock seconds, it may take.
        file_bytes: Largest file it may write.
    """

    recording_id: str
    organisation: str
    folder: Path
    files: tuple[SourceFile, ...]
    received_ns: int
    joint_limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    memory_bytes: int = 1 << 30
    seconds: int = 600
    file_bytes: int = 64 << 30

    def as_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is its inverse."""
        files = [asdict(file) | {"path": str(file.path)} for file in self.files]
        return asdict(self) | {"folder": str(self.folder), "files": files}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DecodeTask:
        """Inverse of `as_json`, also after a trip through JSON text."""
        files = [SourceFile(**(file | {"path": Path(file["path"])})) for file in value["files"]]
        limits = {name: (low, high) for name, (low, high) in value["joint_limits"].items()}
        nested = {
            "folder": Path(value["folder"]),
            "files": tuple(files),
            "joint_limits": limits,
            "limits": Limits(**value["limits"]),
        }
        return cls(**{**value, **nested})


def perform(task: DecodeTask) -> None:
    """Decode, and leave `report.json`; never raises for anything the recording does."""
    try:
        document = {"report": decode(task).as_json()}
    except TanadaError as error:
        document = {"failure": failure_of(error)}
    # Written whole under another name: a report that can be read is a report that was finished.
    path = task.folder / REPORT
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        file.write(json.dumps(document).encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def decode(task: DecodeTask) -> DecodeReport:
    """Decode one recording; whatever is wrong with it becomes a reason in the report.

    Raises:
        TanadaError: not the recording's fault (disk full, package missing).
    """
    # Imported by the fork server before the first child, not by those who only send tasks.
    from pipelines.decode.stage import Subject, stage

    started, cpu_started = time.perf_counter(), time.process_time()
    report = DecodeReport(task.recording_id, task.organisation)
    try:
        source = identify(task.files)
        report = replace(report, source=source.name, decoder_version=source.version)
        subject = Subject(task.recording_id, task.organisation, task.received_ns, task.joint_limits)
        staged = stage(lambda: source.read(task.files, task.limits), task.folder, subject)
        report = replace(staged, source=source.name, decoder_version=source.version)
    except QuarantineError as error:
        report = replace(report, reasons=(reason_of(error),))
    except MemoryError:
        limit = LimitExceededError(
            "decoding needs more memory than it may use",
            subject=task.recording_id,
            expected=f"at most {task.memory_bytes >> 20} MiB",
        )
        report = replace(report, reasons=(reason_of(limit),))
    except OSError as error:
        report = replace(report, reasons=(_reason_of_disk(error, task),))
    except TanadaError:
        raise
    except Exception as error:  # noqa: BLE001
        report = replace(report, reasons=(_reason_of_defect(error),))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return replace(
        report,
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
        peak_bytes=usage.ru_maxrss * 1024,
    )


def identify(files: Sequence[SourceFile]) -> Source:
    """The one source whose format all data files of a recording have, by content.

    Raises:
        EmptyRecordingError: a data file of 0 bytes.
        WrongFormatError: no source knows one of them, or they are of different formats.
    """
    from connectors import registry

    data = [file for file in files if not file.sidecar]
    found = {source.name: source for source in (registry.recognise(f.path, f.name) for f in data)}
    if len(found) != 1:
        raise WrongFormatError(
            "files of different formats in one recording",
            expected="one format",
            found=", ".join(sorted(found)),
        )
    return next(iter(found.values()))


def reason_of(error: QuarantineError) -> Reason:
    """A quarantining error as a verdict's reason."""
    return Reason(error.rule, error.found, error.expected, detail=error.what)


def _reason_of_disk(error: OSError, task: DecodeTask) -> Reason:
    if error.errno == errno.EFBIG:
        return reason_of(
            LimitExceededError(
                "decoding writes more than it may", expected=f"at most {task.file_bytes} bytes"
            )
        )
    raise StoreUnavailableError(
        "staging cannot be written",
        subject=str(task.folder),
        found=os.strerror(error.errno or 0),
        next_step="free space, then try again",
    ) from error


def _reason_of_defect(error: Exception) -> Reason:
    """A defect of the decoder: where it lies is named, the recording's content is not."""
    last = None
    trace = error.__traceback__
    while trace is not None:
        last, trace = trace, trace.tb_next
    where = f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else ""
    return Reason(
        DECODER_ERROR,
        observed=type(error).__name__,
        detail=f"the decoder failed in {where}: a defect of ours, or a file it does not expect",
    )


def failure_of(error: TanadaError) -> dict[str, Any]:
    """An error that is not the recording's fault, as JSON."""
    return {"kind": type(error).__name__, "what": error.what, "fields": error.fields()}


def failure_from(value: Mapping[str, Any]) -> TanadaError:
    """Inverse of `failure_of`."""
    kinds = {kind.__name__: kind for kind in _subclasses(TanadaError)}
    return kinds[value["kind"]](value["what"], **value["fields"])


def _subclasses(kind: type[TanadaError]) -> Iterator[type[TanadaError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _subclasses(below)
