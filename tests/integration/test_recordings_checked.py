"""Recordings decoded by the real source, measured, validated and judged."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from connectors.registry import recognise
from connectors.source import Limits, SourceFile
from infra.demo.robot_log import START_NS, LogSpec, write_log
from pipelines.check.frame import validator_rows
from pipelines.check.validator import Validator
from pipelines.check.verdict import judge
from pipelines.decode.stage import Subject, stage
from schemas.quality import Reason, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pipelines.decode.report import DecodeReport

SPEC = LogSpec(seconds=6.0, seed=5)
REAL = {
    "rosbag2_py/test/resources/mcap/talker": 20,
    "rosbag2_py/test/resources/mcap/wbag": 6074,
    "rosbag2_tests/resources/mcap/cdr_test": 7,
    "rosbag2_py/test/resources/mcap/convert_a": 150,
    "rosbag2_transport/test/resources/mcap/test_bag_for_seek": 5,
}


@pytest.fixture(scope="module")
def validator() -> Iterator[Validator]:
    with Validator(None, time.time_ns) as started:
        yield started


def decode(paths: Sequence[Path], folder: Path) -> DecodeReport:
    folder.mkdir()
    files = [
        SourceFile(path, path.name, path.stat().st_size, f"{number:064x}")
        for number, path in enumerate(paths)
    ]
    source = recognise(paths[0])
    subject = Subject("r" * 64, "acme", START_NS)
    return stage(lambda: source.read(files, Limits()), folder, subject)


def verdict(
    validator: Validator, report: DecodeReport, sector: str
) -> tuple[Verdict, list[Reason]]:
    results = validator.validate("acme", "b", validator_rows(report, sector))
    found, reasons, _ = judge(report, [result for _, result in results])
    return found, reasons


@pytest.mark.parametrize("sector", ["restaurant", "food", "medical", "factory", "logistics"])
def test_a_clean_log_breaks_no_rule(validator: Validator, tmp_path: Path, sector: str) -> None:
    facts = write_log(tmp_path / "log.mcap", SPEC)
    report = decode([facts.path], tmp_path / "staged")
    assert verdict(validator, report, sector) == (Verdict.ACCEPTED, [])


def test_a_silent_sensor_is_an_error_where_the_sector_says_so(
    validator: Validator, tmp_path: Path
) -> None:
    spec = LogSpec(seconds=6.0, seed=5, pauses=(("/imu", 2.0, 4.0),))
    facts = write_log(tmp_path / "log.mcap", spec)
    report = decode([facts.path], tmp_path / "staged")
    found, reasons = verdict(validator, report, "food")
    assert found is Verdict.QUARANTINED
    assert [(reason.rule, reason.stream, reason.severity) for reason in reasons] == [
        ("outage", "/imu", Severity.ERROR),
        ("gap", "/imu", Severity.WARNING),
    ]
    assert reasons[0].t_ns is not None
    assert abs(reasons[0].t_ns - (START_NS + 2_000_000_000)) < 10_000_000
    assert verdict(validator, report, "logistics")[0] is Verdict.ACCEPTED_WITH_WARNINGS


@pytest.mark.samples
@pytest.mark.parametrize("name", sorted(REAL))
def test_real_recordings_are_accepted(
    validator: Validator, samples: Path, tmp_path: Path, name: str
) -> None:
    paths = sorted((samples / "robot" / "rosbag2" / name).glob("*.mcap"))
    report = decode(paths, tmp_path / "staged")
    assert report.messages == REAL[name]
    assert verdict(validator, report, "medical") == (Verdict.ACCEPTED, [])
