"""Whatever is handed in, in whatever order: every recording is decided, once, and alike."""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from connectors.settings import Settings
from connectors.stores.initialise import initialise
from infra.demo.robot_log import STANDARD, LogSpec, write_log
from pipelines.check.validator import Validator
from pipelines.cli.platform import Platform
from pipelines.ingest import contribution, ingest
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

PER_RUN = {"check_run", "checked_ns", "received_ns"}
DAMAGE = ("none", "none", "cut", "flip", "empty", "text")


@pytest.fixture(scope="module")
def validator() -> Iterator[Validator]:
    with Validator(None, time.time_ns) as running:
        yield running


class Logs(list[bytes]):
    """Whole logs; a failing example is reported without their bytes."""

    def __repr__(self) -> str:
        return f"<{len(self)} logs>"


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Logs:
    found = Logs()
    for seed in range(3):
        path = tmp_path_factory.mktemp("logs") / "log.mcap"
        topics = tuple(t for t in STANDARD if "camera" not in t.name)
        write_log(path, LogSpec(seconds=0.1, seed=seed, topics=topics, chunk_bytes=20_000))
        found.append(path.read_bytes())
    return found


def damaged(payload: bytes, how: str, at: float) -> bytes:
    place = int(at * (len(payload) - 1))
    if how == "cut":
        return payload[:place]
    if how == "flip":
        return payload[:place] + bytes([payload[place] ^ 0x40]) + payload[place + 1 :]
    return {"none": payload, "empty": b"", "text": b"text %d" % place}[how]


def ingested(files: list[bytes], batch: int, validator: Validator):
    """Statuses, and the rows of every table without what differs from run to run."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, payload in enumerate(files):
            # Named by content: a reason names its file, which must not depend on the order.
            place = Path(folder) / str(number)
            place.mkdir()
            paths.append(place / f"{hashlib.sha256(payload).hexdigest()[:8]}.mcap")
            paths[-1].write_bytes(payload)
        root = Path(folder) / "lake"
        initialise(root, "Acme", time.time_ns)
        configured = Settings(root=str(root), workers=2, batch_recordings=batch)
        with Platform.open(configured) as platform:
            under = contribution(platform)
            result = ingest(platform, paths, under, validator=validator)
            pinned = platform.lake.pin()
            rows = {}
            for name, spec in TABLES.items():
                columns = [c.name for c in spec.columns if c.name not in PER_RUN]
                table = platform.lake.read(name, pinned, columns)
                rows[name] = sorted(map(repr, table.to_pylist()))
    return result, rows


HANDED_IN = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(DAMAGE), st.floats(0.0, 1.0)),
    min_size=1,
    max_size=5,
)
ORDERED = HANDED_IN.flatmap(
    lambda given: st.tuples(st.just(given), st.permutations(range(len(given))))
)


# An example takes seconds: a failure is reported as found, shrinking it would take minutes.
@settings(max_examples=6, phases=(Phase.explicit, Phase.generate))
@given(ORDERED, st.integers(1, 5))
def test_all_are_decided_and_order_and_batches_do_not_matter(originals, validator, ordered, batch):
    handed_in, order = ordered
    files = [damaged(originals[which], how, at) for which, how, at in handed_in]
    shuffled = [files[position] for position in order]

    result, rows = ingested(files, 200, validator)
    other, other_rows = ingested(shuffled, batch, validator)

    counts = [outcome.status for outcome in result.outcomes]
    assert len(counts) == len(files)
    assert set(counts) <= {"accepted", "accepted_with_warnings", "quarantined", "duplicate"}
    assert len(counts) - counts.count("duplicate") == len(set(files))
    assert len(rows["episodes"]) == sum(status.startswith("accepted") for status in counts)
    assert other_rows == rows
    assert sorted(o.status for o in other.outcomes) == sorted(counts)
    for (which, how, _), outcome in zip(handed_in, result.outcomes, strict=True):
        if how in {"empty", "text"} and outcome.status != "duplicate":
            assert outcome.status == "quarantined", which
