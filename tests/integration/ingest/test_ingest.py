"""What `ingest` does with whole recordings, through the same code as the command."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from pipelines.ingest import contribution, ingest
from pipelines.maintain import optimize, vacuum, verify
from pipelines.quarantine import refused, retry, show
from pipelines.recover import recover
from pipelines.withdraw import withdraw
from pipelines.worker import work
from schemas.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipelines.check.validator import Validator
    from pipelines.cli.platform import Platform
    from pipelines.ingest import IngestResult

    Run = Callable[..., IngestResult]
    Content = Callable[[Platform], dict[str, dict[str, str]]]


@pytest.fixture
def run(platform: Platform, validator: Validator) -> Run:
    def ingest_paths(*paths: Path) -> IngestResult:
        return ingest(platform, list(paths), contribution(platform), validator=validator)

    return ingest_paths


def statuses(result: IngestResult) -> list[str]:
    return [outcome.status for outcome in result.outcomes]


def test_a_recording_becomes_rows_whose_provenance_is_stated(
    platform: Platform, run: Run, make_logs, tmp_path: Path
):
    (log,) = make_logs(tmp_path / "logs", 1, first_seed=3)

    result = run(log)

    assert result.exit_code == 0
    (outcome,) = result.outcomes
    assert outcome.status == "accepted", outcome.reasons
    assert outcome.tables["joint_states"] == 250
    assert outcome.tables["video_frames"] == 15
    pinned = platform.lake.pin()
    frames = platform.lake.read("video_frames", pinned)
    assert frames["recording_id"].unique().to_pylist() == [outcome.recording_id]
    frame = frames.slice(4, 1).to_pylist()[0]
    with (platform.root.path / frame["blob"]).open("rb") as blob:
        blob.seek(frame["offset"])
        picture = blob.read(frame["size"])
    assert picture.startswith(b"\xff\xd8")
    assert picture.endswith(b"\xff\xd9")
    assert platform.root.raw("acme", frame["file_id"]).read_bytes() == log.read_bytes()
    assert not platform.root.quarantine("acme", outcome.recording_id).exists()
    assert list(platform.root.staging.iterdir()) == []
    with reading(platform.engine) as connection:
        steps = [s["step"] for s in recordings.steps_of(connection, outcome.recording_id)]
    assert steps[-2:] == ["plan", "accept"]
    assert verify(platform, deep=True).findings == []


def test_the_same_again_renamed_or_not_changes_nothing(
    platform: Platform, run: Run, make_logs, content: Content, tmp_path: Path
):
    logs = make_logs(tmp_path / "logs", 2)
    renamed = tmp_path / "renamed.mcap"
    shutil.copy(logs[0], renamed)

    first = run(*logs, renamed)
    before, pinned = content(platform), platform.lake.pin()
    again = run(renamed, *logs)

    assert statuses(first) == ["accepted", "accepted", "duplicate"]
    assert statuses(again) == ["duplicate"] * 3
    assert again.exit_code == 0
    assert first.outcomes[0].recording_id == again.outcomes[0].recording_id
    assert content(platform) == before
    assert platform.lake.pin() == pinned


def test_a_known_folder_costs_the_same_statements_whatever_it_holds(
    platform: Platform, run: Run, make_logs, statements, tmp_path: Path
):
    """How long it takes is measured by the bench."""
    logs = make_logs(tmp_path / "logs", 4)
    run(*logs)
    counted = []
    for chosen in (logs[:1], logs):
        with statements(platform.engine) as seen:
            assert statuses(run(*chosen)) == ["duplicate"] * len(chosen)
        counted.append([words.split()[0] for words, _ in seen])
    assert counted[0] == counted[1]
    assert list(platform.root.staging.iterdir()) == []


def test_bad_files_in_a_batch_stop_alone(platform: Platform, run: Run, make_logs, tmp_path: Path):
    good = make_logs(tmp_path / "logs", 2)
    whole = good[0].read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0x10
    files = {
        "nothing.mcap": b"",
        "text.mcap": b"not a recording at all\n" * 40,
        "flipped.mcap": bytes(flipped),
        "cut.mcap": whole[: len(whole) * 2 // 3],
    }
    for name, payload in files.items():
        (tmp_path / name).write_bytes(payload)

    result = run(*good, *(tmp_path / name for name in files))

    assert statuses(result)[:2] == ["accepted", "accepted"]
    by_name = {outcome.path.rsplit("/", 1)[-1]: outcome for outcome in result.outcomes[2:]}
    assert by_name["nothing.mcap"].reasons[0].rule == "empty"
    assert by_name["text.mcap"].reasons[0].rule == "wrong_format"
    assert by_name["flipped.mcap"].status == "quarantined"
    assert by_name["cut.mcap"].status in {"accepted_with_warnings", "quarantined"}
    assert result.exit_code == 1
    listed = {one.recording_id: one for one in refused(platform)}
    key = by_name["text.mcap"].recording_id
    assert listed[key].reasons[0]["rule"] == "wrong_format"
    folder = platform.root.quarantine("acme", key)
    reasons = json.loads((folder / "reasons.json").read_bytes())
    assert reasons["reasons"][0]["rule"] == "wrong_format"
    assert show(platform, key)["files"][0]["size"] == len(files["text.mcap"])
    assert (folder / show(platform, key)["files"][0]["sha256"]).read_bytes() == files["text.mcap"]
    visible = platform.lake.visible(platform.lake.pin()).to_pylist()
    assert not {one for one in listed if one in visible}
    quality = platform.lake.read("quality", platform.lake.pin(), visible_only=False)
    assert key in quality["recording_id"].to_pylist()


def test_a_refused_recording_can_be_tried_again(
    platform: Platform, run: Run, validator: Validator, tmp_path: Path
):
    bad = tmp_path / "bad.mcap"
    bad.write_bytes(b"no recording")
    key = run(bad).outcomes[0].recording_id

    retry(platform, key)
    decided = work(platform, once=True, validator=validator)

    assert decided == 1
    assert [one.recording_id for one in refused(platform)] == [key]
    runs = platform.lake.read(
        "quality", platform.lake.pin(), ["check_run"], [key], visible_only=False
    )
    assert len(runs["check_run"].unique()) == 2  # keyed by check run: each try has its own rows


def test_an_accepted_recording_cannot_be_tried_again(
    platform: Platform, run: Run, make_logs, tmp_path: Path
):
    key = run(*make_logs(tmp_path / "logs", 1)).outcomes[0].recording_id
    with pytest.raises(ConflictError, match="only what was refused"):
        retry(platform, key)


def test_withdrawal_hides_a_recording_at_once_and_for_good(
    platform: Platform, run: Run, make_logs, content: Content, tmp_path: Path
):
    logs = make_logs(tmp_path / "logs", 3)
    first = run(*logs)
    key = first.outcomes[1].recording_id
    before = content(platform)

    done = withdraw(platform, key)
    withdraw(platform, key)
    again = run(*logs)

    assert done.releases == ()
    assert content(platform) == {k: v for k, v in before.items() if k != key}
    assert statuses(again) == ["duplicate"] * 3
    assert recover(platform).hidden == 0
    assert verify(platform, deep=True).findings == []


def test_compaction_keeps_rows_and_markers(
    platform: Platform, run: Run, make_logs, content: Content, tmp_path: Path
):
    logs = make_logs(tmp_path / "logs", 3)
    for log in logs:
        run(log)
    before = content(platform)

    done = optimize(platform)
    vacuum(platform, retention_hours=1, dry_run=False)

    assert done["imu"] == {"added": 1, "removed": 3}
    assert content(platform) == before
    assert verify(platform, deep=True).findings == []
    assert statuses(run(*logs)) == ["duplicate"] * 3


def test_verify_names_a_flipped_bit_and_whom_it_touches(
    platform: Platform, run: Run, make_logs, tmp_path: Path
):
    key = run(*make_logs(tmp_path / "logs", 1)).outcomes[0].recording_id
    (data,) = platform.root.table("imu").glob("organisation=*/day=*/*.parquet")
    payload = bytearray(data.read_bytes())
    payload[len(payload) // 2] ^= 1
    data.write_bytes(bytes(payload))

    shallow, deep = verify(platform), verify(platform, ["imu"], deep=True)

    assert shallow.ok
    (finding,) = deep.findings
    assert (finding.table, finding.what) == ("imu", "file_changed")
    assert finding.recordings == (key,)
    assert not deep.ok
