"""Random schemas and values decode to what a scalar reader reads; damaged ones never differ."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.ros2 import cursor
from connectors.ros2.decode import PayloadError, decode_messages
from connectors.ros2.definition import PRIMITIVE_SIZES
from tests.unit.connectors.foreign import Types
from tests.unit.connectors.scalar_reader import BadMessageError, ScalarReader

TYPES = Types()
NAMES = (f"fuzz_msgs/msg/Type{number}" for number in count())
BASES = [*PRIMITIVE_SIZES, "string", "string<=12"]
SHAPES = ["", "", "", "[]", "[3]", "[<=5]"]


@st.composite
def schemas(draw: st.DrawFn) -> tuple[Types, str]:
    """A type with up to two levels of nested types."""
    types = TYPES
    known = list(BASES)
    name = ""
    for _ in range(draw(st.integers(1, 3))):
        fields = draw(
            st.lists(
                st.tuples(st.sampled_from(known), st.sampled_from(SHAPES)), min_size=0, max_size=6
            )
        )
        lines = [f"{kind}{shape} f{index}" for index, (kind, shape) in enumerate(fields)]
        if draw(st.booleans()):
            lines.append("std_msgs/Header header" if draw(st.booleans()) else "std_msgs/Empty e")
        name = next(NAMES)
        types.add(name, "\n".join(lines))
        known += [name.replace("/msg", "")] * 3
    return types, name


def plain(value: Any) -> Any:
    """Decoded values with NaN and Decimal made comparable."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return value


@pytest.fixture(params=["lock-step", "one by one"], autouse=True)
def walk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few messages with many items are walked one by one; here that is every pass or none."""
    monkeypatch.setattr(cursor, "_FEW", 100 if request.param == "one by one" else 0)
    monkeypatch.setattr(cursor, "_MANY_STEPS", 0)


@given(
    schemas(),
    st.integers(0, 2**32),
    st.sampled_from(["one", "both"]),
    st.sampled_from([0, 1, 6]),
    st.integers(1, 12),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_messages_decode_to_what_was_written(
    schema: tuple[Types, str], seed: int, mixed: str, most: int, rows: int
) -> None:
    types, name = schema
    rng = random.Random(seed)
    payloads = [
        types.encode(
            name,
            types.random(name, rng, most=most),
            big_endian=mixed == "both" and rng.random() < 0.5,
        )
        for _ in range(rows)
    ]
    ours = decode_messages(types.text(name), name, pa.array(payloads, pa.binary()))
    ours.validate(full=True)
    assert plain(ours.to_pylist()) == [
        plain(ScalarReader(types, p).message(name)) for p in payloads
    ]


@given(schemas(), st.integers(0, 2**32), st.sampled_from(["constant", "varying"]), st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_messages_give_an_error_or_what_the_bytes_say(
    schema: tuple[Types, str], seed: int, shape: str, data: st.DataObject
) -> None:
    types, name = schema
    rng = random.Random(seed)
    once = types.encode(name, types.random(name, rng))
    payloads = [
        once if shape == "constant" else types.encode(name, types.random(name, rng))
        for _ in range(6)
    ]
    position = data.draw(st.integers(0, 5))
    damaged = bytearray(payloads[position])
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if len(damaged) > 4:
            damaged[data.draw(st.integers(4, len(damaged) - 1))] ^= 1 << data.draw(
                st.integers(0, 7)
            )
    payloads[position] = bytes(damaged)
    try:
        expected = [plain(ScalarReader(types, p).message(name)) for p in payloads]
    except BadMessageError:
        with pytest.raises(PayloadError) as error:
            decode_messages(types.text(name), name, pa.array(payloads, pa.binary()))
        assert error.value.position == position
        return
    ours = decode_messages(types.text(name), name, pa.array(payloads, pa.binary()))
    assert plain(ours.to_pylist()) == expected
