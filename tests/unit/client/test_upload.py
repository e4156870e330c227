"""Upload: hash, announce, send what is missing, complete; cut, repeated, refused."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from connectors.stores.catalog import database, recordings
from tanada.errors import CatalogUnavailableError, RefusedError, WrongUseError
from tanada.grouping import Group, find
from tanada.upload import Outcome, Sending, send, wait

if TYPE_CHECKING:
    from pathlib import Path

    from tanada.wire import Wire

SENDING = Sending("arm-1", "a-1")


def planted(folder: Path, seed: int, *names: str, size: int = 50_000) -> list[Group]:
    rng = random.Random(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
    return find([folder], lambda _text: None)


def sent(wire: Wire, group: Group, sending: Sending = SENDING) -> Outcome:
    with wire:
        return send(wire, group, sending)


def judged(world, recording: str, state: str, **values: Any) -> None:
    with database.writing(world.engine) as connection:
        recordings.set_state(connection, recording, state=state, **values)


def stored(world, recording: str) -> set[bytes]:
    folder = world.root.quarantine("kitchen", recording)
    return {path.read_bytes() for path in folder.iterdir() if len(path.name) == 64}


def test_a_recording_arrives_and_again_is_a_duplicate(world, tmp_path) -> None:
    (group,) = planted(tmp_path, 1, "run_0.mcap", "run_1.mcap")
    told: list[int] = []
    with world.wire("partner") as wire:
        outcome = send(wire, group, SENDING, lambda _what, more, _total: told.append(more))
    assert outcome.status == "received"
    assert stored(world, outcome.recording_id) == {p.read_bytes() for p in group.files}
    assert sum(told) == 2 * 100_000
    for path in sorted(tmp_path.glob("run_*"), reverse=True):
        path.rename(path.with_name(path.name.replace("run", "renamed")))
    (renamed,) = find([tmp_path], print)
    again = sent(world.wire("partner"), renamed)
    assert (again.status, again.recording_id) == ("duplicate", outcome.recording_id)


@pytest.mark.parametrize("seed", range(3))
def test_an_upload_cut_at_random_points_arrives_whole(world, poor_line, tmp_path, seed) -> None:
    (group,) = planted(tmp_path, 10 + seed, *(f"run_{n}.mcap" for n in range(6)))
    line = poor_line(seed, requests=(40_000, 130_000))
    outcome = sent(world.wire("partner", line.url), group)
    assert line.cuts
    assert outcome.status == "received"
    assert stored(world, outcome.recording_id) == {p.read_bytes() for p in group.files}


def test_an_upload_that_was_stopped_sends_only_what_is_missing(world, poor_line, tmp_path) -> None:
    (group,) = planted(tmp_path, 20, "run_0.mcap", "run_1.mcap", "run_2.mcap")
    line = poor_line(0, requests=(120_000, 120_000))
    wire = world.wire("partner", line.url)

    def stop(_seconds: float) -> None:
        raise CatalogUnavailableError("stopped")

    wire.sleep = stop
    with pytest.raises(CatalogUnavailableError):
        sent(wire, group)
    sending: list[str] = []
    with world.wire("partner") as whole:
        outcome = send(whole, group, SENDING, lambda what, _more, _total: sending.append(what))
    assert outcome.status == "received"
    names = {what for what in sending if what.startswith("sending")}
    assert 1 <= len(names) < 3


def test_the_same_files_under_another_robot_conflict(world, tmp_path) -> None:
    (group,) = planted(tmp_path, 30, "a.mcap")
    first = sent(world.wire("partner"), group)
    second = sent(world.wire("partner"), group, Sending("arm-2", "a-1"))
    assert first.status == "received"
    assert second.status == "conflict"
    assert "arm-1" in second.detail
    assert "arm-2" in second.detail


def test_unknown_robots_and_agreements_are_named(world, tmp_path) -> None:
    (group,) = planted(tmp_path, 31, "a.mcap")
    with pytest.raises(WrongUseError, match="arm-9"):
        sent(world.wire("partner"), group, Sending("arm-9", "a-1"))
    with pytest.raises(WrongUseError, match="a-9"):
        sent(world.wire("partner"), group, Sending("arm-1", "a-9"))


def test_a_model_team_hands_nothing_in(world, tmp_path) -> None:
    (group,) = planted(tmp_path, 32, "a.mcap")
    with pytest.raises(RefusedError) as refused:
        sent(world.wire("model"), group)
    assert refused.value.rules == ("role",)


@pytest.mark.parametrize("step", ["hashing", "sending"])
def test_a_file_that_changes_meanwhile_is_said(world, tmp_path, step) -> None:
    (group,) = planted(tmp_path, 33 + len(step), "a.mcap")
    path = group.files[0]

    def grow(what: str, _more: int, _total: int) -> None:
        if what.startswith(step):
            path.write_bytes(path.read_bytes()[:50_000] + b"more")

    with (
        world.wire("partner") as wire,
        pytest.raises(WrongUseError, match="changed while it was handed in"),
    ):
        send(wire, group, SENDING, grow)


def test_waiting_brings_the_verdict(world, tmp_path) -> None:
    (group,) = planted(tmp_path, 40, "a.mcap")
    outcome = sent(world.wire("partner"), group)
    reason = {"rule": "norm_error", "observed": "0.3", "limit": "0.01", "stream": "/imu"}
    late = threading.Timer(
        0.2,
        judged,
        (world, outcome.recording_id, "quarantined"),
        {"reasons": [reason | {"t_ns": None, "severity": "error", "detail": ""}]},
    )
    late.start()
    with world.wire("partner") as wire:
        wait(wire, outcome, 30, world.clock)
    late.join()
    assert outcome.status == "quarantined"
    assert outcome.reasons[0]["rule"] == "norm_error"


def test_waiting_ends(world, tmp_path) -> None:
    (group,) = planted(tmp_path, 41, "a.mcap")
    outcome = sent(world.wire("partner"), group)
    with (
        world.wire("partner") as wire,
        pytest.raises(CatalogUnavailableError, match="still received") as ended,
    ):
        wait(wire, outcome, 0, world.clock)
    assert "tanada status" in ended.value.next_step
