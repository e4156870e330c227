"""Reading a table's log itself: markers in bulk, and whether its head is whole.

delta-rs looks markers up one by one (11 ms each at 40,000), reads a 0-byte last entry as an empty
commit, silently, and cannot open a table whose last entry is torn.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.stores.store import store_of
from pipelines.commit.manifest import Manifest
from schemas.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from connectors.stores.store import Place

_ENTRY: Final = re.compile(r"(\d{20})\.json")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint\.parquet")
_VERIFY: Final = "tanada lake verify"


def entry_path(table: Place, version: int) -> Place:
    """Where the log entry of a version lies."""
    return table / "_delta_log" / f"{version:020}.json"


def checkpoint_path(table: Place, version: int) -> Place:
    """Where the checkpoint of a version lies, if it has one."""
    return table / "_delta_log" / f"{version:020}.checkpoint.parquet"


def versions(table: Place) -> list[int]:
    """Versions that have a log entry, ascending."""
    return _numbers(table, _ENTRY)


def markers(table: Place, version: int, wanted: Collection[str]) -> set[str]:
    """Which of the wanted application transactions the table holds as of a version.

    Args:
        table: Folder of the table.
        version: Version of the snapshot that will be committed on.
        wanted: Application ids.

    Raises:
        DamagedError: an entry of the log is missing or cannot be read.
    """
    last, ids = _checkpointed(table, version)
    held = pc.filter(ids, pc.is_in(ids, pa.array(list(wanted), pa.string())))
    found: set[str] = set(held.to_pylist())
    for number in range(last + 1, version + 1):
        for action in read_entry(table, number):
            if "txn" in action and action["txn"]["appId"] in wanted:
                found.add(action["txn"]["appId"])
    return found


def _checkpointed(table: Place, version: int) -> tuple[int, Any]:
    """A checkpoint at or before a version (-1: there is none), and the markers in it.

    The log itself names its last one. Listing it instead grows with every version, and in a bucket
    costs more than anything else here. Any checkpoint is right, as all later entries are read.
    """
    hinted = _last_checkpoint(table)
    if 0 <= hinted <= version:
        with suppress(FileNotFoundError):
            return hinted, _markers_of(table, hinted)
    last = max((v for v in _numbers(table, _CHECKPOINT) if v <= version), default=-1)
    return last, _markers_of(table, last) if last >= 0 else pa.array([], pa.string())


def _last_checkpoint(table: Place) -> int:
    """What the log's hint says; -1 where there is none, or none that can be read."""
    try:
        hint = json.loads((table / "_delta_log" / "_last_checkpoint").read_bytes())
        return int(hint["version"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return -1


def _markers_of(table: Place, version: int) -> Any:
    source = store_of(table).arrow(checkpoint_path(table, version))
    column = pq.ParquetFile(source).read(["txn.appId"])["txn"]
    return pc.struct_field(column, "appId")


def read_entry(table: Place, version: int) -> list[dict[str, Any]]:
    """The actions of one version.

    Raises:
        DamagedError: missing, empty or torn.
    """
    try:
        content = entry_path(table, version).read_bytes()
    except FileNotFoundError:
        content = b""
    actions = _parsed(content)
    if actions is None:
        raise DamagedError(
            "an entry of the log is missing or cannot be read",
            subject=f"table {table.name}, version {version}",
            found=f"{len(content)} bytes",
            next_step=_VERIFY,
        )
    return actions


def repair_head(table: Place) -> int | None:
    """Check the newest entry of a log; take it away where it is torn and nobody was told of it.

    An entry that was never acknowledged belongs to a plan that is open still, which recovery then
    replays. Its bytes are kept beside the table.

    Args:
        table: Folder of the table.

    Returns:
        The version that was taken away, or None: the head is whole.

    Raises:
        DamagedError: the entry was acknowledged, so that rows are missing now.
    """
    known = versions(table)
    if not known:
        raise DamagedError("the table has no log", subject=f"table {table.name}", next_step=_VERIFY)
    head = known[-1]
    path = entry_path(table, head)
    content = path.read_bytes()
    manifest = Manifest(table)
    if _parsed(content) is not None and manifest.agrees(head, content):
        return None
    if manifest.covers(head) or head == 0:
        raise DamagedError(
            "the last entry of the log is damaged, and its rows were acknowledged",
            subject=f"table {table.name}, version {head}",
            found=f"{len(content)} bytes",
            next_step="restore the table from the backup, or ingest again from raw/",
        )
    torn = table / "_manifest" / "torn"
    store = store_of(table)
    for away in (checkpoint_path(table, head), table / "_delta_log" / "_last_checkpoint", path):
        if away.exists():
            store.rename(away, torn / f"{away.name}.{secrets.token_hex(4)}")
    store.sync(path.parent)
    return head


def _numbers(table: Place, pattern: re.Pattern[str]) -> list[int]:
    return sorted(_matches(table / "_delta_log", pattern))


def _matches(log: Place, pattern: re.Pattern[str]) -> Iterator[int]:
    for path in log.iterdir():
        if found := pattern.fullmatch(path.name):
            yield int(found[1])


def _parsed(content: bytes) -> list[dict[str, Any]] | None:
    """Actions of an entry; None where it is empty or torn."""
    if not content.strip():
        return None
    try:
        actions = [json.loads(line) for line in content.splitlines() if line.strip()]
    except ValueError:
        return None
    return actions if all(isinstance(action, dict) for action in actions) else None
