"""A pulled release as tables: Arrow, and pandas, Polars or DuckDB where they are installed."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from tanada.errors import DamagedError, TanadaClientError, WrongUseError
from tanada.receipt import Receipt, check

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import pyarrow as pa

_TABLES: Final = "tables"
_LOG: Final = "_delta_log"
_DEPTH: Final = 3
"""Parts of `tables/NAME/FILE`."""


class Release:
    """One release in a local folder, as `tanada pull` left it.

    Args:
        folder: The folder that holds its receipt.

    Raises:
        WrongUseError: there is no receipt.
        DamagedError: the receipt cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.receipt = Receipt.read(self.folder)

    def __repr__(self) -> str:
        return f"Release({self.dataset}@{self.version}, {str(self.folder)!r})"

    @property
    def dataset(self) -> str:
        """Id of the dataset."""
        return self.receipt.dataset

    @property
    def version(self) -> int:
        """Version of the dataset."""
        return self.receipt.version

    @property
    def tables(self) -> list[str]:
        """Names of its tables."""
        return sorted({name for name, _ in self._parts()})

    @property
    def card(self) -> str:
        """Its card, a text for people."""
        return self._text("card.md")

    @property
    def statistics(self) -> dict[str, Any]:
        """Exact statistics of every feature."""
        document: dict[str, Any] = json.loads(self._text("statistics.json"))
        return document

    def verify(self) -> None:
        """Read every byte and compare it with the receipt.

        Raises:
            DamagedError: naming the first file that is changed, missing or surplus.
        """
        findings = check(self.folder, self.receipt)
        if findings:
            first = findings[0]
            raise DamagedError(
                f"{first.path} is {first.problem}: {first.detail}",
                next_step=f"tanada verify {self.folder}",
            )

    def files(self, table: str = "frames") -> list[Path]:
        """The Parquet files of one table, in row order.

        Raises:
            WrongUseError: no such table; the message names those there are.
        """
        found = [path for name, path in self._parts() if name == table]
        if not found:
            raise WrongUseError(
                f"{self.dataset}@{self.version} has no table {table!r}",
                next_step=f"one of: {', '.join(self.tables)}",
            )
        return [self.folder / PurePosixPath(path) for path in sorted(found)]

    def arrow(self, table: str = "frames", columns: Sequence[str] | None = None) -> pa.Table:
        """One table as an Arrow table."""
        return self.scan(table).to_table(columns=None if columns is None else list(columns))

    def scan(self, table: str = "frames") -> Any:
        """One table as a `pyarrow.dataset.Dataset`: batches, filters, columns without loading."""
        import pyarrow.dataset as ds

        return ds.dataset([str(path) for path in self.files(table)], format="parquet")

    def pandas(self, table: str = "frames", columns: Sequence[str] | None = None) -> Any:
        """One table as a `pandas.DataFrame`."""
        _need("pandas")
        return self.arrow(table, columns).to_pandas()

    def polars(self, table: str = "frames", columns: Sequence[str] | None = None) -> Any:
        """One table as a `polars.DataFrame`."""
        return _need("polars").from_arrow(self.arrow(table, columns))

    def duckdb(self, connection: Any = None) -> Any:
        """A DuckDB connection in which every table of the release is a view.

        Args:
            connection: An open connection to add the views to; default: a new one in memory.
        """
        found = _need("duckdb").connect(":memory:") if connection is None else connection
        for name in self.tables:
            found.register(name, self.scan(name))
        return found

    def _parts(self) -> list[tuple[str, str]]:
        """(table, path) of every Parquet file below `tables/`."""
        parts = []
        for file in self.receipt.files:
            split = file.path.split("/")
            inside = split[0] == _TABLES and len(split) >= _DEPTH and _LOG not in split
            if inside and file.path.endswith(".parquet"):
                parts.append((split[1], file.path))
        return parts

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError as error:
            raise DamagedError(
                f"{name} of {self.dataset}@{self.version} cannot be read",
                next_step=f"tanada verify {self.folder}",
            ) from error


def _need(name: str) -> ModuleType:
    """An optional library.

    Raises:
        TanadaClientError: it is not installed; the message carries the install line.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise TanadaClientError(
            f"{name} is not installed", next_step=f"pip install 'tanada[{name}]'"
        ) from error
