"""The outcome of the last verification of the lake: a small file in the root, for metrics."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from connectors.stores.store import store_of
from schemas.errors import StoreUnavailableError

if TYPE_CHECKING:
    from connectors.stores.store import Place

NAME: Final = "verified.json"


@dataclass(frozen=True, slots=True)
class Verification:
    """When the lake was verified, and how it was found.

    Attributes:
        at_ns: When it ended, ns UTC.
        damaged: Findings that are damage; surplus files are none.
    """

    at_ns: int
    damaged: int


def write_verified(folder: Place, verification: Verification) -> None:
    """Replace what is known of the last one.

    Raises:
        StoreUnavailableError: the disk is full or fails.
    """
    content = json.dumps(asdict(verification)).encode()
    store_of(folder).write(folder / NAME, content)


def read_verified(folder: Place) -> Verification | None:
    """The last one; None where there is none, or none that can be read."""
    try:
        document = json.loads((folder / NAME).read_bytes())
        return Verification(int(document["at_ns"]), int(document["damaged"]))
    except (OSError, StoreUnavailableError, ValueError, KeyError, TypeError):
        return None
