"""The one committer: a plan's files become rows of the tables, exactly once.

delta-rs does not refuse a repeated application transaction by itself. It does refuse a commit from
a snapshot that is not the newest: so markers are looked up in the log as of one snapshot, the
commit goes through that same snapshot, with no retries inside delta-rs, and on any refusal the
table is loaded and the markers are looked up again.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from deltalake import CommitProperties, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction
from sqlalchemy import insert, update

from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import writing
from connectors.stores.catalog.models import CommitPlan
from connectors.stores.lake import Lake
from connectors.stores.originals import clear_quarantine, promote, write_reasons
from pipelines.commit.log import checkpoint_path, markers
from pipelines.commit.manifest import Manifest
from pipelines.commit.pack import Packer
from pipelines.commit.plan import Plan, PlannedFile, PlannedRecording
from pipelines.observe import Observer
from pipelines.staging import clear, discard
from schemas.errors import CommitConflictError, RetryError, StoreUnavailableError
from schemas.quality import Verdict
from schemas.tables import PARTITION, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from deltalake import DeltaTable
    from deltalake.transaction import RemoveAction
    from sqlalchemy import Connection, Engine

    from connectors.stores.root import Root
    from pipelines.commit.rows import Judged

ATTEMPTS: Final = 40
COMMIT_ORDER: Final = (
    *(name for name, spec in TABLES.items() if spec.kind in {"signal", "messages"}),
    "message_schemas",
    "video_frames",
    "streams",
    "quality",
    "episodes",
)
"""`episodes` last: its row makes a recording visible."""


class Committer:
    """Plans and commits batches.

    Args:
        root: Where everything lies.
        lake: Its tables.
        engine: The catalog.
        clock: Nanoseconds UTC.
        worker: Who commits; holder of the leases.
        trace: Told of every step, for tests that stop the process between two of them.
        observer: Told of commits and conflicts.
    """

    def __init__(
        self,
        root: Root,
        lake: Lake,
        engine: Engine,
        clock: Callable[[], int],
        *,
        worker: str,
        trace: Callable[[str], None] = lambda _step: None,
        observer: Observer | None = None,
    ) -> None:
        self._root = root
        self._lake = lake
        self._engine = engine
        self._clock = clock
        self._worker = worker
        self._trace = trace
        self._observer = observer or Observer()

    def plan(self, batch: str, organisation: str, judged: Sequence[Judged]) -> Plan:
        """Place a batch's files and make its plan durable; nothing is visible yet.

        Args:
            batch: Id of the batch; `staging/<batch>` is its folder.
            organisation: Organisation of all its recordings.
            judged: The batch; all leased by this worker.

        Raises:
            RetryError: a lease was lost, or the disk is full; nothing is decided.
        """
        packer = Packer(self._root, batch, organisation, self._root.staging / batch)
        now = self._clock()
        self._trace("pack")
        files = packer.place(judged, now)
        blobs = packer.place_blobs(judged)
        self._trace("promote")
        for one in judged:
            if one.accepted:
                promote(self._root, self._engine, one.recording_id)
        planned = tuple(_planned(one) for one in judged)
        plan = Plan(batch, organisation, now, planned, tuple(files), blobs)
        self._trace("plan")
        self._save(plan)
        return plan

    def execute(self, plan: Plan) -> dict[str, int]:
        """Commit a plan, or what is missing of it; safe to repeat, and in two processes at once.

        Returns:
            Table -> version that holds the plan's rows, of every table that it has files of.

        Raises:
            CommitConflictError: other writers were first, too often.
            StoreUnavailableError: the disk is full.
        """
        packer = Packer(
            self._root, f"{plan.id}-{secrets.token_hex(3)}", plan.organisation, self._staging(plan)
        )
        found: dict[str, int] = {}
        for table in COMMIT_ORDER:
            files = [file for file in plan.files if file.table == table]
            if files:
                self._trace(f"commit {table}")
                begun = time.perf_counter()
                found[table] = self._commit(plan, table, files, packer)
                self._observer.committed(table, found[table], time.perf_counter() - begun)
        self._trace("finish")
        self._finish(plan)
        if packer.placed:
            # What was rewritten is in no table: the whole files that the rewritten ones replace.
            discard(self._root, plan.id)
        self._trace("done")
        return found

    # --- one table -----------------------------------------------------------------------------

    def _commit(self, plan: Plan, table: str, files: Sequence[PlannedFile], packer: Packer) -> int:
        """Bring the files into one table; returns a version that holds them."""
        folder = self._root.table(table)
        for attempt in range(ATTEMPTS):
            snapshot = self._lake.open(table)
            wanted = {key for file in files for key in plan.markers(file)}
            held = markers(folder, snapshot.version(), wanted)
            missing = self._missing(plan, files, held, packer)
            if not missing:
                settle(self._root, self._lake, table, snapshot.version(), {})
                return snapshot.version()
            actions = [add_action(file, plan.created_ns) for file in missing]
            keys = [key for file in missing for key in plan.markers(file)]
            if transact(snapshot, table, actions, plan=plan.id, markers=keys):
                known = {file.path: file.sha256 for file in missing}
                settle(self._root, self._lake, table, snapshot.version() + 1, known)
                return snapshot.version() + 1
            self._observer.conflicted(table)
            back_off(attempt)
        raise CommitConflictError(
            "other writers committed first, too often",
            subject=f"table {table}",
            found=f"{ATTEMPTS} attempts",
            next_step="tanada recover, once the others are done",
        )

    @staticmethod
    def _missing(
        plan: Plan, files: Sequence[PlannedFile], held: set[str], packer: Packer
    ) -> list[PlannedFile]:
        """The files to add: whole, or rewritten without the recordings that are there already."""
        missing = []
        for file in files:
            marked = plan.markers(file)
            left = tuple(subject for key, subject in marked.items() if key not in held)
            if len(left) == len(marked):
                missing.append(file)
            elif left:
                missing.append(packer.rewrite(file, left))
        return missing

    # --- the catalog ---------------------------------------------------------------------------

    def _save(self, plan: Plan) -> None:
        ids = [one.recording_id for one in plan.recordings]
        now = self._clock()
        with writing(self._engine) as connection:
            held = recordings.renew_lease(connection, self._worker, ids, now)
            if lost := sorted(set(ids) - set(held)):
                raise RetryError(
                    "another worker took over recordings of this batch",
                    subject=f"recording {lost[0]}",
                    found=f"{len(lost)} of {len(ids)} leases lost",
                    next_step="raise TANADA_LEASE_SECONDS if this happens often",
                )
            connection.execute(
                insert(CommitPlan).values(
                    id=plan.id,
                    kind="ingest",
                    state="open",
                    document=plan.as_json(),
                    created_ns=plan.created_ns,
                )
            )
            planned = {"state": "planned", "check_run": plan.id}
            recordings.change_states(connection, "leased", [{"id": key} | planned for key in ids])
            recordings.add_steps(
                connection,
                [
                    self._step(one, "plan", now)
                    | {"detail": {"plan": plan.id, "verdict": one.verdict.value}}
                    for one in plan.recordings
                ],
            )

    def _finish(self, plan: Plan) -> None:
        for one in plan.recordings:
            if not one.accepted:
                write_reasons(self._root, plan.organisation, one.recording_id, one.reasons)
        now = self._clock()
        with writing(self._engine) as connection:
            open_still = connection.execute(
                update(CommitPlan)
                .where(CommitPlan.id == plan.id, CommitPlan.state == "open")
                .values(state="done", done_ns=now)
            ).rowcount
            if open_still:
                self._decide(connection, plan, now)
        for one in plan.recordings:
            if one.accepted:
                clear_quarantine(self._root, plan.organisation, one.recording_id)
        clear(self._root, plan.id)

    def _decide(self, connection: Connection, plan: Plan, now: int) -> None:
        """Give those that are planned still their verdict, all in a few statements."""
        decided = [
            {
                "id": one.recording_id,
                "state": one.verdict.value,
                "reasons": [reason.as_json() for reason in one.reasons],
                "tables": dict(one.tables or {}),
                "source": one.source or None,
                "decoder_version": one.decoder_version or None,
                "episodes": list(one.episodes),
                "start_ns": one.start_ns,
                "end_ns": one.end_ns,
                "messages": one.messages,
                "decided_ns": now,
            }
            for one in plan.recordings
        ]
        changed = set(recordings.change_states(connection, "planned", decided))
        recordings.add_steps(
            connection,
            [
                self._step(one, "accept" if one.accepted else "quarantine", now) | {"detail": {}}
                for one in plan.recordings
                if one.recording_id in changed
            ],
        )

    def _step(self, one: PlannedRecording, step: str, at_ns: int) -> dict[str, Any]:
        key = one.recording_id
        return {"recording_id": key, "step": step, "at_ns": at_ns, "worker": self._worker}

    def _staging(self, plan: Plan) -> Path:
        folder = self._root.staging / plan.id
        folder.mkdir(exist_ok=True)
        return folder


def transact(
    snapshot: DeltaTable,
    table: str,
    actions: Sequence[AddAction | RemoveAction],
    *,
    plan: str = "",
    markers: Sequence[str] = (),
) -> bool:
    """One transaction from one snapshot, or none.

    Args:
        snapshot: As loaded for this attempt; what the actions were made from.
        table: Its name.
        actions: Files to add and to remove.
        plan: Plan id for the log.
        markers: Application transactions to set.

    Returns:
        False where another writer was first, or where it cannot be told: load the table and
        look again.

    Raises:
        StoreUnavailableError: the disk is full.
    """
    try:
        snapshot.create_write_transaction(
            list(actions),
            "append",
            Lake.delta_schema(TABLES[table]),
            list(PARTITION),
            commit_properties=CommitProperties(
                custom_metadata={"plan": plan} if plan else None,
                max_commit_retries=0,
                app_transactions=[Transaction(key, 1) for key in markers],
            ),
            post_commithook_properties=PostCommitHookProperties(
                create_checkpoint=True, cleanup_expired_logs=False
            ),
        )
    except CommitFailedError:
        return False
    except (DeltaError, OSError) as error:
        if "No space left" in str(error) or "File too large" in str(error):
            raise StoreUnavailableError(
                "no space left to commit",
                subject=f"table {table}",
                next_step="free space, then tanada recover",
            ) from error
        # The answer was lost, perhaps after the commit: the next look will tell.
        return False
    return True


def back_off(attempt: int) -> None:
    """Wait before the next attempt; jittered, so that two writers do not meet again and again."""
    time.sleep((1 + secrets.randbelow(1000) / 1000) * 0.01 * min(attempt + 1, 10))


def settle(root: Root, lake: Lake, table: str, version: int, known: Mapping[str, str]) -> None:
    """Bring a version to disk and into the manifest; delta-rs does neither.

    Args:
        root: Where the table lies.
        lake: The tables.
        table: Its name.
        version: The version that was committed.
        known: Path below the table -> SHA-256 of files that are known already.
    """
    folder = root.table(table)
    checkpoint = checkpoint_path(folder, version)
    if root.is_local and checkpoint.exists():
        root.store.sync(checkpoint)
    lake.make_durable(table, version)
    Manifest(folder).extend(version, known)


def _planned(one: Judged) -> PlannedRecording:
    report = one.report
    return PlannedRecording(
        recording_id=one.recording_id,
        verdict=Verdict(one.verdict),
        reasons=one.reasons,
        tables=one.tables if one.accepted else {},
        source=report.source,
        decoder_version=report.decoder_version,
        episodes=(report.episode,) if one.accepted else (),
        start_ns=report.start_ns,
        end_ns=report.end_ns,
        messages=report.messages or None,
    )


def add_action(file: PlannedFile, at_ns: int) -> AddAction:
    """The log's entry of one file, with the statistics that readers prune by."""
    least: dict[str, Any] = {"recording_id": file.recordings[0]}
    greatest: dict[str, Any] = {"recording_id": file.recordings[-1]}
    if file.t_min is not None:
        least["t_ns"], greatest["t_ns"] = file.t_min, file.t_max
    statistics = {
        "numRecords": file.rows,
        "minValues": least,
        "maxValues": greatest,
        "nullCount": dict.fromkeys(least, 0),
    }
    return AddAction(
        file.path,
        file.bytes,
        {"organisation": file.organisation, "day": file.day},
        at_ns // 1_000_000,
        True,  # noqa: FBT003
        json.dumps(statistics),
    )
