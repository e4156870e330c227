"""The account: every decision, its audit row and its reservation of volume, in one transaction.

`authorise` is the whole of it: it reads usage, decides, and writes, inside the caller's write
transaction, so that two requests can't both take the last byte of a cap. `record` writes audit
rows for what needs no terms (logins, uploads, refusals without a grant). Nothing may be delivered
before the transaction that recorded it is committed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import insert

from connectors.stores.catalog import chain
from connectors.stores.catalog.chain import head, verify_chain, verify_head
from connectors.stores.catalog.metering import (
    Reservation,
    Span,
    charge,
    keep_range,
    plan_range,
    reserve_range,
    settle_range,
    usage,
)
from connectors.stores.catalog.models import AuditRow, DecisionRow
from connectors.stores.catalog.postgresql import Queue, take
from schemas.licences import MOVES_DATA, Amount, Decision, Request, Terms, Usage, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

__all__ = [
    "Ask",
    "Entry",
    "Recorded",
    "Reservation",
    "Span",
    "authorise",
    "head",
    "record",
    "reserve_range",
    "settle",
    "usage",
    "verify_chain",
    "verify_head",
]

PERMIT: Final = "permit"
DENY: Final = "deny"
SETTLED: Final = "settled"
NOTHING: Final = Amount()


@dataclass(frozen=True, slots=True)
class Entry:
    """One audit row, with the decision behind it where there was one.

    Attributes:
        at_ns: When, ns UTC.
        actor: Member id; None where nobody was authenticated.
        organisation: The member's organisation.
        action: What was asked: an `Action`, or `login`, `upload`, `withdraw`, …
        resource: What it was asked of: `dataset/version/path`, a recording id, ….
        decision: The decision of `schemas.licences.decide`, or None.
        outcome: `permit`, `deny`, or a word of the caller's where there is no decision.
        purpose: Stated purpose.
        grant: Grant id, whose usage is charged with `amount` on a permit.
        terms_version: Version of the grant's terms.
        amount: Volume reserved by this entry.
        request_id: Id that the answer carries too.
    """

    at_ns: int
    actor: str | None
    organisation: str | None
    action: str
    resource: str
    decision: Decision | None = None
    outcome: str = ""
    purpose: str | None = None
    grant: str | None = None
    terms_version: int | None = None
    amount: Amount = NOTHING
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written: audit row number, decision, and what was reserved."""

    decision_id: str | None
    seq: int
    decision: Decision | None = None
    reservation: Reservation | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for data or metadata under terms.

    Attributes:
        terms: Intersection of the release's and the grant's terms.
        request: The request; its amount is what it costs beside the bytes of `span`, and is
            charged only with the first bytes of a file.
        resource: What it is asked of.
        grant: Grant id; None where an organisation reads what it published itself.
        terms_version: Version of the grant's terms.
        span: Part of a release file, where bytes are asked for.
        request_id: Id that the answer carries too.
        concurrent: Readers active under the grant now, this one not counted.
        runs: Training runs declared so far.
    """

    terms: Terms
    request: Request
    resource: str
    grant: str | None = None
    terms_version: int | None = None
    span: Span | None = None
    request_id: str = ""
    concurrent: int = 0
    runs: int = 0


def authorise(connection: Connection, asks: Sequence[Ask]) -> list[Recorded]:
    """Decide each ask on the usage of this moment; write decision, audit row and reservation.

    Args:
        connection: A write transaction (`database.writing`). Many asks in one are cheaper.
        asks: Decided in order; each sees what those before it reserved.

    Returns:
        One record per ask, denials included. Deliver nothing before the commit.
    """
    lock(connection)
    done: list[Recorded] = []
    waiting: list[tuple[Entry, Reservation | None]] = []
    for ask in asks:
        if any(entry.grant == ask.grant and entry.amount != NOTHING for entry, _ in waiting):
            # It has to see what those before it reserved.
            done += _write(connection, waiting)
            waiting = []
        waiting.append(_decided(connection, ask))
    return done + _write(connection, waiting)


def _write(
    connection: Connection, waiting: Sequence[tuple[Entry, Reservation | None]]
) -> list[Recorded]:
    written = record(connection, [entry for entry, _ in waiting])
    return [
        replace(recorded, reservation=reservation)
        for recorded, (_, reservation) in zip(written, waiting, strict=True)
    ]


def _decided(connection: Connection, ask: Ask) -> tuple[Entry, Reservation | None]:
    request, reservation = ask.request, None
    if ask.span is not None:
        reservation = plan_range(
            connection, request.organisation, ask.grant or "", ask.span, request.now_ns
        )
        beside = request.amount if reservation.first else NOTHING
        amount = replace(beside, bytes=reservation.new_bytes)
        request = replace(request, amount=amount)
    used = Usage()
    if ask.grant is not None and request.action in MOVES_DATA:
        used = usage(connection, ask.grant, request.now_ns)
    used = replace(used, concurrent=ask.concurrent, runs=ask.runs)
    decision = decide(ask.terms, request, used)
    if reservation is not None and decision.permit:
        keep_range(connection, reservation)
    return _entry(ask, request, decision), reservation if decision.permit else None


def _entry(ask: Ask, request: Request, decision: Decision) -> Entry:
    return Entry(
        at_ns=request.now_ns,
        actor=request.member,
        organisation=request.organisation,
        action=str(request.action),
        resource=ask.resource,
        decision=decision,
        purpose=None if request.purpose is None else str(request.purpose),
        grant=ask.grant,
        terms_version=ask.terms_version,
        amount=request.amount if decision.permit else NOTHING,
        request_id=ask.request_id,
    )


def lock(connection: Connection) -> None:
    """Wait until no other transaction can append to the audit log; held until the commit.

    One chain has one end: on PostgreSQL its writers queue, SQLite has one writer anyway.
    """
    take(connection, Queue.ACCOUNT)


def record(connection: Connection, entries: Sequence[Entry]) -> list[Recorded]:
    """Append audit rows, with their decisions, and charge what they reserve.

    Args:
        connection: A write transaction (`database.writing`).
        entries: Written in order.

    Returns:
        Row number and decision id of each.
    """
    if not entries:
        return []
    lock(connection)
    seq, previous = chain.last(connection)
    decisions: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    written: list[Recorded] = []
    for entry in entries:
        seq += 1
        identity = None
        if entry.decision is not None:
            fields = _decision_fields(entry, entry.decision)
            identity = chain.decision_id(seq, fields)
            decisions.append({"id": identity, **fields})
        row = _audit_fields(entry, seq, identity)
        digest = chain.row_hash(previous, row)
        rows.append({**row, "previous": previous, "hash": digest})
        previous = digest
        if _permitted(entry) and entry.grant is not None:
            charge(connection, entry.grant, entry.amount, entry.at_ns)
        written.append(Recorded(identity, seq, entry.decision))
    if decisions:
        connection.execute(insert(DecisionRow), decisions)
    connection.execute(insert(AuditRow), rows)
    return written


def _permitted(entry: Entry) -> bool:
    return entry.decision.permit if entry.decision is not None else entry.outcome != DENY


def _decision_fields(entry: Entry, decision: Decision) -> dict[str, Any]:
    return {
        "at_ns": entry.at_ns,
        "member_id": entry.actor,
        "organisation_id": entry.organisation,
        "action": entry.action,
        "resource": _storable(entry.resource),
        "purpose": entry.purpose,
        "grant_id": entry.grant,
        "terms_version": entry.terms_version,
        "permit": decision.permit,
        "rules": list(decision.rules),
        "obligations": list(decision.obligations),
    }


def _storable(resource: str) -> str:
    # PostgreSQL has no NUL in texts; an address may have, and what it asks for is recorded still.
    return resource.replace("\0", "\ufffd")


def _audit_fields(entry: Entry, seq: int, decision_id: str | None) -> dict[str, Any]:
    outcome = entry.outcome
    if entry.decision is not None:
        outcome = PERMIT if entry.decision.permit else DENY
    return {
        "seq": seq,
        "at_ns": entry.at_ns,
        "actor": entry.actor,
        "organisation_id": entry.organisation,
        "action": entry.action,
        "resource": _storable(entry.resource),
        "decision_id": decision_id,
        "outcome": outcome,
        "amount": entry.amount.bytes,
        "request_id": entry.request_id,
    }


def settle(
    connection: Connection, recorded: Recorded, sent_end: int, now_ns: int, request_id: str = ""
) -> int:
    """Bring a reservation to what was sent, once the answer has ended or was cut.

    Where that differs from what was reserved, an audit row of the difference is appended, so that
    the amounts of a grant's audit rows add up to its usage.

    Args:
        connection: A write transaction.
        recorded: What `authorise` gave.
        sent_end: Position in the file after the last byte that was handed to the network.
        now_ns: When, ns UTC.
        request_id: Of the request that is settled; default: its decision's id.

    Returns:
        Bytes added (positive) or taken back (negative).
    """
    reservation = recorded.reservation
    if reservation is None:
        return 0
    lock(connection)
    delta = settle_range(connection, reservation, sent_end, now_ns)
    if not delta:
        return 0
    # Taken back where it was reserved: in the windows of the request, not of this moment.
    charge(connection, reservation.grant, Amount(bytes=delta), reservation.at_ns)
    span = reservation.span
    entry = Entry(
        at_ns=now_ns,
        actor=None,
        organisation=reservation.organisation,
        action="settle",
        resource=f"{span.dataset}/{span.version}/{span.path}",
        outcome=SETTLED,
        amount=Amount(bytes=delta),
        request_id=request_id or recorded.decision_id or "",
    )
    record(connection, [entry])
    return delta
