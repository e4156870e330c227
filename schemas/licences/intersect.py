"""The strictest intersection of several terms: what all of them allow, and all that any demands.

Each field has a meet that is commutative, associative and idempotent, so the order in which
contributions are joined never matters. Where a meet would leave nothing, or two duties can't both
be held, the terms conflict.
"""

from __future__ import annotations

import ipaddress
import itertools
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from schemas.errors import LicenceError
from schemas.licences.parts import ANYWHERE, Volume, VolumeCaps, collapse
from schemas.licences.terms import Terms
from schemas.licences.vocabulary import ModelWeights, Redistribution

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.licences.parts import (
        Attribution,
        Confidentiality,
        Derivatives,
        Revocation,
        Security,
        Territory,
    )

_JOIN: Final = " + "
_PERMISSIONS: Final = frozenset({ModelWeights.LICENSEE_OWNS, ModelWeights.RETAIN_ALLOWED})
_Value = TypeVar("_Value")
_Number = TypeVar("_Number", int, float)
_Ordered = TypeVar("_Ordered", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class _ConflictError(Exception):
    """Two terms that can't both be held, by field."""

    field: str
    first: str
    second: str


def intersect(terms: Sequence[Terms]) -> Terms:
    """Terms that permit only what every one of `terms` permits, with the obligations of all.

    Raises:
        LicenceError: nothing is left, or two duties contradict; the pair is named by label.
    """
    distinct = list(dict.fromkeys(terms))
    if not distinct:
        raise LicenceError(
            "no terms to intersect",
            expected="at least one agreement",
            next_step="name an agreement for every contribution",
        )
    result = distinct[0]
    _require(result, result)
    for index, other in enumerate(distinct[1:], start=1):
        try:
            result = _meet(result, other)
        except _ConflictError as conflict:
            raise _named(conflict, result, other, distinct[:index]) from None
    return result


def _named(
    conflict: _ConflictError, joined: Terms, other: Terms, before: Sequence[Terms]
) -> LicenceError:
    """The error for `other`, naming the one earlier terms it contradicts, where one alone does."""
    for earlier in before:
        try:
            _meet(earlier, other)
        except _ConflictError as pair:
            return _error(pair, earlier.label, other.label)
    return _error(conflict, joined.label, other.label)


def _error(conflict: _ConflictError, first: str, second: str) -> LicenceError:
    one, two = first or "unnamed terms", second or "unnamed terms"
    return LicenceError(
        f"{conflict.field} of {one!r} and {two!r} can't both be held",
        subject=f"{one} and {two}",
        expected=f"{conflict.field} that both allow",
        found=f"{conflict.first} against {conflict.second}",
        next_step="leave one of the two contributions out, or agree on new terms",
    )


def _require(left: Terms, right: Terms) -> None:
    """Refuse single terms that permit nothing, as `_meet` refuses a meet that does."""
    try:
        _meet(left, right)
    except _ConflictError as conflict:
        raise _error(conflict, left.label, right.label) from None


def _meet(a: Terms, b: Terms) -> Terms:
    redistribution, sublicensees = _redistribution(a, b)
    effective = _most(a.effective_from, b.effective_from)
    expires = _least(a.expires_at, b.expires_at)
    if effective is not None and expires is not None and expires <= effective:
        raise _ConflictError("term", f"from {effective} ns", f"to {expires} ns")
    fields: dict[str, Any] = {
        "label": _JOIN.join(sorted({*_labels(a), *_labels(b)})),
        "recipients": _both("recipients", a.recipients, b.recipients),
        "purposes_allowed": _some("purposes_allowed", a.purposes_allowed, b.purposes_allowed),
        "purposes_denied": _either(a.purposes_denied, b.purposes_denied),
        "commercial": _strictest(a.commercial, b.commercial),
        "territory": _territory(a.territory, b.territory),
        "effective_from": effective,
        "expires_at": expires,
        "embargo_until": _most(a.embargo_until, b.embargo_until),
        "renewal": _strictest(a.renewal, b.renewal),
        "notice_days": min(a.notice_days, b.notice_days),
        "grace_days": min(a.grace_days, b.grace_days),
        "derivatives": _derivatives(a.derivatives, b.derivatives),
        "attribution": _attribution(a.attribution, b.attribution),
        "redistribution": redistribution,
        "sublicensees": sublicensees,
        "benchmark_publication": a.benchmark_publication and b.benchmark_publication,
        "volume_caps": _caps(a.volume_caps, b.volume_caps),
        "concurrency": _least(a.concurrency, b.concurrency),
        "max_runs": _least(a.max_runs, b.max_runs),
        "pricing": a.pricing + b.pricing,
        "security": _security(a.security, b.security),
        "revocation": _revocation(a.revocation, b.revocation),
        "revoked_at": _least(a.revoked_at, b.revoked_at),
        "confidentiality": _confidentiality(a.confidentiality, b.confidentiality),
        "personal": a.personal + b.personal,
        "medical": a.medical + b.medical,
        "copyright": a.copyright + b.copyright,
        "disclose_recipient": a.disclose_recipient or b.disclose_recipient,
    }
    return Terms.model_validate(fields)


def _labels(terms: Terms) -> Iterator[str]:
    yield from (part for part in terms.label.split(_JOIN) if part)


def _strictest(a: _Ordered, b: _Ordered) -> _Ordered:
    """Vocabularies list the strictest value first."""
    order = list(type(a))
    return min(a, b, key=order.index)


def _least(a: _Number | None, b: _Number | None) -> _Number | None:
    return min((v for v in (a, b) if v is not None), default=None)


def _most(a: int | None, b: int | None) -> int | None:
    return max((v for v in (a, b) if v is not None), default=None)


def _either(a: tuple[_Value, ...], b: tuple[_Value, ...]) -> tuple[_Value, ...]:
    return tuple(dict.fromkeys(a + b))


def _some(field: str, a: tuple[_Value, ...], b: tuple[_Value, ...]) -> tuple[_Value, ...]:
    shared = tuple(value for value in a if value in b)
    if not shared:
        raise _ConflictError(field, _shown(a), _shown(b))
    return shared


def _shown(values: tuple[_Value, ...]) -> str:
    return ", ".join(map(str, values)) or "none"


def _both(
    field: str, a: tuple[_Value, ...] | None, b: tuple[_Value, ...] | None
) -> tuple[_Value, ...] | None:
    """Meet of two limits, where None is no limit."""
    if a is None or b is None:
        only = b if a is None else a
        return None if only is None else _some(field, only, only)
    return _some(field, a, b)


def _places(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    if ANYWHERE in a:
        return b
    return a if ANYWHERE in b else tuple(code for code in a if code in b)


def _territory(a: Territory, b: Territory) -> dict[str, Any]:
    fields = {
        name: _places(getattr(a, name), getattr(b, name))
        for name in ("storage", "processing", "model_deployment")
    }
    # Models that may be deployed nowhere are still of use; data that may lie nowhere are not.
    for name in ("storage", "processing"):
        if not fields[name]:
            raise _ConflictError(
                f"territory.{name}", _shown(getattr(a, name)), _shown(getattr(b, name))
            )
    return fields | {"export_control": a.export_control or b.export_control}


def _derivatives(a: Derivatives, b: Derivatives) -> dict[str, Any]:
    permitted = set(a.model_weights) & set(b.model_weights) & _PERMISSIONS
    duties = (set(a.model_weights) | set(b.model_weights)) - _PERMISSIONS
    if {ModelWeights.LICENSOR_SHARE, ModelWeights.NO_RELEASE} <= duties:
        raise _ConflictError(
            "derivatives.model_weights", _shown(a.model_weights), _shown(b.model_weights)
        )
    return {
        "derived_data": _strictest(a.derived_data, b.derived_data),
        "synthetic_data": _strictest(a.synthetic_data, b.synthetic_data),
        "embeddings": _strictest(a.embeddings, b.embeddings),
        "model_weights": sorted(permitted | duties),
        "field_of_use": _both("derivatives.field_of_use", a.field_of_use, b.field_of_use),
    }


def _attribution(a: Attribution, b: Attribution) -> dict[str, Any]:
    required, anonymous = a.required or b.required, a.anonymous or b.anonymous
    if required and anonymous:
        named = ("must be named", "must not be named")
        raise _ConflictError("attribution", *(named if a.required else named[::-1]))
    return {"required": required, "anonymous": anonymous, "text": a.text + b.text}


def _redistribution(a: Terms, b: Terms) -> tuple[Redistribution, tuple[str, ...]]:
    """Affiliates and a list can't be compared: what both allow is nothing."""
    if a.redistribution is not b.redistribution:
        return Redistribution.NONE, ()
    if a.redistribution is not Redistribution.SUBLICENCE_LIST:
        return a.redistribution, ()
    shared = tuple(name for name in a.sublicensees if name in b.sublicensees)
    return (a.redistribution, shared) if shared else (Redistribution.NONE, ())


def _caps(a: VolumeCaps, b: VolumeCaps) -> dict[str, Any]:
    return {
        window: {
            kind: _least(getattr(getattr(a, window), kind), getattr(getattr(b, window), kind))
            for kind in Volume.model_fields
        }
        for window in VolumeCaps.model_fields
    }


def _networks(a: tuple[str, ...] | None, b: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """CIDR blocks nest or are apart, so what two share is the smaller one of each nesting pair."""
    if a is None or b is None:
        return b if a is None else a
    pairs = itertools.product(map(ipaddress.ip_network, a), map(ipaddress.ip_network, b))
    return collapse(
        [
            str(max(one, two, key=lambda block: block.prefixlen))
            for one, two in pairs
            if one.version == two.version and one.overlaps(two)
        ]
    )


def _security(a: Security, b: Security) -> dict[str, Any]:
    networks = _networks(a.allowed_networks, b.allowed_networks)
    if networks == ():
        raise _ConflictError(
            "security.allowed_networks",
            _shown(a.allowed_networks or ()),
            _shown(b.allowed_networks or ()),
        )
    return {
        "encryption": a.encryption or b.encryption,
        "allowed_networks": networks,
        "enclave_only": a.enclave_only or b.enclave_only,
        "members": _both("security.members", a.members, b.members),
        "audit_right": a.audit_right or b.audit_right,
    }


def _revocation(a: Revocation, b: Revocation) -> dict[str, Any]:
    return {
        "causes": _either(a.causes, b.causes),
        "effect": _strictest(a.effect, b.effect),
        "deletion_deadline_days": min(a.deletion_deadline_days, b.deletion_deadline_days),
        "certificate": a.certificate or b.certificate,
        "propagate_to": _either(a.propagate_to, b.propagate_to),
    }


def _confidentiality(a: Confidentiality, b: Confidentiality) -> dict[str, Any]:
    return {
        "level": _strictest(a.level, b.level),
        "competitive_area": a.competitive_area or b.competitive_area,
    }
