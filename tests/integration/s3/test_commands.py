"""The operator's commands on a lake in a bucket, as a shell sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from connectors.stores.root import Root
from infra.demo.robot_log import LogSpec, write_log
from tests.servers.lakes import environment_of, s3_settings

if TYPE_CHECKING:
    from connectors.settings import Settings

pytestmark = [pytest.mark.full, pytest.mark.s3]


def tanada(settings: Settings, *words: str, code: int = 0) -> str:
    """What a command answers; neither answer nor message may show a secret."""
    done = subprocess.run(
        [Path(sys.executable).with_name("tanada"), *words],
        env=environment_of(settings) | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, done.stderr
    for secret in (settings.s3_access_key, settings.s3_secret_key):
        assert secret not in done.stdout + done.stderr
    return done.stdout


def test_a_lake_in_a_bucket_from_init_to_vacuum(minio, tmp_path: Path):
    settings = s3_settings(minio, tmp_path / "local")
    first, second = tmp_path / "a.mcap", tmp_path / "b.mcap"
    write_log(first, LogSpec(seconds=0.5, seed=1))
    write_log(second, LogSpec(seconds=0.5, seed=2))

    made = json.loads(tanada(settings, "init", "--organisation", "Acme", "--json"))
    assert made["root"] == settings.root
    (one,) = json.loads(tanada(settings, "ingest", str(first), "--json"))
    assert one["status"] == "accepted"
    other_machine = s3_settings(
        minio,
        tmp_path / "other",
        root=settings.root,
        database_url=settings.database_url,
        secret_key_file=settings.secret_key_file,
    )
    (two,) = json.loads(tanada(other_machine, "ingest", str(second), "--json"))
    assert two["status"] == "accepted"
    query = "SELECT count(*) AS n FROM imu"
    assert json.loads(tanada(settings, "lake", "query", query, "--json"))["rows"] == [{"n": 400}]
    tanada(settings, "lake", "optimize")
    assert json.loads(tanada(settings, "lake", "verify", "--deep", "--json"))["findings"] == []
    tanada(settings, "lake", "vacuum", "--dry-run")
    tanada(settings, "withdraw", one["recording_id"])
    assert json.loads(tanada(settings, "lake", "query", query, "--json"))["rows"] == [{"n": 200}]
    shown = tanada(settings, "settings")
    assert "TANADA_S3_SECRET_KEY" in shown

    # Both machines' runs stand in the one index of the organisation's Data Docs.
    docs = Root.open(settings.root, settings.access).data_docs("acme")
    index = (docs / "index.html").read_text()
    runs = {path.name for path in (docs / "runs").iterdir()}
    assert len(runs) == 2
    assert all(run in index for run in runs)
    assert all((docs / "runs" / run / "factory.html").is_file() for run in runs)
    # Nothing of the work is left on this machine, and no secret is in the bucket.
    assert list((tmp_path / "local" / "scratch").glob("tanada-*[0-9a-f]/*")) == []
    pepper = Path(settings.secret_key_file or "").read_bytes()
    for found in docs.store.listing(f"{Root.open(settings.root, settings.access).path.key}/"):
        if found.stat().st_size < 100_000:
            assert pepper not in found.read_bytes(), found


def test_what_is_missing_for_a_bucket_is_said(minio, tmp_path: Path):
    settings = s3_settings(minio, tmp_path / "local", database_url=None)
    tanada(settings, "init", "--organisation", "Acme", code=2)
    settings = s3_settings(minio, tmp_path / "local", s3_access_key=None, s3_secret_key="x" * 9)
    done = subprocess.run(
        [Path(sys.executable).with_name("tanada"), "recover"],
        env=environment_of(settings) | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "set TANADA_S3_ACCESS_KEY and TANADA_S3_SECRET_KEY" in done.stderr
