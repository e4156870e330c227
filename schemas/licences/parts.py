"""The sections of terms, each field at its strict value unless stated.

Lists of plain values are kept sorted and without doubles, so that equal terms compare equal.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.licences.instants import Instant
from schemas.licences.vocabulary import (
    Basis,
    Cause,
    ConfidentialityClass,
    Derivation,
    Effect,
    ModelWeights,
    Price,
    Propagation,
    Purpose,
)

ANYWHERE: Final = "*"
_COUNTRY = re.compile(r"[A-Z]{2}")
_Item = TypeVar("_Item")
_Section = TypeVar("_Section", bound=BaseModel)


def _listed(value: object) -> object:
    """One value stands for a list of one; a list of plain values is sorted and without doubles."""
    if isinstance(value, str | dict | BaseModel):
        return (value,)
    if isinstance(value, list | tuple | set | frozenset) and all(
        isinstance(item, str) for item in value
    ):
        return tuple(sorted(set(value)))
    return value


def _countries(value: object) -> object:
    codes = _listed(value)
    if isinstance(codes, tuple):
        if ANYWHERE in codes:
            return (ANYWHERE,)
        wrong = [code for code in codes if not _COUNTRY.fullmatch(str(code))]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no ISO 3166-1 alpha-2 code (or * for anywhere)")
    return codes


def collapse(networks: object) -> tuple[str, ...]:
    """Smallest sorted list of CIDR blocks that covers the same addresses.

    Raises:
        ValueError: one of them is no CIDR block.
    """
    blocks = [ipaddress.ip_network(text) for text in strings(networks)]
    v4 = [block for block in blocks if isinstance(block, ipaddress.IPv4Network)]
    v6 = [block for block in blocks if isinstance(block, ipaddress.IPv6Network)]
    return (
        *map(str, ipaddress.collapse_addresses(v4)),
        *map(str, ipaddress.collapse_addresses(v6)),
    )


def _networks(value: object) -> object:
    return None if value is None else collapse(value)


def strings(value: object) -> tuple[str, ...]:
    """One text or a list of texts, sorted and without doubles.

    Raises:
        ValueError: it is neither.
    """
    items = _listed(value)
    if not isinstance(items, tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError("a text or a list of texts is expected")
    return items


def ordered(parts: tuple[_Section, ...]) -> tuple[_Section, ...]:
    """Sections in a fixed order, doubles dropped."""
    return tuple(sorted(dict.fromkeys(parts), key=lambda part: part.model_dump_json()))


Listed = Annotated[tuple[_Item, ...], BeforeValidator(_listed)]
Sections = Annotated[tuple[_Section, ...], BeforeValidator(_listed), AfterValidator(ordered)]
Countries = Annotated[tuple[str, ...], BeforeValidator(_countries)]
Networks = Annotated[tuple[str, ...] | None, BeforeValidator(_networks)]
Limit = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A frozen section of terms; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Territory(Part):
    """Where data may lie, be processed, and where models trained on them may run (ISO 3166-1)."""

    storage: Countries = ()
    processing: Countries = ()
    model_deployment: Countries = ()
    export_control: bool = True
    """Whether an export-control review is due before data leave the country."""


class Derivatives(Part):
    """What may be made from the data."""

    derived_data: Derivation = Derivation.NONE
    synthetic_data: Derivation = Derivation.NONE
    embeddings: Derivation = Derivation.NONE
    model_weights: Listed[ModelWeights] = (
        ModelWeights.MUST_DELETE_ON_TERMINATION,
        ModelWeights.NO_RELEASE,
    )
    field_of_use: Listed[str] | None = None
    """Fields in which derivatives may be used; None: any."""

    @model_validator(mode="after")
    def _holdable(self) -> Self:
        held = set(self.model_weights)
        if {ModelWeights.RETAIN_ALLOWED, ModelWeights.MUST_DELETE_ON_TERMINATION} <= held:
            raise ValueError("model_weights: retain_allowed contradicts must_delete_on_termination")
        if {ModelWeights.LICENSOR_SHARE, ModelWeights.NO_RELEASE} <= held:
            raise ValueError("model_weights: licensor_share contradicts no_release")
        return self


class Attribution(Part):
    """Whether the contributor must be named, or must not be."""

    required: bool = False
    anonymous: bool = False
    text: Listed[str] = ()

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.required and self.anonymous:
            raise ValueError("attribution can't be both required and anonymous")
        if self.required and not self.text:
            raise ValueError("a required attribution needs its text")
        return self


class Volume(Part):
    """A cap on volume in one window; None: no cap."""

    bytes: Limit | None = None
    rows: Limit | None = None
    episodes: Limit | None = None
    hours_of_video: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class VolumeCaps(Part):
    """Caps per UTC day, per UTC month, and for the whole term."""

    day: Volume = Volume()
    month: Volume = Volume()
    term: Volume = Volume()


class Charge(Part):
    """One price. Amounts are in the currency's smallest unit (yen), per unit of `price`."""

    price: Price = Price.FREE
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "JPY"
    amount: Limit = 0
    minimum: Limit = 0


class Security(Part):
    """How the recipient has to hold the data, and who may touch them."""

    encryption: bool = True
    allowed_networks: Networks = None
    """CIDR blocks from which the data may be read; None: any."""
    enclave_only: bool = False
    """Whether data may only be queried in place, never taken away."""
    members: Listed[str] | None = None
    """Ids of the members who may read; None: all of the recipient."""
    audit_right: bool = True


class Revocation(Part):
    """Why terms may end early, and what follows."""

    causes: Listed[Cause] = tuple(sorted(Cause))
    effect: Effect = Effect.DELETE
    deletion_deadline_days: Limit = 30
    certificate: bool = True
    propagate_to: Listed[Propagation] = tuple(sorted(Propagation))


class Confidentiality(Part):
    """Confidentiality class, and whether the data touch a competitive area."""

    level: ConfidentialityClass = ConfidentialityClass.RED
    competitive_area: bool = True


class PersonalData(Part):
    """Basis on which personal data of one contribution are held and provided."""

    contains_pi: bool = True
    special_care: bool = True
    biometric_face: bool = True
    minors: bool = True
    basis: Basis = Basis.NONE
    controller: str = ""
    """Organisation that holds them; needed by the bases that allow no provision to others."""
    consent_document: str = ""
    """Version of the consent form; never a person's name."""
    consent_scope_purposes: Listed[Purpose] = ()
    in_force_from: Instant | None = None
    """From when an operator lets the statistical exception count."""


class MedicalData(Part):
    """Basis of medical data: a consent record, an anonymisation certificate or a producer's id."""

    contains_medical: bool = True
    consent_record: str = ""
    anonymisation_certificate: str = ""
    certified_producer: str = ""
    controller: str = ""
    """Organisation that holds them; it needs none of the three for its own operations."""


class Copyright(Part):
    """Works inside the data, and whether analysis under Article 30-4 is reserved."""

    works_present: bool = True
    rights_holder: str = ""
    art_30_4_reserved: bool = True
    reservation_text: str = ""
    database_work: bool = True
