from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import RangeNotSatisfiableError
from api.ranges import applies, parse_range, unchanged

SIZES = st.integers(1, 10**12)


@given(SIZES, st.data())
def test_a_range_within_is_that_range(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(start, size - 1))
    assert parse_range(f"bytes={start}-{last}", size) == (start, last + 1)


@given(SIZES, st.integers(0, 10**13), st.integers(0, 10**13))
def test_a_range_never_leaves_the_file(size: int, start: int, last: int) -> None:
    for header in (f"bytes={start}-{last}", f"bytes={start}-", f"bytes=-{last}"):
        try:
            found = parse_range(header, size)
        except RangeNotSatisfiableError:
            assert start >= size or (header.startswith("bytes=-") and last == 0)
            continue
        if found is not None:
            assert 0 <= found[0] < found[1] <= size


@given(st.text(), SIZES)
def test_any_text_gives_a_range_within_or_nothing(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except RangeNotSatisfiableError:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


@pytest.mark.parametrize("header", [None, "", "bytes=", "bytes=-", "bytes=9-3", "bytes=0-1,3-4"])
def test_what_may_be_ignored(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_an_empty_file_has_no_range(header: str) -> None:
    with pytest.raises(RangeNotSatisfiableError):
        parse_range(header, 0)


def test_preconditions() -> None:
    assert applies(None, '"a"')
    assert applies('"a"', '"a"')
    assert not applies('W/"a"', '"a"')
    assert unchanged('W/"a", "b"', '"a"')
    assert unchanged("*", '"a"')
    assert not unchanged('"b"', '"a"')
    assert not unchanged(None, '"a"')
