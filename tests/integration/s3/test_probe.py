"""A store that lacks what the platform rests on is refused, and says why."""

from __future__ import annotations

import email.utils
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from minio import time as signing

from connectors.stores import probe
from connectors.stores.initialise import initialise
from connectors.stores.root import Root
from schemas.errors import ConflictError, FailError, StoreUnavailableError, WrongUseError
from tests.servers.faults import Fault, proxy
from tests.servers.lakes import s3_settings
from tests.servers.minio import BUCKET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from connectors.settings import Settings
    from tests.servers.faults import FaultProxy

pytestmark = [pytest.mark.full, pytest.mark.s3]


@pytest.fixture
def before(minio) -> Iterator[FaultProxy]:
    with proxy(minio.address) as running:
        yield running


@pytest.fixture
def settings(minio, before: FaultProxy, tmp_path: Path) -> Settings:
    return s3_settings(minio, tmp_path / "local", s3_endpoint=before.url)


def left(minio, settings: Settings) -> list[str]:
    prefix = settings.root.removeprefix(f"s3://{BUCKET}/")
    return [o.object_name for o in minio.client.list_objects(BUCKET, prefix, recursive=True)]


def test_a_fit_store_is_asked_once_and_left_clean(minio, before, settings, clock):
    root = Root.create(settings.root, clock, settings.access)
    asked = len(before.seen)
    assert Root.open(settings.root, settings.access) == root
    assert len(before.seen) == asked + 1  # the marker alone
    assert len(left(minio, settings)) == 1
    with pytest.raises(ConflictError, match="a lake already"):
        Root.create(settings.root, clock, settings.access)
    assert root.key_file.stat().st_mode & 0o777 == 0o600
    assert root.staging.stat().st_mode & 0o777 == 0o700
    assert len(root.pepper()) == 64
    print(f"\n{asked} requests to make a root")


def test_a_store_that_ignores_conditional_puts_is_refused(minio, before, settings, clock):
    before.choose = lambda _m, _p: Fault(without=("if-none-match",))
    with pytest.raises(FailError, match="ignores conditional puts") as caught:
        initialise(
            settings.root, "Acme", clock, database_url=settings.database_url, access=settings.access
        )
    assert "412" in caught.value.expected
    assert caught.value.found == "the second put went through"
    assert left(minio, settings) == []


def test_a_store_whose_conditional_puts_race_is_refused(minio, before, settings, clock):
    def choose(_method: str, path: str) -> Fault | None:
        # One after the other is refused; several at once are not.
        return Fault(without=("if-none-match",)) if "/raced" in path else None

    before.choose = choose
    with pytest.raises(FailError, match="not atomic") as caught:
        Root.create(settings.root, clock, settings.access)
    assert caught.value.found == "8 winners"
    assert left(minio, settings) == []


@pytest.mark.parametrize("how", ["without a signature", "with another signature"])
def test_a_store_that_does_not_check_signatures_is_refused(minio, before, settings, clock, how):
    def as_owner(method: str, path: str) -> tuple[int, bytes]:
        key = urlsplit(path).path.removeprefix(f"/{BUCKET}/")
        asked = "X-Amz-Signature" in path
        if method != "GET" or "/signed" not in path or asked == (how == "without a signature"):
            return 0, b""
        return 200, minio.client.get_object(BUCKET, key).read()

    before.choose = lambda _m, _p: Fault(unsigned=as_owner)
    with pytest.raises(FailError, match=how) as caught:
        Root.create(settings.root, clock, settings.access)
    assert (caught.value.expected, caught.value.found) == ("status 403", "status 200")
    assert left(minio, settings) == []


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_store_with_another_time_is_refused(before, settings, clock, hours):
    date = email.utils.formatdate(time.time() + hours * 3600, usegmt=True)
    before.choose = lambda _m, _p: Fault(date=date)
    with pytest.raises(FailError, match="clock differs") as caught:
        Root.create(settings.root, clock, settings.access)
    assert re.fullmatch(r"3[56]\d\d s", caught.value.found)


def test_a_machine_whose_clock_is_off_is_told_by_the_store(settings, clock, monkeypatch):
    right = signing.utcnow
    monkeypatch.setattr(signing, "utcnow", lambda: right() - timedelta(minutes=20))
    with pytest.raises(FailError, match="clock differs") as caught:
        Root.create(settings.root, clock, settings.access)
    assert caught.value.found == "RequestTimeTooSkewed"


def test_a_store_that_does_not_answer_may_be_tried_again(before, settings, clock):
    before.choose = lambda _m, _p: Fault(status=503)
    with pytest.raises(StoreUnavailableError):
        Root.create(settings.root, clock, settings.access)
    before.choose = lambda _m, _p: None
    assert Root.create(settings.root, clock, settings.access).lake_id


def test_what_a_lake_in_a_bucket_needs_beside_it_is_asked_for(minio, tmp_path, clock, monkeypatch):
    given = s3_settings(minio, tmp_path, secret_key_file=None)
    with pytest.raises(WrongUseError, match="TANADA_SECRET_KEY_FILE"):
        Root.create(given.root, clock, given.access)
    given = s3_settings(minio, tmp_path)
    with pytest.raises(WrongUseError, match="TANADA_DATABASE_URL"):
        initialise(given.root, "Acme", clock, access=given.access)
    (tmp_path / "open").mkdir(mode=0o755)
    monkeypatch.setattr("connectors.stores.root.secrets.token_hex", lambda _n: "0" * 32)
    (tmp_path / "open" / f"tanada-{'0' * 16}").mkdir(mode=0o755)
    given = s3_settings(minio, tmp_path / "x", scratch=str(tmp_path / "open"))
    monkeypatch.setattr(probe, "require_fit", lambda _place: None)
    with pytest.raises(WrongUseError, match="open to others"):
        Root.create(given.root, clock, given.access)
    for address in ("s3://bucket", "s3://", "s3://b/x", "gs://bucket/x", "s3://bucket/../x"):
        with pytest.raises(WrongUseError, match="not the address of a lake"):
            Root.open(address, given.access)
