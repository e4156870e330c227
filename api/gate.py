"""May this caller do this with this dataset for this purpose, now? Asked every time.

Never granted: 404, as if it did not exist. Granted, and refused now or for this purpose: 403 with
the rules. Withdrawn: 410. Each answer leaves a decision in the account before it is given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from api import catalog
from api.errors import RefusedError
from schemas.errors import GoneError, LicenceError, NotFoundError, WrongUseError
from schemas.licences import Action, Amount, Decision, Purpose, Request, Terms, Usage, decide
from schemas.licences import intersect as strictest

if TYPE_CHECKING:
    from api.access import Visit
    from api.catalog import DatasetRecord, GrantRecord, ReleaseRecord

METADATA_ROLES: Final = frozenset({"steward", "admin", "auditor"})
"""Roles in a dataset's publishing organisation that may see its metadata without a grant."""
PULL_ROLE: Final = "model"
TERMS_HELD: Final = 8192
_UNUSED: Final = Usage()
_NOTHING: Final = Amount()
_NUMBER: Final = re.compile("[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What terms say to one request.

    Attributes:
        decision: Permit or deny, with rules and obligations.
        terms: Effective terms; None where a publisher looks at its own.
        grant: Grant that decided; None where a publisher looks at its own.
    """

    decision: Decision
    terms: Terms | None
    grant: GrantRecord | None

    @property
    def grant_key(self) -> tuple[str, int] | None:
        """Id and terms version of the grant, as the account names it."""
        return (self.grant.id, self.grant.terms_version) if self.grant else None


@dataclass(frozen=True, slots=True)
class Opened:
    """A release that the caller may use as asked.

    Attributes:
        dataset: Its dataset.
        release: The release.
        judgement: Why.
        purpose: For what.
    """

    dataset: DatasetRecord
    release: ReleaseRecord
    judgement: Judgement
    purpose: Purpose

    @property
    def resource(self) -> str:
        """What the account calls it."""
        return f"datasets/{self.dataset.id}/releases/{self.release.version}"


@lru_cache(maxsize=TERMS_HELD)
def parsed_terms(text: str) -> Terms:
    """Terms from their stored text."""
    return Terms.model_validate_json(text)


@lru_cache(maxsize=TERMS_HELD)
def effective_terms(release: str | None, grant: str) -> Terms:
    """Strictest of a release's and a grant's terms, both as stored text.

    Raises:
        LicenceError: they contradict each other.
    """
    parsed = [parsed_terms(text) for text in (release, grant) if text is not None]
    return strictest(parsed)


def grant_purposes(grant: GrantRecord) -> tuple[Purpose, ...]:
    """Purposes that a grant's terms name."""
    return parsed_terms(grant.terms).purposes_allowed


def disclosed(grant: str | None) -> bool:
    """Whether a grant's terms (stored text) let contributors learn the recipient's name."""
    return grant is not None and parsed_terms(grant).disclose_recipient


def checked_purpose(purpose: str | None) -> Purpose:
    """The stated purpose.

    Raises:
        WrongUseError: none, or an unknown one; the message names the purposes.
    """
    try:
        return Purpose(purpose or "")
    except ValueError:
        raise WrongUseError(
            "state what the data are for",
            subject="purpose",
            expected="one of " + ", ".join(Purpose),
            found=(purpose or "none")[:40],
            next_step=f"add ?purpose={Purpose.PRETRAINING}",
        ) from None


def publishes(visit: Visit, dataset: DatasetRecord) -> bool:
    """Whether the caller may see this dataset's metadata because its organisation publishes it."""
    return dataset.organisation_id == visit.organisation and bool(METADATA_ROLES & visit.roles)


def knows(visit: Visit, dataset: DatasetRecord) -> bool:
    """Whether the caller may know that this dataset exists."""
    own = dataset.organisation_id == visit.organisation
    return bool(dataset.grants) or (own and bool((METADATA_ROLES | {PULL_ROLE}) & visit.roles))


def request_of(
    visit: Visit, action: Action, purpose: Purpose | None, amount: Amount = _NOTHING
) -> Request:
    """The request for a decision that this visit makes."""
    return Request(
        member=visit.caller.principal.member_id,
        organisation=visit.organisation,
        purpose=purpose,
        action=action,
        territory=visit.caller.country,
        network=visit.network,
        now_ns=visit.now_ns,
        amount=amount,
    )


def judge(
    visit: Visit,
    dataset: DatasetRecord,
    release: ReleaseRecord | None,
    action: Action,
    purpose: Purpose | None,
) -> Judgement:
    """What the terms say; the first grant that permits wins, else the newest one's rules stand.

    A publisher's steward, admin or auditor may list and see metadata without a grant.
    """
    request = request_of(visit, action, purpose)
    found: Judgement | None = None
    for grant in dataset.grants:
        found = _judge_grant(release, grant, request)
        if found.decision.permit:
            return found
    if dataset.organisation_id == visit.organisation:
        own = _judge_own(visit, dataset, release, request)
        if own.decision.permit or found is None:
            return own
    return found or _denied("no_grant", None)


def _judge_own(
    visit: Visit, dataset: DatasetRecord, release: ReleaseRecord | None, request: Request
) -> Judgement:
    """A publisher without a grant: its stewards look, and its own release's terms rule the rest."""
    terms = parsed_terms(release.terms) if release else None
    if publishes(visit, dataset) and request.action in {Action.LIST, Action.METADATA}:
        return Judgement(Decision(permit=True, rules=(), obligations=()), terms, None)
    if terms is None:
        return _denied("no_grant", None)
    return Judgement(decide(terms, request, _UNUSED), terms, None)


def _denied(rule: str, grant: GrantRecord | None) -> Judgement:
    return Judgement(Decision(permit=False, rules=(rule,), obligations=()), None, grant)


def _judge_grant(release: ReleaseRecord | None, grant: GrantRecord, request: Request) -> Judgement:
    # An expired grant is judged by its terms: they say "expired", and hold again if extended.
    if grant.state not in {"active", "expired"}:
        return _denied("grant_revoked", grant)
    try:
        terms = effective_terms(release.terms if release else None, grant.terms)
    except LicenceError:
        return _denied("terms_conflict", grant)
    return Judgement(decide(terms, request, _UNUSED), terms, grant)


def shown_terms(visit: Visit, judgement: Judgement) -> Terms | None:
    """Effective terms without what would name contributors or other recipients.

    A publisher sees its own release's terms as they are.
    """
    terms, grant = judgement.terms, judgement.grant
    if terms is None or grant is None:
        return terms
    mine = terms.recipients is not None and visit.organisation in terms.recipients
    return terms.model_copy(
        update={
            "label": grant.id,
            "recipients": (visit.organisation,) if mine else None,
            "personal": tuple(p.model_copy(update={"controller": ""}) for p in terms.personal),
            "medical": tuple(m.model_copy(update={"controller": ""}) for m in terms.medical),
        }
    )


def permitting(visit: Visit, opened: Opened) -> list[tuple[Terms, GrantRecord | None]]:
    """Effective terms of every grant that would allow the export, its volume aside, in order."""
    request = request_of(visit, Action.EXPORT, opened.purpose)
    judged = [_judge_grant(opened.release, grant, request) for grant in opened.dataset.grants]
    if opened.dataset.organisation_id == visit.organisation:
        judged.append(_judge_own(visit, opened.dataset, opened.release, request))
    return [(j.terms, j.grant) for j in judged if j.decision.permit and j.terms is not None]


async def find_dataset(visit: Visit, dataset: str, resource: str) -> DatasetRecord:
    """A dataset that the caller may know of: granted once, or of its own organisation.

    Raises:
        NotFoundError: none such; recorded.
    """
    found = await visit.read(
        lambda connection: catalog.datasets_of(connection, visit.organisation, dataset)
    )
    if found and knows(visit, found[0]):
        return found[0]
    raise await visit.refuse(resource, NotFoundError("no such dataset"))


async def find_release(
    visit: Visit, dataset: str, version: str
) -> tuple[DatasetRecord, ReleaseRecord]:
    """A release that the caller may know of, by number or `latest`.

    Raises:
        NotFoundError: no such dataset or version; recorded.
        GoneError: it was withdrawn; recorded.
    """
    resource = f"datasets/{dataset}/releases/{version}"
    record = await find_dataset(visit, dataset, resource)
    release = record.latest
    if version != "latest":
        number = int(version) if _NUMBER.fullmatch(version) else 0
        release = await visit.read(
            lambda connection: catalog.release_of(connection, dataset, number)
        )
    if release is None:
        raise await visit.refuse(resource, NotFoundError("no such release"))
    if release.state != "published":
        gone = GoneError(
            "this release was withdrawn",
            subject=f"{dataset} version {release.version}",
            next_step="delete your copy as the terms say, and take the latest release",
        )
        raise await visit.refuse(resource, gone)
    return record, release


async def open_release(
    visit: Visit, dataset: str, version: str, purpose: str | None, action: Action
) -> Opened:
    """A release, judged for an action that delivers no volume; the caller records the permit.

    Raises:
        WrongUseError: no purpose stated.
        NotFoundError: never granted, or no such release; recorded.
        GoneError: withdrawn; recorded.
        RefusedError: granted, and not for this; recorded.
    """
    stated = checked_purpose(purpose)
    record, release = await find_release(visit, dataset, version)
    judgement = judge(visit, record, release, action, stated)
    opened = Opened(record, release, judgement, stated)
    if not judgement.decision.permit:
        raise await refuse(visit, opened)
    return opened


async def refuse(visit: Visit, opened: Opened, resource: str = "") -> RefusedError:
    """Record a refusal by terms; the caller raises the returned error."""
    judgement = opened.judgement
    error = refusal(judgement.decision.rules)
    await visit.refuse(
        resource or opened.resource,
        error,
        rules=judgement.decision.rules,
        obligations=judgement.decision.obligations,
        purpose=opened.purpose,
        grant=judgement.grant_key,
    )
    return error


def refusal(rules: tuple[str, ...]) -> RefusedError:
    """The error that names the rules that fired."""
    return RefusedError(
        f"the terms do not allow this: {', '.join(rules)}",
        rules=rules,
        next_step="see what they do allow: GET /v1/datasets/{id}",
    )


async def permit(visit: Visit, opened: Opened, resource: str = "") -> None:
    """Record a permit by terms; afterwards the route may answer.

    Raises:
        CatalogBusyError: it could not be recorded; nothing may be sent.
    """
    decision = opened.judgement.decision
    await visit.permit(
        resource or opened.resource,
        obligations=decision.obligations,
        purpose=opened.purpose,
        grant=opened.judgement.grant_key,
    )
