"""The wheel holds what it should, and works outside the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels, built from this checkout."""
    out = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "api" / "client"):
        command = ["uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--out-dir", out]
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, *command[1:], "--python", sys.executable, project], check=True)
    return {path.name.split("-")[0]: path for path in out.glob("*.whl")}


def top_level(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}


def test_platform_wheel_holds_the_four_packages_and_not_the_client(wheels: dict[str, Path]) -> None:
    assert top_level(wheels["tanada_platform"]) == {"schemas", "connectors", "pipelines", "api"}
    names = zipfile.ZipFile(wheels["tanada_platform"]).namelist()
    assert not [name for name in names if name.startswith("api/client")]
    assert any(name.startswith("connectors/stores/migrations/versions/") for name in names)
    assert any(name.startswith("pipelines/check/suites/") for name in names)


def test_client_wheel_holds_only_the_client(wheels: dict[str, Path]) -> None:
    assert top_level(wheels["tanada"]) == {"tanada"}


def test_wheels_work_outside_the_checkout(wheels: dict[str, Path], tmp_path: Path) -> None:
    """Unpacked on the path, away from the checkout, a root is made and migrated from the wheel."""
    site = tmp_path / "site"
    for wheel in wheels.values():
        zipfile.ZipFile(wheel).extractall(site)
    code = f"""
import sys
import site

site.main()
sys.path = [{str(site)!r}] + [p for p in sys.path if p and p != {str(ROOT)!r}]
import schemas, connectors, pipelines, api, tanada
for module in (schemas, connectors, pipelines, api, tanada):
    assert module.__file__.startswith({str(site)!r}), module.__file__
from connectors.stores.catalog.database import connect, migrate
engine = connect("sqlite:///{tmp_path / "c.db"}")
migrate(engine)
engine.dispose()
print("ok")
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "ok", done.stderr


def test_flat_names_belong_to_nobody_else() -> None:
    """Generic top-level names are safe only while no dependency ships one too."""
    owners = packages_distributions()
    for name in ("schemas", "connectors", "pipelines", "api", "dags", "infra"):
        assert set(owners.get(name, [])) <= {"tanada-platform"}
