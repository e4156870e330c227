"""The audit log's hash chain: how a row is hashed, how the chain is verified, the signed head.

Each row's hash covers the row before it, so a changed, removed, exchanged or inserted row breaks
the chain where it happened. A chain cannot show that its own tail was cut off: for that, its head
is signed, and kept outside the database. A row names its decision by an id that is derived from
the decision's content, so decisions are covered too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from connectors.stores.catalog.models import AuditRow, DecisionRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

GENESIS: Final = "0" * 64
"""`previous` of the first row."""
_HEAD_CONTEXT: Final = b"tanada-audit-head-1\n"
_PAGE: Final = 1000
_LAST: Final = select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1)


def canonical(fields: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: the one form that is hashed and signed."""
    text = json.dumps(
        fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def row_hash(previous: str, fields: Mapping[str, Any]) -> str:
    """SHA-256 over the previous row's hash and the canonical JSON of this row's other fields."""
    return hashlib.sha256(previous.encode() + canonical(fields)).hexdigest()


def decision_id(seq: int, fields: Mapping[str, Any]) -> str:
    """First 128 bits, in hex, of SHA-256 over a decision's content and its audit row's number."""
    return hashlib.sha256(canonical({"seq": seq, **fields})).hexdigest()[:32]


def last(connection: Connection) -> tuple[int, str]:
    """Number and hash of the newest row; (0, `GENESIS`) of an empty log."""
    row = connection.execute(_LAST).first()
    return (0, GENESIS) if row is None else (row.seq, row.hash)


def head(connection: Connection, pepper: bytes) -> dict[str, Any]:
    """The newest row's number and hash, signed; keep it outside the database.

    Args:
        connection: The catalog.
        pepper: The platform's secret; the signing key is derived from it.

    Returns:
        `{seq, hash, signature}`: HMAC-SHA256 over the canonical JSON of the first two.
    """
    seq, digest = last(connection)
    signed = {"seq": seq, "hash": digest}
    return {**signed, "signature": _signature(signed, pepper)}


def _signature(signed: Mapping[str, Any], pepper: bytes) -> str:
    return hmac.new(pepper, _HEAD_CONTEXT + canonical(signed), hashlib.sha256).hexdigest()


def verify_head(connection: Connection, signed: Mapping[str, Any], pepper: bytes) -> int | None:
    """Whether the log still holds everything up to a signed head.

    Returns:
        None if it does; else the first row number that is missing or other than it was signed
        (0 where the signature itself is not the platform's).
    """
    stated = {"seq": signed.get("seq"), "hash": signed.get("hash")}
    if not hmac.compare_digest(_signature(stated, pepper), str(signed.get("signature", ""))):
        return 0
    seq, digest = stated["seq"], stated["hash"]
    if not isinstance(seq, int) or (seq == 0 and digest == GENESIS):
        return None if seq == 0 else 0
    found = connection.scalar(select(AuditRow.hash).where(AuditRow.seq == seq))
    if found == digest:
        return None
    newest, _ = last(connection)
    return min(seq, newest + 1)


def verify_chain(
    connection: Connection,
    signed: Mapping[str, Any] | None = None,
    pepper: bytes = b"",
) -> int | None:
    """Recompute the whole chain, and compare it with a signed head where one is at hand.

    Args:
        connection: The catalog, best in one reading transaction.
        signed: A head that `head` gave earlier.
        pepper: The platform's secret, needed with `signed`.

    Returns:
        None if every row is as it was written; else the number of the first bad row: changed,
        missing, exchanged, inserted, or naming a decision that is no longer what it was.
    """
    expected, previous = 1, GENESIS
    while page := _page(connection, expected):
        for row, decision in page:
            if row["seq"] != expected or row["previous"] != previous:
                return expected
            stated = {k: v for k, v in row.items() if k not in {"previous", "hash"}}
            if row_hash(previous, stated) != row["hash"] or not _decided(row, decision):
                return expected
            expected, previous = expected + 1, str(row["hash"])
    return None if signed is None else verify_head(connection, signed, pepper)


def _decided(row: Mapping[str, Any], decision: Mapping[str, Any] | None) -> bool:
    if row["decision_id"] is None:
        return True
    if decision is None:
        return False
    stated = {k: v for k, v in decision.items() if k != "id"}
    return bool(decision_id(row["seq"], stated) == row["decision_id"])


def _page(
    connection: Connection, from_seq: int
) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """The next rows with their decisions, from `from_seq` on or, the first time, from any below."""
    least = AuditRow.seq >= from_seq if from_seq > 1 else AuditRow.seq.is_not(None)
    rows = select(AuditRow.__table__).where(least).order_by(AuditRow.seq).limit(_PAGE)
    found = [dict(row) for row in connection.execute(rows).mappings()]
    ids = [row["decision_id"] for row in found if row["decision_id"] is not None]
    decisions = select(DecisionRow.__table__).where(DecisionRow.id.in_(ids))
    known = {row["id"]: dict(row) for row in connection.execute(decisions).mappings()}
    return [(row, known.get(row["decision_id"])) for row in found]
