import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from connectors.settings import SETTINGS
from pipelines.cli import admin, lake
from pipelines.cli.platform import emit
from schemas.licences import Terms

REPOSITORY = Path(__file__).parents[3]
TERMS = """
purposes_allowed: [pretraining]
territory: {storage: [JP], processing: [JP]}
personal: {contains_pi: false}
medical: {contains_medical: false}
"""


@pytest.fixture
def tanada(tmp_path):
    """Run a command on a new root: answers (exit code, stdout, stderr)."""
    app = typer.Typer(rich_markup_mode=None)
    admin.register(app)
    lake.register(app)

    def invoke(*words, code=0):
        result = CliRunner().invoke(
            app, words, env={"TANADA_ROOT": str(tmp_path / "lake")}, catch_exceptions=False
        )
        assert result.exit_code == code, result.output
        return result

    def as_json(*words, code=0):
        return json.loads(invoke(*words, "--json", code=code).stdout)

    invoke.json = as_json
    return invoke


@pytest.fixture
def made(tanada):
    return tanada.json("init", "--organisation", "Tanada Programme")


@pytest.fixture
def terms(tmp_path):
    path = tmp_path / "terms.yaml"
    path.write_text(TERMS)
    return str(path)


def contents(folder):
    return {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_init_makes_everything_and_shows_the_key_once(tanada, made, tmp_path):
    assert made["organisation"] == "tanada-programme"
    assert stat.S_IMODE((tmp_path / "lake/secret.key").stat().st_mode) == 0o600
    secret = made["key"].split("_", 2)[2].encode()
    for path, content in contents(tmp_path / "lake").items():
        assert secret not in content, path
    (org,) = tanada.json("org", "list")
    assert (org["operator"], org["legal_name"]) == (True, "Tanada Programme")
    agreement = tanada.json("agreement", "show", made["agreement"])
    assert Terms.model_validate(agreement["terms"]).recipients == ("tanada-programme",)
    assert [r["id"] for r in tanada.json("robot", "list")] == ["default"]
    assert "digest" not in tanada.json("key", "list")[0]
    assert [t["rows"] for t in tanada.json("lake", "tables")] == [0] * 15


def test_a_second_init_says_so_and_changes_nothing(tanada, made, tmp_path):
    before = contents(tmp_path / "lake")
    result = tanada("init", "--organisation", "Other", code=2)
    assert "initialised already" in result.stderr
    assert made["organisation"] in result.stderr
    after = contents(tmp_path / "lake")
    changed = {p.name for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    assert changed <= {"catalog.db-shm", "catalog.db-wal"}
    assert len(tanada.json("org", "list")) == 1


def test_an_init_that_was_cut_off_is_completed(tanada, tmp_path):
    tanada("init", "--organisation", "株式会社", code=2)
    tanada("init", "--organisation", "A", "--sector", "mining", code=2)
    tanada.json("init", "--organisation", "A")
    for path in (tmp_path / "lake").glob("catalog.db*"):
        path.unlink()
    assert tanada.json("init", "--organisation", "A")["organisation"] == "a"


def test_upgrade_is_safe_to_repeat(tanada, made):
    assert made
    assert tanada.json("upgrade")["tables_made"] == []
    assert tanada.json("upgrade")["format_version"] == 1


def test_a_partner_from_organisation_to_grant(tanada, made, terms, tmp_path):
    limits = tmp_path / "limits.yaml"
    limits.write_text("joint_1: [-1.5, 1.5]\n")
    org = tanada.json("org", "add", "Acme Foods", "--corporate-number", "1234567890123")
    member = tanada.json(
        "member", "add", "uploader", "--organisation", org["id"], "--role", "partner"
    )
    key = tanada.json("key", "add", member["id"], "--expires", "2099-04-01T00:00:00+09:00")
    assert key["key"].startswith(f"tnd_{key['id']}_")
    assert key["expires_ns"] == 4078652400 * 10**9
    robot = tanada.json(
        "robot", "add", "arm", "--organisation", org["id"], "--sector", "food",
        "--joint-limits", str(limits),
    )  # fmt: skip
    assert robot["joint_limits"] == {"joint_1": [-1.5, 1.5]}
    agreement = tanada.json(
        "agreement", "add", "C", "--organisation", org["id"], "--terms", terms, "--id", "c",
        "--document", terms,
    )  # fmt: skip
    assert agreement["terms"]["purposes_allowed"] == ["pretraining"]
    assert len(agreement["document_sha256"]) == 64
    tanada("dataset", "add", "pick", "--title", "Pick", "--sector", "food")
    grant = tanada.json(
        "grant", "add", "--dataset", "pick", "--organisation", org["id"], "--terms", terms
    )
    listed = tanada.json("grant", "list", "--organisation", org["id"])
    assert [g["id"] for g in listed] == [grant["id"]]
    assert tanada.json("grant", "list", "--organisation", made["organisation"]) == []
    for kind, key_id in (
        ("grant", grant["id"]),
        ("agreement", "c"),
        ("robot", "arm"),
        ("key", key["id"]),
        ("member", member["id"]),
        ("dataset", "pick"),
        ("org", org["id"]),
    ):
        assert tanada.json(kind, "revoke", key_id)["state"] == "revoked"
        assert tanada.json(kind, "show", key_id)["state"] == "revoked"
        assert key_id in [r["id"] for r in tanada.json(kind, "list", "--state", "revoked")]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["org", "show", "none"], 2),
        (["org", "add", "Tanada Programme"], 1),
        (["org", "revoke", "tanada-programme"], 1),
        (["key", "add", "m-none"], 2),
        (["key", "add", "m", "--expires", "tomorrow"], 2),
        (["robot", "add", "r", "--sector", "mining"], 2),
        (["robot", "add", "r", "--sector", "food", "--joint-limits", "/none.yaml"], 2),
        (["member", "add", "m", "--role", "root"], 2),
        (["lake", "query", "DROP TABLE imu"], 2),
        (["lake", "history", "none"], 2),
    ],
)
@pytest.mark.usefixtures("made")
def test_exit_codes_and_one_document_on_stdout(tanada, words, code):
    assert set(tanada.json(*words, code=code)["error"]) >= {"kind", "what", "next_step"}
    assert tanada(*words, code=code).stdout == ""
    assert tanada(*words, code=code).stderr.startswith("error: ")


@pytest.mark.parametrize("text", ["unknown_term: 1", "[1]", "{", "purposes_allowed: [spying]"])
@pytest.mark.usefixtures("made")
def test_terms_that_are_none_are_refused_with_the_place(tanada, tmp_path, text):
    path = tmp_path / "terms.yaml"
    path.write_text(text)
    error = tanada.json("agreement", "add", "C", "--terms", str(path), code=2)["error"]
    assert error["subject"] == str(path)
    assert error["expected"] or error["found"]


@pytest.mark.usefixtures("made")
def test_a_locked_catalog_says_that_a_retry_may_help(tanada, tmp_path, monkeypatch):
    import sqlite3

    from connectors.stores.catalog import database

    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    holder = sqlite3.connect(tmp_path / "lake/catalog.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert "locked" in tanada("org", "add", "B", code=3).stderr
    holder.execute("ROLLBACK")
    holder.close()
    tanada("org", "add", "B")


def test_without_a_root_the_next_command_is_named(tanada):
    assert "tanada init" in tanada("org", "list", code=2).stderr


@pytest.mark.usefixtures("made")
def test_query_answers_rows_types_and_versions(tanada):
    answer = tanada.json("lake", "query", "SELECT count(*) AS n, 'NaN'::FLOAT AS x FROM imu")
    assert answer["columns"] == [{"name": "n", "type": "int64"}, {"name": "x", "type": "float"}]
    assert answer["rows"] == [{"n": 0, "x": None}]
    assert answer["versions"]["imu"] == 0
    assert tanada.json("lake", "history", "imu")[0]["operation"] == "CREATE TABLE"


@pytest.mark.parametrize("kind", ["org", "member", "key", "robot", "agreement", "dataset", "grant"])
def test_every_command_explains_itself_with_an_example(tanada, kind):
    for verb in ("add", "list", "show", "revoke"):
        text = tanada(kind, verb, "--help").stdout
        assert f"Examples:\n    tanada {kind} {verb}" in text
        assert "--json" in text


def test_help_imports_nothing_heavy():
    script = (
        "import sys, typer\nfrom pipelines.cli import admin, lake\n"
        "app = typer.Typer(rich_markup_mode=None)\nadmin.register(app)\nlake.register(app)\n"
        "try:\n    app(['--help'])\nfinally:\n"
        "    heavy = {'sqlalchemy', 'deltalake', 'pyarrow', 'duckdb', 'pydantic', 'alembic'}\n"
        "    assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, capture_output=True)


def test_settings_are_listed_without_secrets(monkeypatch, capsys) -> None:
    monkeypatch.setenv("TANADA_KEY", "tnd_0_canary")
    monkeypatch.setenv("TANADA_WORKERS", "3")
    admin.settings(as_json=True)
    shown = capsys.readouterr().out
    rows = {row["environment"]: row["value"] for row in json.loads(shown)}
    assert set(rows) == {setting.env for setting in SETTINGS}
    assert rows["TANADA_WORKERS"] == 3
    assert "canary" not in shown


def test_people_read_dates_and_tables_where_machines_get_stamps(capsys) -> None:
    document = {"id": "a", "decided_ns": 1_795_618_452_484_225_221, "ended_ns": None, "steps": []}
    document["steps"] = [{"step": "receive", "at_ns": -1}, {"step": "plan", "at_ns": 0}]
    emit(document, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "id       a",
        "decided  2026-11-25 14:54:12Z",
        "ended    -",
        "steps",
        "  step     at",
        "  receive  1969-12-31 23:59:59Z",
        "  plan     1970-01-01 00:00:00Z",
    ]
    emit([{"t_ns": 5}], as_json=False, exact=True)
    assert capsys.readouterr().out.split() == ["t_ns", "5"]
    emit(document, as_json=True)
    assert json.loads(capsys.readouterr().out) == document
