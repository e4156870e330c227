"""`tanada plan`: a document for machines, tables for people, help without heavy imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from pipelines.capacity.limits import LIMITS
from pipelines.cli import plan as module


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    module.register(made)
    return made


def test_json_is_one_document_with_sources(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["--robots", "1e5", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["robots"] == 1e5
    assert document["years"][-1]["total"]["robots"] == pytest.approx(1e5)
    assert {limit["name"] for limit in document["limits"]} == {limit.name for limit in LIMITS}
    assert document["first_limit"] == document["limits"][0]["name"]
    assert document["assumptions"]["general.price_storage_gb_month"].startswith("assumed")
    assert all(limit["source"] and limit["change"] for limit in document["limits"])


def test_people_get_tables_and_the_first_limit(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["--robots", "10e6", "--sector", "factory"])
    assert done.exit_code == 0, done.output
    assert "first limit" in done.stdout
    assert "10M" not in done.stdout
    assert "4 M" in done.stdout  # factories' share
    assert "food" not in done.stdout


def test_wrong_use_ends_with_2(app: typer.Typer) -> None:
    for arguments in (
        ["--sector", "moon"],
        ["--set", "general.moon=1"],
        ["--from", "nowhere.json"],
    ):
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 2, arguments
        assert "error" in json.loads(done.stdout)


def test_registering_the_command_imports_nothing_heavy() -> None:
    heavy = ("yaml", "pyarrow", "deltalake", "numpy", "sqlalchemy")
    code = f"import sys, pipelines.cli.plan; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (1, "1"), (999, "999"), (999.7, "1 k"), (1234, "1.23 k"), (5e15, "5 P")],
)
def test_amounts_are_short(value: float, said: str) -> None:
    assert module.amount(value) == said


def test_amounts_with_a_unit() -> None:
    assert module.amount(2.5e12, "B") == "2.5 TB"
