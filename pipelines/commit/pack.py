"""From staged files to data files at their final path, durable and not referenced yet.

Small staged files of a batch are packed into one file per table and partition: a table of many
small files is slow to read (8 times at 200 files). Larger ones are moved as they are.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from connectors.stores.durable import storing
from connectors.stores.store import store_of
from pipelines.commit.plan import CHECK_RUN, RECORDING, PlannedFile
from pipelines.decode.staged import CONSTANTS, TableFile
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from connectors.stores.root import Root
    from connectors.stores.store import Place
    from pipelines.commit.rows import Judged
    from pipelines.decode.report import StagedFile

MOVE_BYTES: Final = 8 << 20
"""Staged files of this size are moved: packing writes every row twice."""
PACK_BYTES: Final = 128 << 20
FETCHES: Final = 8
"""Staged files fetched at once."""

_Pair = tuple["Judged", "StagedFile"]


class Packer:
    """Places the files of one batch.

    Args:
        root: Where the tables lie.
        batch: Batch id; every file's name begins with it, so that what a dead batch left is found.
        organisation: Organisation id.
        folder: The batch's staging folder.
    """

    def __init__(self, root: Root, batch: str, organisation: str, folder: Path) -> None:
        self._root = root
        self._store = root.store
        self._batch = batch
        self._organisation = organisation
        self._folder = folder
        self.placed = 0
        """Files placed so far."""
        self._touched: set[Place] = set()

    def place(self, judged: Sequence[Judged], checked_ns: int) -> list[PlannedFile]:
        """Place everything the batch adds to the tables, `episodes` last.

        Args:
            judged: The batch.
            checked_ns: When it was checked.

        Raises:
            StoreUnavailableError: the disk is full.
        """
        accepted = [one for one in judged if one.accepted]
        refused = [one for one in judged if not one.accepted]
        run = self._batch
        files = [
            file
            for table in (name for name, spec in TABLES.items() if name != "episodes")
            for day, pairs in _staged(accepted, table).items()
            for file in self._place_staged(table, day, pairs)
        ]
        files += self._place_rows("streams", accepted, lambda one: one.stream_rows())
        for keyed_by, group in ((RECORDING, accepted), (CHECK_RUN, refused)):
            files += self._place_rows(
                "quality", group, lambda one: one.quality_rows(run, checked_ns), keyed_by
            )
        files += self._place_rows("episodes", accepted, lambda one: [one.episode_row(run)])
        self.make_durable()
        return files

    def place_blobs(self, judged: Sequence[Judged]) -> tuple[str, ...]:
        """Move the pictures of accepted recordings to `media/`; returns their paths."""
        placed = []
        for one in judged:
            if not one.accepted or not one.report.blobs:
                continue
            folder = self._root.media(self._organisation, one.recording_id)
            for blob in one.report.blobs:
                target = self._root.path / blob.blob
                self._bring(one.folder / blob.path, target, blob.sha256)
                placed.append(blob.blob)
            self._store.sync(folder)
        return tuple(placed)

    def rewrite(self, file: PlannedFile, recordings: tuple[str, ...]) -> PlannedFile:
        """A file of some recordings' rows of another one, at a path of its own."""
        source = self._store.arrow(self._root.table(file.table) / file.path)
        rows = pq.read_table(source, partitioning=None)
        rows = rows.filter(pc.is_in(rows["recording_id"], pa.array(recordings)))
        path, staged = self._write(file.table, [rows])
        placed = self._move(path, staged, file.day, recordings, file.keyed_by)
        self.make_durable()
        return placed

    def make_durable(self) -> None:
        """Bring the folders of everything placed to disk."""
        for folder in self._touched:
            self._store.sync(folder)
        self._touched.clear()

    def _place_staged(self, table: str, day: str, pairs: Sequence[_Pair]) -> Iterator[PlannedFile]:
        moved = [pair for pair in pairs if pair[1].bytes >= MOVE_BYTES]
        for group in _groups([pair for pair in pairs if pair[1].bytes < MOVE_BYTES]):
            if len(group) == 1:
                moved += group
                continue
            recordings = tuple(sorted(one.recording_id for one, _ in group))
            with self._at_hand(group) as paths:
                path, packed = self._write(table, _row_groups(group, paths))
            yield self._move(path, packed, day, recordings)
        for one, staged in moved:
            yield self._move(one.folder / staged.path, staged, day, (one.recording_id,))

    @contextmanager
    def _at_hand(self, group: Sequence[_Pair]) -> Iterator[list[Path]]:
        """The staged files as local ones; copies are gone afterwards."""
        here = [one.folder / file.path for one, file in group if isinstance(one.folder, Path)]
        if len(here) == len(group):
            yield here
            return
        copies = self._folder / "copies"
        copies.mkdir(exist_ok=True)

        def local(pair: _Pair) -> Path:
            place = pair[0].folder / pair[1].path
            return store_of(place).local(place, copies, pair[1].sha256)

        try:
            with ThreadPoolExecutor(FETCHES, "fetch") as pool:
                yield list(pool.map(local, group))
        finally:
            shutil.rmtree(copies)

    def _place_rows(
        self,
        table: str,
        group: Sequence[Judged],
        rows_of: Callable[[Judged], list[dict[str, Any]]],
        keyed_by: str = RECORDING,
    ) -> Iterator[PlannedFile]:
        by_day: dict[str, list[dict[str, Any]]] = {}
        for one in group:
            by_day.setdefault(one.day, []).extend(rows_of(one))
        for day, rows in by_day.items():
            if rows:
                content = pa.Table.from_pylist(rows, TABLES[table].file_arrow)
                path, written = self._write(table, [content])
                recordings = tuple(sorted({row["recording_id"] for row in rows}))
                yield self._move(path, written, day, recordings, keyed_by)

    def _write(self, table: str, parts: Iterable[pa.Table]) -> tuple[Path, StagedFile]:
        with storing(self._folder):
            file = TableFile(self._folder, table)
            for part in parts:
                file.append_table(part)
            return file.path, file.finish()

    def _bring(self, source: Place, target: Place, sha256: str) -> None:
        """Give a staged file its final place: from this disk, or within the store."""
        if isinstance(source, Path):
            self._store.move_in(source, target, sha256)
        else:
            # The store checked its digest when an executor handed it over.
            self._store.rename(source, target)

    def _move(
        self,
        source: Place,
        staged: StagedFile,
        day: str,
        recordings: tuple[str, ...],
        keyed_by: str = RECORDING,
    ) -> PlannedFile:
        folder = f"organisation={self._organisation}/day={day}"
        path = f"{folder}/{self._batch}-{self.placed:04}.parquet"
        self.placed += 1
        target = self._root.table(staged.table) / path
        self._bring(source, target, staged.sha256)
        self._touched.add(target.parent)
        return PlannedFile(
            table=staged.table,
            path=path,
            organisation=self._organisation,
            day=day,
            rows=staged.rows,
            bytes=staged.bytes,
            sha256=staged.sha256,
            recordings=recordings,
            t_min=staged.t_min,
            t_max=staged.t_max,
            keyed_by=keyed_by,
        )


def _staged(judged: Sequence[Judged], table: str) -> dict[str, list[_Pair]]:
    """Staged files of one table by day."""
    by_day: dict[str, list[_Pair]] = {}
    for one in judged:
        for file in one.report.files:
            if file.table == table:
                by_day.setdefault(one.day, []).append((one, file))
    return by_day


def _groups(pairs: Sequence[_Pair]) -> Iterator[list[_Pair]]:
    group: list[_Pair] = []
    size = 0
    for pair in pairs:
        group.append(pair)
        size += pair[1].bytes
        if size >= PACK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _row_groups(pairs: Sequence[_Pair], paths: Sequence[Path]) -> Iterator[pa.Table]:
    for (_, staged), path in zip(pairs, paths, strict=True):
        names = TABLES[staged.table].file_arrow.names
        constants = [name for name in CONSTANTS if name in names]
        with pq.ParquetFile(path, read_dictionary=constants) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, use_threads=False)
