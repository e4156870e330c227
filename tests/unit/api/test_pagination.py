from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.pagination import decode_cursor, encode_cursor
from schemas.errors import WrongUseError


@given(st.text(max_size=200), st.integers(-(2**63), 2**63 - 1))
def test_a_cursor_comes_back(key: str, number: int) -> None:
    cursor = encode_cursor("list", number, key)
    assert decode_cursor("list", cursor, int, str) == (number, key)
    assert decode_cursor("list", None, int, str) is None


@given(st.text())
def test_no_other_text_is_a_cursor(text: str) -> None:
    with pytest.raises(WrongUseError):
        decode_cursor("list", text, str)


@pytest.mark.parametrize(
    "value", [["other", "x"], ["list"], ["list", 1], ["list", True], ["list", "x", "y"], {}, 1]
)
def test_cursors_of_another_shape_are_refused(value: object) -> None:
    cursor = base64.urlsafe_b64encode(orjson.dumps(value)).decode()
    with pytest.raises(WrongUseError):
        decode_cursor("list", cursor, str)
