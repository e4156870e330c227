"""What compose's PostgreSQL is prepared with: ordinary logins, for whom row security holds."""

from __future__ import annotations

import subprocess

import psycopg
import pytest

from connectors.stores.catalog.database import Role, connect, migrate, reading
from schemas.errors import FailError
from tests.servers.images import COMPOSE, INFRA
from tests.servers.postgresql import SUPERUSER, running

pytestmark = [pytest.mark.full, pytest.mark.postgresql]
SCRIPT = INFRA / "images" / "postgresql-logins.sh"
# Quotes and a backslash: a password is data, never a part of the statement.
PASSWORDS = {"PLATFORM_DB_PASSWORD": 'it\'s \\ a "pass"', "AIRFLOW_DB_PASSWORD": "other; word"}


def test_a_new_server_gets_logins_that_the_platform_accepts() -> None:
    mounted = COMPOSE["services"]["postgresql"]["volumes"]
    assert any(volume.startswith(f"./images/{SCRIPT.name}:") for volume in mounted)
    with running(logins=False) as cluster:
        cluster.run_script(SCRIPT, PASSWORDS)
        url = cluster.url("tanada").replace(cluster.password, "it%27s%20%5C%20a%20%22pass%22")
        engine = connect(url)
        migrate(engine)
        engine.dispose()
        server = connect(url, role=Role.API)
        with reading(server, "nobody") as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM recordings").scalar() == 0
        server.dispose()
        # The image's own superuser, whom an installation might name for convenience.
        above = connect(cluster.url("tanada", SUPERUSER))
        with pytest.raises(FailError, match="row-level security does not hold"), reading(above):
            pass
        above.dispose()
        # Neither reaches the other's database.
        address = {"host": "127.0.0.1", "port": cluster.port, "user": "airflow"}
        password = PASSWORDS["AIRFLOW_DB_PASSWORD"]
        with psycopg.connect(**address, dbname="airflow", password=password) as own:
            own.execute("CREATE TABLE mine (x int)")
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(**address, dbname="tanada", password=password)


def test_without_a_password_no_login_is_made() -> None:
    done = subprocess.run(
        ["/bin/bash", SCRIPT],
        env={"PATH": "/usr/bin:/bin", "PLATFORM_DB_PASSWORD": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "AIRFLOW_DB_PASSWORD: choose one" in done.stderr
