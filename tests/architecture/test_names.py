"""The house's rules that no linter knows: names, sizes, wording."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIGRATIONS = ROOT / "infra" / "migrations" / "versions"
FORBIDDEN = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
LINES_HARD = 600
FUNCTION_HARD = 80


def tracked(pattern: str) -> list[Path]:
    """Files of the checkout that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / line for line in out.splitlines() if (ROOT / line).is_file()]


PYTHON = tracked("*.py")


def test_the_checkout_has_python_files() -> None:
    assert len(PYTHON) > 50


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_is_named_and_sized_as_agreed(path: Path) -> None:
    parts = {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    assert not parts & FORBIDDEN
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LINES_HARD
    if path.is_relative_to(MIGRATIONS):
        return  # a migration is one list of steps, generated and read as such
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_HARD, f"{node.name} has {length} lines"


def test_no_init_files_below_tests() -> None:
    """A package below tests/ would shadow the real one of the same name."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_nothing_names_a_machine_or_a_registry() -> None:
    places = re.compile(
        r"(?<![\w.])/(?:root|home|work)/[a-z]|https?://(?:pypi|files\.pythonhosted)"
    )
    here = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked("*")
        if path != here and path.suffix not in {".png", ".jpg"}
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if places.search(line)
    ]
    assert not found


def test_environment_is_read_only_at_the_roots() -> None:
    roots = {
        "api/asgi.py",
        "api/cli.py",
        "pipelines/cli/platform.py",
        "pipelines/spark/executor.py",
    }
    readers = {
        str(path.relative_to(ROOT))
        for path in PYTHON
        if path.relative_to(ROOT).parts[0] in {"schemas", "connectors", "pipelines", "api"}
        and path.relative_to(ROOT).parts[:2] != ("api", "client")
        and re.search(r"os\.environ|os\.getenv|from os import .*environ", path.read_text("utf-8"))
    }
    assert readers <= roots
