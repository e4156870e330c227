"""What every operator command shares: the opened platform, error → exit code, one output form.

A composition root: environment and clock enter here and nowhere below.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, ParamSpec, Self

import typer

from pipelines.observe import Observers, observers_of
from schemas.errors import (
    MissingDependencyError,
    NotFoundError,
    QuarantineError,
    RetryError,
    TanadaError,
    WrongUseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sqlalchemy import Engine

    from connectors.settings import Settings
    from connectors.stores.lake import Lake
    from connectors.stores.root import Root

Parameters = ParamSpec("Parameters")

RootOption = Annotated[
    str | None,
    typer.Option("--root", help="Folder or s3://bucket/prefix of the lake. [env: TANADA_ROOT]"),
]
DatabaseOption = Annotated[
    str | None, typer.Option("--database-url", help="Catalog database. [env: TANADA_DATABASE_URL]")
]
EngineOption = Annotated[
    str | None, typer.Option("--engine", help="embedded or spark. [env: TANADA_ENGINE]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

EXIT_REFUSED: Final = 1
EXIT_WRONG_USE: Final = 2
EXIT_RETRY: Final = 3


@dataclass(frozen=True, slots=True)
class Platform:
    """An opened platform; use as a context manager so that the database is closed.

    Attributes:
        settings: As given.
        root: Where everything lies.
        engine: The catalog database.
        clock: Nanoseconds UTC.
        observer: Told of what was done.
    """

    settings: Settings
    root: Root
    engine: Engine
    clock: Callable[[], int]
    observer: Observers = field(default_factory=Observers)

    @classmethod
    def open(cls, settings: Settings, clock: Callable[[], int] = time.time_ns) -> Platform:
        """Open an initialised root and its catalog.

        Raises:
            FailError: the root's format is another one, or its store lacks what is needed.
            NotFoundError: there is no root.
        """
        from connectors.stores.catalog.database import connect
        from connectors.stores.root import Root

        root = Root.open(settings.root, settings.access)
        engine = connect(settings.database_url or root.database_url)
        return cls(settings, root, engine, clock, observers_of(settings))

    @property
    def lake(self) -> Lake:
        """The tables. Their libraries are loaded by the commands that need them only."""
        from connectors.stores.lake import Lake

        return Lake(self.root)

    @classmethod
    def from_environment(cls, **flags: str | int | None) -> Platform:
        """Open the platform that flags, else the environment, name."""
        return cls.open(settings_of(**flags))

    def close(self) -> None:
        """Close the connections to the catalog."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def settings_of(**flags: str | int | None) -> Settings:
    """Settings from flags, else the environment of this process, else the defaults."""
    from connectors.settings import Settings

    return Settings.from_environment(os.environ, **flags)


def exit_code(error: TanadaError) -> int:
    """The one map from errors to exit codes: 1 refused or damaged, 2 wrong use, 3 try again."""
    if isinstance(error, RetryError):
        return EXIT_RETRY
    if isinstance(error, WrongUseError | NotFoundError | MissingDependencyError):
        return EXIT_WRONG_USE
    if isinstance(error, QuarantineError):
        return EXIT_REFUSED
    return EXIT_REFUSED


def run(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Make a function a command: project errors become one line on stderr and an exit code.

    With `--json` (parameter `as_json`) the error is the document on stdout as well.
    """

    @functools.wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except TanadaError as error:
            progress(f"error: {error}")
            if kwargs.get("as_json"):
                kind = type(error).__name__
                emit({"error": {"kind": kind, "what": error.what, **error.fields()}}, as_json=True)
            raise typer.Exit(exit_code(error)) from error

    return wrapped


def examples(*lines: str) -> str:
    """Epilogue of a command's help: its examples, not re-wrapped."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML (or JSON) file.

    Raises:
        NotFoundError: the file cannot be read.
        WrongUseError: it is no YAML mapping.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise NotFoundError("the file cannot be read", subject=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongUseError("not YAML", subject=str(path), found=str(error)[:300]) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise WrongUseError(
            "not a mapping", subject=str(path), expected="key: value", found=type(document).__name__
        )
    return document


def progress(text: str) -> None:
    """One line for people, on stderr."""
    sys.stderr.write(text + "\n")


def emit(document: Any, *, as_json: bool, exact: bool = False) -> None:
    """Answer on stdout: as one JSON document, or as a table for people.

    Args:
        document: A mapping (one thing) or a list of mappings (several).
        as_json: Whether `--json` was given.
        exact: Show stamps as they are also to people, not as dates.
    """
    if as_json:
        text = json.dumps(document, ensure_ascii=False, indent=2, default=str)
    elif isinstance(document, list):
        text = _table([_read(row, exact=exact) for row in document])
    else:
        text = _lines(_read(document, exact=exact))
    sys.stdout.write(text + "\n")


def _read(row: Mapping[str, Any], *, exact: bool) -> dict[str, Any]:
    """A row as people read it: stamps in ns UTC as dates, unless they are asked for exactly."""
    if exact:
        return dict(row)
    return dict(_dated(name, value) for name, value in row.items())


def _dated(name: str, value: Any) -> tuple[str, Any]:
    if not name.endswith("_ns") or not isinstance(value, int | None):
        return name, value
    from datetime import UTC, datetime

    short = name.removesuffix("_ns")
    if value is None:
        return short, None
    return short, datetime.fromtimestamp(value // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _lines(document: Mapping[str, Any]) -> str:
    """One line for each value; a list of mappings becomes a table of its own below its name."""
    width = max((len(key) for key in document), default=0)
    lines = []
    for key, value in document.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            table = _table([_read(item, exact=False) for item in value])
            lines += [key, *("  " + line for line in table.splitlines())]
        else:
            lines.append(f"{key:<{width}}  {_cell(value)}")
    return "\n".join(lines)


def _table(rows: list[Mapping[str, Any]]) -> str:
    if not rows:
        return "(none)"
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [
        max(len(column), *(len(line[at]) for line in cells)) for at, column in enumerate(columns)
    ]
    lines = [columns, *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "-"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
