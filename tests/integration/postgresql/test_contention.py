"""Many at once: each recording leased once, no cap exceeded, one chain, one recording."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, insert, select, update

from connectors.stores.catalog.database import Queue, connect, reading, writing
from connectors.stores.catalog.ledger import (
    Ask,
    Entry,
    Span,
    authorise,
    record,
    usage,
    verify_chain,
)
from connectors.stores.catalog.models import AuditRow, Recording, RecordingFile, Robot
from connectors.stores.receive import Receiver
from schemas.licences import Action, Amount, Purpose, Request, Terms, parse_instant

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipelines.cli.platform import Platform

pytestmark = [pytest.mark.full, pytest.mark.postgresql]
MANY = 8
RECORDINGS = 200
REPOSITORY = Path(__file__).parents[3]
DRIVER = Path(__file__).with_name("leases.py")
NOON = parse_instant("2026-11-22T12:00:00Z")


def recording(number: int, organisation: str) -> dict[str, object]:
    return {
        "id": f"{organisation}-{number:03}",
        "organisation_id": organisation,
        "robot_id": "default",
        "agreement_id": f"a-{organisation}",
        "sector": "food",
        "name": "n",
        "state": "received",
        "bytes": 1,
        "received_ns": number,
    }


def test_eight_processes_lease_each_of_two_hundred_recordings_once(
    url: str, filled: Engine
) -> None:
    rivals = [("alpha", "beta")[number % 2] for number in range(RECORDINGS)]
    rows = [recording(number, organisation) for number, organisation in enumerate(rivals)]
    with writing(filled) as connection:
        connection.execute(insert(Recording), rows)
    workers = [
        subprocess.Popen(
            [sys.executable, str(DRIVER), f"w{number}"],
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(MANY)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(f"{url}\n")
        worker.stdin.flush()
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    answers = [worker.communicate("go\n", timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * MANY
    taken = [json.loads(answer) for answer in answers]
    print(f"\nleased by each: {[len(got) for got in taken]}")

    assert sorted(key for got in taken for key in got) == sorted(str(row["id"]) for row in rows)
    with reading(filled) as connection:
        leased = connection.execute(
            select(Recording.id, Recording.lease_owner, Recording.attempts).where(
                Recording.state == "leased"
            )
        ).all()
    owners = {key: f"w{number}" for number, got in enumerate(taken) for key in got}
    assert {row.id: row.lease_owner for row in leased} == owners
    assert {row.attempts for row in leased} == {1}


def test_no_update_is_lost(url: str, filled: Engine, at_once) -> None:
    times = 10
    mine = (Robot.organisation_id == "alpha", Robot.id == "default")

    def count(engine: Engine, _number: int) -> None:
        for _ in range(times):
            with writing(engine) as connection:
                seen = connection.scalar(select(Robot.created_ns).where(*mine))
                connection.execute(update(Robot).where(*mine).values(created_ns=seen + 1))

    at_once(url, count)
    with reading(filled) as connection:
        assert connection.scalar(select(Robot.created_ns).where(*mine)) == 1 + MANY * times


def test_a_cap_is_never_exceeded_and_is_used_up(url: str, filled: Engine, at_once) -> None:
    cap, piece, pieces = 1_000, 7, 30
    terms = Terms.model_validate(
        {
            "purposes_allowed": ["pretraining"],
            "territory": {"storage": ["JP"], "processing": ["JP"]},
            "personal": {"contains_pi": False},
            "medical": {"contains_medical": False},
            "volume_caps": {"day": {"bytes": cap}},
        }
    )

    def reserve(engine: Engine, number: int) -> tuple[int, int]:
        got = refused = 0
        for at in range(number * pieces, (number + 1) * pieces):
            span = Span("tidy", 2, "big", at * piece, (at + 1) * piece)
            request = Request(
                "m-alpha", "alpha", Purpose.PRETRAINING, Action.SIGN, "JP", None, NOON, Amount()
            )
            ask = Ask(terms, request, "tidy/2/big", grant="g-alpha", terms_version=1, span=span)
            with writing(engine, queue=Queue.ACCOUNT) as connection:
                (recorded,) = authorise(connection, [ask])
            got += 0 if recorded.reservation is None else recorded.reservation.new_bytes
            refused += recorded.reservation is None
        return got, refused

    with reading(filled) as connection:
        before = usage(connection, "g-alpha", NOON)
    answers = at_once(url, reserve)
    whole = cap // piece
    assert sum(got for got, _ in answers) == whole * piece
    assert sum(refused for _, refused in answers) == MANY * pieces - whole
    with reading(filled) as connection:
        used = usage(connection, "g-alpha", NOON)
    assert used.day.bytes == whole * piece
    assert used.term.bytes - before.term.bytes == whole * piece


@pytest.mark.parametrize("queues", [[Queue.ACCOUNT], [Queue.CATALOG], list(Queue)])
def test_the_audit_log_stays_one_chain(
    url: str, engine: Engine, at_once, queues: list[Queue]
) -> None:
    """Who changes the catalog and who writes the account append to the same log."""
    times = 10

    def append(own: Engine, number: int) -> list[int]:
        queue = queues[number % len(queues)]
        entry = Entry(NOON, None, None, "upload", f"r{number}", outcome="permit")
        done: list[int] = []
        for _ in range(times):
            with writing(own, queue=queue) as connection:
                done += [one.seq for one in record(connection, [entry, entry])]
        return done

    given = at_once(url, append)
    total = MANY * times * 2
    assert sorted(seq for done in given for seq in done) == list(range(1, total + 1))
    with reading(engine) as connection:
        assert verify_chain(connection) is None
        assert connection.scalar(select(func.count()).select_from(AuditRow)) == total


def test_one_recording_announced_by_eight_at_once_is_one(
    platform: Platform, at_once, tmp_path: Path
) -> None:
    path = tmp_path / "log.mcap"
    path.write_bytes(b"the same bytes" * 1000)
    url = platform.engine.url.render_as_string(hide_password=False)

    def announce(engine: Engine, _number: int) -> tuple[str, bool]:
        receiver = Receiver(platform.root, engine, platform.clock)
        got = receiver.receive_paths("acme", [path], "default", "acme-own-use")
        return got.recording_id, got.duplicate

    answers = at_once(url.replace("+psycopg", ""), announce)
    assert len({key for key, _ in answers}) == 1
    assert Counter(duplicate for _, duplicate in answers) == {False: 1, True: MANY - 1}
    with reading(platform.engine) as connection:
        (row,) = connection.execute(select(Recording.id, Recording.state)).all()
        assert (row.id, row.state) == (answers[0][0], "received")
        assert connection.scalar(select(func.count()).select_from(RecordingFile)) == 1


def test_a_batch_in_the_catalog_does_not_hold_up_the_account(url: str, engine: Engine) -> None:
    hasty = connect(url, wait_ms=50)
    entry = Entry(NOON, None, None, "login", "r", outcome="permit")
    with writing(engine), writing(hasty, queue=Queue.ACCOUNT) as connection:
        assert [one.seq for one in record(connection, [entry])] == [1]
    hasty.dispose()
