"""What is remembered of large files, and every change that has to be noticed."""

import hashlib
import os
import shutil
import sqlite3
import time
from types import SimpleNamespace

import pytest

from connectors.stores import known
from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import writing
from connectors.stores.grouping import Candidate
from connectors.stores.known import KnownRecordings
from connectors.stores.landing import copy_hashed
from connectors.stores.receive import Receiver
from connectors.stores.seen import SETTLED_NS, SeenFiles


def later():
    """A clock for which every file of a test has been there for a while."""
    return time.time_ns() + 2 * SETTLED_NS


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.mcap"
    path.write_bytes(b"0123456789" * 10)
    return path


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "seen.db"


def note(cache, path, clock=later):
    with SeenFiles(cache, clock) as seen:
        _, sha256 = copy_hashed(path, path.with_suffix(".copy"), seen)
    path.with_suffix(".copy").unlink()
    return sha256


def asked(cache, path):
    with SeenFiles(cache, later) as seen:
        return seen.digest(path.stat())


def test_a_file_that_did_not_change_is_remembered(cache, log):
    assert asked(cache, log) is None
    sha256 = note(cache, log)
    assert asked(cache, log) == sha256 == hashlib.sha256(log.read_bytes()).hexdigest()
    assert cache.stat().st_mode & 0o777 == 0o600


def _same_size_and_mtime(path):
    stat = path.stat()
    path.write_bytes(b"0123456789" * 9 + b"012345678X")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _replaced(path):
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.replace(path)


CHANGES = {
    "one byte, with the old mtime": _same_size_and_mtime,
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"1"),
    "touched": lambda path: os.utime(path, ns=(1, 1)),
    "replaced by a copy of the same age": _replaced,
    "renamed": lambda path: path.rename(path.with_name("n")).rename(path),
    "another name for it": lambda path: path.with_name("second").hardlink_to(path),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_was_done_to_a_file_makes_it_unknown(cache, log, change):
    note(cache, log)
    before = log.stat()
    while time.time_ns() < before.st_ctime_ns + 20_000_000:  # past the tick of the kernel's clock
        time.sleep(0.005)
    change(log)
    assert asked(cache, log) is None
    assert asked(cache, log) is None
    sha256 = note(cache, log)
    assert asked(cache, log) == sha256


def test_what_changed_a_moment_ago_is_not_remembered(cache, log):
    note(cache, log, clock=time.time_ns)
    assert asked(cache, log) is None
    note(cache, log, clock=lambda: log.stat().st_ctime_ns + SETTLED_NS - 1)
    assert asked(cache, log) is None
    os.utime(log, ns=(0, later() + SETTLED_NS))  # a stamp from the future
    note(cache, log)
    assert asked(cache, log) is None


def test_what_changed_while_it_was_read_is_not_remembered(cache, log):
    before = log.stat()
    log.write_bytes(b"more than before" * 10)
    with SeenFiles(cache, later) as seen:
        seen.note(before, log.stat(), "0" * 64, later())
    assert asked(cache, log) is None


def test_inodes_and_devices_of_64_bits_fit(cache, log):
    names = ("st_size", "st_mtime_ns", "st_ctime_ns")
    found = {name: getattr(log.stat(), name) for name in names}
    wide = SimpleNamespace(st_dev=(1 << 64) - 1, st_ino=1 << 63, **found)
    with SeenFiles(cache, later) as seen:
        seen.note(wide, wide, "a" * 64, later())
    with SeenFiles(cache, later) as seen:
        assert seen.digest(wide) == "a" * 64


@pytest.mark.parametrize("damage", ["no database at all" * 100, ""])
def test_a_damaged_cache_is_none(cache, log, damage):
    note(cache, log)
    for path in cache.parent.glob("seen.db*"):
        path.write_text(damage)
    assert asked(cache, log) is None
    note(cache, log)


def test_a_cache_that_another_process_holds_costs_nothing_but_its_use(cache, log, monkeypatch):
    monkeypatch.setattr("connectors.stores.seen._BUSY_SECONDS", 0.05)
    note(cache, log)
    holder = sqlite3.connect(cache, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        note(cache, log)
        assert asked(cache, log) in {None, hashlib.sha256(log.read_bytes()).hexdigest()}
    finally:
        holder.close()


def test_no_place_for_a_cache_is_no_error(tmp_path, log):
    assert note(tmp_path / "none" / "seen.db", log)
    assert asked(tmp_path / "none" / "seen.db", log) is None


def test_a_large_known_file_is_recognised_until_it_changes(platform, cache, log, monkeypatch):
    monkeypatch.setattr(known, "READ_BYTES", 10)
    with SeenFiles(cache, later) as seen:
        receiver = Receiver(platform.root, platform.engine, platform.clock, seen)
        got = receiver.receive_paths("acme", [log], "default", "acme-own-use")
    with writing(platform.engine) as connection:
        recordings.set_state(connection, got.recording_id, "accepted")

    def recognised(cache):
        with SeenFiles(cache, later) as seen:
            under = ("acme", "default", "acme-own-use")
            asked = KnownRecordings(platform.engine, *under, seen)
            return [found and found.state for found in asked.among([Candidate(log, (log,))])]

    assert recognised(cache) == ["accepted"]
    assert recognised(cache.with_name("empty.db")) == [None]
    _same_size_and_mtime(log)
    assert recognised(cache) == [None]
