"""Terms of a licence, as data. What is not stated is strict: `Terms()` permits nothing.

A right (a purpose, a place, a derivative) exists only when it is stated. A further limit
(networks, named members, caps, end dates) binds only when it is stated; `None` means it is not.
The smallest terms that permit something:

    purposes_allowed: [pretraining]
    territory: {storage: [JP], processing: [JP]}
    personal: {contains_pi: false}
    medical: {contains_medical: false}

Nothing here decides: see `schemas.licences.decide`.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from schemas.licences.instants import Instant, parse_instant
from schemas.licences.parts import (
    ANYWHERE,
    Attribution,
    Charge,
    Confidentiality,
    Copyright,
    Derivatives,
    Limit,
    Listed,
    MedicalData,
    Part,
    PersonalData,
    Revocation,
    Sections,
    Security,
    Territory,
    VolumeCaps,
    strings,
)
from schemas.licences.summary import summarise
from schemas.licences.vocabulary import (
    Basis,
    Commercial,
    ConfidentialityClass,
    Derivation,
    Effect,
    ModelWeights,
    Purpose,
    Redistribution,
    Renewal,
)


class Terms(Part):
    """Terms of one agreement, grant or release. Every default is the strict one."""

    label: str = ""
    """What messages call these terms: the agreement's or grant's id."""
    recipients: Listed[str] | None = None
    """Organisations that may use the data at all; None: any that holds a grant."""
    purposes_allowed: Listed[Purpose] = ()
    purposes_denied: Listed[Purpose] = ()
    """Denied wins: a purpose in both lists is not allowed."""
    commercial: Commercial = Commercial.NO
    territory: Territory = Territory()
    effective_from: Instant | None = None
    expires_at: Instant | None = None
    embargo_until: Instant | None = None
    renewal: Renewal = Renewal.NONE
    notice_days: Limit = 0
    grace_days: Limit = 0
    """Days after `expires_at` in which reading goes on, to wind up."""
    derivatives: Derivatives = Derivatives()
    attribution: Attribution = Attribution()
    redistribution: Redistribution = Redistribution.NONE
    sublicensees: Listed[str] = ()
    benchmark_publication: bool = False
    volume_caps: VolumeCaps = VolumeCaps()
    concurrency: Limit | None = None
    max_runs: Limit | None = None
    pricing: Sections[Charge] = ()
    security: Security = Security()
    revocation: Revocation = Revocation()
    revoked_at: Instant | None = None
    confidentiality: Confidentiality = Confidentiality()
    personal: Annotated[Sections[PersonalData], Field(min_length=1)] = (PersonalData(),)
    """One entry per contribution; each has to hold."""
    medical: Annotated[Sections[MedicalData], Field(min_length=1)] = (MedicalData(),)
    copyright: Sections[Copyright] = ()
    disclose_recipient: bool = False
    """Whether the contributor is told who fetched, rather than a pseudonym."""

    @model_validator(mode="before")
    @classmethod
    def _denied_wins(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("purposes_denied"):
            denied = set(strings(data["purposes_denied"]))
            allowed = [p for p in strings(data.get("purposes_allowed", ())) if p not in denied]
            return data | {"purposes_allowed": allowed}
        return data

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.redistribution is Redistribution.SUBLICENCE_LIST and not self.sublicensees:
            raise ValueError("redistribution sublicence_list needs sublicensees")
        if self.redistribution is not Redistribution.SUBLICENCE_LIST and self.sublicensees:
            raise ValueError("sublicensees need redistribution sublicence_list")
        begin, end = self.effective_from, self.expires_at
        if begin is not None and end is not None and end <= begin:
            raise ValueError("expires_at must lie after effective_from")
        return self

    @classmethod
    def own_use(cls, organisation: str) -> Terms:
        """Terms under which an organisation uses what is its own, and nobody else does.

        Args:
            organisation: Organisation id, the only recipient.
        """
        anywhere = (ANYWHERE,)
        return cls(
            label=f"own use of {organisation}",
            recipients=(organisation,),
            purposes_allowed=tuple(Purpose),
            commercial=Commercial.YES,
            territory=Territory(
                storage=anywhere,
                processing=anywhere,
                model_deployment=anywhere,
                export_control=False,
            ),
            derivatives=Derivatives(
                derived_data=Derivation.ALLOWED,
                synthetic_data=Derivation.ALLOWED,
                embeddings=Derivation.ALLOWED,
                model_weights=(ModelWeights.LICENSEE_OWNS, ModelWeights.RETAIN_ALLOWED),
            ),
            benchmark_publication=True,
            security=Security(encryption=False, audit_right=False),
            revocation=Revocation(
                causes=(), effect=Effect.STOP_ALL, certificate=False, propagate_to=()
            ),
            confidentiality=Confidentiality(
                level=ConfidentialityClass.AMBER, competitive_area=False
            ),
            personal=(PersonalData(basis=Basis.OWN_OPERATIONS, controller=organisation),),
            medical=(MedicalData(controller=organisation),),
            disclose_recipient=True,
        )

    def revoked(self, at: int | str) -> Terms:
        """These terms, revoked from `at` on (ns UTC or ISO 8601 with an offset)."""
        return self.model_copy(update={"revoked_at": parse_instant(at)})

    def document(self) -> dict[str, Any]:
        """Plain JSON values; `Terms.model_validate` of them gives the same terms."""
        return self.model_dump(mode="json")

    def summary(self) -> list[str]:
        """The terms in sentences for cards and pages, most asked first."""
        return summarise(self)


def own_use(organisation: str) -> Terms:
    """`Terms.own_use` as a function."""
    return Terms.own_use(organisation)
