"""A real Dagster materialises tables and releases; a failing check blocks a release."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from schemas.tables import TABLES
from tests.integration.schedulers.pictures import in_sight, page_of, take_picture
from tests.integration.schedulers.world import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from tests.integration.schedulers.dagster_server import Dagster
    from tests.integration.schedulers.world import World

# Dagster and its dependencies warn about themselves while they are imported.
pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("default")]
DAY = "2026-11-03"


@pytest.fixture(scope="module")
def definitions(world: World) -> Iterator[ModuleType]:
    """The definitions, as a process with this world's settings loads them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        yield importlib.import_module("dags.dagster_defs.definitions")
        for name in [name for name in sys.modules if name.startswith("dags.dagster_defs")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def instance() -> Iterator[Any]:
    """An instance that lives as long as this module's tests."""
    import dagster as dg

    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def execute(definitions: ModuleType, instance: Any, job: str, **arguments: Any) -> Any:
    found = definitions.defs.resolve_job_def(job)
    return found.execute_in_process(instance=instance, raise_on_error=False, **arguments)


def checks(result: Any) -> dict[str, Any]:
    """Asset and check -> its evaluation."""
    return {
        f"{one.asset_key.to_user_string()}:{one.check_name}": one
        for one in result.get_asset_check_evaluations()
    }


def materialized(result: Any) -> dict[str, Any]:
    """Asset -> its materialisation."""
    found = [event.materialization for event in result.get_asset_materialization_events()]
    return {one.asset_key.to_user_string(): one for one in found}


def test_a_partition_holds_the_days_rows_and_the_platforms_verdicts(
    definitions: ModuleType, instance: Any, world: World
) -> None:
    ours = world.day(DAY)
    paths = [world.record(ours, 1), world.record(world.day(DAY, "tetsu-works", "mill-1"), 2)]
    world.record(ours, 3, broken="imu_norm")
    world.empty(ours)
    result = execute(
        definitions, instance, "tanada_ingest", partition_key=definitions.partition(DAY, "factory")
    )
    assert result.success
    world.exactly_once(paths)
    tables = materialized(result)
    expected = sum(world.expected[path]["/imu/data"] for path in paths)
    assert tables["lake/imu"].metadata["dagster/partition_row_count"].value == expected
    episodes = tables["lake/episodes"].metadata
    assert episodes["recordings_accepted"].value == 2
    assert episodes["recordings_quarantined"].value == 2
    assert "data_docs_acme" in episodes
    found = checks(result)
    failed = {key for key, one in found.items() if not one.passed}
    assert failed == {
        "lake/episodes:verdicts",
        "lake/streams:norm_error",
        "lake/streams:norm_drift",
    }
    assert {found[key].severity.value for key in failed} == {"WARN"}


def test_a_partition_without_landings_is_empty_and_well(
    definitions: ModuleType, instance: Any
) -> None:
    result = execute(
        definitions, instance, "tanada_ingest", partition_key=definitions.partition(DAY, "food")
    )
    assert result.success
    rows = materialized(result)["lake/imu"].metadata["dagster/partition_row_count"].value
    assert rows == 0


def test_the_sensor_asks_once_for_what_arrived(definitions: ModuleType, world: World) -> None:
    import dagster as dg

    context = dg.build_sensor_context()
    first = definitions.landings(context)
    key = definitions.partition(DAY, "factory")
    assert [request.partition_key for request in first.run_requests] == [key]
    again = definitions.landings(dg.build_sensor_context(cursor=first.cursor))
    assert not again.run_requests
    world.record(world.day(DAY), 5)
    later = definitions.landings(dg.build_sensor_context(cursor=first.cursor))
    assert [request.partition_key for request in later.run_requests] == [key]


def test_a_failing_check_blocks_the_release(
    definitions: ModuleType, instance: Any, world: World
) -> None:
    release = "releases/mill-motion"
    built = execute(definitions, instance, "tanada_releases")
    assert built.success
    facts = materialized(built)[release].metadata
    assert (facts["version"].value, facts["created"].value) == (1, True)
    # The same sources again, although the tables' versions changed: no new version.
    assert execute(definitions, instance, "tanada_optimize").success
    same = materialized(execute(definitions, instance, "tanada_releases"))[release].metadata
    assert (same["version"].value, same["created"].value) == (1, False)

    (victim, *_) = sorted((world.root / "tables" / "wrenches").glob("organisation=*/day=*/*"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1])
    blocked = execute(definitions, instance, "tanada_releases")
    assert not blocked.success
    found = checks(blocked)
    assert {key for key, one in found.items() if not one.passed} == {"lake/wrenches:intact"}
    assert release not in materialized(blocked)

    victim.write_bytes(whole)
    assert release in materialized(execute(definitions, instance, "tanada_releases"))


def test_a_backfill_of_partitions_ingests_each_day_once(dagster: Dagster, world: World) -> None:
    days = ["2026-11-10", "2026-11-11"]
    paths = [world.record(world.day(day), 100 + seed) for seed, day in enumerate(days)]
    backfill = dagster.backfill([f"{day}|factory" for day in days])
    wait_for("the backfill", lambda: dagster.backfilled(backfill))
    world.exactly_once(paths)


def test_the_sensor_switched_on_ingests_what_arrives(
    definitions: ModuleType, dagster: Dagster, world: World
) -> None:
    import dagster as dg

    # It has seen what lies there already.
    dagster.remember("landings", definitions.landings(dg.build_sensor_context()).cursor)
    path = world.record(world.day("2026-11-12"), 120)
    dagster.switch_on("landings")
    (run,) = wait_for("its run", lambda: dagster.runs_of("landings"))
    wait_for("the run's end", lambda: dagster.succeeded(run))
    world.exactly_once([path])


def test_the_graph_is_materialised_from_landing_to_release(
    dagster: Dagster, chromium: str, pictures: Path
) -> None:
    run = dagster.launch("tanada_releases")
    wait_for("the release", lambda: dagster.succeeded(run))
    # High enough for every table at a size that can be read.
    height = 190 * len(TABLES) + 150
    with page_of(f"{dagster.url}/asset-groups", chromium, height) as page:
        nodes = page.locator("foreignObject")
        nodes.get_by_text("releases", exact=True).first.wait_for()
        page.keyboard.press("Alt+KeyE")  # opens every group
        for name in ("landing", *TABLES, "mill-motion"):
            in_sight(page, nodes.get_by_text(name, exact=True).last)
        # Every table was checked, and the release is there.
        in_sight(page, nodes.get_by_text("1 / 1 Passed").last)
        assert nodes.get_by_text("1 / 1 Passed").count() == len(TABLES) - len(
            {"episodes", "streams"}
        )
        assert nodes.get_by_text("Never materialized").count() == 0
        take_picture(page, pictures / "dagster-assets.png")


def test_the_web_server_knows_every_asset(dagster: Dagster) -> None:
    shown = set(dagster.assets())
    assert {f"lake/{name}" for name in TABLES} <= shown
    assert {"landing", "releases/mill-motion"} <= shown
    assert httpx.get(f"{dagster.url}/server_info").json()["dagster_webserver_version"]
