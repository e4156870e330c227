"""Receiving against a small model: any order of hand-ins, names and interruptions."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from connectors.settings import Settings
from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from connectors.stores.initialise import initialise
from connectors.stores.receive import FileEntry, Receiver
from pipelines.cli.platform import Platform
from schemas.errors import ConflictError
from schemas.ids import recording_id
from tests.servers.catalogs import Catalogs

CONTENTS = [bytes([n]) * (n + 1) for n in range(5)]
groups = st.lists(st.sampled_from(CONTENTS), min_size=1, max_size=3)


class Receiving(RuleBasedStateMachine):
    """The model: complete recordings as sorted tuples of contents, and announced ones."""

    catalogs: Catalogs

    @initialize()
    def make(self):
        self.folder = TemporaryDirectory()
        self.now_ns = 10**18
        root = Path(self.folder.name) / "lake"
        url = self.catalogs.new(root)
        initialise(root, "Acme", self.clock, database_url=url)
        self.platform = Platform.open(Settings(root=str(root), database_url=url), self.clock)
        self.receiver = Receiver(self.platform.root, self.platform.engine, self.clock)
        self.complete: set[tuple[bytes, ...]] = set()
        self.announced: dict[tuple[bytes, ...], set[bytes]] = {}

    def clock(self):
        self.now_ns += 1
        return self.now_ns

    def teardown(self):
        if hasattr(self, "platform"):
            self.platform.close()
            self.folder.cleanup()

    def taken(self, group):
        """Whether a content belongs to another complete recording."""
        key = tuple(sorted(group))
        return any(set(other) & set(group) for other in self.complete if other != key)

    @rule(group=groups, names=st.randoms(use_true_random=False))
    def hand_in_files(self, group, names):
        key = tuple(sorted(group))
        paths = []
        for number, content in enumerate(group):
            path = Path(self.folder.name) / f"{names.random()}-{number}"
            path.write_bytes(content)
            paths.append(path)

        def receive():
            return self.receiver.receive_paths("acme", paths, "default", "acme-own-use")

        if key in self.complete:
            assert receive().duplicate
        elif self.taken(group):
            self.refused(receive)
        else:
            got = receive()
            assert (got.state, got.duplicate) == ("received", False)
            self.complete.add(key)
            self.announced.pop(key, None)

    @rule(group=groups, sent=st.integers(0, 3))
    def upload_a_part(self, group, sent):
        """Announce, send some files, and break off: another begin takes it up."""
        key = tuple(sorted(group))
        files = [
            FileEntry(f"{n}", len(c), hashlib.sha256(c).hexdigest()) for n, c in enumerate(group)
        ]

        def begin():
            return self.receiver.begin("acme", files, "default", "acme-own-use")

        if key in self.complete:
            assert begin().duplicate
            return
        if self.taken(group):
            self.refused(begin)
            return
        begun = begin()
        stored = self.announced.setdefault(key, set())
        assert {group[int(n)] for n in begun.missing} == set(group) - stored
        for name in begun.missing[:sent]:
            with self.receiver.writer(begun.recording_id, "acme", name) as writer:
                writer.write(group[int(name)])
                writer.finish()
            stored.add(group[int(name)])
        if stored >= set(group):
            assert self.receiver.complete(begun.recording_id, "acme") == "received"
            self.complete.add(key)
            del self.announced[key]
        else:
            self.refused(lambda: self.receiver.complete(begun.recording_id, "acme"))

    def refused(self, call):
        try:
            call()
        except ConflictError:
            return
        raise AssertionError("not refused")

    @invariant()
    def catalog_and_folder_agree_with_the_model(self):
        if not hasattr(self, "platform"):
            return
        with reading(self.platform.engine) as connection:
            rows = recordings.listing(connection, limit=1000).items
        states = {row["id"]: row["state"] for row in rows}
        expected = dict.fromkeys(map(key_of, self.announced), "receiving")
        expected |= dict.fromkeys(map(key_of, self.complete), "received")
        assert states == expected
        for group in self.complete:
            folder = self.platform.root.quarantine("acme", key_of(group))
            kept = {p.read_bytes() for p in folder.iterdir() if len(p.name) == 64}
            assert kept == set(group)


@pytest.fixture(scope="class")
def kind_of_catalog(session_catalogs):
    Receiving.catalogs = session_catalogs


def key_of(group):
    return recording_id("acme", [(len(c), hashlib.sha256(c).hexdigest()) for c in group])


TestReceiving = pytest.mark.usefixtures("kind_of_catalog")(Receiving.TestCase)
TestReceiving.settings = settings(
    max_examples=15,
    stateful_step_count=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
