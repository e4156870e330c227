"""How the commands talk: one JSON document or a table on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_STEP: Final = 1000


def note(text: str) -> None:
    """One line for people, on stderr."""
    sys.stderr.write(text + "\n")


def emit(document: Any, *, as_json: bool, people: Callable[[Any], str]) -> None:
    """The answer on stdout.

    Args:
        document: Plain values.
        as_json: Whether `--json` was given.
        people: Makes the text for a person.
    """
    text = json.dumps(document, ensure_ascii=False, indent=2) if as_json else people(document)
    sys.stdout.write(text.rstrip("\n") + "\n")


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Rows as a plain table that fits pipes and terminals alike."""
    if not rows:
        return "(none)"
    cells = [[cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, line)) for line in zip(columns, *cells, strict=True)]
    lines = [list(columns), *cells]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def cell(value: Any) -> str:
    """One value, short."""
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def amount(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} TB"


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr where a person looks on; silence elsewhere.

    Yields:
        A function to be told `(what, bytes more, bytes in all)`.
    """
    if not sys.stderr.isatty():
        yield lambda _what, _more, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def advance(what: str, more: int, total: int) -> None:
            # A path comes from the catalog: it must not be read as markup.
            bar.update(task, description=what[-50:].replace("[", "("), total=total, advance=more)

        yield advance
