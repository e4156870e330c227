"""The lake's Delta tables: made from their one definition, read as of pinned versions.

A recording is visible when `episodes` has a row of it. Signal tables are committed first and
`episodes` last, so whoever pins `episodes` first sees a recording wholly or not at all.
"""

from __future__ import annotations

import functools
import operator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from connectors.stores.durable import storing
from schemas.errors import DamagedError, NotFoundError, StoreUnavailableError, WrongUseError
from schemas.tables import PARTITION, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow.dataset as pd

    from connectors.stores.root import Root
    from schemas.tables import TableSpec

_READER_VERSION: Final = 1
"""Later ones allow deleted rows inside files (deletion vectors), which are not read here."""
_STATISTICS: Final = (
    "recording_id",
    "episode",
    "stream",
    "t_ns",
    "log_ns",
    "seq",
    "check_run",
    "schema_id",
)
"""Columns whose least and greatest values stand in the log; never one that could name a person."""


class Lake:
    """All tables of one root.

    Args:
        root: Where they lie.
    """

    def __init__(self, root: Root) -> None:
        self._root = root

    @staticmethod
    def delta_schema(spec: TableSpec) -> Schema:
        """The Delta schema of a table; units and meanings stand in its fields' metadata."""
        return Schema.from_arrow(spec.arrow)

    def create_all(self) -> list[str]:
        """Make the tables that do not exist yet, empty; returns their names."""
        made = []
        for name, spec in TABLES.items():
            path = self._root.table(name)
            uri, options = self._root.store.delta(path)
            with self._reading(name):
                known = DeltaTable.is_deltatable(uri, options)
            if known:
                continue
            with storing(path):
                DeltaTable.create(
                    uri,
                    schema=self.delta_schema(spec),
                    mode="ignore",
                    partition_by=list(PARTITION),
                    name=name,
                    description=spec.doc,
                    configuration=properties(spec),
                    storage_options=options,
                )
            self.make_durable(name, 0)
            made.append(name)
        if made:
            self._root.store.sync(self._root.tables)
        return made

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """A snapshot of a table; load a new one for every commit.

        Raises:
            DamagedError: its log cannot be read.
            NotFoundError: no such table, or no such version of it.
            StoreUnavailableError: the object store does not answer.
        """
        if table not in TABLES:
            raise NotFoundError("no such table", subject=table[:80], next_step="tanada lake tables")
        uri, options = self._root.store.delta(self._root.table(table))
        try:
            return DeltaTable(uri, version=version, storage_options=options)
        except TableNotFoundError as error:
            raise NotFoundError(
                "the table is not in this lake", subject=table, next_step="tanada upgrade"
            ) from error
        except (DeltaError, OSError) as error:
            if is_unreachable(error):
                raise unreachable(f"table {table}") from None
            if isinstance(error, OSError):
                raise
            if version is not None and version > self.open(table).version():
                raise NotFoundError(
                    "no such version", subject=f"table {table}", found=str(version)
                ) from error
            raise DamagedError(
                "the table's log cannot be read",
                subject=f"table {table}",
                found=str(error)[:300],
                next_step="tanada lake verify",
            ) from error

    def pin(self) -> dict[str, int]:
        """Versions of all tables that belong together, `episodes` first."""
        order = ("episodes", *(name for name in TABLES if name != "episodes"))
        return {name: self.open(name).version() for name in order}

    def dataset(self, table: str, pinned: Mapping[str, int], *, where: Any = None) -> pd.Dataset:
        """A table at its pinned version, as an Arrow dataset; also what is not visible.

        Args:
            table: Its name.
            pinned: Result of `pin`.
            where: Arrow expression that every row must fulfil.

        Raises:
            NotFoundError: no such table.
            WrongUseError: the table is not pinned.
        """
        if table in TABLES and table not in pinned:
            raise WrongUseError("the table is not pinned", subject=f"table {table}")
        data = self._files(table, self.open(table, pinned.get(table)))
        return data if where is None else data.filter(where)

    def _files(self, table: str, snapshot: DeltaTable) -> pd.Dataset:
        """A snapshot's files as a dataset that prunes by what the log really says of them.

        `to_pyarrow_dataset` turns a statistic that an add-action leaves out into "column >= null",
        and a filter on that column then skips the file without a word. It also reads through a
        Python file system, whose threads can abort the interpreter's exit.
        """
        import pyarrow.dataset as pd

        protocol = snapshot.protocol()
        if protocol.min_reader_version > _READER_VERSION:
            raise DamagedError(
                "the table needs a newer reader",
                subject=f"table {table}",
                expected=f"reader version {_READER_VERSION}",
                found=f"{protocol.min_reader_version} {protocol.reader_features or ''}".strip(),
            )
        schema = pa.schema(snapshot.schema().to_arrow())
        files = self._root.store.arrow_files(self._root.table(table))
        parquet = pd.ParquetFileFormat(
            default_fragment_scan_options=pd.ParquetFragmentScanOptions(pre_buffer=True)
        )
        actions = pa.table(snapshot.get_add_actions(flatten=True)).to_pylist()
        fragments = [
            parquet.make_fragment(
                action["path"], filesystem=files, partition_expression=_known_of(action)
            )
            for action in actions
        ]
        return pd.FileSystemDataset(fragments, schema, parquet, files)

    def visible(
        self, pinned: Mapping[str, int], recordings: Sequence[str] | None = None
    ) -> pa.Array:
        """Ids of the recordings that the pinned `episodes` shows, sorted; of these, if given."""
        condition = None
        if recordings is not None:
            condition = pc.field("recording_id").isin(pa.array(recordings, pa.string()))
        episodes = self.dataset("episodes", pinned)
        with self._reading("episodes"):
            ids = episodes.to_table(["recording_id"], filter=condition)
        return pc.unique(ids["recording_id"].combine_chunks()).sort()

    def read(
        self,
        table: str,
        pinned: Mapping[str, int],
        columns: Sequence[str] | None = None,
        recordings: Sequence[str] | None = None,
        *,
        visible_only: bool = True,
    ) -> pa.Table:
        """Rows of a table at its pinned version.

        Args:
            table: Its name.
            pinned: Result of `pin`.
            columns: Default: all.
            recordings: Only of these.
            visible_only: Only of recordings that `episodes` shows; without it also rows whose
                commit is not finished, or that were taken out.

        Raises:
            NotFoundError: no such table.
            WrongUseError: no such column.
        """
        if columns is not None and table in TABLES:
            known = {column.name for column in TABLES[table].columns}
            if unknown := [name for name in columns if name not in known]:
                raise WrongUseError(
                    "no such column", subject=f"table {table}", found=", ".join(unknown)[:200]
                )
        wanted = self.visible(pinned, recordings) if visible_only else recordings
        condition = None
        if wanted is not None:
            condition = pc.field("recording_id").isin(pa.array(wanted, pa.string()))
        data = self.dataset(table, pinned)
        with self._reading(table):
            return data.to_table(None if columns is None else list(columns), filter=condition)

    @contextmanager
    def _reading(self, table: str) -> Iterator[None]:
        """Turn what a library says of an object store that does not answer into our error."""
        try:
            yield
        except OSError:
            if self._root.is_local:
                raise
            raise unreachable(f"table {table}") from None

    def make_durable(self, table: str, version: int) -> None:
        """Bring one log entry and the folders around it to disk; delta-rs itself never does."""
        folder = self._root.table(table)
        log = folder / "_delta_log"
        for path in (log / f"{version:020}.json", log, folder):
            self._root.store.sync(path)


def _known_of(action: Mapping[str, Any]) -> pc.Expression:
    """What holds for every row of a file: its partition, and bounds where the log has them."""
    known = [pc.field(column) == action[f"partition.{column}"] for column in PARTITION]
    for column in ("recording_id", "t_ns"):
        least, greatest = action.get(f"min.{column}"), action.get(f"max.{column}")
        if least is not None and greatest is not None and action.get(f"null_count.{column}") == 0:
            known += [pc.field(column) >= least, pc.field(column) <= greatest]
    return functools.reduce(operator.and_, known)


def is_unreachable(error: Exception) -> bool:
    """Whether delta-rs says that an object store did not answer, rather than what it answered."""
    return "Generic S3 error" in str(error)


def unreachable(subject: str) -> StoreUnavailableError:
    """The error for a table whose store does not answer; delta-rs's text may hold addresses."""
    return StoreUnavailableError("the object store does not answer", subject=subject)


def properties(spec: TableSpec) -> dict[str, str | None]:
    """Delta properties of a table.

    Expired log entries are cleaned by maintenance only: delta-rs otherwise drops old versions at
    a checkpoint. Statistics are limited, because they stay in the log when rows are erased.
    """
    own = {column.name for column in spec.columns}
    return {
        "delta.checkpointInterval": "10",
        "delta.enableExpiredLogCleanup": "false",
        "delta.dataSkippingStatsColumns": ",".join(c for c in _STATISTICS if c in own),
    }
