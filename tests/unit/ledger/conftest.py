"""A migrated catalog of its own, with one grant to charge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from connectors.stores.catalog.database import connect, migrate, writing
from connectors.stores.catalog.models import Dataset, Grant, Organisation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.servers.catalogs import Catalogs


@pytest.fixture
def engine(tmp_path: Path, catalogs: Catalogs) -> Iterator[Engine]:
    engine = connect(catalogs.new(tmp_path))
    migrate(engine)
    with writing(engine) as connection:
        organisation = {"legal_name": "K", "country": "JP", "operator": False, "state": "active"}
        connection.execute(insert(Organisation), {"id": "kitchen", "created_ns": 0, **organisation})
        connection.execute(
            insert(Dataset),
            {"id": "tidy", "organisation_id": "kitchen", "title": "T", "created_ns": 0},
        )
        grant = {"dataset_id": "tidy", "organisation_id": "kitchen", "terms": {}, "created_ns": 0}
        connection.execute(insert(Grant), [{"id": name, **grant} for name in ("g1", "g2")])
    yield engine
    engine.dispose()
