"""A throw-away PostgreSQL cluster: made, started on a free port of 127.0.0.1, ended by its pid."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUPERUSER = "postgres"
OWNER = "tanada"
"""An ordinary login that may make databases and roles: row-level security holds for it."""
START_SECONDS = 60


class Cluster:
    """One server with its data folder.

    Attributes:
        folder: Its data.
        port: Where it listens, on 127.0.0.1.
        password: Of every login.
    """

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        self.folder = folder
        self.password = secrets.token_hex(16)
        self._programs = programs()
        self._fsync = "on" if fsync else "off"
        # Where this runs as root: initdb and postgres refuse root.
        self._user = SUPERUSER if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: psycopg.Connection | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self._make()

    def _make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._user:
            for path in (self.folder, secret):
                shutil.chown(path, self._user, self._user)
        # The order of letters of a real language, not of bytes; checksums, so that damage shows.
        self._run(
            *("initdb", "--pgdata", str(self.data), "--username", SUPERUSER, "--no-sync"),
            *("--auth", "scram-sha-256", "--pwfile", str(secret), "--encoding", "UTF8"),
            *("--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US"),
            *("--data-checksums", "--wal-segsize", "1"),
        )
        secret.unlink()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": self._fsync,
            "full_page_writes": self._fsync,
            "max_connections": 200,
            "shared_buffers": "32MB",
            "autovacuum": "off",
        }
        flags = [f"-c{name}={value}" for name, value in settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self.data), *flags],
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                said = (self.folder / "log").read_text("utf-8", "replace")
                assert self._process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it at once, and wait until it has; what was committed is there at the next start."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_SECONDS)
            self._process = None

    def url(self, database: str, login: str = OWNER) -> str:
        return f"postgresql://{login}:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        """Run a statement as superuser, in a transaction of its own."""
        if self._connection is None:
            url = self.url("postgres", SUPERUSER)
            self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(statement)  # type: ignore[arg-type]

    def add_login(self, name: str, rights: str = "") -> None:
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{self.password}' {rights}")

    def run_script(self, script: Path, environment: Mapping[str, str]) -> None:
        """Run a script against the server as its superuser, as the server's image would."""
        login = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGPASSWORD": self.password}
        path = {"PATH": f"{self._programs}:{os.defpath}", "POSTGRES_USER": SUPERUSER}
        done = subprocess.run(
            ["/bin/bash", str(script)],
            env={**path, **login, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def create(self, database: str, template: str = "template0") -> str:
        """Make a database as a copy of another one that nobody is connected to; gives its URL."""
        self.execute(f"CREATE DATABASE {database} OWNER {OWNER} TEMPLATE {template}")
        return self.url(database)

    def end_connections(self, database: str) -> None:
        """End every connection to a database, and wait until they are gone."""
        ended = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        self.execute(f"{ended} WHERE datname = '{database}'")

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def programs() -> Path:
    """Folder of the server programs; Debian keeps them out of the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert folders, "no PostgreSQL server programs: run infra/services/postgresql.sh"
    return folders[-1].parent


@contextmanager
def running(*, fsync: bool = False, logins: bool = True) -> Iterator[Cluster]:
    """A new cluster that runs, with the ordinary login unless told not; ended and removed."""
    # Not below pytest's folder: the server's user could not enter it.
    folder = Path(tempfile.mkdtemp(prefix="tanada-postgresql-"))
    cluster = None
    try:
        cluster = Cluster(folder, fsync=fsync)
        cluster.start()
        if logins:
            cluster.add_login(OWNER, "CREATEDB CREATEROLE")
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        shutil.rmtree(folder)
