"""Notices to stewards: something was refused, terms end soon, the lake is damaged.

A notice concerns one organisation, or the platform itself; it names rules and counts, and no file,
value, site or person. The same matter is told once: what was sent is remembered in a small file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from sqlalchemy import select

from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Agreement, Grant
from connectors.stores.durable import write_durable
from pipelines.observe import Observer
from pipelines.post import post_json
from schemas.errors import TanadaError, WrongUseError
from schemas.licences.instants import expiry_of, format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from connectors.settings import Settings
    from pipelines.cli.platform import Platform
    from pipelines.observe import FinishedBatch, FinishedVerification

LOG: Final = logging.getLogger("tanada.notify")
TIMEOUT_SECONDS: Final = 10.0
REMEMBERED: Final = 10_000
SOON_DAYS: Final = 30
SHOWN_IDS: Final = 20
PLATFORM: Final = ""
"""In place of an organisation: the platform itself."""
_DAY_NS: Final = 86_400_000_000_000
_PORTS: Final = {"smtp": 25, "smtps": 465}


@dataclass(frozen=True, slots=True)
class Notice:
    """One matter for one steward.

    Attributes:
        kind: quarantine, expiry or verification.
        organisation: Whom it concerns; `PLATFORM` for the operator alone.
        title: One line.
        lines: The rest.
        key: What makes it the same matter as another one.
    """

    kind: str
    organisation: str
    title: str
    lines: tuple[str, ...]
    key: str

    def as_json(self) -> dict[str, Any]:
        """What a webhook gets."""
        return {
            "kind": self.kind,
            "organisation": self.organisation,
            "title": self.title,
            "lines": list(self.lines),
        }


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to tell someone.

    Attributes:
        name: For the memory of what was sent; holds no secret.
        organisation: Only notices of this one; None = all.
        send: Takes a notice.
    """

    name: str
    organisation: str | None
    send: Callable[[Notice], None]


class Notifier(Observer):
    """Sends notices through channels, each matter once for each channel.

    Args:
        channels: Where to.
        memory: File that remembers what was sent; None remembers within this process only.
    """

    def __init__(self, channels: Sequence[Channel], memory: Path | None) -> None:
        self._channels = channels
        self._memory = memory
        self._sent: dict[str, None] = {}

    @classmethod
    def of(cls, settings: Settings) -> Notifier:
        """Channels that the settings name.

        Raises:
            WrongUseError: one of them is none.
        """
        entries = [entry.strip() for entry in (settings.notify_mail or "").split(",")]
        channels = [_mail(entry, settings) for entry in entries if entry]
        if settings.notify_webhook:
            channels.append(_webhook(settings.notify_webhook))
        memory = settings.notify_state
        if memory is None and "://" not in settings.root:
            memory = str(Path(settings.root) / "notified.json")
        return cls(channels, None if memory is None else Path(memory))

    def batch_finished(self, batch: FinishedBatch) -> None:
        """Tell of what was refused."""
        refused = [o for o in batch.outcomes if o.status == "quarantined"]
        if not refused:
            return
        rules: dict[str, int] = {}
        for outcome in refused:
            for rule in {reason.rule for reason in outcome.reasons}:
                rules[rule] = rules.get(rule, 0) + 1
        lines = [f"{rule}: {count}" for rule, count in sorted(rules.items())]
        lines += [f"recording {o.recording_id}" for o in refused[:SHOWN_IDS]]
        if len(refused) > SHOWN_IDS:
            lines.append(f"and {len(refused) - SHOWN_IDS} more")
        lines.append("look: tanada quarantine list")
        ids = " ".join(sorted(outcome.recording_id for outcome in refused))
        self.tell(
            Notice(
                kind="quarantine",
                organisation=batch.organisation,
                title=f"{len(refused)} of {len(batch.outcomes)} recordings were refused",
                lines=tuple(lines),
                key=f"{batch.organisation} {ids} {sorted(rules)}",
            )
        )

    def verified(self, verification: FinishedVerification) -> None:
        """Tell of damage."""
        if not verification.damaged:
            return
        lines = sorted({f"{one['table']}: {one['what']}" for one in verification.damaged})
        self.tell(
            Notice(
                kind="verification",
                organisation=PLATFORM,
                title=f"the lake is damaged: {len(verification.damaged)} findings",
                lines=(*lines, "look: tanada lake verify --json"),
                key=" ".join(lines),
            )
        )

    def tell(self, notice: Notice) -> bool:
        """Send a notice where it was not sent yet; says whether any channel took it now.

        A channel that fails is logged, and gets the notice again the next time.
        """
        taken = False
        self._recall()
        digest = hashlib.sha256(f"{notice.kind} {notice.key}".encode()).hexdigest()
        for channel in self._channels:
            if channel.organisation not in {None, notice.organisation}:
                continue
            mark = f"{channel.name} {digest}"
            if mark in self._sent:
                continue
            try:
                channel.send(notice)
            except (OSError, TanadaError) as error:
                LOG.warning("a notice was not taken: %s", type(error).__name__)
                continue
            self._sent[mark] = None
            taken = True
        if taken:
            self._remember()
        return taken

    def _recall(self) -> None:
        if self._memory is None:
            return
        try:
            self._sent |= dict.fromkeys(map(str, json.loads(self._memory.read_bytes())))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError):
            LOG.warning("what was notified before cannot be read; some may be told again")

    def _remember(self) -> None:
        if self._memory is None:
            return
        kept = list(self._sent)[-REMEMBERED:]
        write_durable(self._memory, json.dumps(kept).encode(), 0o600)


def expiring(platform: Platform, days: int = SOON_DAYS) -> list[Notice]:
    """A notice for every agreement and grant whose terms end within so many days."""
    now = platform.clock()
    found = []
    with reading(platform.engine) as connection:
        for kind, model in (("agreement", Agreement), ("grant", Grant)):
            query = select(model.id, model.organisation_id, model.terms).where(
                model.state == "active"
            )
            for key, organisation, terms in connection.execute(query):
                end = expiry_of(terms)
                if end is None or not now < end <= now + days * _DAY_NS:
                    continue
                found.append(
                    Notice(
                        kind="expiry",
                        organisation=organisation,
                        title=f"{kind} {key} ends {format_instant(end)}",
                        lines=(f"look: tanada {kind} show {key}",),
                        key=f"{kind} {key} {end}",
                    )
                )
    return found


def _webhook(url: str) -> Channel:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise WrongUseError(
            "no webhook", subject="TANADA_NOTIFY_WEBHOOK", expected="http(s)://host/path"
        )

    def send(notice: Notice) -> None:
        post_json(url, notice.as_json(), TIMEOUT_SECONDS)

    return Channel("webhook", None, send)


def _mail(entry: str, settings: Settings) -> Channel:
    organisation, equals, address = entry.rpartition("=")
    server = urlsplit(settings.smtp_url or "")
    if server.scheme not in _PORTS or not server.hostname:
        raise WrongUseError(
            "no mail server",
            subject="TANADA_SMTP_URL",
            expected="smtp://host:25 or smtps://user:password@host:465",
        )
    if "@" not in address or any(mark.isspace() for mark in address):
        raise WrongUseError("no mail address", subject="TANADA_NOTIFY_MAIL", found=address[:80])

    def send(notice: Notice) -> None:
        message = EmailMessage()
        message["From"], message["To"] = settings.notify_from, address
        message["Subject"] = f"[tanada] {notice.title}"
        message.set_content("\n".join((notice.title, "", *notice.lines, "")))
        _deliver(message, server.scheme, server.hostname or "", server.port, _login(server))

    return Channel(f"mail {address}", organisation if equals else None, send)


def _login(server: Any) -> tuple[str, str] | None:
    if not server.username:
        return None
    return unquote(server.username), unquote(server.password or "")


def _deliver(
    message: EmailMessage, scheme: str, host: str, port: int | None, login: tuple[str, str] | None
) -> None:
    import smtplib
    import ssl

    given: Mapping[str, Any] = {"timeout": TIMEOUT_SECONDS}
    port = port or _PORTS[scheme]
    if scheme == "smtps":
        context = ssl.create_default_context()
        with smtplib.SMTP_SSL(host, port, context=context, **given) as server:
            _hand_over(server, message, login)
        return
    with smtplib.SMTP(host, port, **given) as server:
        if login is not None:
            # A password goes over an encrypted line or not at all.
            server.starttls(context=ssl.create_default_context())
        _hand_over(server, message, login)


def _hand_over(server: Any, message: EmailMessage, login: tuple[str, str] | None) -> None:
    if login is not None:
        server.login(*login)
    server.send_message(message)
