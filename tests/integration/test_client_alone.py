"""The client's distribution alone, in a clean environment, pulls from a running server."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from uv import find_uv_bin

from tanada.settings import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parents[2]
PLATFORM = ("schemas", "connectors", "pipelines", "api", "dags", "sqlalchemy", "deltalake")


def _platform() -> Any:
    """The small platform of the client's own tests."""
    path = HERE / "tests" / "unit" / "client" / "conftest.py"
    spec = importlib.util.spec_from_file_location("client_platform", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    platform = _platform()
    built = platform.build(tmp_path_factory.mktemp("platform"))
    with platform.serving(built) as url:
        built.url = url
        yield built
    built.engine.dispose()


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of programs of a new environment that holds the client's wheel and its needs."""
    folder = tmp_path_factory.mktemp("clean")
    uv = find_uv_bin()
    client = str(HERE / "api" / "client")

    def make(*command: str) -> None:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    make(uv, "venv", "--python", sys.executable, "env")
    make(uv, "build", "--wheel", "--out-dir", "wheels", client)
    (wheel,) = (folder / "wheels").glob("*.whl")
    python = str(folder / "env" / "bin" / "python")
    make(uv, "pip", "install", "--python", python, str(wheel))
    return folder / "env" / "bin"


def run(program: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run outside the checkout, with nothing of this environment's paths."""
    outside = environment()
    kept = {name: outside[name] for name in ("PATH", "HOME") if name in outside}
    return subprocess.run(
        [str(program), *arguments],
        env=kept | environ,
        cwd=program.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_of_the_platform_is_there(clean: Path) -> None:
    code = (
        "import importlib.util as u, sys; "
        f"found = [n for n in {PLATFORM} if u.find_spec(n)]; sys.exit(str(found) if found else 0)"
    )
    done = run(clean / "python", "-c", code)
    assert done.returncode == 0, done.stderr


def test_it_pulls_verifies_and_reads(clean: Path, world: Any, tmp_path: Path) -> None:
    environ = world.environ()
    folder = tmp_path / "tidy"
    pulled = run(
        clean / "tanada",
        "pull", "tidy", "--purpose", "pretraining", "--to", str(folder), "--json",
        **environ,
    )  # fmt: skip
    assert pulled.returncode == 0, pulled.stderr
    assert json.loads(pulled.stdout)["version"] == 2
    assert run(clean / "tanada", "verify", str(folder)).returncode == 0
    code = f"import tanada; print(tanada.Release({str(folder)!r}).arrow().num_rows)"
    read = run(clean / "python", "-c", code)
    assert read.stdout == "50000\n", read.stderr
    code = f"import tanada; tanada.Release({str(folder)!r}).polars()"
    missing = run(clean / "python", "-c", code)
    assert "pip install 'tanada[polars]'" in missing.stderr


def test_its_help_names_its_own_commands_only(clean: Path) -> None:
    done = run(clean / "tanada", "--help")
    assert done.returncode == 0, done.stderr
    for command in ("login", "search", "pull", "upload", "status", "verify"):
        assert f"\n  {command}" in done.stdout
    assert "\n  ingest" not in done.stdout
