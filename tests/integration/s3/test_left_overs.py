"""What killed processes left in a bucket goes away: parts of uploads, files of executors."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from minio.commonconfig import Filter
from minio.error import S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, LifecycleConfig, Rule

from connectors.stores.initialise import initialise
from pipelines.cli.platform import Platform
from pipelines.recover import recover
from tests.servers.images import SERVICES
from tests.servers.lakes import s3_settings
from tests.servers.minio import BUCKET, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.minio import MinioServer

pytestmark = [pytest.mark.full, pytest.mark.s3]
PART = b"x" * (5 << 20)
HOUR_NS = 3_600_000_000_000


def test_minio_removes_what_was_left_and_takes_no_rule_for_it(tmp_path: Path) -> None:
    names = ("MINIO_API_STALE_UPLOADS_EXPIRY", "MINIO_API_STALE_UPLOADS_CLEANUP_INTERVAL")
    assert set(names) <= SERVICES["minio"]["environment"].keys()
    with running(tmp_path, **dict.fromkeys(names, "1s")) as server:
        # The server's client keeps these private, and has no other way to begin and go away.
        upload = server.client._create_multipart_upload(BUCKET, "left", {})
        server.client._upload_part(BUCKET, "left", PART, {}, upload, 1)
        deadline = time.monotonic() + 60
        # It goes to the server's own trash, which is emptied by the clock as well.
        while list((tmp_path / ".minio.sys" / "multipart").rglob("part.1")):
            assert time.monotonic() < deadline, "the part is still there"
            time.sleep(0.2)
        with pytest.raises(S3Error, match="upload"):
            server.client._upload_part(BUCKET, "left", PART, {}, upload, 2)

        abort = AbortIncompleteMultipartUpload(days_after_initiation=1)
        rule = Rule(
            "Enabled", rule_filter=Filter(prefix=""), abort_incomplete_multipart_upload=abort
        )
        with pytest.raises(S3Error, match="XML"):
            server.client.set_bucket_lifecycle(BUCKET, LifecycleConfig([rule]))


def test_what_executors_handed_to_a_lost_machine_is_removed_after_a_day(
    minio: MinioServer, tmp_path: Path
) -> None:
    settings = s3_settings(minio, tmp_path / "local")
    access, url = settings.access, settings.database_url
    initialise(settings.root, "Acme", time.time_ns, database_url=url, access=access)
    now = time.time_ns()
    with Platform.open(settings, lambda: now) as platform:
        staged = platform.root.exchange("0" * 32) / ("a" * 64) / "attempt-0-1"
        (staged / "begun").write_bytes(b"")
        (staged / "files" / "imu.parquet").write_bytes(b"rows")
        for hours, left in ((0, 2), (23, 2), (25, 0)):
            recover(replace(platform, clock=lambda hours=hours: now + hours * HOUR_NS))
            assert len(list(staged.rglob("*"))) == left
