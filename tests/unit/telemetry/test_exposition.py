"""The metrics listener: its own address, its own port, gone when it is ended."""

from __future__ import annotations

import httpx
import pytest

from connectors.stores.catalog import parties
from connectors.stores.catalog.database import writing
from connectors.stores.verified import Verification, read_verified, write_verified
from connectors.telemetry.catalog_state import CatalogState
from connectors.telemetry.exposition import new_registry, parse_address, serve_metrics
from schemas.errors import StoreUnavailableError, WrongUseError
from schemas.licences import Terms


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("10.0.0.7:9464", ("10.0.0.7", 9464)),
        ("[::1]:9464", ("::1", 9464)),
    ],
)
def test_addresses(text, meant):
    assert parse_address(text) == meant


@pytest.mark.parametrize("text", ["", "host", "host:", "host:70000", "host:-1", "host:9x"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(WrongUseError, match="metrics address"):
        parse_address(text)


def test_serves_until_it_is_ended():
    port, end = serve_metrics(new_registry(), "127.0.0.1:0")
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert "process_cpu_seconds_total" in answer.text
        with pytest.raises(StoreUnavailableError, match=str(port)):
            serve_metrics(new_registry(), f"127.0.0.1:{port}")
    finally:
        end()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def value(state: CatalogState, name: str, /, **labels: str) -> float:
    for metric in state.collect():
        for sample in metric.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    raise AssertionError(name)


def test_gauges_of_catalog_and_disk(platform, clock):
    state = CatalogState(platform.engine, clock, platform.root.path)
    assert value(state, "tanada_catalog_up") == 1
    assert value(state, "tanada_recordings", state="quarantined") == 0
    assert value(state, "tanada_open_plans") == 0
    assert value(state, "tanada_root_free_bytes") > 0
    assert value(state, "tanada_verify_last_timestamp_seconds") == 0
    assert value(state, "tanada_terms_expiring", kind="agreement") == 0


def test_terms_that_end_soon_are_counted(platform, clock):
    day = 86_400_000_000_000
    soon, later = clock() + 10 * day, clock() + 300 * day
    with writing(platform.engine) as connection:
        owner = connection.exec_driver_sql("SELECT id FROM organisations").scalar_one()
        for key, end in (("soon", soon), ("later", later)):
            terms = Terms.own_use(owner).model_copy(update={"expires_at": end})
            parties.add_agreement(
                connection,
                organisation=owner,
                terms=terms.document(),
                clock=clock,
                agreement=key,
                title=key,
            )
    state = CatalogState(platform.engine, clock, None)
    assert value(state, "tanada_terms_expiring", kind="agreement") == 1


def test_answers_are_kept_for_some_seconds(platform, clock, statements):
    state = CatalogState(platform.engine, clock, None)
    list(state.collect())
    with statements(platform.engine) as seen:
        list(state.collect())
        assert seen == []
        clock.advance(11)
        list(state.collect())
    assert seen


def test_a_catalog_that_does_not_answer_is_said_so(platform, clock, tmp_path):
    state = CatalogState(platform.engine, clock, tmp_path)
    platform.engine.dispose()
    (platform.root.path / "catalog.db").unlink()
    (platform.root.path / "catalog.db").mkdir()
    assert value(state, "tanada_catalog_up") == 0


def test_the_last_verification_is_read_back(tmp_path):
    assert read_verified(tmp_path) is None
    write_verified(tmp_path, Verification(5, 2))
    assert read_verified(tmp_path) == Verification(5, 2)
    (tmp_path / "verified.json").write_text("{", "utf-8")
    assert read_verified(tmp_path) is None
