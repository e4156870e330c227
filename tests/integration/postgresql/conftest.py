"""Catalogs on a real PostgreSQL server, empty and filled, and many who use one at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest
from sqlalchemy import insert

from connectors.stores.catalog.database import connect, writing
from connectors.stores.catalog.models import Base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.servers.catalogs import Catalogs

T = TypeVar("T")
MANY = 8
TERMS: dict[str, Any] = {}
# Beta's recording is in release tidy/1, alpha's is in none. Beta and gamma fetched from tidy/1,
# alpha from tidy/2.
ROWS: dict[str, list[dict[str, Any]]] = {
    "organisations": [
        {"id": name, "legal_name": name, "country": "JP", "operator": name == "acme"}
        | {"state": "active", "created_ns": 1}
        for name in ("acme", "alpha", "beta", "gamma")
    ],
    "members": [
        {"id": f"m-{name}", "organisation_id": name, "name": name, "kind": "machine"}
        | {"roles": ["partner"], "state": "active", "created_ns": 1}
        for name in ("alpha", "beta")
    ],
    "keys": [
        {"id": f"k-{name}", "member_id": f"m-{name}", "digest": "0" * 64, "created_ns": 1}
        for name in ("alpha", "beta")
    ],
    "sessions": [
        {"digest": f"s-{name}", "key_id": f"k-{name}", "csrf": "c", "created_ns": 1}
        | {"expires_ns": 2}
        for name in ("alpha", "beta")
    ],
    "robots": [
        {"id": "default", "organisation_id": name, "type": "arm", "sector": "food"}
        | {"joint_limits": {}, "state": "active", "created_ns": 1}
        for name in ("alpha", "beta")
    ],
    "agreements": [
        {"id": f"a-{name}", "version": 1, "organisation_id": name, "kind": "own", "title": "T"}
        | {"terms": TERMS, "state": "active", "created_ns": 1}
        for name in ("alpha", "beta")
    ],
    "recordings": [
        {"id": f"r-{name}", "organisation_id": name, "robot_id": "default"}
        | {"agreement_id": f"a-{name}", "agreement_version": 1, "sector": "food", "name": "n"}
        | {"state": "accepted_with_warnings", "reasons": [], "tables": {}, "episodes": []}
        | {"bytes": 1, "attempts": 0, "received_ns": 1}
        for name in ("alpha", "beta")
    ],
    "recording_files": [
        {"recording_id": f"r-{name}", "name": "f", "organisation_id": name, "size": 1}
        | {"sha256": "0" * 64, "sidecar": False, "stored": True}
        for name in ("alpha", "beta")
    ],
    "recording_steps": [
        {"recording_id": f"r-{name}", "step": "receive", "at_ns": 1, "worker": "", "detail": {}}
        for name in ("alpha", "beta")
    ],
    "commit_plans": [
        {"id": "p", "kind": "ingest", "state": "done", "document": {}, "created_ns": 1}
    ],
    "datasets": [
        {"id": "tidy", "organisation_id": "acme", "title": "T", "description": "", "sectors": []}
        | {"recipe": {}, "state": "active", "created_ns": 1}
    ],
    "grants": [
        {"id": f"g-{name}", "dataset_id": "tidy", "organisation_id": name, "terms": TERMS}
        | {"terms_version": 1, "state": "active", "created_ns": 1}
        for name in ("alpha", "beta", "gamma")
    ],
    "releases": [
        {"dataset_id": "tidy", "version": version, "digest": "0" * 64, "state": "published"}
        | {"recipe": {}, "pinned": {}, "terms": TERMS, "summary": {}, "created_ns": 1}
        for version in (1, 2)
    ],
    "release_files": [
        {"dataset_id": "tidy", "version": version, "path": "p", "size": 1, "sha256": "0" * 64}
        | {"media_type": "text/plain"}
        for version in (1, 2)
    ],
    "release_recordings": [
        {"dataset_id": "tidy", "version": 1, "recording_id": "r-beta", "agreement_id": "a-beta"}
        | {"agreement_version": 1, "rows": 1}
    ],
    "decisions": [
        {"id": f"d-{name}", "at_ns": 1, "organisation_id": name, "action": "read"}
        | {"resource": "r", "permit": True, "rules": [], "obligations": []}
        for name in ("alpha", "beta")
    ],
    "audit": [
        {"seq": seq, "at_ns": 1, "organisation_id": name, "action": "read", "resource": "r"}
        | {"outcome": "permit", "amount": 0, "request_id": "", "previous": "p", "hash": name}
        for seq, name in enumerate(("alpha", "beta"), 1)
    ],
    "usage": [
        {"grant_id": f"g-{name}", "window": "term", "bytes": 1, "rows": 0, "episodes": 0}
        | {"hours_of_video": 0.0}
        for name in ("alpha", "beta", "gamma")
    ],
    "deliveries": [
        {"organisation_id": name, "grant_id": f"g-{name}", "dataset_id": "tidy"}
        | {"version": version, "path": "p", "ranges": [[0, 1]], "bytes": 1}
        | {"first_ns": 1, "last_ns": 1}
        for name, version in (("alpha", 2), ("beta", 1), ("gamma", 1))
    ],
}


def fill(engine: Engine) -> None:
    """Put rows of two rivals, and of what they share, into every table."""
    assert set(ROWS) == set(Base.metadata.tables)
    with writing(engine) as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(insert(table), ROWS[table.name])


@pytest.fixture
def url(tmp_path: Path, catalogs: Catalogs) -> str:
    """A migrated database without rows."""
    return catalogs.new(tmp_path)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The platform's own connections to it."""
    made = connect(url)
    yield made
    made.dispose()


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """The same, with rows in every table."""
    fill(engine)
    return engine


@pytest.fixture
def expected() -> dict[str, list[dict[str, Any]]]:
    """The rows of a filled database, by table."""
    return ROWS


class AtOnce(Protocol):
    """Runs a function in several threads that begin together."""

    def __call__(self, url: str, function: Callable[[Engine, int], T]) -> list[T]:
        """What each gave, called with an engine of its own and its number."""


@pytest.fixture
def at_once() -> AtOnce:
    """Eight threads, each with connections of its own, that begin together."""

    def run(url: str, function: Callable[[Engine, int], T]) -> list[T]:
        together = threading.Barrier(MANY, timeout=60)

        def one(number: int) -> T:
            engine = connect(url)
            try:
                with engine.connect():
                    together.wait()
                return function(engine, number)
            finally:
                engine.dispose()

        with ThreadPoolExecutor(MANY) as pool:
            return list(pool.map(one, range(MANY)))

    return run
