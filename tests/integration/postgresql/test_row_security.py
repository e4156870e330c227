"""What a query that forgot its WHERE is answered, through each of the server's connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import ProgrammingError

from connectors.stores.catalog.database import Queue, Role, connect, reading, writing
from connectors.stores.catalog.models import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

pytestmark = [pytest.mark.full, pytest.mark.postgresql]
TABLES = sorted(Base.metadata.tables)
# What is the platform's own, or for every caller to see: api/ decides who sees which release.
SHARED = ("commit_plans", "datasets", "releases", "release_files")
READABLE = {
    *("agreements", "datasets", "deliveries", "grants", "organisations", "recording_files"),
    *("recording_steps", "recordings", "release_files", "release_recordings", "releases", "robots"),
}
KEPT_FROM_API = sorted(set(TABLES) - READABLE)
BOUND_WRITES = {
    "insert a recording": "INSERT INTO recordings SELECT 'x', {columns} FROM recordings",
    "insert a file": "INSERT INTO recording_files (recording_id, name, organisation_id, size, "
    "sha256, sidecar, stored) VALUES ('r-beta', 'x', 'beta', 1, '', false, true)",
    "insert a step": "INSERT INTO recording_steps (recording_id, step, at_ns, worker, detail) "
    "VALUES ('r-beta', 'x', 1, '', '{{}}')",
    "give a recording away": "UPDATE recordings SET organisation_id = 'beta'",
}


@pytest.fixture
def api(url: str, filled: Engine) -> Iterator[Engine]:
    """The API's connections for requests."""
    assert filled.url.database == url.rsplit("/", 1)[1]
    made = connect(url, role=Role.API)
    yield made
    made.dispose()


def rows(engine: Engine, table: str, organisation: str | None) -> list[dict[str, Any]]:
    with reading(engine, organisation) as connection:
        # No WHERE, and nothing of api/ in between.
        found = connection.execute(select(Base.metadata.tables[table])).mappings()
        return [dict(row) for row in found]


def names(found: list[dict[str, Any]]) -> set[str]:
    """The organisations that rows speak of: every text that names one."""
    said = {str(value) for row in found for value in row.values()}
    return {name for name in ("alpha", "beta", "gamma") for text in said if name in text}


@pytest.mark.parametrize("table", sorted(READABLE - set(SHARED)))
def test_a_forgetful_query_of_the_api_sees_no_rivals_row(api: Engine, table: str) -> None:
    found = rows(api, table, "alpha")
    # Alpha's recording is in no release.
    assert len(found) == (0 if table == "release_recordings" else 1)
    assert names(found) <= {"alpha"}
    # Bound to none it sees nothing, after a bound transaction on the same connection too.
    assert rows(api, table, None) == []
    assert rows(api, table, "nobody") == []


@pytest.mark.parametrize("table", KEPT_FROM_API)
def test_keys_sessions_and_the_account_are_out_of_the_apis_reach(api: Engine, table: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        rows(api, table, "alpha")


def test_a_contributor_sees_who_was_delivered_what_holds_its_recording(api: Engine) -> None:
    assert names(rows(api, "deliveries", "beta")) == {"beta", "gamma"}
    assert names(rows(api, "organisations", "beta")) == {"beta", "gamma"}
    assert names(rows(api, "release_recordings", "beta")) == {"beta"}
    for table in ("recordings", "recording_files", "recording_steps", "robots", "agreements"):
        assert names(rows(api, table, "beta")) == {"beta"}
    assert names(rows(api, "deliveries", "gamma")) == {"gamma"}


@pytest.mark.parametrize("what", BOUND_WRITES)
def test_a_bound_request_writes_nothing_into_a_rivals_name(
    api: Engine, filled: Engine, what: str
) -> None:
    columns = [c.name for c in Base.metadata.tables["recordings"].c if c.name != "id"]
    taken = ["'beta'" if name == "organisation_id" else name for name in columns]
    words = BOUND_WRITES[what].format(columns=", ".join(taken))
    if what == "insert a recording":
        words = words.replace("recordings SELECT", f"recordings (id, {', '.join(columns)}) SELECT")
    before = {table: rows(filled, table, None) for table in READABLE}
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        writing(api, "alpha") as connection,
    ):
        connection.exec_driver_sql(words)
    assert {table: rows(filled, table, None) for table in READABLE} == before


def test_a_forgetful_change_reaches_the_callers_own_rows_only(api: Engine, filled: Engine) -> None:
    with writing(api, "alpha") as connection:
        assert connection.exec_driver_sql("UPDATE recordings SET name = 'mine'").rowcount == 1
        assert connection.exec_driver_sql("DELETE FROM recording_files").rowcount == 1
    with writing(api) as connection:
        assert connection.exec_driver_sql("UPDATE recordings SET name = 'any'").rowcount == 0
        assert connection.exec_driver_sql("DELETE FROM recording_files").rowcount == 0
    assert {row["id"]: row["name"] for row in rows(filled, "recordings", None)} == {
        "r-alpha": "mine",
        "r-beta": "n",
    }
    assert [row["recording_id"] for row in rows(filled, "recording_files", None)] == ["r-beta"]


@pytest.mark.parametrize(
    "words",
    [
        "UPDATE agreements SET terms = '{}'",
        "UPDATE grants SET terms = '{}'",
        "DELETE FROM recordings",
        "INSERT INTO releases SELECT * FROM releases",
        "DELETE FROM recording_steps",
        "ALTER TABLE recordings NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY organisation ON recordings",
    ],
)
def test_the_api_changes_no_terms_releases_or_walls(api: Engine, words: str) -> None:
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        writing(api, "alpha") as connection,
    ):
        connection.exec_driver_sql(words)


def test_the_gate_looks_up_who_is_calling_and_nothing_else(
    url: str, filled: Engine, expected: dict[str, list[dict[str, Any]]]
) -> None:
    gate = connect(url, role=Role.GATE)
    looked_up = {"organisations", "members", "keys", "sessions"}
    for table in TABLES:
        if table in looked_up:
            assert len(rows(gate, table, None)) == len(expected[table])
        else:
            with pytest.raises(ProgrammingError, match="permission denied"):
                rows(gate, table, None)
    for table in looked_up:
        with pytest.raises(ProgrammingError, match="permission denied"), writing(gate) as c:
            c.execute(delete(Base.metadata.tables[table]))
    assert len(rows(filled, "keys", None)) == 2
    gate.dispose()


def test_the_account_appends_and_cannot_take_back(url: str, filled: Engine) -> None:
    account = connect(url, role=Role.ACCOUNT)
    for words in (
        "DELETE FROM audit",
        "UPDATE audit SET amount = 0",
        "TRUNCATE audit",
        "DELETE FROM decisions",
        "DELETE FROM deliveries",
        "SELECT 1 FROM recordings",
        "SELECT 1 FROM keys",
    ):
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            writing(account, queue=Queue.ACCOUNT) as connection,
        ):
            connection.exec_driver_sql(words)
    with writing(account, queue=Queue.ACCOUNT) as connection:
        connection.exec_driver_sql(
            "INSERT INTO audit SELECT 3, at_ns, actor, organisation_id, action, resource, "
            "decision_id, outcome, amount, request_id, previous, 'h' FROM audit WHERE seq = 2"
        )
    assert [row["seq"] for row in rows(filled, "audit", None)] == [1, 2, 3]
    account.dispose()


def test_workers_and_commands_see_everything_and_are_bound_when_they_ask(
    filled: Engine, expected: dict[str, list[dict[str, Any]]]
) -> None:
    for table in TABLES:
        assert len(rows(filled, table, None)) == len(expected[table]), table
    for table in sorted(set(TABLES) - set(SHARED)):
        assert names(rows(filled, table, "alpha")) <= {"alpha"}, table
    # The setting ended with its transaction.
    assert len(rows(filled, "recordings", None)) == 2
