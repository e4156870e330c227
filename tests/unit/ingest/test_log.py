"""Torn log heads, and the manifest chain."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from pipelines.commit import log
from pipelines.commit.log import entry_path, markers, repair_head, versions
from pipelines.commit.manifest import START, Manifest
from schemas.errors import DamagedError


@pytest.fixture
def table(tmp_path):
    folder = tmp_path / "imu"
    for number in range(25):
        write_deltalake(
            str(folder),
            pa.table({"v": [number]}),
            mode="append",
            configuration={"delta.checkpointInterval": "10"},
            commit_properties=CommitProperties(
                app_transactions=[Transaction(f"ing1/imu/{number}", 1)]
            ),
        )
    Manifest(folder).extend(23)
    return folder


def test_markers_are_found_behind_and_after_checkpoints(table):
    wanted = {f"ing1/imu/{number}" for number in (0, 9, 10, 19, 20, 24, 25, 99)}
    assert markers(table, 24, wanted) == wanted - {"ing1/imu/25", "ing1/imu/99"}
    assert markers(table, 20, wanted) == {f"ing1/imu/{n}" for n in (0, 9, 10, 19, 20)}
    snapshot = DeltaTable(str(table))
    assert markers(table, 24, wanted) == {
        key for key in wanted if snapshot.transaction_version(key) is not None
    }


HINTS = {
    "none": None,
    "torn": b'{"version": 2',
    "not a number": b'{"version": null}',
    "something else": b"[]",
    "an older checkpoint": b'{"version": 10, "size": 1}',
    "one that is not there": b'{"version": 15, "size": 1}',
    "one of several parts": b'{"version": 14, "size": 1, "parts": 2}',
    "one that is still to come": b'{"version": 30, "size": 1}',
    "none at all": b'{"version": -1}',
}


@pytest.mark.parametrize("hint", HINTS.values(), ids=HINTS)
def test_markers_are_found_whatever_the_hint_of_the_last_checkpoint_says(table, hint):
    path = table / "_delta_log" / "_last_checkpoint"
    path.unlink()
    if hint is not None:
        path.write_bytes(hint)
    wanted = {f"ing1/imu/{number}" for number in range(30)}
    for version in (24, 20, 19, 9):
        assert markers(table, version, wanted) == {f"ing1/imu/{n}" for n in range(version + 1)}


def test_with_a_hint_the_log_is_not_listed(table, monkeypatch):
    """Listing grows with every version; in a bucket it is one request for every thousand keys."""
    wanted = {"ing1/imu/3", "ing1/imu/24"}
    monkeypatch.delattr(log, "_numbers")
    assert markers(table, 24, wanted) == wanted


@pytest.mark.parametrize("content", [b"", b"\n", b'{"commitInfo":{}}\n{"add":{"pa'])
def test_a_torn_entry_that_nobody_was_told_of_is_taken_away(table, content):
    entry_path(table, 24).write_bytes(content)
    assert repair_head(table) == 24
    assert versions(table)[-1] == 23
    assert DeltaTable(str(table)).to_pyarrow_table().num_rows == 24
    assert repair_head(table) is None


@pytest.mark.parametrize("content", [b"", b'{"commitInfo":{}}\n'])
def test_a_torn_entry_that_was_acknowledged_is_damage(table, content):
    Manifest(table).extend(24)
    entry_path(table, 24).write_bytes(content)
    with pytest.raises(DamagedError, match="acknowledged"):
        repair_head(table)


def test_the_chain_is_the_same_whoever_writes_it(table):
    first = Manifest(table)
    before = [first.path(version).read_bytes() for version in range(24)]
    assert json.loads(before[0])["previous"] == START
    assert first.checkpoint(9) is not None
    for version in range(24):
        first.path(version).unlink()
    assert Manifest(table).extend(23) == 24
    assert [first.path(version).read_bytes() for version in range(24)] == before
