"""Recognising what was handed in before, without receiving it again."""

import os

import pytest
from sqlalchemy import update

from connectors.stores import known
from connectors.stores.catalog import parties
from connectors.stores.catalog.database import writing
from connectors.stores.catalog.models import Recording
from connectors.stores.grouping import Candidate
from connectors.stores.known import KnownRecordings
from connectors.stores.receive import Receiver
from schemas.errors import NotFoundError


@pytest.fixture
def recognise(platform):
    def among(candidates, robot="default", agreement="acme-own-use", organisation="acme"):
        asked = KnownRecordings(platform.engine, organisation, robot, agreement)
        return [found and found.state for found in asked.among(candidates)]

    return among


@pytest.fixture
def receive(platform):
    """Receive files as one recording, and give it a state."""
    receiver = Receiver(platform.root, platform.engine, platform.clock)

    def received(*paths, state="accepted"):
        got = receiver.receive_paths("acme", paths, "default", "acme-own-use")
        with writing(platform.engine) as connection:
            here = Recording.id == got.recording_id
            connection.execute(update(Recording).where(here).values(state=state))
        return got.recording_id

    return received


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def one(*paths, sidecars=()):
    return Candidate(paths[0], paths, tuple(sidecars))


def test_only_what_is_decided_is_answered(recognise, receive, file):
    decided = ("accepted", "accepted_with_warnings", "quarantined", "withdrawn")
    others = ("receiving", "received", "leased", "planned", "failed")
    paths = {state: file(state, state.encode()) for state in (*decided, *others)}
    for state, path in paths.items():
        receive(path, state=state)
    found = recognise([one(path) for path in paths.values()])
    assert found == [*decided, *(None for _ in others)]
    assert recognise([one(file("new", b"new"))]) == [None]


def test_names_and_order_are_nothing_and_every_byte_counts(recognise, receive, file):
    receive(file("a", b"first"), file("b", b"second"))
    renamed = file("c", b"second"), file("d", b"first")
    assert recognise([one(*renamed)]) == ["accepted"]
    assert recognise([one(renamed[0])]) == [None]
    stat = renamed[0].stat()
    renamed[0].write_bytes(b"sEcond")
    os.utime(renamed[0], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert recognise([one(*renamed)]) == [None]


def test_another_robot_or_agreement_is_left_to_the_receiver(platform, recognise, receive, file):
    path = file("a", b"1")
    receive(path)
    assert recognise([one(path)], robot="other") == [None]
    assert recognise([one(path)], agreement="other") == [None]
    with writing(platform.engine) as connection:
        parties.add_organisation(connection, name="Rival", clock=platform.clock)
    assert recognise([one(path)], organisation="rival") == [None]
    with pytest.raises(NotFoundError, match="no such active organisation"):
        recognise([one(path)], organisation="nobody")


def test_what_cannot_be_told_cheaply_is_left_to_the_receiver(recognise, receive, file, monkeypatch):
    small, large = file("a", b"1" * 10), file("b", b"1" * 11)
    receive(small)
    receive(large)
    monkeypatch.setattr(known, "READ_BYTES", 10)
    gone = small.with_name("gone")
    assert recognise([one(small), one(large), one(gone)]) == ["accepted", None, None]
    meta = file("meta.json", b"not JSON")
    assert recognise([one(small, sidecars=[meta])]) == [None]


def test_a_thousand_known_recordings_are_three_statements_and_no_write(
    platform, recognise, receive, file, statements
):
    """One for the organisation and one for every 500: what each costs is the bench's to say."""
    key = receive(file("a", b"1"))
    candidates = [one(file("a", b"1")), *(one(file(f"n{n}", b"%d" % n)) for n in range(2, 1001))]
    before = sorted(platform.root.staging.iterdir())
    with statements(platform.engine) as seen:
        found = recognise(candidates)
    assert found == ["accepted", *(None for _ in range(999))]
    assert [words.split()[0] for words, _ in seen] == ["SELECT"] * 3
    assert sorted(platform.root.staging.iterdir()) == before
    given = seen[1][1]  # by position on SQLite, by name on PostgreSQL
    assert key in (given.values() if isinstance(given, dict) else given)
