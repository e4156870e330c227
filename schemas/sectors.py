"""The registry of sectors: what kind of workplace a robot serves, and what is competitive there.

Eighteen fields are planned; five are built in. A sector's quality suite is the file
`pipelines/check/suites/<id>.json`; its sources are found by content, not by sector.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from schemas.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Sector:
    """One kind of workplace.

    Attributes:
        id: Registry key, as in `episodes.sector` and the suite's file name.
        title: English title.
        title_ja: Japanese title.
        competitive_fields: `table.column` of what only its owner may see, because it tells rivals
            how the work is done (part names, recipes, program names, line speeds, site positions).
        personal_streams: Whether pictures usually show people.
        default_units: Quantity -> the unit in which the sector's machines usually report it; the
            lake itself holds the units of `schemas.tables`.
    """

    id: str
    title: str
    title_ja: str
    competitive_fields: frozenset[str]
    personal_streams: bool
    default_units: Mapping[str, str]


_SITE: Final = frozenset(
    {
        "episodes.site",
        "nav_sat.latitude",
        "nav_sat.longitude",
        "nav_sat.altitude",
        "battery.serial_number",
        "battery.location",
    }
)


def _sector(
    key: str,
    title: str,
    title_ja: str,
    *,
    personal: bool,
    units: Mapping[str, str],
    competitive: frozenset[str] = frozenset(),
) -> Sector:
    return Sector(
        key, title, title_ja, _SITE | competitive, personal, MappingProxyType(dict(units))
    )


SECTORS: Final[Mapping[str, Sector]] = MappingProxyType(
    {
        sector.id: sector
        for sector in (
            _sector(
                "restaurant",
                "Restaurants",
                "飲食店",
                personal=True,
                units={"temperature": "degC", "mass": "g", "time": "s"},
            ),
            _sector(
                "food",
                "Food manufacturing",
                "食品製造",
                personal=False,
                units={"temperature": "degC", "mass": "g", "speed": "1/min"},
            ),
            _sector(
                "medical",
                "Medical care",
                "医療",
                personal=True,
                units={"pressure": "mmHg", "rate": "1/min", "temperature": "degC"},
            ),
            _sector(
                "factory",
                "Factories",
                "工場",
                personal=False,
                units={"length": "mm", "angle": "deg", "speed": "mm/min"},
            ),
            _sector(
                "logistics",
                "Logistics",
                "物流",
                personal=False,
                units={"length": "m", "angle": "rad", "mass": "kg"},
            ),
        )
    }
)
"""Every sector by id."""


def sector(key: str) -> Sector:
    """The sector of that id.

    Raises:
        WrongUseError: no such sector; the message names those that exist.
    """
    try:
        return SECTORS[key]
    except KeyError:
        raise WrongUseError(
            "no such sector",
            subject=key[:80],
            expected=", ".join(sorted(SECTORS)),
            next_step="choose one of them with --sector",
        ) from None
