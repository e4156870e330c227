"""The lake and SQL over it, with real messages read by a foreign reader."""

import datetime as dt
import json

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from connectors.stores.query import message_views, query, view_name
from schemas.errors import DamagedError, NotFoundError, WrongUseError
from schemas.ids import schema_id
from schemas.tables import PARTITION, TABLES

DAY = dt.date(2026, 11, 22)
TALKER = "robot/rosbag2/rosbag2_py/test/resources/mcap/talker/talker.mcap"


def commit(lake, table, rows):
    """Append rows; columns that are not given are null."""
    spec = TABLES[table]
    columns = [
        pa.array([row.get(c.name) for row in rows], c.type).cast(c.type) for c in spec.columns
    ]
    data = pa.Table.from_arrays(columns, schema=spec.arrow)
    write_deltalake(lake.open(table), data, mode="append", partition_by=list(PARTITION))


def common(recording, seq, stream="/s"):
    return {
        "organisation": "acme",
        "day": DAY,
        "episode": f"{recording}-0",
        "stream": stream,
        "t_ns": seq,
        "seq": seq,
        "recording_id": recording,
        "file_id": "f" * 64,
    }


def episode(recording):
    row = common(recording, 0)
    texts = ("robot", "sector", "agreement", "verdict", "check_run", "source", "decoder_version")
    numbers = ("received_ns", "messages", "bytes", "files")
    return row | dict.fromkeys(texts, "x") | dict.fromkeys(numbers, 1)


def wrench(recording, seq):
    return common(recording, seq) | {"force_x": float(seq), "frame_id": "tool"}


@pytest.fixture
def lake(platform):
    return platform.lake


@pytest.fixture
def talker(lake, samples):
    """Messages of the real bag in recording `r1` (visible) and `r2` (not); answers the texts."""
    texts, rows, schemas = [], [], {}
    with (samples / TALKER).open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for schema, channel, message, ros in reader.iter_decoded_messages():
            key = schema_id(schema.name, schema.encoding, schema.data)
            schemas[key] = schema
            if schema.name == "std_msgs/msg/String":
                texts.append(ros.data)
            rows.append(
                common("r1", message.sequence, channel.topic)
                | {"schema_id": key, "encoding": "cdr", "payload": message.data}
            )
    described = [
        common("r1", 0) | {"schema_id": k, "name": s.name, "encoding": s.encoding, "text": s.data}
        for k, s in schemas.items()
    ]
    for recording in ("r1", "r2"):
        commit(lake, "messages", [row | {"recording_id": recording} for row in rows])
        commit(lake, "message_schemas", [row | {"recording_id": recording} for row in described])
    commit(lake, "episodes", [episode("r1")])
    return texts


def test_every_table_exists_empty_with_units_in_its_log(platform, lake):
    assert lake.create_all() == []
    pinned = lake.pin()
    assert next(iter(pinned)) == "episodes"
    assert pinned == dict.fromkeys(TABLES, 0)
    for name, spec in TABLES.items():
        log = platform.root.table(name) / "_delta_log" / f"{0:020}.json"
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        metadata = next(a["metaData"] for a in actions if "metaData" in a)
        fields = {f["name"]: f for f in json.loads(metadata["schemaString"])["fields"]}
        assert {n: f["metadata"].get("unit", "") for n, f in fields.items()} == {
            c.name: c.unit for c in spec.columns
        }
        assert {n: f["nullable"] for n, f in fields.items()} == {
            c.name: c.nullable for c in spec.columns
        }
        assert metadata["partitionColumns"] == ["organisation", "day"]
        assert metadata["configuration"]["delta.enableExpiredLogCleanup"] == "false"
        assert metadata["configuration"]["delta.checkpointInterval"] == "10"


def test_what_is_written_reads_back_with_types_and_units(lake):
    commit(lake, "wrenches", [wrench("r1", n) for n in range(3)])
    commit(lake, "episodes", [episode("r1")])
    rows = lake.read("wrenches", lake.pin())
    spec = TABLES["wrenches"]
    assert rows.schema.names == [c.name for c in spec.columns]
    assert [f.type for f in rows.schema] == [c.type for c in spec.columns]
    assert rows.schema.field("force_x").metadata[b"unit"] == b"N"
    assert rows["force_x"].to_pylist() == [0.0, 1.0, 2.0]


def test_a_recording_is_visible_wholly_or_not_at_all(lake):
    commit(lake, "wrenches", [wrench("r1", 1), wrench("r2", 2)])
    before = lake.pin()
    assert len(lake.read("wrenches", before)) == 0
    assert len(lake.read("wrenches", before, visible_only=False)) == 2
    commit(lake, "episodes", [episode("r2")])
    now = lake.pin()
    assert lake.read("wrenches", now, ["recording_id"])["recording_id"].to_pylist() == ["r2"]
    assert lake.visible(now).to_pylist() == ["r2"]
    assert len(lake.read("wrenches", now, recordings=["r1"])) == 0
    assert len(lake.read("wrenches", now, recordings=["r1"], visible_only=False)) == 1
    assert len(lake.read("wrenches", before)) == 0
    commit(lake, "wrenches", [wrench("r2", 3)])
    assert len(lake.read("wrenches", now)) == 1


def test_wrong_names_are_told(lake):
    pinned = lake.pin()
    with pytest.raises(NotFoundError, match="lake tables"):
        lake.open("../x")
    with pytest.raises(NotFoundError, match="no such version"):
        lake.open("imu", 7)
    with pytest.raises(WrongUseError, match="no such column"):
        lake.read("imu", pinned, ["nope"])
    with pytest.raises(WrongUseError, match="not pinned"):
        lake.dataset("imu", {})


def test_a_log_that_cannot_be_read_is_damage(platform, lake):
    log = platform.root.table("imu") / "_delta_log" / f"{0:020}.json"
    log.write_bytes(log.read_bytes()[:100])
    with pytest.raises(DamagedError, match="lake verify"):
        lake.open("imu")


def test_message_types_are_decoded_views(lake, talker):
    views = {v.name: v for v in message_views(lake, lake.pin())}
    assert views["std_msgs__String"].message_type == "std_msgs/msg/String"
    answer = query(lake, "SELECT data, recording_id FROM std_msgs__String ORDER BY seq")
    assert len(talker) >= 10
    assert answer.rows["data"].to_pylist() == talker
    assert set(answer.rows["recording_id"].to_pylist()) == {"r1"}
    logs = query(lake, "SELECT name, level, msg FROM rcl_interfaces__Log").rows
    counted = query(lake, "SELECT count(*) n FROM messages").rows["n"].to_pylist()
    assert counted == [len(talker) + len(logs) + _others(lake)]


def _others(lake):
    sql = (
        "SELECT count(*) n FROM messages JOIN message_schemas USING (schema_id) "
        "WHERE name NOT IN ('std_msgs/msg/String', 'rcl_interfaces/msg/Log')"
    )
    return query(lake, sql).rows["n"].to_pylist()[0]


def test_view_names_are_identifiers():
    assert view_name("std_msgs/msg/String") == "std_msgs__String"
    assert view_name("foxglove.SceneUpdate") == "foxglove__SceneUpdate"
    assert view_name("a-b/msg/C d") == "a_b__C_d"
    assert view_name("//") == "_"


def test_limits_and_joins(lake):
    commit(lake, "wrenches", [wrench("r1", n) for n in range(10)])
    commit(lake, "episodes", [episode("r1")])
    answer = query(lake, "SELECT seq FROM wrenches ORDER BY seq DESC", limit=3)
    assert answer.rows["seq"].to_pylist() == [9, 8, 7]
    assert answer.truncated
    assert not query(lake, "SELECT * FROM wrenches", limit=10).truncated
    joined = query(lake, "SELECT e.robot, w.seq FROM wrenches w JOIN episodes e USING (episode)")
    assert joined.rows["robot"].to_pylist() == ["x"] * 10


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "DROP VIEW imu",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW imu",
        "CREATE TABLE x AS SELECT 1",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "COPY imu TO '/tmp/x.csv'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access=true",
        "SELECT * FROM lake",
        "SELECT nope FROM imu",
        "SELEC",
    ],
)
def test_nothing_but_one_select_over_the_lake_runs(lake, sql):
    with pytest.raises(WrongUseError):
        query(lake, sql)


def test_a_query_cannot_reach_rows_that_are_not_visible(lake, talker):
    for sql in (
        "SELECT DISTINCT recording_id FROM messages",
        "SELECT DISTINCT recording_id FROM message_schemas",
        "SELECT DISTINCT recording_id FROM std_msgs__String",
        "SELECT DISTINCT recording_id FROM temp.messages",
    ):
        assert query(lake, sql).rows["recording_id"].to_pylist() == ["r1"], sql
    assert talker
