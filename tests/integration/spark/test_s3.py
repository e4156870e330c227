"""On a real MinIO: the conditional-put log store, and maintenance by Spark beside delta-rs."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable

from pipelines.spark.session import LOG_STORE
from tests.integration.spark.conftest import JARS, REPOSITORY
from tests.servers.minio import BUCKET

if TYPE_CHECKING:
    from tests.servers.minio import MinioServer

APPENDS = 6
WRITERS = 8
APPENDS_OF_A_WRITER = 12


def options(minio: MinioServer) -> dict[str, str]:
    """Storage options of delta-rs."""
    return {
        "AWS_ENDPOINT_URL": minio.endpoint,
        "AWS_ACCESS_KEY_ID": minio.access_key,
        "AWS_SECRET_ACCESS_KEY": minio.secret_key,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


def test_drivers_and_delta_rs_that_append_at_once_lose_no_commit(session: Any, minio: MinioServer):
    """Three Spark drivers, this process one of them, and eight processes with delta-rs."""
    address = f"{BUCKET}/appended"
    session.createDataFrame([("first", 0)], "writer string, number long").write.format(
        "delta"
    ).save(f"s3a://{address}")
    here = Path(__file__)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    drivers = [
        subprocess.Popen(
            [
                sys.executable,
                here.with_name("s3_writer.py"),
                f"s3a://{address}",
                JARS,
                f"driver-{number}",
                str(APPENDS),
            ],
            env=environment,
        )
        for number in range(2)
    ]
    writers = []
    for number in range(WRITERS):
        command = [sys.executable, str(here.with_name("delta_writer.py")), f"s3://{address}"]
        writer = subprocess.Popen(
            [*command, f"delta-rs-{number}", str(APPENDS_OF_A_WRITER)],
            env=environment,
            stdin=subprocess.PIPE,
            text=True,
        )
        writers.append(writer)
    for number in range(APPENDS):
        if number == 1:  # the session is warm, the other drivers' soon
            for writer in writers:
                writer.stdin.write(json.dumps(options(minio)))
                writer.stdin.close()
        rows = session.createDataFrame([("here", number)], "writer string, number long")
        rows.coalesce(1).write.format("delta").mode("append").save(f"s3a://{address}")
    assert [process.wait(400) for process in (*drivers, *writers)] == [0] * (2 + WRITERS)

    held = DeltaTable(f"s3://{address}", storage_options=options(minio))
    found = held.to_pyarrow_table()
    pairs = sorted(zip(*found.to_pydict().values(), strict=True))
    drivers_names = ("here", "driver-0", "driver-1")
    expected = [(name, number) for name in drivers_names for number in range(APPENDS)]
    expected += [
        (f"delta-rs-{name}", number)
        for name in range(WRITERS)
        for number in range(APPENDS_OF_A_WRITER)
    ]
    assert pairs == sorted([("first", 0), *expected])
    assert held.version() == len(expected)
    assert session.read.format("delta").load(f"s3a://{address}").count() == len(pairs)
    # They did meet: neither engine's commits lie all before or after the other's.
    by_spark = ["Spark" in one.get("engineInfo", "") for one in held.history()]
    changes = sum(a != b for a, b in itertools.pairwise(by_spark))
    print(f"\n{found.num_rows} of {len(expected) + 1} rows, {changes} changes between the engines")
    assert changes > 1


def test_the_log_store_refuses_what_cannot_write_conditionally(session: Any, tmp_path: Path):
    jvm, configuration = session._jvm, session._jsc.hadoopConfiguration()
    log_store = getattr(jvm, LOG_STORE)(configuration)
    path = jvm.org.apache.hadoop.fs.Path(str(tmp_path / "00000000000000000000.json"))
    actions = jvm.java.util.ArrayList()
    actions.add("{}")
    with pytest.raises(Exception, match="no conditional put, so no safe commit"):
        log_store.write(path, actions.iterator(), False, configuration)
    assert list(tmp_path.iterdir()) == []


def test_the_log_store_tells_its_own_entry_from_another_writers(session: Any):
    """A PUT whose answer was lost is refused when it is sent again; it is no conflict."""
    jvm, configuration = session._jvm, session._jsc.hadoopConfiguration()
    log_store = getattr(jvm, LOG_STORE)(configuration)
    path = jvm.org.apache.hadoop.fs.Path(
        f"s3a://{BUCKET}/store/_delta_log/00000000000000000000.json"
    )

    def write(entry: str) -> None:
        actions = jvm.java.util.ArrayList()
        actions.add(entry)
        log_store.write(path, actions.iterator(), False, configuration)

    write('{"number": 0}')
    write('{"number": 0}')
    with pytest.raises(Exception, match=r"java\.nio\.file\.FileAlreadyExistsException"):
        write('{"number": 1}')
    lines = log_store.read(path, configuration)
    assert lines.next() == '{"number": 0}'
    assert not lines.hasNext()
    lines.close()
