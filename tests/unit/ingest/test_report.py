from __future__ import annotations

import json

from connectors.source import Lost
from pipelines.commit import Plan, PlannedFile, PlannedRecording
from pipelines.decode.report import BlobFile, DecodeReport, StagedFile, StreamReport
from schemas.quality import Reason, Severity, Verdict


def test_a_report_survives_json():
    report = DecodeReport(
        recording_id="a" * 64,
        organisation="acme",
        episode="a" * 64 + "-0",
        source="mcap",
        decoder_version="1",
        day="2026-11-22",
        start_ns=1,
        end_ns=2**62,
        messages=3,
        streams=(
            StreamReport(
                name="/imu",
                tables=("imu",),
                message_type=None,
                encoding="cdr",
                source_units={"x": "mm"},
                metadata={"qos": "- a"},
                rows={"imu": 3},
                metrics={"rate_hz": 1.5, "gaps": 0, "sync_offset_ns": None},
            ),
        ),
        files=(StagedFile("imu", "imu.parquet", 3, 100, "b" * 64, 1, 2**62),),
        blobs=(BlobFile("/camera", "camera.blob", "media/acme/a/camera.blob", 5, "c" * 64),),
        lost=(Lost("a.mcap", 10, 20, "cut"),),
        unverified=("chunk 3",),
        reasons=(Reason("corrupt", t_ns=5, severity=Severity.ERROR),),
        passes=2,
    )
    assert DecodeReport.from_json(json.loads(json.dumps(report.as_json()))) == report
    assert not report.ok
    assert report.tables == {"imu": 3}


def test_a_plan_survives_json():
    plan = Plan(
        id="0" * 32,
        organisation="acme",
        created_ns=7,
        recordings=(
            PlannedRecording(
                "a" * 64,
                Verdict.ACCEPTED_WITH_WARNINGS,
                (Reason("cut", severity=Severity.WARNING),),
                {"imu": 3},
                "mcap",
                "1",
                ("a" * 64 + "-0",),
                1,
                2,
                3,
            ),
        ),
        files=(
            PlannedFile("imu", "x.parquet", "acme", "2026-11-22", 3, 9, "d" * 64, ("a" * 64,)),
            PlannedFile(
                "quality",
                "q.parquet",
                "acme",
                "2026-11-22",
                3,
                9,
                "d" * 64,
                ("b" * 64,),
                keyed_by="check_run",
            ),
        ),
        blobs=("media/x",),
    )
    again = Plan.from_json(json.loads(json.dumps(plan.as_json())))
    assert again == plan
    assert again.markers(again.files[0]) == {"ing1/imu/" + "a" * 64: "a" * 64}
    assert list(again.markers(again.files[1])) == ["chk1/quality/" + "0" * 32]
