"""Every source by name, loaded when asked for, and recognition of files by their content."""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from schemas.errors import (
    EmptyRecordingError,
    MissingDependencyError,
    NotFoundError,
    WrongFormatError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from connectors.source import Source

HEAD_BYTES: Final = 4096
"""Bytes that recognition looks at."""


def _loader(module: str, kind: str, install: str) -> Callable[[], Source]:
    def load_source() -> Source:
        try:
            source: Source = getattr(importlib.import_module(module), kind)()
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"package {error.name} is not installed",
                subject=module.rsplit(".", 1)[-1],
                next_step=install,
            ) from error
        return source

    return load_source


SOURCES: Final[Mapping[str, Callable[[], Source]]] = MappingProxyType(
    {
        "mcap": _loader(
            "connectors.sources.mcap.source", "McapSource", "pip install lz4 zstandard pyyaml"
        ),
    }
)
"""Loaders by registry key; a source is imported when its loader is called."""


def load(name: str) -> Source:
    """The source of that name.

    Raises:
        NotFoundError: no such source.
        MissingDependencyError: an optional package is missing; carries the install line.
    """
    if name not in SOURCES:
        raise NotFoundError(
            "no such source", subject=name[:80], expected=", ".join(sorted(SOURCES))
        )
    return SOURCES[name]()


def recognise(path: Path, name: str = "") -> Source:
    """The source whose format a file's content has.

    Args:
        path: The file.
        name: Name the contributor gave it; only for messages and never sufficient.

    Raises:
        EmptyRecordingError: 0 bytes.
        WrongFormatError: no source knows its first bytes.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return recognise_head(head, name or path.name)


def recognise_head(head: bytes, name: str) -> Source:
    """Like `recognise`, from a file's first 4 KiB."""
    if not head:
        raise EmptyRecordingError("the file has 0 bytes", subject=name)
    for key in SOURCES:
        source = load(key)
        if source.recognises(head, name):
            return source
    raise WrongFormatError(
        "no source recognises these bytes",
        subject=name,
        expected=", ".join(sorted(SOURCES)),
        found=f"a file beginning with {head[:16].hex(' ')}",
        next_step="convert it to a supported format, or declare a mapping for it",
    )
