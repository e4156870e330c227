"""Notices reach stewards once, hold no rival's data, and never stand in the way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from connectors.settings import Settings
from connectors.stores.catalog import parties
from connectors.stores.catalog.database import writing
from pipelines.batch import Outcome
from pipelines.maintain import verify
from pipelines.notify import Notifier, expiring
from pipelines.observe import FinishedBatch, FinishedVerification
from schemas.errors import WrongUseError
from schemas.licences import Terms
from schemas.quality import Reason

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 86_400_000_000_000


def batch(organisation: str, *ids: str) -> FinishedBatch:
    reason = Reason("norm_error", "SECRET-VALUE", "1", stream="/secret/stream", detail="SITE-9")
    refused = [
        Outcome(key, "quarantined", (reason, reason), path="/partner/aiko.mcap") for key in ids
    ]
    good = Outcome("good", "accepted")
    return FinishedBatch("0" * 32, organisation, 0, 1, (good, *refused), {})


@pytest.fixture
def settings(tmp_path: Path, posted: Any, mailbox: Any) -> Settings:
    return Settings(
        root=str(tmp_path),
        notify_webhook=posted.url + "/hook",
        notify_mail="steward@operator.example, acme=data@acme.example, rival=data@rival.example",
        smtp_url=mailbox[1],
    )


def recipients(mailbox: Any) -> list[str]:
    return sorted(mail["X-RcptTo"] for mail in mailbox[0].messages)


def test_what_was_refused_is_told_to_whom_it_concerns(
    settings: Settings, posted: Any, mailbox: Any
) -> None:
    Notifier.of(settings).batch_finished(batch("acme", "r1", "r2"))
    (notice,) = posted.at("/hook")
    assert notice["title"] == "2 of 3 recordings were refused"
    assert notice["lines"][:3] == ["norm_error: 2", "recording r1", "recording r2"]
    assert recipients(mailbox) == ["data@acme.example", "steward@operator.example"]
    for text in (json.dumps(notice), *(mail.as_string() for mail in mailbox[0].messages)):
        for secret in ("SECRET-VALUE", "/secret/stream", "SITE-9", "aiko", "rival", "good"):
            assert secret not in text


def test_the_same_matter_is_told_once_also_by_another_process(
    settings: Settings, posted: Any, mailbox: Any
) -> None:
    for _ in range(2):
        notifier = Notifier.of(settings)
        notifier.batch_finished(batch("acme", "r1"))
        notifier.batch_finished(batch("acme", "r1"))
    assert len(posted.at("/hook")) == 1
    assert len(mailbox[0].messages) == 2
    Notifier.of(settings).batch_finished(batch("acme", "r2"))
    assert len(posted.at("/hook")) == 2


def test_a_channel_that_failed_is_told_again_and_the_others_are_not(
    settings: Settings, posted: Any, mailbox: Any
) -> None:
    posted.status = 503
    Notifier.of(settings).batch_finished(batch("acme", "r1"))
    assert len(mailbox[0].messages) == 2
    posted.status = 200
    Notifier.of(settings).batch_finished(batch("acme", "r1"))
    assert len(posted.at("/hook")) == 2
    assert len(mailbox[0].messages) == 2


def test_damage_concerns_the_operator_alone(settings: Settings, posted: Any, mailbox: Any) -> None:
    notifier = Notifier.of(settings)
    notifier.verified(FinishedVerification(1, 5, ()))
    assert posted.documents == []
    notifier.verified(FinishedVerification(1, 5, ({"table": "imu", "what": "file_changed"},)))
    (notice,) = posted.at("/hook")
    assert notice["lines"][0] == "imu: file_changed"
    assert recipients(mailbox) == ["steward@operator.example"]


def test_a_real_verification_tells_of_real_damage(
    platform: Any, settings: Settings, posted: Any
) -> None:
    platform.observer.add(Notifier.of(replace(settings, notify_mail=None)))
    assert verify(platform).ok
    assert posted.documents == []
    entry = platform.root.path / "tables" / "imu" / "_delta_log" / f"{0:020}.json"
    entry.write_bytes(b"{")
    assert not verify(platform).ok
    (notice,) = posted.at("/hook")
    assert notice["kind"] == "verification"
    assert any(line.startswith("imu: ") for line in notice["lines"])


def test_terms_that_end_soon(platform: Any, clock: Any, settings: Settings, posted: Any) -> None:
    with writing(platform.engine) as connection:
        owner = connection.exec_driver_sql("SELECT id FROM organisations").scalar_one()
        for key, days in (("soon", 10), ("later", 60), ("over", -1)):
            terms = Terms.own_use(owner).model_copy(update={"expires_at": clock() + days * DAY_NS})
            parties.add_agreement(
                connection,
                organisation=owner,
                title=key,
                terms=terms.document(),
                clock=clock,
                agreement=key,
            )
    notices = expiring(platform)
    assert [notice.title.split()[:2] for notice in notices] == [["agreement", "soon"]]
    assert len(expiring(platform, days=90)) == 2
    notifier = Notifier.of(replace(settings, notify_mail=None))
    assert notifier.tell(notices[0])
    assert not notifier.tell(notices[0])
    assert len(posted.at("/hook")) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"notify_webhook": "ftp://x"}, "TANADA_NOTIFY_WEBHOOK"),
        ({"notify_mail": "a@b.example", "smtp_url": None}, "TANADA_SMTP_URL"),
        ({"notify_mail": "nobody"}, "TANADA_NOTIFY_MAIL"),
    ],
)
def test_wrong_settings_are_said_at_once(settings: Settings, wrong: Any, said: str) -> None:
    with pytest.raises(WrongUseError, match=said):
        Notifier.of(replace(settings, **wrong))
