"""What the documents say is true: their commands run, their links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)\)")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "infra/decisions/README.md"]


def test_readme_is_short() -> None:
    assert README.count("\n") <= 120


def test_readme_commands_run_in_order(tmp_path: Path) -> None:
    """Every block, top to bottom, in one shell, on a copy of what git would hold."""
    blocks = BLOCK.findall(README)
    assert len(blocks) >= 4
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for entry in ROOT.iterdir():
        if any(name.split("/")[0] == entry.name for name in listed) or entry.name == ".venv":
            (checkout / entry.name).symlink_to(entry)
    script = "set -euo pipefail\n" + "\n".join(
        body if kind == "bash" else f"python - <<'PYTHON'\n{body}PYTHON\n" for kind, body in blocks
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TANADA_")}
    environment["PYTHON"] = sys.executable
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "duplicate" in done.stdout
    assert "frames" in done.stdout


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    document = ROOT / name
    targets = [t for t in LINK.findall(document.read_text("utf-8")) if "://" not in t]
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert not missing


def test_contributing_names_only_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = re.findall(r"`((?:schemas|connectors|pipelines|api|tests|infra)/[\w./-]+)`", text)
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]


def test_make_help_lists_every_promised_target() -> None:
    done = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for target in ("demo", "test", "test-full", "bench", "lint", "serve"):
        assert f"make {target} " in done.stdout
