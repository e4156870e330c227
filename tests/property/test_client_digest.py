"""The client's digest of a release is the platform's, and paths are safe or refused."""

from __future__ import annotations

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from pipelines.release.tree import WrittenFile, release_digest
from tanada.receipt import ReleaseFile, safe_path
from tanada.receipt import release_digest as client_digest

NAMES = st.sampled_from(["a", "b c", "ü", "_delta_log", "part-0.parquet", "..", ".", "", "x.part"])
PATHS = st.one_of(st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.text(max_size=12))
FILES = st.lists(
    st.tuples(PATHS, st.integers(0, 1 << 40), st.binary(min_size=32, max_size=32)),
    unique_by=lambda entry: entry[0],
)


@given(FILES)
def test_digests_agree(files) -> None:
    ours = [ReleaseFile(path, size, sha.hex()) for path, size, sha in files]
    theirs = [WrittenFile(path, size, sha.hex(), None, "") for path, size, sha in files]
    assert client_digest(ours) == release_digest(theirs)
    assert client_digest(reversed(ours)) == release_digest(theirs)


@given(PATHS)
def test_a_path_that_is_taken_stays_inside(path: str) -> None:
    if safe_path(path):
        pure = PurePosixPath(path)
        assert not pure.is_absolute()
        assert ".." not in pure.parts
        assert pure.as_posix() == path
        assert "\\" not in path
