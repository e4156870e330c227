import resource
import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import IntegrityError

from connectors.stores.catalog.database import connect, migrate, reading, writing
from connectors.stores.catalog.models import Base, Organisation
from schemas.errors import CatalogBusyError, DamagedError, StoreUnavailableError, WrongUseError


@pytest.fixture
def engine(tmp_path, catalogs):
    made = connect(catalogs.new(tmp_path))
    yield made
    made.dispose()


def tables_of(engine):
    with reading(engine) as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_the_migrated_schema_is_the_models_up_down_and_up_again(engine):
    migrate(engine, "base")
    for _ in range(2):
        migrate(engine)
        assert tables_of(engine) == set(Base.metadata.tables)
        with reading(engine) as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Base.metadata) == []
        migrate(engine, "base")
        assert tables_of(engine) == set()
    migrate(engine)
    migrate(engine)
    assert tables_of(engine) == set(Base.metadata.tables)


@pytest.mark.sqlite("its settings; PostgreSQL's are in tests/integration/postgresql")
def test_sqlite_is_durable_and_checks_references(engine):
    with reading(engine) as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


@pytest.mark.sqlite("its file lock; PostgreSQL's are in tests/integration/postgresql")
def test_a_held_lock_is_an_error_that_says_try_again(engine):
    migrate(engine)
    with reading(engine) as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")
    holder = sqlite3.connect(engine.url.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(CatalogBusyError, match="locked"), writing(engine):
        pass
    holder.execute("ROLLBACK")
    holder.close()
    with writing(engine) as connection:
        assert connection.execute(select(Organisation.id)).all() == []


def test_a_write_that_fails_leaves_nothing(engine):
    migrate(engine)
    row = {"id": "a", "legal_name": "A", "country": "JP", "state": "active", "created_ns": 1}

    def write_twice():
        with writing(engine) as connection:
            for _ in range(2):
                connection.execute(Organisation.__table__.insert().values(operator=False, **row))

    with pytest.raises(IntegrityError):
        write_twice()
    with reading(engine) as connection:
        assert connection.execute(select(Organisation.id)).all() == []


@pytest.mark.sqlite("the test's process writes; a server's is in tests/integration/postgresql")
def test_a_full_disk_is_said_and_leaves_the_catalog_as_it_was(engine):
    migrate(engine)
    rows = [
        {"id": f"o{n}", "legal_name": "A" * 300, "operator": False, "country": "JP"}
        | {"state": "active", "created_ns": 1}
        for n in range(3000)
    ]

    def write():
        with writing(engine) as connection:
            connection.execute(Organisation.__table__.insert(), rows)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
    try:
        with pytest.raises(StoreUnavailableError):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with reading(engine) as connection:
        assert connection.execute(select(Organisation.id)).all() == []
    write()
    with reading(engine) as connection:
        assert len(connection.execute(select(Organisation.id)).all()) == 3000


@pytest.mark.sqlite("its file; a server's is in tests/integration/postgresql")
def test_a_file_that_is_no_database_is_damage(tmp_path):
    path = tmp_path / "catalog.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    engine = connect(f"sqlite:///{path}")
    with pytest.raises(DamagedError), reading(engine) as connection:
        connection.execute(text("select 1 from organisations"))
    engine.dispose()


def test_only_known_kinds_of_database():
    with pytest.raises(WrongUseError, match="sqlite or postgresql"):
        connect("mysql://u:secret@h/d")
    with pytest.raises(WrongUseError, match="not a database URL") as caught:
        connect("secret password")
    assert "secret" not in str(caught.value)
    with pytest.raises(WrongUseError, match="not a database URL") as caught:
        connect("postgresql://u@h:secret/d")
    assert "secret" not in str(caught.value)
