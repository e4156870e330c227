"""The one place that says which kind of catalog database the tests run on: `--catalog`.

`catalogs` makes new databases: files beside the lake on SQLite, copies of a migrated template on a
throw-away PostgreSQL server.
"""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import pytest

from connectors.stores.catalog.database import connect, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgresql import Cluster

KINDS = ("sqlite", "postgresql")
TEMPLATE = "migrated"


class Catalogs(Protocol):
    """Makes catalog databases of the kind that was asked for.

    Attributes:
        kind: Of `KINDS`.
    """

    kind: str

    def new(self, folder: Path) -> str:
        """URL of a new catalog for the root at `folder`."""

    def copy(self, url: str, folder: Path) -> str:
        """URL of a copy of a catalog nobody is connected to, for the copied root at `folder`."""


class Files:
    """SQLite: the file `catalog.db` in the root, made when it is first opened."""

    kind = "sqlite"

    def new(self, folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'catalog.db'}"

    def copy(self, url: str, folder: Path) -> str:
        target = self.new(folder)
        with (
            closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source,
            closing(sqlite3.connect(target.removeprefix("sqlite:///"))) as copied,
        ):
            source.backup(copied)
        return target


class Databases:
    """PostgreSQL: databases of one server, migrated already."""

    kind = "postgresql"
    _numbers = itertools.count()

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._made: list[str] = []

    def new(self, _folder: Path) -> str:
        return self._make(TEMPLATE)

    def copy(self, url: str, _folder: Path) -> str:
        return self._make(url.rsplit("/", 1)[1])

    def _make(self, template: str) -> str:
        name = f"catalog_{next(self._numbers)}"
        self._made.append(name)
        return self._cluster.create(name, template)

    def drop(self) -> None:
        for name in self._made:
            self._cluster.drop(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--catalog", choices=KINDS, default="sqlite", help="kind of catalog database")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other kind of database."""
    kind = config.getoption("--catalog")
    foreign = [other for other in KINDS if other != kind]
    left_out = [item for item in items if any(map(item.get_closest_marker, foreign))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server with a migrated template; its owner is no superuser."""
    from tests.servers.postgresql import running

    with running() as made:
        engine = connect(made.create(TEMPLATE))
        migrate(engine)
        engine.dispose()
        yield made


@pytest.fixture(scope="session")
def session_catalogs(request: pytest.FixtureRequest) -> Iterator[Catalogs]:
    """The same as `catalogs`, for what lasts as long as the session."""
    if request.config.getoption("--catalog") == "sqlite":
        yield Files()
        return
    made = Databases(request.getfixturevalue("cluster"))
    yield made
    made.drop()


@pytest.fixture
def catalogs(request: pytest.FixtureRequest) -> Iterator[Catalogs]:
    """Makes catalog databases of the kind chosen by `--catalog`; dropped after the test."""
    if request.config.getoption("--catalog") == "sqlite":
        yield Files()
        return
    made = Databases(request.getfixturevalue("cluster"))
    yield made
    made.drop()
