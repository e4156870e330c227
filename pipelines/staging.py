"""Folders of batches at work, and what dead ones left.

A batch's folder is `staging/<batch>`; the process at work holds a lock on the file in it, which
the kernel drops when that process ends in whatever way. Workers on several machines share a bucket
but not their staging: what a batch of another machine placed and never planned is found by
`tanada lake verify`, and is left alone here.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from connectors.stores.lake import Lake
from connectors.stores.store import below, matching
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from connectors.stores.root import Root
    from connectors.stores.store import Place

_LOCK: Final = "lock"
_BATCH: Final = re.compile(r"[0-9a-f]{32}")


def hold(folder: Path, worker: str) -> int:
    """Lock a batch's folder for this process; closing the descriptor gives it up.

    Raises:
        BlockingIOError: another process holds it.
    """
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    if worker:
        os.pwrite(lock, worker.encode(), 0)
    return lock


def holder(folder: Path) -> str:
    """Name of the worker that holds or held a batch's folder, "" where it cannot be told."""
    with suppress(OSError):
        return (folder / _LOCK).read_text(errors="replace")
    return ""


def batches(root: Root) -> list[str]:
    """Ids of the batches that have a folder."""
    return sorted(p.name for p in root.staging.iterdir() if _BATCH.fullmatch(p.name))


def orphans(root: Root, batch: str) -> Iterator[Place]:
    """Data files of a batch that its tables do not name."""
    for table in TABLES:
        folder = root.table(table)
        found = matching(folder, f"organisation=*/day=*/{batch}-*")
        if not found:
            continue
        named = _named(root, table)
        for path in found:
            if below(path, folder) not in named:
                yield path


def discard(root: Root, batch: str, keep: Collection[Place] = ()) -> int:
    """Remove a batch's folder and the data files that no table names; returns how many.

    Args:
        root: Where they lie.
        batch: Its id; the caller holds its lock, or knows that it was never planned.
        keep: Files to leave alone.
    """
    removed = 0
    for path in orphans(root, batch):
        if path not in keep:
            path.unlink()
            removed += 1
    clear(root, batch)
    return removed


def clear(root: Root, batch: str) -> None:
    """Remove a batch's folder, and what executors handed over for it."""
    shutil.rmtree(root.staging / batch, ignore_errors=True)
    if not root.is_local:
        root.store.remove_tree(root.exchange(batch))


def _named(root: Root, table: str) -> set[str]:
    actions = Lake(root).open(table).get_add_actions()
    return set(actions.column("path").to_pylist()) if actions.num_rows else set()
