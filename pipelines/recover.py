"""After a crash: finish what was planned, clear away what was not, give recordings back.

Nothing is judged again. Safe to run at any time, twice, and while workers are at work: a batch
whose process lives is left alone, and what is replayed is committed exactly once anyway.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, update

from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.models import CommitPlan, Recording
from connectors.stores.durable import make_folder
from pipelines.commit import Committer, Plan
from pipelines.commit.log import repair_head, versions
from pipelines.commit.manifest import Manifest
from pipelines.staging import batches, discard, hold, holder
from pipelines.withdraw import hide_withdrawn
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.cli.platform import Platform

_ABANDONED_NS: Final = 24 * 3_600_000_000_000


@dataclass(slots=True)
class Recovered:
    """What recovery found and did.

    Attributes:
        replayed: Plans committed to their end.
        discarded: Batches that died before their plan.
        removed_files: Data files of such batches that no table names.
        repaired: Tables whose torn last log entry was taken away, as `table@version`.
        released: Recordings given back.
        hidden: Withdrawn recordings that were visible still.
        covered: Manifest entries written.
    """

    replayed: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    removed_files: int = 0
    repaired: list[str] = field(default_factory=list)
    released: int = 0
    hidden: int = 0
    covered: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def check_heads(platform: Platform) -> list[str]:
    """Check the last entry of every table's log; take torn ones away that nobody was told of.

    Raises:
        DamagedError: an acknowledged entry is damaged.
    """
    repaired = []
    for table in TABLES:
        version = repair_head(platform.root.table(table))
        if version is not None:
            repaired.append(f"{table}@{version}")
    return repaired


def recover(
    platform: Platform, worker: str = "recover", trace: Callable[[str], None] = lambda _step: None
) -> Recovered:
    """Bring everything that a dead process left to its end.

    Raises:
        DamagedError: acknowledged rows are gone.
        RetryError: the disk is full, or the catalog is busy.
    """
    done = Recovered(repaired=check_heads(platform))
    committer = Committer(
        platform.root,
        platform.lake,
        platform.engine,
        platform.clock,
        worker=worker,
        trace=trace,
        observer=platform.observer,
    )
    open_plans = _open_plans(platform)
    dead_workers = set()
    for batch in sorted({*batches(platform.root), *open_plans}):
        folder = platform.root.staging / batch
        if not folder.exists() and _may_be_at_work(platform, open_plans[batch]):
            continue
        make_folder(folder)
        try:
            lock = hold(folder, "")
        except BlockingIOError:
            continue
        try:
            dead_workers.add(holder(folder))
            # Looked up under the lock: its process may have finished it in the meantime.
            plan = _open_plans(platform).get(batch)
            if plan is not None:
                committer.execute(plan)
                done.replayed.append(batch)
            else:
                done.discarded.append(batch)
            done.removed_files += discard(platform.root, batch)
        finally:
            os.close(lock)
    done.released = _release(platform, dead_workers - {""})
    done.hidden = hide_withdrawn(platform)
    for table in TABLES:
        place = platform.root.table(table)
        done.covered += Manifest(place).extend(versions(place)[-1])
    _clear_uploads(platform)
    if not platform.root.is_local:
        _clear_exchange(platform)
    return done


def _may_be_at_work(platform: Platform, plan: Plan) -> bool:
    """Whether another machine, whose locks cannot be seen here, may be committing a plan.

    Replaying it beside that machine would do no harm, and make both slower.
    """
    lease_ns = platform.settings.lease_seconds * 1_000_000_000
    return not platform.root.is_local and plan.created_ns + lease_ns > platform.clock()


def _open_plans(platform: Platform) -> dict[str, Plan]:
    query = select(CommitPlan.id, CommitPlan.document).where(CommitPlan.state == "open")
    with reading(platform.engine) as connection:
        rows = connection.execute(query.where(CommitPlan.kind == "ingest")).all()
    return {key: Plan.from_json(document) for key, document in rows}


def _release(platform: Platform, workers: set[str]) -> int:
    """Give back what dead workers held, and what ran out."""
    held = Recording.lease_until_ns <= platform.clock()
    if workers:
        held |= Recording.lease_owner.in_(workers)
    with writing(platform.engine) as connection:
        return connection.execute(
            update(Recording)
            .where(Recording.state == "leased", held)
            .values(state="received", lease_owner=None, lease_until_ns=None)
        ).rowcount


def _clear_exchange(platform: Platform) -> None:
    """Remove what executors handed over to a process of another machine that is long gone."""
    oldest = platform.clock() - _ABANDONED_NS
    open_plans = _open_plans(platform)
    for place in (platform.root.path / "staging").iterdir():
        newest = max((left.stat().st_mtime_ns for left in place.rglob("*")), default=0)
        if place.name not in open_plans and newest < oldest:
            platform.root.store.remove_tree(place)


def _clear_uploads(platform: Platform) -> None:
    """Remove what a dead process was taking in; a living one touches its own."""
    now = platform.clock()
    for folder in platform.root.staging.glob("receive-*"):
        newest = max((p.stat().st_mtime_ns for p in (folder, *folder.iterdir())), default=0)
        if now - newest > _ABANDONED_NS:
            shutil.rmtree(folder, ignore_errors=True)
    # Uploads on their way to an object store; on a folder they lie in their quarantine.
    for part in platform.root.staging.glob(".part-*"):
        if now - part.stat().st_mtime_ns > _ABANDONED_NS:
            part.unlink(missing_ok=True)
