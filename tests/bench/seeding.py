"""Lakes that hold many known recordings, made in minutes instead of hours.

Every log is a file of its own, and everything that a real ingest leaves of it is there: its bytes
in `raw/`, its rows and markers in every table, its rows and steps in the catalog. What is made in
bulk goes through the real packer's writer and the real committer, 200 recordings to a batch, as
in a real ingest. What is not real: the values in the rows, which are those of one decoded log.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import insert

from connectors.source import SourceFile
from connectors.stores.bucket import Bucket
from connectors.stores.catalog import models
from connectors.stores.catalog.database import writing
from connectors.stores.manifest import FileEntry
from connectors.stores.root import MARKER
from connectors.stores.store import SCHEME
from infra.demo.robot_log import LogSpec, Topic, write_log
from pipelines.check.frame import validator_rows
from pipelines.check.validator import Validator
from pipelines.check.verdict import judge
from pipelines.commit import Committer, Judged, Plan, PlannedRecording
from pipelines.commit.pack import Packer
from pipelines.decode.child import empty_folder
from pipelines.decode.task import DecodeTask, decode
from schemas.ids import episode_id, recording_id
from schemas.quality import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectors.settings import Settings
    from pipelines.cli.platform import Platform
    from pipelines.commit import PlannedFile
    from pipelines.decode.report import DecodeReport

BATCH: Final = 200
"""Recordings of one batch, and logs in one folder."""
ORGANISATION: Final = "acme"
AGREEMENT: Final = "acme-own-use"
_TOPICS: Final = (
    Topic("/imu", "sensor_msgs/Imu", 10.0, "imu_link"),
    Topic("/wrench", "geometry_msgs/WrenchStamped", 10.0, "tool0"),
)
_SECONDS: Final = 0.5
_WORKER: Final = "seeding"


def write_part(folder: Path, number: int) -> list[Path]:
    """One folder of small distinct logs, 10 messages each; those that are there stay."""
    part = folder / f"part-{number:04}"
    part.mkdir(exist_ok=True, parents=True)
    paths = []
    for seed in range(number * BATCH, (number + 1) * BATCH):
        paths.append(part / f"log-{seed:06}.mcap")
        if not paths[-1].exists():
            write_log(paths[-1], LogSpec(seconds=_SECONDS, seed=seed, topics=_TOPICS))
    return paths


@dataclass(frozen=True, slots=True)
class Template:
    """One log, decoded and checked as all are: what seeded recordings take their rows from."""

    report: DecodeReport
    tables: dict[str, pa.Table]
    judged: Judged


def template(platform: Platform, log: Path) -> Template:
    """Decode and check one log."""
    with tempfile.TemporaryDirectory(prefix="bench-") as text, Validator(None, platform.clock) as v:
        folder = Path(text)
        report = _decoded(platform, log, folder)
        tables = {f.table: pq.read_table(folder / f.path, partitioning=None) for f in report.files}
        results = [result for _, result in v.validate("", "", validator_rows(report, "factory"))]
    verdict, reasons, checked = judge(report, results)
    if verdict is not Verdict.ACCEPTED:
        raise SystemExit(f"the template is {verdict.value}: {reasons}")
    row = {"robot_id": "default", "sector": "factory", "site": None, "agreement_id": AGREEMENT}
    judged = Judged(row, 1, report, verdict, tuple(reasons), tuple(checked), Path())
    return Template(report, tables, judged)


def warm_rows(platform: Platform, part: Path) -> list[dict[str, Any]]:
    """What a validator is asked about one log of a part."""
    with tempfile.TemporaryDirectory(prefix="bench-") as text:
        return validator_rows(_decoded(platform, min(part.iterdir()), Path(text)), "factory")


def _decoded(platform: Platform, log: Path, folder: Path) -> DecodeReport:
    content = log.read_bytes()
    file = SourceFile(log, log.name, len(content), hashlib.sha256(content).hexdigest())
    key = recording_id(ORGANISATION, [(file.size, file.sha256)])
    return decode(DecodeTask(key, ORGANISATION, folder, (file,), platform.clock()))


class _Bulk(Packer):
    """Places tables that hold all rows of a batch already."""

    def place_tables(self, tables: dict[str, pa.Table], day: str, keys: tuple[str, ...]) -> Any:
        for table, rows in tables.items():
            path, staged = self._write(table, [rows])
            yield self._move(path, staged, day, keys)


def seed(platform: Platform, like: Template, logs: Sequence[Path]) -> None:
    """Make one batch of logs known, as if they had been ingested."""
    root, batch, now = platform.root, secrets.token_hex(16), platform.clock()
    made = [_judged(like, log, now) for log in logs]
    empty_folder(root.staging / batch)
    packer = _Bulk(root, batch, ORGANISATION, root.staging / batch)
    keys = tuple(sorted(one.recording_id for one, _ in made))
    judged = [one for one, _ in made]
    files: list[PlannedFile] = list(packer.place_tables(_rows(like, made), like.report.day, keys))
    # Their signal rows are placed; what is left are `streams`, `quality` and `episodes`.
    files += packer.place(judged, now)
    root.store.make_folder(root.raw(ORGANISATION, made[0][1].sha256).parent)
    for log, (_, file) in zip(logs, made, strict=True):
        shutil.copyfile(log, root.raw(ORGANISATION, file.sha256))
    plan = Plan(batch, ORGANISATION, now, tuple(map(_planned(like), judged)), tuple(files))
    _register(platform, plan, made, logs)
    Committer(root, platform.lake, platform.engine, platform.clock, worker=_WORKER).execute(plan)


def _judged(like: Template, log: Path, now: int) -> tuple[Judged, FileEntry]:
    content = log.read_bytes()
    file = FileEntry(log.name, len(content), hashlib.sha256(content).hexdigest())
    key = recording_id(ORGANISATION, [(file.size, file.sha256)])
    # Without files: their rows are placed in bulk.
    report = replace(like.report, recording_id=key, episode=episode_id(key), files=())
    row = {**like.judged.row, "bytes": file.size, "received_ns": now}
    return replace(like.judged, row=row, report=report), file


def _rows(like: Template, made: Sequence[tuple[Judged, FileEntry]]) -> dict[str, pa.Table]:
    """The template's rows once for each recording, under its own ids."""
    own = {
        "recording_id": pa.array([one.recording_id for one, _ in made]),
        "episode": pa.array([one.report.episode for one, _ in made]),
        "file_id": pa.array([file.sha256 for _, file in made]),
    }
    found = {}
    for table, rows in like.tables.items():
        whose = pa.array([n for n in range(len(made)) for _ in range(rows.num_rows)])
        many = pa.concat_tables([rows] * len(made))
        for name, values in own.items():
            if name in many.schema.names:
                place = many.schema.get_field_index(name)
                many = many.set_column(place, name, pc.take(values, whose))
        found[table] = many
    return found


def _planned(like: Template) -> Any:
    def planned(one: Judged) -> PlannedRecording:
        report = one.report
        return PlannedRecording(
            recording_id=one.recording_id,
            verdict=one.verdict,
            tables=like.judged.tables,
            source=report.source,
            decoder_version=report.decoder_version,
            episodes=(report.episode,),
            start_ns=report.start_ns,
            end_ns=report.end_ns,
            messages=report.messages,
        )

    return planned


def _register(
    platform: Platform,
    plan: Plan,
    made: Sequence[tuple[Judged, FileEntry]],
    logs: Sequence[Path],
) -> None:
    """What the catalog holds of a batch between its plan and its commit."""
    now = plan.created_ns
    said = {
        "receive": {"files": 1},
        "decode": {"source": "mcap"},
        "check": {"run": plan.id},
        "plan": {"plan": plan.id, "verdict": "accepted"},
    }
    recordings, files, steps = [], [], []
    for (one, file), log in zip(made, logs, strict=True):
        key = one.recording_id
        recordings.append(
            {
                "id": key,
                "organisation_id": ORGANISATION,
                "robot_id": one.row["robot_id"],
                "agreement_id": AGREEMENT,
                "agreement_version": 1,
                "sector": one.row["sector"],
                "name": str(log),
                "state": "planned",
                "check_run": plan.id,
                "bytes": file.size,
                "attempts": 1,
                "received_ns": now,
            }
        )
        files.append(
            {
                "recording_id": key,
                "name": file.name,
                "organisation_id": ORGANISATION,
                "size": file.size,
                "sha256": file.sha256,
                "sidecar": False,
                "stored": True,
            }
        )
        steps += [
            {"recording_id": key, "step": step, "at_ns": now, "worker": _WORKER, "detail": detail}
            for step, detail in said.items()
        ]
    with writing(platform.engine) as connection:
        connection.execute(insert(models.Recording), recordings)
        connection.execute(insert(models.RecordingFile), files)
        connection.execute(insert(models.RecordingStep), steps)
        connection.execute(
            insert(models.CommitPlan).values(
                id=plan.id, state="open", document=plan.as_json(), created_ns=now
            )
        )


def copy_lake(folder: Path, settings: Settings) -> int:
    """Copy a folder's lake into a bucket, object by object; returns how many.

    The marker goes last. Tables hold no absolute path, so the copy is a lake.
    """
    bucket, _, prefix = settings.root.removeprefix(SCHEME).partition("/")
    target = Bucket(bucket, settings.access).place(prefix)
    local = {"staging", "catalog.db", "catalog.db-wal", "catalog.db-shm", "secret.key"}
    files = [
        path
        for top in sorted(folder.iterdir(), key=lambda path: path.name == MARKER)
        if top.name not in local
        for path in ([top] if top.is_file() else sorted(top.rglob("*")))
        if path.is_file()
    ]

    def put(path: Path) -> None:
        target.store.write(target / path.relative_to(folder).as_posix(), path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files[:-1]))
    put(files[-1])
    return len(files)


def copy_catalog(source: Path, target: Path) -> None:
    """Copy an SQLite catalog that nobody has open, and the secret beside it."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("catalog.db*")):
        shutil.copy(path, target / path.name)
    shutil.copy(source / "secret.key", target / "secret.key")
