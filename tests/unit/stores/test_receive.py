import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connectors.stores import originals
from connectors.stores.catalog import parties, recordings
from connectors.stores.catalog.database import reading, writing
from connectors.stores.receive import FileEntry, Receiver
from schemas.errors import (
    ConflictError,
    CorruptError,
    DamagedError,
    LimitExceededError,
    NotFoundError,
    StoreUnavailableError,
    WrongFormatError,
    WrongUseError,
)
from schemas.ids import recording_id
from tests.servers.lakes import environment_of

BAG = "robot/rosbag2/rosbag2_py/test/resources/mcap/wbag"
REPOSITORY = Path(__file__).parents[3]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def entry(name, content, **more):
    return FileEntry(name, len(content), sha256(content), **more)


def send(receiver, begun, organisation, contents):
    for name, content in contents.items():
        with receiver.writer(begun.recording_id, organisation, name) as writer:
            writer.write(content)
            writer.finish()


def begin(receiver, contents, organisation="acme", robot="default", agreement="acme-own-use"):
    files = [entry(name, content) for name, content in contents.items()]
    return receiver.begin(organisation, files, robot, agreement)


def stored(platform):
    """Files below quarantine, without manifests."""
    return sorted(
        str(p.relative_to(platform.root.path))
        for p in (platform.root.path / "quarantine").rglob("*")
        if p.is_file() and p.name != "manifest.json"
    )


@pytest.fixture
def receiver(platform):
    return Receiver(platform.root, platform.engine, platform.clock)


@pytest.fixture
def bag(samples):
    return sorted((samples / BAG).glob("*.mcap")), [samples / BAG / "metadata.yaml"]


def test_a_real_bag_is_received_once_whatever_its_names_and_order(
    platform, receiver, bag, tmp_path
):
    files, sidecars = bag
    first = receiver.receive_paths("acme", files, "default", "acme-own-use", sidecars=sidecars)
    assert (first.state, first.duplicate, first.missing) == ("received", False, [])
    sizes = [(f.stat().st_size, sha256(f.read_bytes())) for f in files]
    assert first.recording_id == recording_id("acme", sizes)
    renamed = [tmp_path / f"{n}.bin" for n in range(len(files))]
    for new, old in zip(renamed, reversed(files), strict=True):
        new.write_bytes(old.read_bytes())
    before = stored(platform)
    again = receiver.receive_paths("acme", renamed, "default", "acme-own-use")
    assert again.duplicate
    assert again.recording_id == first.recording_id
    assert stored(platform) == before
    assert len(before) == 6
    root, engine = platform.root, platform.engine
    for original in originals.of(root, engine, first.recording_id):
        file = original.local(tmp_path)
        assert sha256(file.path.read_bytes()) == file.sha256
    assert list(platform.root.staging.iterdir()) == []


def test_the_manifest_beside_the_bytes_tells_what_the_catalog_knows(platform, receiver, bag):
    files, sidecars = bag
    got = receiver.receive_paths("acme", files, "default", "acme-own-use", sidecars=sidecars)
    folder = platform.root.quarantine("acme", got.recording_id)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    with reading(platform.engine) as connection:
        row = recordings.get(connection, got.recording_id)
        steps = recordings.steps_of(connection, got.recording_id)
    assert manifest["received_ns"] == row["received_ns"] == steps[0]["at_ns"]
    assert [s["step"] for s in steps] == ["receive"]
    assert row["bytes"] == sum(f.stat().st_size for f in files)
    assert len(manifest["files"]) == 6
    assert manifest["robot_id"] == "default"


def test_a_duplicate_is_answered_by_two_looks_into_the_catalog(platform, receiver, bag, statements):
    """No table, no file and no write is needed: how long it takes is measured by the bench."""
    files, _ = bag
    got = receiver.receive_paths("acme", files, "default", "acme-own-use")
    manifest = [entry(f.name, f.read_bytes()) for f in files]
    platform.root.store.remove_tree(platform.root.tables)
    platform.root.store.remove_tree(platform.root.quarantine("acme", got.recording_id))
    with statements(platform.engine) as seen:
        assert receiver.begin("acme", manifest, "default", "acme-own-use").duplicate
    assert [words.split()[0] for words, _ in seen] == ["SELECT", "SELECT"]
    with statements(platform.engine) as seen:
        assert recordings.known(platform.engine, [got.recording_id])
    assert len(seen) == 1


def test_the_same_files_under_another_robot_or_agreement_are_a_conflict(platform, receiver):
    with writing(platform.engine) as connection:
        parties.add_robot(
            connection, organisation="acme", robot="r2", sector="food", clock=platform.clock
        )
        parties.add_agreement(
            connection,
            organisation="acme",
            title="t",
            terms={},
            clock=platform.clock,
            agreement="c2",
        )
    begun = begin(receiver, {"a": b"1"})
    with pytest.raises(ConflictError, match=r"expected robot default, found robot r2"):
        begin(receiver, {"a": b"1"}, robot="r2")
    send(receiver, begun, "acme", {"a": b"1"})
    receiver.complete(begun.recording_id, "acme")
    with pytest.raises(ConflictError, match="expected agreement acme-own-use, found agreement c2"):
        begin(receiver, {"b": b"1"}, agreement="c2")


def test_a_file_of_another_recording_is_a_conflict_with_both_named(receiver):
    first = begin(receiver, {"a": b"1", "b": b"2"})
    send(receiver, first, "acme", {"a": b"1", "b": b"2"})
    receiver.complete(first.recording_id, "acme")
    other = recording_id("acme", [(1, sha256(b"2"))])
    with pytest.raises(ConflictError, match=f"{first.recording_id}, found recording {other}"):
        begin(receiver, {"x": b"2"})


def test_of_two_announced_recordings_that_share_a_file_the_first_complete_one_wins(receiver):
    first = begin(receiver, {"a": b"1", "b": b"2"})
    second = begin(receiver, {"b": b"2", "c": b"3"})
    send(receiver, second, "acme", {"b": b"2", "c": b"3"})
    send(receiver, first, "acme", {"a": b"1", "b": b"2"})
    assert receiver.complete(second.recording_id, "acme") == "received"
    with pytest.raises(ConflictError, match=second.recording_id):
        receiver.complete(first.recording_id, "acme")


def test_other_organisations_are_independent_and_learn_nothing(platform, receiver):
    with writing(platform.engine) as connection:
        parties.add_organisation(connection, name="Beta", clock=platform.clock)
        parties.add_robot(
            connection, organisation="beta", robot="r", sector="food", clock=platform.clock
        )
        parties.add_agreement(
            connection,
            organisation="beta",
            title="t",
            terms={},
            clock=platform.clock,
            agreement="b",
        )
    mine = begin(receiver, {"a": b"1"})
    send(receiver, mine, "acme", {"a": b"1"})
    receiver.complete(mine.recording_id, "acme")
    theirs = begin(receiver, {"a": b"1"}, "beta", "r", "b")
    assert theirs.recording_id != mine.recording_id
    assert not theirs.duplicate
    with pytest.raises(NotFoundError):
        receiver.writer(mine.recording_id, "beta", "a")
    with pytest.raises(NotFoundError):
        receiver.complete(mine.recording_id, "beta")
    for robot, agreement in (("default", "b"), ("r", "acme-own-use")):
        with pytest.raises(NotFoundError):
            begin(receiver, {"z": b"9"}, "beta", robot, agreement)


@pytest.mark.parametrize("chunks", [[b"123"], [b"12345", b"6"], [b"12346"], []])
def test_bytes_that_differ_from_the_manifest_are_not_kept(platform, receiver, chunks):
    begun = begin(receiver, {"a": b"12345"})

    def attempt():
        with receiver.writer(begun.recording_id, "acme", "a") as writer:
            for chunk in chunks:
                writer.write(chunk)
            writer.finish()

    with pytest.raises(CorruptError, match="differ from the manifest"):
        attempt()
    assert stored(platform) == []
    with pytest.raises(ConflictError, match="bytes are missing still"):
        receiver.complete(begun.recording_id, "acme")
    send(receiver, begun, "acme", {"a": b"12345"})
    assert receiver.complete(begun.recording_id, "acme") == "received"
    assert receiver.complete(begun.recording_id, "acme") == "received"


def test_a_dropped_upload_is_taken_up_where_files_are_missing(platform, receiver):
    contents = {"a": b"1" * 100, "b": b"2" * 100, "meta.json": b'{"runner": {"name": "N"}}'}
    begun = begin(receiver, contents)
    assert begun.missing == ["a", "b", "meta.json"]
    for name in ("a", "meta.json"):
        send(receiver, begun, "acme", {name: contents[name]})
    half = receiver.writer(begun.recording_id, "acme", "b")
    half.write(b"2" * 50)
    half.abort()
    renamed = {"x/" + name: content for name, content in contents.items()}
    again = begin(Receiver(platform.root, platform.engine, platform.clock), renamed)
    assert again.recording_id == begun.recording_id
    assert (again.duplicate, again.missing) == (False, ["x/b"])
    send(receiver, again, "acme", {"x/b": contents["b"], "x/meta.json": contents["meta.json"]})
    assert receiver.complete(begun.recording_id, "acme") == "received"
    assert len(stored(platform)) == 3


def test_a_complete_recording_takes_no_more_bytes(receiver):
    begun = begin(receiver, {"a": b"1"})
    send(receiver, begun, "acme", {"a": b"1"})
    receiver.complete(begun.recording_id, "acme")
    with pytest.raises(ConflictError, match="complete already"):
        receiver.writer(begun.recording_id, "acme", "a")


@pytest.mark.parametrize(
    "files",
    [
        [],
        [FileEntry("metadata.yaml", 1, "0" * 64)],
        [FileEntry("a", 1, "0" * 64, sidecar=True)],
        [FileEntry("a", -1, "0" * 64)],
        [FileEntry("a", 1, "0" * 63 + "G")],
        [FileEntry("a", 1, "0" * 64), FileEntry("a", 2, "1" * 64)],
        [FileEntry("a\x00b", 1, "0" * 64)],
        [FileEntry("a\nb", 1, "0" * 64)],
        [FileEntry(" ", 1, "0" * 64)],
        [FileEntry("x" * 1001, 1, "0" * 64)],
    ],
)
def test_a_manifest_that_is_none_is_refused(receiver, files):
    with pytest.raises(WrongUseError):
        receiver.begin("acme", files, "default", "acme-own-use")


def test_names_are_metadata_and_never_paths(platform, receiver):
    begun = begin(receiver, {"../../../../etc/x": b"1", "/abs": b"2"})
    send(receiver, begun, "acme", {"../../../../etc/x": b"1", "/abs": b"2"})
    folder = f"quarantine/acme/{begun.recording_id}/"
    assert stored(platform) == sorted(folder + sha256(c) for c in (b"1", b"2"))


def test_a_name_that_is_no_unicode_is_stored_readably(platform, receiver, tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff.mcap")
    path.write_bytes(b"data")
    got = receiver.receive_paths("acme", [path], "default", "acme-own-use")
    with reading(platform.engine) as connection:
        (file,) = recordings.files_of(connection, got.recording_id)
    assert file["name"] == "a?.mcap"


def test_a_persons_name_never_reaches_the_disk(platform, receiver, tmp_path):
    name = "田中 Tanaka-Canary"
    meta = {"schema_version": "2.0", "runner": {"type": "operator", "name": name}, "k": 1}
    raw = json.dumps(meta, ensure_ascii=False).encode()
    (tmp_path / "a.mcap").write_bytes(b"data")
    (tmp_path / "meta.json").write_bytes(raw)
    got = receiver.receive_paths(
        "acme",
        [tmp_path / "a.mcap"],
        "default",
        "acme-own-use",
        sidecars=[tmp_path / "meta.json"],
    )
    with reading(platform.engine) as connection:
        files = {f["name"]: f for f in recordings.files_of(connection, got.recording_id)}
    sidecar = files["meta.json"]
    assert sidecar["original_sha256"] == sha256(raw)
    kept = platform.root.quarantine("acme", got.recording_id) / sidecar["sha256"]
    assert json.loads(kept.read_bytes()) == meta | {"runner": {"type": "operator"}}
    assert sha256(kept.read_bytes()) == sidecar["sha256"]
    for path in platform.root.path.rglob("*"):
        if path.is_file():
            assert b"Tanaka-Canary" not in path.read_bytes(), path


def test_a_meta_json_that_cannot_be_read_is_not_stored(platform, receiver):
    begun = begin(receiver, {"a": b"1", "meta.json": b"{Tanaka"})
    with receiver.writer(begun.recording_id, "acme", "meta.json") as writer:
        writer.write(b"{Tanaka")
        with pytest.raises(WrongFormatError):
            writer.finish()
    assert stored(platform) == []
    huge = FileEntry("meta.json", 100 << 20, "0" * 64)
    begun = receiver.begin("acme", [entry("b", b"b"), huge], "default", "acme-own-use")
    with pytest.raises(LimitExceededError):
        receiver.writer(begun.recording_id, "acme", "meta.json")


@pytest.mark.folder("links, and originals that are read where they lie")
def test_promoting_links_the_bytes_and_clearing_leaves_them_in_raw(
    platform, receiver, bag, tmp_path
):
    files, sidecars = bag
    got = receiver.receive_paths("acme", files, "default", "acme-own-use", sidecars=sidecars)
    for _ in range(2):
        originals.promote(platform.root, platform.engine, got.recording_id)
    for _ in range(2):
        originals.clear_quarantine(platform.root, "acme", got.recording_id)
    where = (platform.root, platform.engine, got.recording_id)
    found = [original.local(tmp_path) for original in originals.of(*where)]
    assert [f.sidecar for f in found] == [False] * 5 + [True]
    assert all(f.path == platform.root.raw("acme", f.sha256) for f in found)
    assert all(sha256(f.path.read_bytes()) == f.sha256 for f in found)
    found[0].path.unlink()
    with pytest.raises(DamagedError, match=re.escape(found[0].name)):
        originals.of(*where)


def test_a_full_disk_stops_cleanly_and_a_retry_succeeds(platform, receiver, tmp_path):
    big = tmp_path / "big.mcap"
    big.write_bytes(os.urandom(3 << 20))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, hard))
    try:
        with pytest.raises(StoreUnavailableError, match="no space"):
            receiver.receive_paths("acme", [big], "default", "acme-own-use")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert stored(platform) == []
    assert list(platform.root.staging.iterdir()) == []
    got = receiver.receive_paths("acme", [big], "default", "acme-own-use")
    assert got.state == "received"


CHILD = """
import os, sys, time
from pathlib import Path
from connectors.settings import Settings
from connectors.stores.receive import Receiver
from pipelines.cli.platform import Platform
root, begin_ns, *paths = sys.argv[1:]
with Platform.open(Settings.from_environment(os.environ, root=root)) as platform:
    receiver = Receiver(platform.root, platform.engine, time.time_ns)
    print("ready", flush=True)
    while time.time_ns() < int(begin_ns):
        pass
    for path in paths:
        got = receiver.receive_paths("acme", [Path(path)], "default", "acme-own-use")
        print(got.recording_id, got.state, got.duplicate, flush=True)
"""


def start(platform, paths, begin_ns=0):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(platform.root.path), str(begin_ns), *map(str, paths)],
        cwd=REPOSITORY,
        env=os.environ | environment_of(platform.settings),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_processes_that_receive_the_same_at_once_one_registers(platform, tmp_path):
    paths = []
    for number in range(8):
        path = tmp_path / f"{number}.mcap"
        path.write_bytes(os.urandom(200_000))
        paths.append(path)
    children = [start(platform, paths, time.time_ns() + 3 * 10**9) for _ in range(3)]
    answers = {}
    for child in children:
        out, _ = child.communicate(timeout=300)
        assert child.returncode == 0
        for line in out.splitlines()[1:]:
            key, state, duplicate = line.split()
            assert state == "received"
            answers.setdefault(key, []).append(duplicate)
    assert len(answers) == 8
    assert all(sorted(a) == ["False", "True", "True"] for a in answers.values())
    assert len(stored(platform)) == 8


def test_kills_lose_nothing_acknowledged_and_double_nothing(platform, tmp_path):
    paths = []
    for number in range(30):
        path = tmp_path / f"{number}.mcap"
        path.write_bytes(os.urandom(50_000))
        paths.append(path)
    acknowledged = set()
    kills = 0
    for attempt in range(6):
        child = start(platform, paths)
        child.stdout.readline()
        time.sleep(0.02 + 0.06 * attempt)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        out, _ = child.communicate()
        acknowledged |= {line.split()[0] for line in out.splitlines() if line.count(" ") == 2}
    with reading(platform.engine) as connection:
        states = {r["id"]: r["state"] for r in recordings.listing(connection, limit=100).items}
    assert all(states[key] == "received" for key in acknowledged)
    child = start(platform, paths)
    out, _ = child.communicate(timeout=300)
    assert child.returncode == 0
    with reading(platform.engine) as connection:
        rows = recordings.listing(connection, limit=100).items
    print(f"{kills} kills, {len(acknowledged)} acknowledged before the last run, {len(rows)} of 30")
    assert kills > 0
    assert len(rows) == 30
    assert {r["state"] for r in rows} == {"received"}
    for row in rows:
        (original,) = originals.of(platform.root, platform.engine, row["id"])
        file = original.local(tmp_path)
        assert sha256(file.path.read_bytes()) == file.sha256
