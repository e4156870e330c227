"""A dump of the catalog holds every row, though its row-level security binds the owner too."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, make_url, select

from connectors.stores.catalog.database import connect, migrate, reading
from connectors.stores.catalog.models import Base
from tests.servers.postgresql import programs

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.servers.postgresql import Cluster

pytestmark = [pytest.mark.full, pytest.mark.postgresql]


def call(program: str, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of PostgreSQL's own programs; the password goes by the environment, as documented."""
    given = make_url(url)
    address = f"postgresql://{given.username}@{given.host}:{given.port}/{given.database}"
    return subprocess.run(
        [programs() / program, "--dbname", address, *arguments],
        env={"PATH": os.defpath, "PGPASSWORD": str(given.password)},
        capture_output=True,
        text=True,
        check=False,
    )


def counted(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        return {
            name: connection.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }


def test_a_dump_by_the_owner_is_whole_and_its_restoration_keeps_the_walls(
    cluster: Cluster, url: str, filled: Engine, tmp_path: Path
) -> None:
    file = str(tmp_path / "catalog.dump")
    refused = call("pg_dump", url, "--format=custom", f"--file={file}")
    assert refused.returncode != 0
    assert "affected by row-level security" in refused.stderr

    # Bound to no organisation, the owner's policy `platform` shows every row.
    whole = ["--format=custom", "--enable-row-security", f"--file={file}"]
    done = call("pg_dump", url, *whole)
    assert done.returncode == 0, done.stderr

    restored = cluster.create(f"restored_{os.getpid()}")
    done = call("pg_restore", restored, "--no-owner", "--exit-on-error", "--schema=public", file)
    assert done.returncode == 0, done.stderr
    engine = connect(restored)
    assert counted(engine) == counted(filled)
    assert all(counted(engine).values())
    forced = "SELECT count(*) FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"
    policies = "SELECT count(*) FROM pg_policies"
    for question in (forced, policies):
        with reading(engine) as copy, reading(filled) as original:
            found = copy.exec_driver_sql(question).scalar()
            assert found == original.exec_driver_sql(question).scalar()
            assert found
    migrate(engine)  # nothing is left to do
    engine.dispose()


def test_a_login_of_its_own_for_backups_needs_bypassrls(
    cluster: Cluster, url: str, filled: Engine, tmp_path: Path
) -> None:
    assert all(counted(filled).values())
    cluster.add_login("backup", "BYPASSRLS")
    cluster.execute("GRANT pg_read_all_data TO backup")
    of_backup = cluster.url(str(make_url(url).database), "backup")
    file = tmp_path / "catalog.sql"
    done = call("pg_dump", of_backup, "--data-only", f"--file={file}")
    assert done.returncode == 0, done.stderr
    assert {"r-alpha", "r-beta"} <= set(file.read_text("utf-8").split())
