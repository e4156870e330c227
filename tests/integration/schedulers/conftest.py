"""Schedulers over one platform: a real Airflow and a real Dagster, ended by their pids."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.schedulers.airflow_server import Airflow
from tests.integration.schedulers.dagster_server import Dagster
from tests.integration.schedulers.world import World, make_world
from tests.servers import postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An empty platform with empty landing folders and one recipe."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def airflow(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Scheduler, DAG processor and API server over the world, and a PostgreSQL for them."""
    with postgresql.running() as cluster:
        running = Airflow(tmp_path_factory.mktemp("airflow"), world, cluster.create("airflow"))
        try:
            running.start()
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
def dagster(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    """Web server and daemon over the world."""
    running = Dagster(tmp_path_factory.mktemp("dagster"), world)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the schedulers' pages go: `TANADA_PICTURES`, else a temporary folder."""
    named = os.environ.get("TANADA_PICTURES")
    folder = Path(named) if named else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
