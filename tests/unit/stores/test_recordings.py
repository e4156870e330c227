import hashlib

import pytest
from sqlalchemy import insert

from connectors.stores.catalog import parties, recordings
from connectors.stores.catalog.database import reading, writing
from connectors.stores.catalog.models import (
    Delivery,
    Release,
    ReleaseRecording,
)
from schemas.errors import NotFoundError, WrongUseError

LEASE_NS = 300 * 10**9


def put(platform, number, organisation="acme", state="received"):
    """Register a recording directly; returns its id."""
    with writing(platform.engine) as connection:
        return put_row(connection, platform.clock(), number, organisation, state)


def put_row(connection, received_ns, number, organisation="acme", state="received"):
    key = hashlib.sha256(f"{organisation}{number}".encode()).hexdigest()
    row = {
        "id": key,
        "organisation_id": organisation,
        "robot_id": "default",
        "agreement_id": "a",
        "sector": "food",
        "name": str(number),
        "bytes": 1,
        "received_ns": received_ns,
    }
    file = {"name": "f", "size": 1, "sha256": key, "stored": True}
    recordings.register(connection, row, [file])
    recordings.set_state(connection, key, state)
    return key


@pytest.fixture
def beta(platform):
    with writing(platform.engine) as connection:
        return parties.add_organisation(connection, name="Beta", clock=platform.clock)


def test_workers_take_the_oldest_of_one_organisation_and_never_the_same(platform, beta):
    mine = [put(platform, n) for n in range(3)]
    theirs = [put(platform, n, beta) for n in range(2)]
    put(platform, 9, state="quarantined")
    now_ns = platform.clock()

    def take(worker, limit):
        rows = recordings.lease(platform.engine, worker, limit, now_ns, LEASE_NS)
        return [row["id"] for row in rows]

    assert take("w1", 2) == mine[:2]
    assert take("w2", 10) == mine[2:]
    assert take("w3", 10) == theirs
    assert take("w4", 10) == []


def test_a_lease_that_ran_out_goes_to_another_worker_and_counts_an_attempt(platform):
    key = put(platform, 1)
    now_ns = platform.clock()
    (row,) = recordings.lease(platform.engine, "w1", 1, now_ns, LEASE_NS)
    assert (row["state"], row["lease_owner"], row["attempts"]) == ("leased", "w1", 1)
    assert recordings.lease(platform.engine, "w2", 1, now_ns + LEASE_NS - 1, LEASE_NS) == []
    (row,) = recordings.lease(platform.engine, "w2", 1, now_ns + LEASE_NS, LEASE_NS)
    assert (row["lease_owner"], row["attempts"]) == ("w2", 2)
    with writing(platform.engine) as connection:
        assert recordings.renew_lease(connection, "w1", [key], now_ns * 2) == []
        assert recordings.release_lease(connection, "w1", [key]) == []
        assert recordings.release_lease(connection, "w2", [key], count_attempt=False) == [key]
        row = recordings.get(connection, key)
    assert (row["state"], row["lease_owner"], row["attempts"]) == ("received", None, 1)


def test_a_renewed_lease_lasts(platform):
    key = put(platform, 1)
    now_ns = platform.clock()
    recordings.lease(platform.engine, "w1", 1, now_ns, LEASE_NS)
    with writing(platform.engine) as connection:
        assert recordings.renew_lease(connection, "w1", [key], now_ns + 2 * LEASE_NS) == [key]
    assert recordings.lease(platform.engine, "w2", 1, now_ns + LEASE_NS, LEASE_NS) == []


def test_a_final_state_ends_the_lease(platform):
    key = put(platform, 1)
    recordings.lease(platform.engine, "w1", 1, platform.clock(), LEASE_NS)
    with writing(platform.engine) as connection:
        recordings.set_state(connection, key, "accepted", tables={"imu": 3})
        row = recordings.get(connection, key)
        assert (row["lease_owner"], row["tables"]) == (None, {"imu": 3})
        with pytest.raises(WrongUseError):
            recordings.set_state(connection, key, "done")
        with pytest.raises(NotFoundError):
            recordings.set_state(connection, "0" * 64, "accepted")


def test_pages_hold_everything_once_newest_first(platform, beta):
    keys = [put(platform, n) for n in range(7)]
    put(platform, 1, beta)
    seen, cursor, pages = [], None, 0
    while True:
        with reading(platform.engine) as connection:
            page = recordings.listing(connection, organisation="acme", cursor=cursor, limit=3)
        seen += [row["id"] for row in page.items]
        pages += 1
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == keys[::-1]
    assert pages == 3
    with reading(platform.engine) as connection:
        assert recordings.listing(connection, state="failed").items == []
        for cursor in ("x", "////", "W10=", "bnVsbA=="):
            with pytest.raises(WrongUseError):
                recordings.listing(connection, cursor=cursor)


def test_known_recordings_are_answered_in_bulk_and_by_their_key(platform, statements):
    with writing(platform.engine) as connection:
        keys = [put_row(connection, n, n) for n in range(600)]
    unknown = [hashlib.sha256(k.encode()).hexdigest() for k in keys]
    with statements(platform.engine) as seen:
        found = recordings.known(platform.engine, keys + unknown)
    assert set(found) == set(keys)
    assert len(seen) <= 3, "not a statement for each of 1,200"
    words, parameters = seen[0]
    with reading(platform.engine) as connection:
        if platform.engine.dialect.name == "sqlite":
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}", parameters).all()
            assert "SEARCH recordings USING INDEX" in plan[0][-1]
        else:
            # Of so few rows it would rather read them all: whether it could is asked here.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = connection.exec_driver_sql(f"EXPLAIN {words}", parameters).all()
            assert any("Index Scan on pk_recordings" in line for (line,) in plan), plan


def test_another_organisations_recording_is_not_found(platform, beta):
    key = put(platform, 1)
    with reading(platform.engine) as connection:
        assert recordings.get(connection, key, "acme")["id"] == key
        with pytest.raises(NotFoundError):
            recordings.get(connection, key, beta)


def test_releases_and_deliveries_that_hold_a_recording(platform, beta):
    key, other = put(platform, 1), put(platform, 2)
    with writing(platform.engine) as connection:
        parties.add_dataset(
            connection, dataset="d", organisation="acme", title="D", clock=platform.clock
        )
        for version, recording in ((1, key), (2, key), (3, other)):
            connection.execute(
                insert(Release).values(
                    dataset_id="d",
                    version=version,
                    digest=str(version),
                    state="published",
                    recipe={},
                    pinned={},
                    terms={},
                    summary={},
                    created_ns=1,
                )
            )
            connection.execute(
                insert(ReleaseRecording).values(
                    dataset_id="d",
                    version=version,
                    recording_id=recording,
                    agreement_id="a",
                    agreement_version=1,
                    rows=version,
                )
            )
            connection.execute(
                insert(Delivery).values(
                    organisation_id=beta,
                    grant_id="g",
                    dataset_id="d",
                    version=version,
                    path="p",
                    bytes=10,
                    first_ns=version,
                    last_ns=9,
                )
            )
        releases = recordings.releases_of(connection, key)
        uses = recordings.uses_of(connection, key)
    assert [(r["dataset"], r["version"], r["state"], r["rows"]) for r in releases] == [
        ("d", 1, "published", 1),
        ("d", 2, "published", 2),
    ]
    assert [(u["recipient"], u["version"], u["bytes"], u["first_ns"]) for u in uses] == [
        (beta, 1, 10, 1),
        (beta, 2, 10, 2),
    ]


def test_steps_stand_in_order(platform):
    key = put(platform, 1)
    with writing(platform.engine) as connection:
        for step in ("receive", "decode", "check"):
            recordings.add_step(
                connection, key, step, platform.clock(), "w1", detail={"step": step}
            )
        steps = recordings.steps_of(connection, key)
    assert [s["step"] for s in steps] == ["receive", "decode", "check"]
    assert [s["at_ns"] for s in steps] == sorted(s["at_ns"] for s in steps)
    assert steps[0]["detail"] == {"step": "receive"}


def test_states_of_a_batch_change_in_two_statements_and_only_from_the_one_given(
    platform, statements
):
    planned = [put(platform, n, state="planned") for n in range(3)]
    other = put(platform, 9, state="withdrawn")
    rows = [
        {"id": key, "state": state, "reasons": [{"rule": state}], "messages": n}
        for n, (key, state) in enumerate(
            zip(
                [*planned, other, "f" * 64],
                ["accepted", "quarantined", *["accepted"] * 3],
                strict=True,
            )
        )
    ]
    with statements(platform.engine) as seen, writing(platform.engine) as connection:
        assert recordings.change_states(connection, "planned", rows) == planned
    assert [words.split()[0] for words, _ in seen] == ["SELECT", "UPDATE"]
    with reading(platform.engine) as connection:
        found = [recordings.get(connection, key) for key in (*planned, other)]
    assert [row["state"] for row in found] == ["accepted", "quarantined", "accepted", "withdrawn"]
    assert [row["messages"] for row in found] == [0, 1, 2, None]
    assert found[1]["reasons"] == [{"rule": "quarantined"}]


def test_a_change_of_states_ends_leases_and_refuses_states_that_are_none(platform):
    key = put(platform, 1)
    recordings.lease(platform.engine, "w1", 1, platform.clock(), LEASE_NS)
    with writing(platform.engine) as connection:
        assert recordings.change_states(connection, "leased", []) == []
        with pytest.raises(WrongUseError, match="no such state"):
            recordings.change_states(connection, "leased", [{"id": key, "state": "done"}])
        assert recordings.change_states(connection, "leased", [{"id": key, "state": "planned"}])
        row = recordings.get(connection, key)
    assert (row["state"], row["lease_owner"], row["lease_until_ns"]) == ("planned", None, None)
