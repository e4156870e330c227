"""The registry loads lazily, recognises by content and says what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from connectors.registry import SOURCES, load
from schemas.errors import MissingDependencyError, NotFoundError


def test_the_registry_itself_loads_no_source() -> None:
    code = "import sys, connectors.registry; print(any('numpy' == m for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_source_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="mcap"):
        load("no-such-format")


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_missing_package_is_answered_with_the_install_line(name: str) -> None:
    code = (
        "import sys\nsys.modules['numpy'] = None\n"
        "from connectors.registry import load\n"
        f"load({name!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert MissingDependencyError.__name__ in done.stderr
    assert "pip install" in done.stderr
