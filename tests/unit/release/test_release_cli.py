"""`tanada release` as a person or a script uses it."""

from __future__ import annotations

import json

import pytest
import typer
import yaml
from typer.testing import CliRunner

from pipelines.cli import release as commands
from tests.servers.lakes import environment_of


@pytest.fixture
def tanada(platform):
    """Runs `tanada release …` on the platform's root."""
    app = typer.Typer(rich_markup_mode=None)
    commands.register(app)

    @app.callback()
    def main() -> None:
        pass

    def run(*words: str):
        environment = environment_of(platform.settings)
        arguments = ["release", *words, "--root", str(platform.root.path)]
        return CliRunner(env=environment).invoke(app, arguments)

    return run


@pytest.fixture
def recipe_file(lake, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(lake.recipe().model_dump(mode="json")))
    return path


@pytest.mark.usefixtures("arms")
def test_build_list_and_show(tanada, recipe_file, platform):
    built = tanada("build", str(recipe_file), "--json")
    assert built.exit_code == 0, built.stderr
    document = json.loads(built.stdout)
    assert (document["version"], document["created"], document["frames"]) == (1, True, 93)
    assert "episodes: 3 of 3" in built.stderr

    again = tanada("build", str(recipe_file), "--json")
    assert json.loads(again.stdout)["created"] is False
    assert "unchanged: version 1" in again.stderr

    (listed,) = json.loads(tanada("list", "--json").stdout)
    assert (listed["dataset"], listed["digest"]) == ("arms", document["digest"])
    assert tanada("list", "other", "--json").stdout.strip() == "[]"
    assert "arms" in tanada("list").stdout

    shown = json.loads(tanada("show", "arms", "--json").stdout)
    assert shown["digest"] == document["digest"]
    assert {f["path"] for f in shown["files"]} >= {"card.md", "release.json", "statistics.json"}
    assert shown["folder"] == str(platform.root.release("arms", 1))
    assert any("pretraining" in line for line in shown["terms"])
    assert tanada("show", "arms", "1").exit_code == 0


@pytest.mark.parametrize("words", [("show", "none"), ("show", "arms", "7"), ("build", "none.yaml")])
def test_what_is_not_there_is_wrong_use(tanada, words):
    found = tanada(*words, "--json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["error"]["kind"] == "NotFoundError"


def test_a_wrong_recipe_is_wrong_use_and_names_its_line(tanada, recipe_file):
    text = recipe_file.read_text()
    recipe_file.write_text(text.replace("rate_hz:", "rate:"))
    found = tanada("build", str(recipe_file))
    assert found.exit_code == 2
    assert "recipe.yaml: line" in found.stderr
    assert found.stdout == ""


def test_terms_that_forbid_it_are_a_refusal(tanada, recipe_file, lake):
    lake.organisation("alpha", lake.OPEN_TERMS | {"expires_at": "2026-11-01T00:00:00Z"})
    lake.arm("alpha")
    found = tanada("build", str(recipe_file), "--json")
    assert found.exit_code == 1
    assert "expired at" in json.loads(found.stdout)["error"]["what"]


def test_what_is_left_out_is_said(tanada, recipe_file, lake):
    lake.organisation("alpha", lake.OPEN_TERMS | {"expires_at": "2026-11-01T00:00:00Z"})
    over = lake.arm("alpha")
    lake.arm()
    found = tanada("build", str(recipe_file), "--json")
    assert found.exit_code == 0
    assert f"left out: recording {over.recording}" in found.stderr
    assert json.loads(found.stdout)["left_out"][0]["recording_id"] == over.recording
    assert tanada("build", str(recipe_file), "--strict").exit_code == 1
