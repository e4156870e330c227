import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.stores.durable import (
    link_durable,
    make_folder,
    rename_durable,
    write_durable,
)
from schemas.errors import StoreUnavailableError


@contextmanager
def files_of_at_most(size):
    """The kernel refuses larger files, as a full disk or quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_finds_no_space_keeps_the_older_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "document.json"
    write_durable(path, b"old")
    with files_of_at_most(4096), pytest.raises(StoreUnavailableError, match="no space"):
        write_durable(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["document.json"]


def test_write_durable_replaces_and_sets_the_mode(tmp_path):
    path = tmp_path / "secret"
    write_durable(path, b"one", 0o600)
    write_durable(path, b"two", 0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_link_durable_is_repeatable_and_shares_the_bytes(tmp_path):
    source = tmp_path / "a"
    source.write_bytes(b"bytes")
    link_durable(source, tmp_path / "b")
    link_durable(source, tmp_path / "b")
    assert (tmp_path / "b").stat().st_ino == source.stat().st_ino


def test_rename_durable_moves_between_folders(tmp_path):
    make_folder(tmp_path / "x" / "y")
    (tmp_path / "a").write_bytes(b"1")
    rename_durable(tmp_path / "a", tmp_path / "x" / "y" / "b")
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "x" / "y" / "b").read_bytes() == b"1"


def test_everything_written_is_brought_to_disk_before_it_counts(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def noting(descriptor):
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    make_folder(tmp_path / "new")
    write_durable(tmp_path / "new" / "f", b"1")
    assert synced[0] == str(tmp_path)
    assert synced[1].startswith(str(tmp_path / "new" / ".f."))
    assert synced[2] == str(tmp_path / "new")
