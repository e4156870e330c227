"""What is asked, what was used so far, and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.licences.vocabulary import Action, Purpose


@dataclass(frozen=True, slots=True)
class Amount:
    """Volume of data: bytes, table rows, episodes, and hours of video."""

    bytes: int = 0
    rows: int = 0
    episodes: int = 0
    hours_of_video: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.bytes + other.bytes,
            self.rows + other.rows,
            self.episodes + other.episodes,
            self.hours_of_video + other.hours_of_video,
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """Volume used before this request, per window of UTC time, under one grant.

    Attributes:
        day: In the UTC day of the request.
        month: In its UTC month.
        term: Since the grant began.
        concurrent: Readers active now, this one not counted.
        runs: Training runs declared so far.
    """

    day: Amount = Amount()
    month: Amount = Amount()
    term: Amount = Amount()
    concurrent: int = 0
    runs: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One request for a decision.

    Attributes:
        member: Member id.
        organisation: Organisation id of the recipient.
        purpose: Stated purpose; None only where a list is asked for without one.
        action: What is about to happen.
        territory: ISO 3166-1 code of where the recipient stores and processes the data.
        network: IP address that the request comes from; None where there is none.
        now_ns: Instant of the request, ns UTC.
        amount: Volume that a permit would deliver in addition to what was used.
    """

    member: str
    organisation: str
    purpose: Purpose | None
    action: Action
    territory: str
    network: str | None
    now_ns: int
    amount: Amount = Amount()


@dataclass(frozen=True, slots=True)
class Decision:
    """Permit or deny.

    Attributes:
        permit: True only where no rule fired.
        rules: Names of all rules that fired, sorted.
        obligations: What follows for the recipient, sorted: `name` or `name: value`.
    """

    permit: bool
    rules: tuple[str, ...]
    obligations: tuple[str, ...]
