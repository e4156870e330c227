"""`t_ns` and `seq` against their definition, message by message."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.decode.clock import DAY_NS, StreamClock

BASE = 1_790_000_000_000_000_000
STAMP = st.sampled_from([0, None]) | st.integers(BASE - 2 * DAY_NS, BASE + 2 * DAY_NS)
MESSAGE = st.tuples(
    st.integers(BASE, BASE + 20),  # log: many ties, often out of order
    STAMP | st.integers(BASE, BASE + 9),
    STAMP | st.integers(BASE, BASE + 9),
    st.integers(1, 3),  # rows of the message
)


def batches(messages, cuts):
    rows = [
        (number, log, header, pub)
        for number, (log, header, pub, count) in enumerate(messages)
        for _ in range(count)
    ]
    edges = [0, *sorted(cut % (len(rows) + 1) for cut in cuts), len(rows)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            columns = list(zip(*rows[start:end], strict=True))
            yield pa.record_batch(
                [pa.array(column, pa.int64()) for column in columns],
                names=["message", "log_ns", "header_ns", "pub_ns"],
            )


def expected(messages):
    def plausible(stamp, log):
        return bool(stamp) and abs(stamp - log) <= DAY_NS

    clock = "log"
    if all(plausible(pub, log) for log, _, pub, _ in messages):
        clock = "publish"
    if all(plausible(header, log) for log, header, _, _ in messages):
        clock = "header"
    order = sorted(range(len(messages)), key=lambda i: (messages[i][0], i))
    seq = {message: position for position, message in enumerate(order)}
    column = {"log": 0, "header": 1, "publish": 2}[clock]
    rows = [
        (messages[i][column], seq[i]) for i in range(len(messages)) for _ in range(messages[i][3])
    ]
    return clock, rows


def run(clock, parts):
    return [
        pair
        for part in parts
        for pair in zip(*(array.tolist() for array in clock.times(part)), strict=True)
    ]


@settings(max_examples=300)
@given(st.lists(MESSAGE, min_size=1, max_size=12), st.lists(st.integers(0, 40), max_size=4))
def test_clock_and_order_are_as_defined_after_at_most_two_passes(messages, cuts):
    first = StreamClock()
    rows = run(first, batches(messages, cuts))
    if first.failed:
        rows = run(StreamClock(first.timeline()), batches(messages, cuts))
    clock, wanted = expected(messages)
    assert first.timeline().clock == clock
    assert rows == wanted


def test_an_ordinary_stream_needs_one_pass():
    messages = [(BASE + i, BASE + i - 5, None, 1) for i in range(5000)]
    clock = StreamClock()
    rows = run(clock, batches(messages, [100, 2000]))
    assert not clock.failed
    assert rows[4999] == (BASE + 4994, 4999)


def test_a_message_without_rows_keeps_its_place():
    clock = StreamClock()
    part = pa.record_batch(
        [
            pa.array(column, pa.int64())
            for column in ([0, 2, 3], [BASE, BASE + 2, BASE + 1], [0, 0, 0], [0, 0, 0])
        ],
        names=["message", "log_ns", "header_ns", "pub_ns"],
    )
    clock.times(part)
    assert clock.failed
    assert np.array_equal(clock.timeline().seq, [0, 1, 3, 2])
