"""The chained manifest beside each table: one entry per version, whoever committed it.

An entry names the SHA-256 of the log entry and of every file it added, and of the entry before.
It is a function of these alone, so that two writers who both make it make the same bytes. It holds
no values of rows. A checkpoint, which is made after its version, has an entry of its own.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from connectors.stores.store import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.stores.store import Place

START: Final = "0" * 64
"""What stands for the entry before the first."""


class Manifest:
    """The manifest of one table.

    Args:
        table: Folder of the table.
    """

    def __init__(self, table: Place) -> None:
        self._table = table
        self._folder = table / "_manifest"
        self._store = store_of(table)

    def path(self, version: int) -> Place:
        """Where the entry of a version lies."""
        return self._folder / f"{version:020}.json"

    def covers(self, version: int) -> bool:
        """Whether a version has an entry."""
        return self.path(version).exists()

    def entry(self, version: int) -> dict[str, Any] | None:
        """The entry of a version, or None."""
        try:
            document: dict[str, Any] = json.loads(self.path(version).read_bytes())
        except FileNotFoundError:
            return None
        return document

    def checkpoint(self, version: int) -> str | None:
        """Recorded SHA-256 of a version's checkpoint, or None."""
        try:
            content = self._checkpoint_path(version).read_bytes()
        except FileNotFoundError:
            return None
        return str(json.loads(content)["checkpoint"])

    def agrees(self, version: int, log: bytes) -> bool:
        """Whether a log entry is the one that was recorded; True where none was yet."""
        entry = self.entry(version)
        return entry is None or entry["log"] == hashlib.sha256(log).hexdigest()

    def extend(self, version: int, known: Mapping[str, str] | None = None) -> int:
        """Write the missing entries up to a version.

        Args:
            version: Newest version to cover.
            known: Path below the table -> SHA-256 of files that the caller just wrote; others
                are read.

        Returns:
            Entries written.
        """
        first = version
        while first > 0 and not self.covers(first - 1):
            first -= 1
        self._store.make_folder(self._folder)
        written = 0
        for number in range(first, version + 1):
            if not self.covers(number):
                self._write(number, known or {})
                written += 1
            self._cover_checkpoint(number)
        return written

    def _write(self, version: int, known: Mapping[str, str]) -> None:
        log = (self._table / "_delta_log" / f"{version:020}.json").read_bytes()
        added = []
        for line in log.splitlines():
            action = json.loads(line)
            if "add" in action:
                path = unquote(action["add"]["path"])
                added.append({"path": path, "sha256": known.get(path) or self._digest(path)})
        previous = START
        if version > 0:
            previous = hashlib.sha256(self.path(version - 1).read_bytes()).hexdigest()
        document = {
            "version": version,
            "log": hashlib.sha256(log).hexdigest(),
            "added": sorted(added, key=lambda item: str(item["path"])),
            "previous": previous,
        }
        self._store.write(self.path(version), _canonical(document))

    def _cover_checkpoint(self, version: int) -> None:
        checkpoint = self._table / "_delta_log" / f"{version:020}.checkpoint.parquet"
        path = self._checkpoint_path(version)
        if checkpoint.exists() and not path.exists():
            digest = sha256_of(checkpoint)
            self._store.write(path, _canonical({"version": version, "checkpoint": digest}))

    def _checkpoint_path(self, version: int) -> Place:
        return self._folder / f"{version:020}.checkpoint.json"

    def _digest(self, path: str) -> str | None:
        # A file of an old version may be gone already, after compaction and vacuum.
        try:
            return sha256_of(self._table / path)
        except FileNotFoundError:
            return None


def sha256_of(path: Place) -> str:
    """Lower-case hex digest of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _canonical(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, indent=0) + "\n").encode()
