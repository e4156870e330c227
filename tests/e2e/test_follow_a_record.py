"""The story of one recording, from a robot's disk to a training script: the lineage document.

A yard robot of Kaze Logistics drives for six seconds and writes one MCAP file. The test follows it
through receive, identify, decode, check, commit, release and serve, and asserts at each stop what
is known of it and where that came from. One joint position, the first that the robot measured, is
looked up at every stop: it has to be the same number, at the same nanosecond.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from sqlalchemy import select

import tanada
from connectors import registry
from connectors.stores.catalog import ledger
from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import AuditRow, DecisionRow, RecordingStep
from connectors.stores.catalog.recordings import known
from infra.demo.sectors import write_sector_recording
from pipelines.release.build import build
from pipelines.withdraw import withdraw
from pipelines.worker import work
from schemas.ids import recording_id
from schemas.recipe import Recipe
from tanada.errors import NotFoundError
from tanada.grouping import find
from tanada.upload import Outcome, Sending, send

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import World

RECIPE = {
    "dataset": "yard-driving",
    "title": "構内走行 – yard driving",
    "description": "Joints and pictures of yard robots, 10 frames a second.",
    "purposes": ["pretraining"],
    "filter": {"sectors": ["logistics"]},
    "rate_hz": 10,
    "features": {
        "observation.state": {
            "table": "joint_states",
            "stream": "/joint_states",
            "columns": ["position"],
            "align": "nearest",
            "max_skew_ms": 20,
        },
        "observation.images.front": {
            "table": "video_frames",
            "stream": "/camera/compressed",
            "align": "nearest",
            "max_skew_ms": 80,
        },
    },
}


def first_joint_state(path: Path) -> tuple[int, list[float]]:
    """Header stamp [ns] and positions of the first joint state, by a foreign reader."""
    with path.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        for _, _, _, message in reader.iter_decoded_messages(topics=["/joint_states"]):
            stamp = message.header.stamp
            return stamp.sec * 1_000_000_000 + stamp.nanosec, list(message.position)
    raise AssertionError("no joint state")


@dataclass
class Record:
    """The recording that is followed, and what its robot measured first."""

    log: Path
    digest: str
    id: str
    messages: dict[str, int]
    stamp_ns: int
    positions: list[float]


def test_one_recording_from_the_robot_to_the_model_team(world: World, tmp_path: Path) -> None:
    record = the_robot_records(tmp_path / "robot")
    the_partner_hands_it_in(world, record)
    its_format_is_known_by_content(world, record)
    a_worker_takes_it_through(world, record)
    its_values_are_in_the_lake(world, record)
    its_quality_is_in_the_lake(world, record)
    handing_it_in_again_changes_nothing(world, record)
    a_release_copies_it(world)
    pulled = the_model_team_trains_on_it(world, record, tmp_path / "training")
    assert "構内走行" in pulled.card
    the_account_knows(world)
    the_partner_sees_it_and_a_rival_does_not(world, record)
    the_partner_takes_it_back(world, record, tmp_path / "too-late")


def the_robot_records(folder: Path) -> Record:
    log = folder / "drive-0007.mcap"
    folder.mkdir()
    facts = write_sector_recording("logistics", log, seed=7, seconds=6)
    digest = hashlib.sha256(log.read_bytes()).hexdigest()
    # The id follows from the organisation and the content, from nothing else.
    key = recording_id("kaze-logistics", [(facts.size, digest)])
    return Record(log, digest, key, dict(facts.messages), *first_joint_state(log))


def the_partner_hands_it_in(world: World, record: Record) -> None:
    """1 receive."""
    sent = upload(world, record.log)
    assert (sent.recording_id, sent.status) == (record.id, "received")
    waiting = world.platform.root.quarantine("kaze-logistics", record.id) / record.digest
    assert waiting.read_bytes() == record.log.read_bytes(), "until accepted it is in quarantine"


def its_format_is_known_by_content(world: World, record: Record) -> None:
    """2 identify: a name proves nothing."""
    waiting = world.platform.root.quarantine("kaze-logistics", record.id) / record.digest
    assert registry.recognise(waiting, "holiday.jpg").name == "mcap"


def a_worker_takes_it_through(world: World, record: Record) -> None:
    """3 decode, 4 check, 5 commit."""
    platform = world.platform
    assert work(platform, once=True) == 1
    state = known(platform.engine, [record.id])[record.id]
    assert state["state"] == "accepted", state["reasons"]
    query = (
        select(RecordingStep.step)
        .where(RecordingStep.recording_id == record.id)
        .order_by(RecordingStep.id)
    )
    with reading(platform.engine) as connection:
        steps = connection.execute(query).scalars().all()
    chapters = [s for s in steps if s in {"receive", "decode", "check", "plan", "accept"}]
    assert chapters == ["receive", "decode", "check", "plan", "accept"], steps
    original = platform.root.raw("kaze-logistics", record.digest)
    assert original.read_bytes() == record.log.read_bytes()
    quarantine = platform.root.quarantine("kaze-logistics", record.id)
    assert not (quarantine / record.digest).exists(), "accepted originals leave the quarantine"


def its_values_are_in_the_lake(world: World, record: Record) -> None:
    """Every message is counted, and the first joint state is there bit for bit."""
    lake = world.platform.lake
    pinned = lake.pin()
    joints = lake.read("joint_states", pinned).sort_by("seq")
    assert joints["position"][0].as_py() == record.positions
    assert joints["t_ns"][0].as_py() == joints["header_ns"][0].as_py() == record.stamp_ns
    assert set(joints["file_id"].to_pylist()) == {record.digest}
    assert set(joints["recording_id"].to_pylist()) == {record.id}
    # A filter on a column without statistics in the log finds the same rows.
    ours = lake.dataset("imu", pinned).to_table(filter=pc.field("stream") == "/imu/data")
    assert ours.num_rows == record.messages["/imu/data"]
    (episode,) = lake.read("episodes", pinned).to_pylist()
    assert (episode["robot"], episode["sector"]) == ("yard-amr-05", "logistics")
    assert (episode["agreement"], episode["source"]) == ("kaze-2026", "mcap")
    assert episode["messages"] == sum(record.messages.values())


def its_quality_is_in_the_lake(world: World, record: Record) -> None:
    """Each stream's clock and count, and every rule that was asked."""
    lake = world.platform.lake
    pinned = lake.pin()
    (episode,) = lake.read("episodes", pinned).to_pylist()
    streams = {s["stream"]: s for s in lake.read("streams", pinned).to_pylist()}
    assert {name: s["messages"] for name, s in streams.items()} == record.messages
    assert streams["/joint_states"]["clock"] == "header"
    quality = lake.read("quality", pinned).to_pylist()
    assert {q["check_run"] for q in quality} == {episode["check_run"]}
    assert {q["rule"] for q in quality} >= {"norm_error", "non_finite"}
    assert all(q["passed"] for q in quality if q["severity"] == "error")


def handing_it_in_again_changes_nothing(world: World, record: Record) -> None:
    before = world.platform.lake.pin()
    renamed = record.log.with_name("copy-of-drive.mcap")
    renamed.write_bytes(record.log.read_bytes())
    again = upload(world, renamed)
    assert (again.recording_id, again.status) == (record.id, "duplicate")
    assert work(world.platform, once=True) == 0
    assert world.platform.lake.pin() == before


def a_release_copies_it(world: World) -> None:
    """6 release: rows on a time grid, under the strictest licence of what went in."""
    recipe = Recipe.model_validate(RECIPE)
    release = build(world.platform, recipe)
    assert release.version == 1
    assert build(world.platform, recipe).digest == release.digest, "same recipe, same versions"
    world.grant("yard-driving", "model-team")


def the_model_team_trains_on_it(world: World, record: Record, folder: Path) -> tanada.Release:
    """7 serve: it states its purpose, gets the files, and can prove what it has."""
    with tanada.Catalog(world.url, world.keys["model-team"]) as team:
        assert [found["id"] for found in team.search("yard")] == ["yard-driving"]
        pulled = team.pull("yard-driving@1", purpose="pretraining", to=folder)
    pulled.verify()
    frames = pulled.arrow("frames")
    recorded = world.platform.lake.read("joint_states", world.platform.lake.pin())
    positions = dict(
        zip(recorded["t_ns"].to_pylist(), recorded["position"].to_pylist(), strict=True)
    )
    assert positions[record.stamp_ns] == record.positions
    served = zip(
        frames["t_ns"].to_pylist(),
        frames["observation.state.skew_ns"].to_pylist(),
        frames["observation.state"].to_pylist(),
        strict=True,
    )
    # Every served state is a recorded one, found again through the frame's own skew.
    checked = [positions[t_ns + skew_ns] == state for t_ns, skew_ns, state in served]
    assert len(checked) > 50
    assert all(checked)
    return pulled


def the_account_knows(world: World) -> None:
    """A permit and an audit row stand for whatever left, and the chain is whole."""
    ours = DecisionRow.organisation_id == "model-team"
    with reading(world.platform.engine) as connection:
        decisions = connection.execute(select(DecisionRow.__table__).where(ours)).all()
        audited = set(connection.execute(select(AuditRow.decision_id)).scalars())
        assert ledger.verify_chain(connection) is None
    assert {d.purpose for d in decisions if d.grant_id and d.purpose} == {"pretraining"}
    assert {d.id for d in decisions} <= audited


def the_partner_sees_it_and_a_rival_does_not(world: World, record: Record) -> None:
    with tanada.Catalog(world.url, world.keys["kaze-logistics"]) as partner:
        assert {use["recipient"] for use in partner.uses(record.id)} == {"Model Team"}
        known = partner.recording(record.id)
    assert [(r["dataset"], r["version"]) for r in known["releases"]] == [("yard-driving", 1)]
    with tanada.Catalog(world.url, world.keys["hinata-diners"]) as rival:
        with pytest.raises(NotFoundError):
            rival.recording(record.id)
        with pytest.raises(NotFoundError):
            rival.release("yard-driving@1", "pretraining")


def the_partner_takes_it_back(world: World, record: Record, folder: Path) -> None:
    """Gone from every new read at once, and the release that held it with it."""
    withdraw(world.platform, record.id)
    lake = world.platform.lake
    assert lake.read("joint_states", lake.pin()).num_rows == 0
    with (
        tanada.Catalog(world.url, world.keys["model-team"]) as team,
        pytest.raises(tanada.TanadaClientError, match="withdrawn"),
    ):
        team.pull("yard-driving@1", purpose="pretraining", to=folder)


def upload(world: World, path: Path) -> Outcome:
    """Hand in one file as Kaze Logistics, through the client."""
    with tanada.Catalog(world.url, world.keys["kaze-logistics"]) as partner:
        (group,) = find([path], print)
        return send(partner.wire, group, Sending(robot="yard-amr-05", agreement="kaze-2026"))
