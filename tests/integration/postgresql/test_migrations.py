"""The schema that migrations make is the model's, on an empty and on a filled database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, inspect, select

from connectors.stores.catalog.database import connect, migrate, reading
from connectors.stores.catalog.models import Base
from schemas.errors import FailError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.servers.postgresql import Cluster

pytestmark = [pytest.mark.full, pytest.mark.postgresql]
POLICIES = "SELECT count(*) FROM pg_policies WHERE schemaname = 'public'"
FORCED = "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"


def differences(engine: Engine) -> list[Any]:
    with reading(engine) as connection:
        options = {"compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)


def tables(engine: Engine) -> set[str]:
    with reading(engine) as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def counted(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        return {
            name: connection.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }


def policies(engine: Engine) -> int:
    with reading(engine) as connection:
        return int(connection.exec_driver_sql(POLICIES).scalar() or 0)


def test_up_down_and_up_from_nothing(cluster: Cluster) -> None:
    engine = connect(cluster.create("from_nothing"))
    for _ in range(2):
        migrate(engine)
        assert tables(engine) == set(Base.metadata.tables)
        assert differences(engine) == []
        assert policies(engine) > 0
        migrate(engine, "base")
        assert tables(engine) == set()
        assert policies(engine) == 0
    engine.dispose()
    cluster.drop("from_nothing")


def test_rows_outlive_a_step_down_and_up(
    filled: Engine, expected: dict[str, list[dict[str, Any]]]
) -> None:
    counts = {name: len(rows) for name, rows in expected.items()}
    assert counted(filled) == counts
    made = policies(filled)
    for below in ("0002", "0001"):
        migrate(filled, below)
        assert policies(filled) == 0
        assert counted(filled) == counts
    migrate(filled)
    assert counted(filled) == counts
    assert differences(filled) == []
    assert policies(filled) == made
    migrate(filled, "base")
    assert tables(filled) == set()
    migrate(filled)
    assert differences(filled) == []
    assert set(counted(filled).values()) == {0}


def test_every_table_of_an_organisation_has_its_wall(engine: Engine) -> None:
    with reading(engine) as connection:
        forced = set(connection.exec_driver_sql(FORCED).scalars())
    named = {
        name
        for name, table in Base.metadata.tables.items()
        if {"organisation_id", "recording_id", "grant_id", "member_id"} & set(table.c.keys())
    }
    # Who publishes a dataset is for everyone to see.
    assert named - forced == {"datasets"}
    assert forced - named == {"organisations", "sessions"}


def test_a_login_that_may_not_make_roles_is_told_whom_to_ask(cluster: Cluster) -> None:
    cluster.add_login("humble", "CREATEDB")
    engine = connect(cluster.url("postgres", "humble"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CREATE DATABASE humbles TEMPLATE template0")
    engine.dispose()
    engine = connect(cluster.url("humbles", "humble"))
    with pytest.raises(FailError, match="tanada_api, tanada_gate, tanada_account") as caught:
        migrate(engine)
    assert "grant them to humble" in str(caught.value)
    assert cluster.password not in str(caught.value)
    assert tables(engine) == set()
    cluster.execute("GRANT tanada_api, tanada_gate, tanada_account TO humble")
    migrate(engine)
    assert differences(engine) == []
    engine.dispose()
    cluster.drop("humbles")
