"""OpenLineage events of ingest batches and release builds, as plain JSON.

Inputs of a batch are its recordings, outputs the tables with the versions that hold them. Inputs
of a release are tables at pinned versions, its output the release. What failed says so with the
error's code. They name organisations: the
receiver is the operator's own, never a partner's.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from pipelines.observe import Observer
from pipelines.post import post_json
from schemas.errors import TanadaError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipelines.observe import FailedWork, FinishedBatch, FinishedRelease

LOG: Final = logging.getLogger("tanada.lineage")
PRODUCER: Final = "urn:tanada:platform"
SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
VERSION_FACET: Final = (
    "https://openlineage.io/spec/facets/1-0-1/"
    "DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
)
STATISTICS_FACET: Final = (
    "https://openlineage.io/spec/facets/1-0-2/"
    "OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet"
)
ERROR_FACET: Final = (
    "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"
)
NAMESPACE: Final = "tanada"
TIMEOUT_SECONDS: Final = 3.0
PATH: Final = "/api/v1/lineage"
_RELEASES: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:tanada:releases")
_COMMITTED: Final = frozenset({"accepted", "accepted_with_warnings"})


@dataclass(slots=True)
class Lineage(Observer):
    """Makes the events and hands them on.

    Attributes:
        send: Takes one event; what it raises is logged, and the rest of the events is left out.
    """

    send: Callable[[Mapping[str, Any]], None] = field()

    @classmethod
    def to(cls, url: str) -> Lineage:
        """Events for a receiver.

        Args:
            url: `http(s)://host[/path]`; without a path, the one that OpenLineage names. Or
                `file:///path`: one event a line.

        Raises:
            WrongUseError: neither.
        """
        parts = urlsplit(url)
        if parts.scheme == "file" and parts.path and not parts.netloc:
            path = Path(unquote(parts.path))
            return cls(lambda event: _append(path, event))
        if parts.scheme in {"http", "https"} and parts.hostname:
            target = url if parts.path.strip("/") else url.rstrip("/") + PATH
            return cls(lambda event: post_json(target, event, TIMEOUT_SECONDS))
        raise WrongUseError(
            "no place for lineage events",
            subject="TANADA_OPENLINEAGE_URL",
            expected="http://…, https://… or file:///…",
            found=parts.scheme[:20],
        )

    def batch_finished(self, batch: FinishedBatch) -> None:
        """Emit start and end of a batch; one in which nothing was decided has none."""
        decided = [o for o in batch.outcomes if o.status in _COMMITTED | {"quarantined"}]
        if not decided:
            return
        run = str(uuid.UUID(batch.plan))
        inputs = [
            _dataset(f"recordings/{batch.organisation}/{outcome.recording_id}")
            for outcome in decided
        ]
        rows: dict[str, int] = {}
        for outcome in decided:
            for table, count in outcome.tables.items():
                rows[table] = rows.get(table, 0) + count
        outputs = [
            _dataset(f"tables/{table}", version, rows.get(table))
            for table, version in sorted(batch.versions.items())
        ]
        self._emit("ingest", run, (batch.started_ns, batch.finished_ns), inputs, outputs)

    def released(self, release: FinishedRelease) -> None:
        """Emit start and end of a release build."""
        run = _release_run(release.dataset, release.started_ns)
        inputs = [
            _dataset(f"tables/{table}", version)
            for table, version in sorted(release.pinned.items())
        ]
        outputs = [_dataset(f"releases/{release.dataset}", f"{release.version} {release.digest}")]
        self._emit("release", run, (release.started_ns, release.finished_ns), inputs, outputs)

    def failed(self, work: FailedWork) -> None:
        """Emit start and failure of a batch or a release build."""
        of_batch = work.job == "ingest"
        run = str(uuid.UUID(work.key)) if of_batch else _release_run(work.key, work.started_ns)
        inputs = [_dataset(f"recordings/{work.organisation}/{one}") for one in work.recordings]
        outputs = [] if of_batch else [_dataset(f"releases/{work.key}")]
        times_ns = (work.started_ns, work.failed_ns)
        self._emit(work.job, run, times_ns, inputs, outputs, error=work.error)

    def _emit(
        self,
        job: str,
        run: str,
        times_ns: tuple[int, int],
        inputs: Sequence[Mapping[str, Any]],
        outputs: Sequence[Mapping[str, Any]],
        *,
        error: str | None = None,
    ) -> None:
        """The one place where events are made."""
        end = "COMPLETE" if error is None else "FAIL"
        for kind, at_ns in zip(("START", end), times_ns, strict=True):
            event: dict[str, Any] = {
                "eventType": kind,
                "eventTime": dt.datetime.fromtimestamp(at_ns / 1e9, dt.UTC).isoformat(),
                "run": {"runId": run},
                "job": {"namespace": NAMESPACE, "name": job},
                "inputs": list(inputs),
                "outputs": list(outputs) if kind == end else [],
                "producer": PRODUCER,
                "schemaURL": SCHEMA,
            }
            if error is not None and kind == end:
                event["run"]["facets"] = {"errorMessage": _error(error)}
            try:
                self.send(event)
            except (OSError, TanadaError) as refusal:
                LOG.warning("a lineage event was not taken: %s", type(refusal).__name__)
                return


def _release_run(dataset: str, started_ns: int) -> str:
    return str(uuid.uuid5(_RELEASES, f"{dataset} {started_ns}"))


def _error(code: str) -> dict[str, Any]:
    return {
        "_producer": PRODUCER,
        "_schemaURL": ERROR_FACET,
        "message": code,
        "programmingLanguage": "python",
    }


def _dataset(
    name: str, version: int | str | None = None, rows: int | None = None
) -> dict[str, Any]:
    found: dict[str, Any] = {"namespace": NAMESPACE, "name": name}
    if version is not None:
        said = {"_producer": PRODUCER, "_schemaURL": VERSION_FACET, "datasetVersion": str(version)}
        found["facets"] = {"version": said}
    if rows is not None:
        counted = {"_producer": PRODUCER, "_schemaURL": STATISTICS_FACET, "rowCount": rows}
        found["outputFacets"] = {"outputStatistics": counted}
    return found


def _append(path: Path, event: Mapping[str, Any]) -> None:
    """One write a line, so that several processes' lines do not mix."""
    line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
