"""Who is calling: a key in the Authorization header, or a browser's session.

A checked key is remembered for less than a second under a digest, never in clear: a revoked key is
refused within one second.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert, select

from connectors.stores.catalog import ledger, parties
from connectors.stores.catalog.models import Key, Member, Organisation, Session
from schemas.errors import ForbiddenError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection
    from starlette.requests import Request

    from api.account import Account
    from api.reads import Reads

REMEMBER_NS: Final = 800_000_000
REMEMBERED_MAX: Final = 4096
SESSION_NS: Final = 8 * 3600 * 1_000_000_000
SESSION_COOKIE: Final = "tanada_session"
LOGIN_COOKIE: Final = "tanada_login"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_KEY_NEEDED: Final = "a key is needed"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and how.

    Attributes:
        principal: Member, organisation and roles.
        country: ISO 3166-1 code of the organisation, where it stores and processes data.
        organisation_name: Its legal name.
        member_name: The member's name, for pages.
        csrf: Token of the browser session; None for a key.
    """

    principal: parties.Principal
    country: str
    organisation_name: str
    member_name: str
    csrf: str | None = None


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session just opened: the cookie's value and its age in seconds."""

    cookie: str
    max_age: int


class Authenticator:
    """Checks keys and sessions.

    Args:
        reads: Short reads of the catalog, of keys and sessions too.
        account: Writer, for sessions.
        pepper: Secret under which keys and cookies are hashed.
        clock: Now, ns UTC.
    """

    def __init__(
        self, reads: Reads, account: Account, pepper: bytes, clock: Callable[[], int]
    ) -> None:
        self._reads = reads
        self._account = account
        self._pepper = pepper
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[int, Caller]] = OrderedDict()

    async def caller(self, request: Request) -> Caller:
        """Who sent this request.

        Raises:
            UnauthenticatedError: neither a valid key nor a live session.
            ForbiddenError: a session's write without its CSRF token.
        """
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, key = header.partition(" ")
            if scheme.lower() != "bearer" or not key:
                raise UnauthenticatedError(_KEY_NEEDED, expected="Authorization: Bearer tnd_…")
            return await self.of_key(key.strip())
        caller = await self.of_session(request)
        if request.method not in SAFE_METHODS:
            self.check_csrf(caller, request.headers.get("x-csrf-token", ""))
        return caller

    async def of_key(self, key: str) -> Caller:
        """The holder of a key.

        Raises:
            UnauthenticatedError: the key is not valid.
        """
        digest = sha256(key.encode()).digest()
        now_ns = self._clock()
        found = self._remembered.get(digest)
        if found is not None and 0 <= now_ns - found[0] < REMEMBER_NS:
            return found[1]
        self._remembered.pop(digest, None)
        caller = await self._reads.call(
            None, lambda connection: self._check(connection, key, now_ns)
        )
        self._remembered[digest] = (now_ns, caller)
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return caller

    def _check(self, connection: Connection, key: str, now_ns: int) -> Caller:
        principal = parties.authenticate(connection, key, self._pepper, now_ns)
        row = connection.execute(
            select(Organisation.country, Organisation.legal_name, Member.name)
            .join(Member, Member.organisation_id == Organisation.id)
            .where(Member.id == principal.member_id)
        ).one()
        return Caller(principal, row.country, row.legal_name, row.name)

    async def of_session(self, request: Request) -> Caller:
        """The holder of a browser session.

        Raises:
            UnauthenticatedError: no session, an expired one, or one whose key no longer holds.
        """
        cookie = request.cookies.get(SESSION_COOKIE)
        if not cookie:
            raise UnauthenticatedError(_KEY_NEEDED)
        digest = self._digest("session", cookie)
        now_ns = self._clock()
        return await self._reads.call(
            None, lambda connection: _of_session(connection, digest, now_ns)
        )

    async def open_session(self, key: str, request_id: str) -> NewSession:
        """Open a browser session for a key, record it, and forget expired ones.

        Raises:
            UnauthenticatedError: the key is not valid.
        """
        caller = await self.of_key(key)
        cookie = secrets.token_urlsafe(32)
        now_ns = self._clock()
        row = {
            "digest": self._digest("session", cookie),
            "key_id": caller.principal.key_id,
            "csrf": secrets.token_hex(32),
            "created_ns": now_ns,
            "expires_ns": now_ns + SESSION_NS,
        }

        entry = ledger.Entry(
            at_ns=now_ns,
            actor=caller.principal.member_id,
            organisation=caller.principal.organisation_id,
            action="login",
            resource=f"members/{caller.principal.member_id}",
            outcome=ledger.PERMIT,
            request_id=request_id,
        )

        def job(connection: Connection) -> None:
            ledger.record(connection, [entry])
            connection.execute(delete(Session).where(Session.expires_ns <= now_ns))
            connection.execute(insert(Session).values(**row))

        await self._account.write(job)
        return NewSession(cookie, SESSION_NS // 1_000_000_000)

    async def close_session(self, request: Request) -> None:
        """End the browser session of this request."""
        digest = self._digest("session", request.cookies.get(SESSION_COOKIE, ""))

        def job(connection: Connection) -> None:
            connection.execute(delete(Session).where(Session.digest == digest))

        await self._account.write(job)

    def check_csrf(self, caller: Caller, token: str) -> None:
        """Refuse a write of a browser session without its token.

        Raises:
            ForbiddenError: missing or wrong.
        """
        if caller.csrf is None or not _same(caller.csrf, token):
            raise ForbiddenError(
                "the form's token is missing or old", next_step="open the page again and repeat"
            )

    def login_token(self, nonce: str) -> str:
        """Token of the login form that was sent together with this cookie."""
        return self._digest("login", nonce)

    def check_login_token(self, nonce: str, token: str) -> None:
        """Refuse a login form that this server did not send to this browser.

        Raises:
            ForbiddenError: cookie and token do not belong together.
        """
        if not nonce or not _same(self.login_token(nonce), token):
            raise ForbiddenError(
                "the form's token is missing or old", next_step="open /login again and repeat"
            )

    def pseudonym(self, reader: str, subject: str) -> str:
        """Stable name for `subject` that only `reader` sees: two readers cannot join theirs."""
        return "recipient-" + self._digest(f"pseudonym\n{reader}", subject)[:12]

    def _digest(self, use: str, text: str) -> str:
        return hmac.new(self._pepper, f"{use}\n{text}".encode(), sha256).hexdigest()


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())


def _of_session(connection: Connection, digest: str, now_ns: int) -> Caller:
    row = connection.execute(
        select(
            Session.csrf,
            Session.expires_ns.label("session_expires_ns"),
            Key.id.label("key_id"),
            Key.expires_ns,
            Key.revoked_ns,
            Member.id.label("member_id"),
            Member.name,
            Member.roles,
            Member.state.label("member_state"),
            Organisation.id.label("organisation_id"),
            Organisation.legal_name,
            Organisation.country,
            Organisation.operator,
            Organisation.state.label("organisation_state"),
        )
        .join(Key, Key.id == Session.key_id)
        .join(Member, Member.id == Key.member_id)
        .join(Organisation, Organisation.id == Member.organisation_id)
        .where(Session.digest == digest)
    ).one_or_none()
    if (
        row is None
        or row.session_expires_ns <= now_ns
        or row.revoked_ns is not None
        or (row.expires_ns is not None and row.expires_ns <= now_ns)
        or {row.member_state, row.organisation_state} != {"active"}
    ):
        raise UnauthenticatedError("the session is over", next_step="log in again at /login")
    principal = parties.Principal(
        row.member_id, row.organisation_id, frozenset(row.roles), row.operator, row.key_id
    )
    return Caller(principal, row.country, row.legal_name, row.name, row.csrf)
