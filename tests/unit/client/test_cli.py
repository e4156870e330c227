"""The command: what it prints, how it exits, what it keeps."""

from __future__ import annotations

import json
import random
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import tanada
from connectors.stores.catalog import database, recordings
from tanada.cli import app
from tanada.errors import WrongUseError
from tanada.receipt import RECEIPT
from tanada.settings import Login, find_login, login_file, save_login

if TYPE_CHECKING:
    from pathlib import Path


def run(environ: dict[str, str], *arguments: str, typed: str | None = None) -> Any:
    return CliRunner().invoke(app(arguments), list(arguments), env=environ, input=typed)


@pytest.fixture
def pulled(world, tmp_path: Path) -> Path:
    folder = tmp_path / "tidy"
    done = run(world.environ(), "pull", "tidy@2", "--purpose", "pretraining", "--to", str(folder))
    assert done.exit_code == 0, done.stderr
    assert "verified" in done.stdout
    assert "you have to: attribution: © Kitchen" in done.stdout
    return folder


def test_search_shows_what_the_key_may_see(world) -> None:
    done = run(world.environ(), "search", "tidying", "--purpose", "pretraining")
    assert done.exit_code == 0
    assert "tidy" in done.stdout
    found = json.loads(run(world.environ(), "search", "--json").stdout)
    assert [item["id"] for item in found["items"]] == ["tidy"]
    nothing = run(world.environ("partner"), "search")
    assert nothing.stdout == "(none)\n"


def test_verify_of_a_whole_release(pulled: Path) -> None:
    done = run({}, "verify", str(pulled))
    assert done.exit_code == 0
    assert "is whole" in done.stdout


def test_one_changed_byte_is_found_and_named(pulled: Path) -> None:
    victim = pulled / "media" / "e0" / "front camera.blob"
    content = bytearray(victim.read_bytes())
    content[123_456] ^= 1
    victim.write_bytes(content)
    done = run({}, "verify", str(pulled), "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["whole"] is False
    (finding,) = document["findings"]
    assert (finding["path"], finding["problem"]) == ("media/e0/front camera.blob", "changed")


def test_missing_and_surplus_files_are_named(pulled: Path) -> None:
    (pulled / "card.md").unlink()
    (pulled / "notes.txt").write_text("mine")
    (pulled / "statistics.json").write_text("{")
    done = run({}, "verify", str(pulled))
    assert done.exit_code == 1
    lines = [line.split(":")[0] for line in done.stdout.splitlines()[1:]]
    assert lines == [
        "missing   card.md",
        "surplus   notes.txt",
        "changed   statistics.json",
    ]
    assert "next: tanada pull tidy@2" in done.stderr


def test_a_receipt_that_was_edited_is_found(pulled: Path) -> None:
    receipt = json.loads((pulled / RECEIPT).read_text())
    receipt["files"] = [f for f in receipt["files"] if f["path"] != "card.md"]
    (pulled / RECEIPT).write_text(json.dumps(receipt))
    (pulled / "card.md").unlink()
    done = run({}, "verify", str(pulled))
    assert done.exit_code == 1
    assert f"changed   {RECEIPT}" in done.stdout
    (pulled / RECEIPT).write_text("{")
    broken = run({}, "verify", str(pulled))
    assert broken.exit_code == 1
    assert "damaged" in broken.stderr


def test_verify_of_no_release_is_wrong_use(tmp_path: Path) -> None:
    done = run({}, "verify", str(tmp_path))
    assert done.exit_code == 2
    assert "tanada pull" in done.stderr


REFUSALS = [
    (["pull", "tidy", "--purpose", "research", "--to", "D"], 1, "purpose_not_allowed"),
    (["pull", "tidy@1", "--purpose", "evaluation", "--to", "D"], 1, "withdrawn"),
    (["pull", "other", "--purpose", "evaluation", "--to", "D"], 2, "tanada search"),
    (["pull", "tidy", "--purpose", "fun", "--to", "D"], 2, "pretraining"),
    (["status", "0" * 64], 1, "role"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), REFUSALS)
def test_refusals_have_their_exit_codes(world, tmp_path, arguments, code, text) -> None:
    arguments = [str(tmp_path / "d") if a == "D" else a for a in arguments]
    done = run(world.environ(), *arguments, "--json")
    assert done.exit_code == code
    assert text in done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["what"]
    assert world.keys["model"] not in done.stdout + done.stderr


def test_a_catalog_that_is_not_there_may_be_tried_again(world) -> None:
    environ = world.environ() | {"TANADA_URL": "http://127.0.0.1:1"}
    done = run(environ, "search")
    assert done.exit_code == 3
    assert "does not answer" in done.stderr


def test_no_key_is_wrong_use(tmp_path: Path) -> None:
    done = run({"TANADA_CONFIG": str(tmp_path / "x"), "TANADA_KEY": ""}, "search")
    assert done.exit_code == 2
    assert "tanada login" in done.stderr


def test_login_keeps_the_key_for_its_owner_only(world, tmp_path: Path) -> None:
    file = tmp_path / "config" / "login.json"
    environ = {"TANADA_CONFIG": str(file), "TANADA_KEY": "", "TANADA_URL": ""}
    done = run(environ, "login", "--url", world.url, typed=world.keys["model"] + "\n")
    assert done.exit_code == 0, done.stderr
    assert "models" in done.stdout
    assert world.keys["model"] not in done.stdout + done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = run(environ, "search", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["items"]


def test_a_wrong_key_is_not_kept(world, tmp_path: Path) -> None:
    file = tmp_path / "login.json"
    environ = {"TANADA_CONFIG": str(file), "TANADA_KEY": "tnd_no_such"}
    done = run(environ, "login", "--url", world.url)
    assert done.exit_code == 2
    assert not file.exists()


def test_the_environment_wins_and_a_stored_key_stays_with_its_address(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    path = login_file(environ)
    assert path == tmp_path / "tanada" / "login.json"
    save_login(path, Login("https://a.example", "k1"))
    assert find_login(environ) == Login("https://a.example", "k1")
    assert find_login(environ | {"TANADA_KEY": "k2"}).key == "k2"
    assert find_login(environ, "https://a.example/", "k3").key == "k3"
    with pytest.raises(WrongUseError, match=r"no key for https://b\.example"):
        find_login(environ | {"TANADA_URL": "https://b.example"})
    assert "k1" not in repr(find_login(environ))
    for wrong in ("ftp://a", "a.example", "http://user:pass@a.example"):
        with pytest.raises(WrongUseError, match="not the address"):
            find_login(environ, wrong)


def test_upload_and_status(world, tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_bytes(random.Random(77).randbytes(5000))
    environ = world.environ("partner")
    common = ("--robot", "arm-1", "--agreement", "a-1", "--json")
    done = run(environ, "upload", str(tmp_path), *common)
    assert done.exit_code == 0, done.stderr
    (outcome,) = json.loads(done.stdout)
    assert outcome["status"] == "received"
    identity = outcome["recording_id"]
    reason = {"rule": "empty", "observed": "0", "limit": "", "stream": "", "t_ns": None}
    with database.writing(world.engine) as connection:
        recordings.set_state(
            connection,
            identity,
            state="quarantined",
            reasons=[reason | {"severity": "error", "detail": "no message in it"}],
        )
    shown = run(environ, "status", identity)
    assert shown.exit_code == 0
    assert "state     quarantined" in shown.stdout
    assert "no message in it" in shown.stdout
    listed = json.loads(run(environ, "status", "--state", "quarantined", "--json").stdout)
    assert identity in [item["recording_id"] for item in listed["items"]]
    waited = run(environ, "upload", str(tmp_path), *common, "--wait")
    (again,) = json.loads(waited.stdout)
    assert (again["status"], again["reasons"][0]["rule"]) == ("duplicate", "empty")
    conflict = run(environ, "upload", str(tmp_path), "--robot", "arm-2", "--agreement", "a-1")
    assert conflict.exit_code == 1
    assert conflict.stdout.startswith("conflict")


def test_exported_names_are_all_there() -> None:
    for name in tanada.__all__:
        assert getattr(tanada, name) is not None
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = tanada.nothing_like_it


def test_own_commands_load_nothing_of_the_platform() -> None:
    code = (
        "import sys; from tanada.cli import app; app(['pull']);"
        "heavy = {'httpx', 'pyarrow', 'rich', 'numpy', 'schemas', 'pipelines', 'api'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
