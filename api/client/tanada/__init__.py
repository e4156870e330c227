"""Client of a Tanada catalog: search, pull, verify, upload.

    import tanada

    catalog = tanada.Catalog()                      # after `tanada login`
    release = catalog.pull("tidy-tables@3", purpose="pretraining", to="data/tidy-tables")
    frames = release.arrow()                        # or .pandas(), .polars(), .duckdb()

Everything below is loaded when it is first used: `tanada --help` pays for none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tanada.catalog import Catalog
    from tanada.errors import (
        CatalogUnavailableError,
        DamagedError,
        NotFoundError,
        RefusedError,
        TanadaClientError,
        WrongUseError,
    )
    from tanada.release import Release

__version__ = "0.1.0"
__all__ = [
    "Catalog",
    "CatalogUnavailableError",
    "DamagedError",
    "NotFoundError",
    "RefusedError",
    "Release",
    "TanadaClientError",
    "WrongUseError",
    "__version__",
]

_HOMES: Final = {"Catalog": "catalog", "Release": "release"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tanada' has no attribute {name!r}")
    return getattr(import_module(f"tanada.{_HOMES.get(name, 'errors')}"), name)
