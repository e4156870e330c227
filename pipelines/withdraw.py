"""Withdrawing a recording: new reads stop at once.

Its row leaves `episodes`, which makes it invisible in the lake; releases that hold it are
withdrawn, and answer 410. Rows in other tables, originals and old versions are left: erasing them
is another step, with its own deadline.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import RemoveAction
from sqlalchemy import and_, select, update

from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.models import Recording, Release
from pipelines.commit.committer import ATTEMPTS, add_action, back_off, settle, transact
from pipelines.commit.pack import Packer
from pipelines.commit.plan import PlannedFile
from pipelines.decode.child import empty_folder
from pipelines.staging import discard, hold
from schemas.errors import CommitConflictError, ConflictError

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

    from pipelines.cli.platform import Platform

EPISODES: Final = "episodes"
BUSY: Final = frozenset({"leased", "planned", "receiving"})


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What a withdrawal reached.

    Attributes:
        recording_id: Id.
        releases: Releases that held it, as `dataset@version`.
        deliveries: Files of such releases that somebody fetched.
    """

    recording_id: str
    releases: tuple[str, ...]
    deliveries: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "recording_id": self.recording_id,
            "state": "withdrawn",
            "releases": list(self.releases),
            "deliveries": self.deliveries,
        }


def withdraw(platform: Platform, recording_id: str) -> Withdrawn:
    """Take a recording out; safe to repeat.

    Raises:
        ConflictError: it is being processed now.
        NotFoundError: no such recording.
        CommitConflictError: other writers were first, too often; `tanada recover` hides it.
    """
    with reading(platform.engine) as connection:
        row = recordings.get(connection, recording_id)
    if row["state"] in BUSY:
        raise ConflictError(
            "the recording is being processed",
            subject=f"recording {recording_id}",
            found=row["state"],
            next_step="wait for its verdict (or run tanada recover), then withdraw it",
        )
    now = platform.clock()
    with writing(platform.engine) as connection:
        held = recordings.releases_of(connection, recording_id)
        deliveries = len(recordings.uses_of(connection, recording_id))
        if recordings.get(connection, recording_id)["state"] != "withdrawn":
            recordings.set_state(connection, recording_id, "withdrawn")
            recordings.add_step(connection, recording_id, "withdraw", now)
        for release in held:
            connection.execute(
                update(Release)
                .where(
                    and_(
                        Release.dataset_id == release["dataset"],
                        Release.version == release["version"],
                        Release.state != "withdrawn",
                    )
                )
                .values(state="withdrawn", withdrawn_ns=now)
            )
    # After the catalog: whatever happens now, nothing of it is delivered any more, and recovery
    # hides what is withdrawn and visible still.
    hide(platform, recording_id)
    names = tuple(f"{release['dataset']}@{release['version']}" for release in held)
    return Withdrawn(recording_id, names, deliveries)


def hide_withdrawn(platform: Platform) -> int:
    """Hide recordings that the catalog says are withdrawn; returns how many were visible still."""
    query = select(Recording.id).where(Recording.state == "withdrawn")
    with reading(platform.engine) as connection:
        withdrawn = list(connection.execute(query).scalars())
    if not withdrawn:
        return 0
    pinned = {EPISODES: platform.lake.open(EPISODES).version()}
    left = platform.lake.visible(pinned, withdrawn).to_pylist()
    for recording_id in left:
        hide(platform, recording_id)
    return len(left)


def hide(platform: Platform, recording_id: str) -> None:
    """Take a recording's row out of `episodes`: Remove and Add from one snapshot.

    Not delta-rs's own `delete`: the files it writes have string views in their Arrow schema, which
    Arrow can read but not filter.

    Raises:
        CommitConflictError: other writers were first, too often.
    """
    batch = secrets.token_hex(16)
    folder = empty_folder(platform.root.staging / batch)
    lock = hold(folder, "")
    try:
        for attempt in range(ATTEMPTS):
            snapshot = platform.lake.open(EPISODES)
            actions = _without(platform, snapshot, recording_id, batch)
            if not actions:
                return
            if transact(snapshot, EPISODES, actions):
                settle(platform.root, platform.lake, EPISODES, snapshot.version() + 1, {})
                return
            back_off(attempt)
    finally:
        discard(platform.root, batch)
        os.close(lock)
    raise CommitConflictError(
        "other writers committed first, too often",
        subject=f"table {EPISODES}",
        next_step="tanada recover",
    )


def _without(
    platform: Platform, snapshot: DeltaTable, recording_id: str, batch: str
) -> list[AddAction | RemoveAction]:
    """What takes a recording out of a snapshot's files; empty where none has it."""
    folder, now_ms = platform.root.table(EPISODES), platform.clock() // 1_000_000
    found: list[AddAction | RemoveAction] = []
    for action in pa.table(snapshot.get_add_actions(flatten=True)).to_pylist():
        if not action["min.recording_id"] <= recording_id <= action["max.recording_id"]:
            continue
        path, size = action["path"], action["size_bytes"]
        file = pq.ParquetFile(platform.root.store.arrow(folder / path))
        column = file.read(["recording_id"])["recording_id"]
        held = tuple(sorted(column.unique().to_pylist()))
        if recording_id not in held:
            continue
        organisation, day = action["partition.organisation"], str(action["partition.day"])
        partition = {"organisation": organisation, "day": day}
        found.append(RemoveAction(path, True, now_ms, size, partition))  # noqa: FBT003
        kept = tuple(one for one in held if one != recording_id)
        if kept:
            whole = PlannedFile(EPISODES, path, organisation, day, len(column), size, "", held)
            number = len(found)
            packer = Packer(
                platform.root,
                f"{batch}-{snapshot.version()}-{number}",
                organisation,
                platform.root.staging / batch,
            )
            found.append(add_action(packer.rewrite(whole, kept), platform.clock()))
    return found
