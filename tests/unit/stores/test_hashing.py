import hashlib
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.stores.hashing import BLOCK, HashingFile
from connectors.stores.landing import copy_hashed
from schemas.errors import NotFoundError

SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 17, 40 * BLOCK + 5]


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_has_the_bytes_and_the_digest_of_its_source(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    assert copy_hashed(tmp_path / "a", tmp_path / "b") == (
        size,
        hashlib.sha256(content).hexdigest(),
    )
    assert (tmp_path / "b").read_bytes() == content


@settings(max_examples=12)
@given(
    chunks=st.lists(
        st.one_of(st.integers(0, 200_000), st.integers(BLOCK - 2, BLOCK + 2)), max_size=8
    )
)
def test_any_division_into_chunks_gives_the_same_file(tmp_path_factory, chunks):
    path = tmp_path_factory.mktemp("h") / "f"
    content = os.urandom(sum(chunks))
    file = HashingFile(path)
    at = 0
    for size in chunks:
        # One buffer, used again and again: the file must not keep a view of it.
        buffer = bytearray(content[at : at + size])
        file.write(buffer)
        buffer[:] = bytes(size)
        at += size
    assert file.hexdigest() == hashlib.sha256(content).hexdigest()
    file.sync()
    file.close()
    assert file.size == len(content)
    assert path.read_bytes() == content


def test_discarding_leaves_neither_file_nor_thread(tmp_path):
    before = threading.active_count()
    file = HashingFile(tmp_path / "f")
    file.write(bytes(40 * BLOCK))
    file.discard()
    file.discard()
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


def test_a_source_that_vanished_leaves_nothing(tmp_path):
    with pytest.raises(NotFoundError):
        copy_hashed(tmp_path / "none", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
