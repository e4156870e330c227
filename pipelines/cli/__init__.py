"""The operator's commands: they join the `tanada` command through the group `tanada.commands`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import typer

MODULES: Final = ("ingest", "admin", "lake", "maintenance", "release", "jobs", "plan")
"""Modules of this package with commands; each has `register(app)` and imports nothing heavy."""


def register(app: typer.Typer) -> None:
    """Add every operator command to the `tanada` command."""
    for module in MODULES:
        import_module(f"pipelines.cli.{module}").register(app)
