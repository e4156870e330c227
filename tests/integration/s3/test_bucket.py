"""The bucket as a store: what is written is there, whole, and what is missing says so."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.stores.bucket import PART_BYTES, Bucket
from schemas.errors import DamagedError, FailError, StoreUnavailableError, WrongUseError
from tests.servers.lakes import s3_settings

if TYPE_CHECKING:
    from pathlib import Path

    from connectors.stores.object_path import ObjectPath

pytestmark = [pytest.mark.full, pytest.mark.s3]


@pytest.fixture
def place(minio, tmp_path: Path) -> ObjectPath:
    settings = s3_settings(minio, tmp_path / "local")
    bucket, _, prefix = settings.root.removeprefix("s3://").partition("/")
    return Bucket(bucket, settings.access).place(prefix)


def local_file(folder: Path, size: int) -> tuple[Path, str]:
    path = folder / f"local-{size}"
    path.write_bytes(os.urandom(size))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 70_000, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7])
def test_a_file_comes_back_as_it_went_in(place: ObjectPath, tmp_path: Path, size: int):
    path, digest = local_file(tmp_path, size)
    there = place / "raw/acme" / digest
    place.store.put(path, there, digest)
    assert path.exists()
    (tmp_path / "back").mkdir()
    back = place.store.local(there, tmp_path / "back", digest)
    assert back.read_bytes() == path.read_bytes()
    assert there.stat().st_size == size
    place.store.move_in(path, there, digest)
    assert not path.exists()
    place.store.copy(there, place / "copy")
    assert (place / "copy").read_bytes() == back.read_bytes()


@pytest.mark.parametrize("size", [100, PART_BYTES + 1])
def test_bytes_that_changed_before_they_were_stored_are_not_stored(
    place: ObjectPath, tmp_path: Path, size: int
):
    path, digest = local_file(tmp_path, size)
    with path.open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(DamagedError, match="changed before"):
        place.store.put(path, place / "x", digest)
    assert not (place / "x").exists()
    assert list(place.store.client._list_multipart_uploads(place.store.bucket).uploads) == []


def test_bytes_that_changed_in_the_store_are_not_handed_out(place: ObjectPath, tmp_path: Path):
    digest = hashlib.sha256(b"original").hexdigest()
    (place / "x").write_bytes(b"tampered")
    with pytest.raises(DamagedError, match="differ from what was recorded"):
        place.store.local(place / "x", tmp_path, digest)
    assert list(tmp_path.glob(digest)) == []


def test_one_of_two_creates_wins(place: ObjectPath):
    assert place.store.create(place / "one", b"first")
    assert not place.store.create(place / "one", b"second")
    assert (place / "one").read_bytes() == b"first"


def test_places_are_walked_like_folders(place: ObjectPath):
    for name in ("t/a=1/b=2/x-1.parquet", "t/a=1/b=3/y-1.parquet", "t/_log/0.json", "u/z"):
        (place / name).write_bytes(name.encode())
    table = place / "t"
    names = [p.relative_to(table).as_posix() for p in table.glob("a=*/b=*/x-*")]
    assert names == ["a=1/b=2/x-1.parquet"]
    assert {p.name for p in table.iterdir()} == {"a=1", "_log"}
    assert sorted(p.name for p in place.rglob("*.parquet")) == ["x-1.parquet", "y-1.parquet"]
    assert table.exists()
    assert not table.is_file()
    assert not (place / "nothing").exists()
    # A prefix of a name is no folder of that name.
    assert not (place / "t/a").exists()
    for call in (
        (place / "no").read_bytes,
        (place / "no").unlink,
        (place / "no").stat,
        (place / "no").open,
        lambda: place.store.arrow(place / "no"),
    ):
        with pytest.raises(FileNotFoundError):
            call()
    for name in ("../x", "a/../x", "", "a//b", "/a"):
        with pytest.raises(ValueError, match="not a path below"):
            place / name
    place.store.rename(place / "u/z", place / "u/moved")
    assert [p.name for p in (place / "u").iterdir()] == ["moved"]
    place.store.remove_tree(table)
    place.store.remove_tree(table)
    assert not table.exists()


def test_ranges_and_seeks_read_what_lies_there(place: ObjectPath):
    content = os.urandom(9_000_000)
    (place / "x").write_bytes(content)
    with closing(place.store.reader(place / "x")) as reader:
        assert reader.size == len(content)
        for start, size in ((0, 10), (10, 5_000_000), (8_999_990, 50), (3, 0), (9_000_000, 5)):
            assert reader.read_at(start, size) == content[start : start + size]
    with (place / "x").open("rb") as file:
        file.seek(-7, 2)
        assert file.read() == content[-7:]
        file.seek(5)
        assert file.read(3) == content[5:8]


def test_arrow_reads_parquet_at_random(place: ObjectPath, tmp_path: Path):
    pq.write_table(pa.table({"a": list(range(1000))}), tmp_path / "x.parquet", row_group_size=100)
    content = (tmp_path / "x.parquet").read_bytes()
    (place / "t" / "x.parquet").write_bytes(content)
    file = pq.ParquetFile(place.store.arrow(place / "t" / "x.parquet"))
    assert file.read_row_group(7)["a"].to_pylist() == list(range(700, 800))


def test_a_store_that_is_not_there_can_be_tried_again(minio, tmp_path: Path):
    from tests.servers.minio import free_port

    access = s3_settings(minio, tmp_path, s3_endpoint=f"http://127.0.0.1:{free_port()}").access
    place = Bucket("tanada-tests", access).place("x")
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        place.store.read(place / "y")


def test_wrong_credentials_and_addresses_are_named_and_never_shown(minio, tmp_path: Path):
    given = s3_settings(minio, tmp_path, s3_secret_key="canary" * 3)
    place = Bucket("tanada-tests", given.access).place("x")
    with pytest.raises(FailError, match="refuses these credentials") as caught:
        (place / "y").write_bytes(b"1")
    assert "canary" not in f"{caught.value!r} {caught.value} {given!r} {given.access!r}"
    assert given.s3_access_key not in f"{caught.value} {given!r} {given.access!r}"
    right = s3_settings(minio, tmp_path)
    with pytest.raises(FailError, match="no such bucket"):
        (Bucket("not-there", right.access).place("x") / "y").read_bytes()
    for endpoint in ("ftp://host", "host:9000", "http://host/path"):
        with pytest.raises(WrongUseError, match="not the address"):
            Bucket("tanada-tests", s3_settings(minio, tmp_path, s3_endpoint=endpoint).access)
    with pytest.raises(WrongUseError, match="needs credentials"):
        Bucket("tanada-tests", s3_settings(minio, tmp_path, s3_secret_key=None).access)
