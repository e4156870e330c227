"""Where Data Docs are written, and how they get to where they lie.

The validator process writes local files. For a root that is a folder that is all; for a bucket the
run's pages go up afterwards, and what other machines wrote is fetched before, so that the index
names their runs, too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.stores.store import Place, store_of

if TYPE_CHECKING:
    from connectors.stores.root import Root

_RUNS = "runs"
_SUMMARY = "summary.json"
_INDEX = "index.html"


class DocsSite:
    """The Data Docs of one root.

    Args:
        root: Where they lie.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._fetched: dict[str, set[str]] = {}

    def folder(self, organisation: str) -> Path:
        """Local folder for the validator to write to."""
        place = self._root.data_docs(organisation)
        if isinstance(place, Path):
            return place
        local = self._local(organisation)
        local.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = {path.name: path for path in (place / _RUNS).iterdir()}
        for name, run in there.items():
            summary = local / _RUNS / name / _SUMMARY
            if not summary.exists() and (run / _SUMMARY).is_file():
                summary.parent.mkdir(parents=True)
                summary.write_bytes((run / _SUMMARY).read_bytes())
        self._fetched[organisation] = set(there)
        return local

    def publish(self, organisation: str) -> None:
        """Bring what was written since `folder` to where it lies; runs first, the index last.

        Raises:
            StoreUnavailableError: the object store does not answer.
        """
        known = self._fetched.pop(organisation, None)
        if known is None:
            return
        place, local = self._root.data_docs(organisation), self._local(organisation)
        kept = {path.name for path in (local / _RUNS).iterdir()} if local.exists() else set()
        for name in sorted(kept - known):
            for page in sorted((local / _RUNS / name).iterdir()):
                _upload(page, place / _RUNS / name / page.name)
        if (local / _INDEX).exists():
            _upload(local / _INDEX, place / _INDEX)
        for name in known - kept:
            store_of(place).remove_tree(place / _RUNS / name)

    def _local(self, organisation: str) -> Path:
        staging = self._root.staging
        return staging.with_name(f"{staging.name}-data-docs") / organisation


def _upload(page: Path, place: Place) -> None:
    digest = hashlib.sha256(page.read_bytes()).hexdigest()
    store_of(place).put(page, place, digest)
