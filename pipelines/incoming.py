"""The landing folder: what partners' transfers left there, by organisation, robot and day.

```
<landing>/<organisation>/<robot>/<YYYY-MM-DD>/…     one day's recordings, as files or folders
```
The day is the day of delivery, chosen by whoever delivers; rows of the lake keep the day of their
own stamps. Files stay where they are: what became of each is on record in the catalog, and the
same file again is a duplicate. Robot and sector are the catalog's; a folder is never believed.

A transfer writes under a name that starts with `.` or ends in `.part` and renames at its end. For
those that do not, a file counts as arrived only when it has not changed for a while.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from connectors.stores.catalog.database import reading
from connectors.stores.catalog.models import Organisation, Robot
from connectors.stores.grouping import find_recordings
from schemas.errors import NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from connectors.stores.grouping import Candidate
    from pipelines.cli.platform import Platform

SETTLED_SECONDS: Final = 60
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_UNFINISHED: Final = frozenset({".part", ".partial", ".tmp", ".filepart"})
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Landing:
    """One day of one robot.

    Attributes:
        organisation / robot: Ids, both active in the catalog.
        sector: The robot's.
        day: Name of the day's folder, YYYY-MM-DD.
        arrived: Recordings that are all there.
        waiting: Paths below the landing folder that are still being written.
        left_out: Path -> why it is no recording.
        fingerprint: Changes whenever a file comes, goes or changes.
    """

    organisation: str
    robot: str
    sector: str
    day: str
    arrived: tuple[Candidate, ...]
    waiting: tuple[str, ...]
    left_out: tuple[str, ...]
    fingerprint: str

    def as_json(self) -> dict[str, Any]:
        """Plain values, with numbers for the lists of recordings."""
        return {
            "organisation": self.organisation,
            "robot": self.robot,
            "sector": self.sector,
            "day": self.day,
            "arrived": len(self.arrived),
            "waiting": len(self.waiting),
            "left_out": list(self.left_out),
            "fingerprint": self.fingerprint,
        }


@dataclass(slots=True)
class Incoming:
    """What lies in the landing folder.

    Attributes:
        landings: Days with anything in them, in a stable order.
        unknown: Folders of no active organisation, robot or day.
    """

    landings: list[Landing] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def incoming(
    platform: Platform,
    *,
    organisation: str | None = None,
    sector: str | None = None,
    day: str | None = None,
    settled_seconds: int = SETTLED_SECONDS,
) -> Incoming:
    """Look into the landing folder; nothing is read but names, sizes and times.

    Args:
        platform: The opened platform; its setting `landing` names the folder.
        organisation: Only of this one; None = all.
        sector: Only of robots of this one; None = all.
        day: Only this day, YYYY-MM-DD; None = all.
        settled_seconds: A file that changed since is still being written.

    Raises:
        NotFoundError: the folder does not exist.
        WrongUseError: no landing folder is configured, or `day` is none.
    """
    top = landing_folder(platform)
    if day is not None:
        checked_day(day)
    newest_ns = platform.clock() - settled_seconds * _NS
    found = Incoming()
    for folder, served in _robot_folders(top, _robots(platform), found.unknown):
        if organisation not in (None, folder.parent.name) or sector not in (None, served):
            continue
        for of_day in _folders(folder):
            if not _is_day(of_day.name):
                found.unknown.append(f"{of_day.relative_to(top)}: not a day, YYYY-MM-DD")
            elif day in (None, of_day.name):
                landing = _landing(top, of_day, served, newest_ns)
                if landing is not None:
                    found.landings.append(landing)
    return found


def _robot_folders(
    top: Path, known: Mapping[str, Mapping[str, str]], unknown: list[str]
) -> Iterator[tuple[Path, str]]:
    """Folders of robots that the catalog knows, with the robot's sector; notes the others."""
    for owner in _folders(top):
        if owner.name not in known:
            unknown.append(f"{owner.name}: no such active organisation")
            continue
        for robot in _folders(owner):
            if robot.name in known[owner.name]:
                yield robot, known[owner.name][robot.name]
            else:
                unknown.append(f"{owner.name}/{robot.name}: no such active robot")


def landing_folder(platform: Platform) -> Path:
    """The configured folder.

    Raises:
        NotFoundError: it does not exist.
        WrongUseError: none is configured.
    """
    if platform.settings.landing is None:
        raise WrongUseError(
            "no landing folder is configured", next_step="set TANADA_LANDING to a folder"
        )
    folder = Path(platform.settings.landing).expanduser().absolute()
    if not folder.is_dir():
        raise NotFoundError(
            "the landing folder does not exist",
            subject=str(folder),
            next_step="make it, or correct TANADA_LANDING",
        )
    return folder


def checked_day(text: str) -> str:
    """A day as folders name it.

    Raises:
        WrongUseError: it is none.
    """
    if not _is_day(text):
        raise WrongUseError("not a day", expected="YYYY-MM-DD", found=text[:40])
    return text


def _is_day(name: str) -> bool:
    try:
        return bool(_DAY.fullmatch(name)) and bool(dt.date.fromisoformat(name))
    except ValueError:
        return False


def _robots(platform: Platform) -> dict[str, dict[str, str]]:
    """Active organisation -> active robot -> sector."""
    owners = select(Organisation.id).where(Organisation.state == "active")
    robots = select(Robot.organisation_id, Robot.id, Robot.sector).where(Robot.state == "active")
    with reading(platform.engine) as connection:
        known: dict[str, dict[str, str]] = {key: {} for key in connection.execute(owners).scalars()}
        for owner, robot, sector in connection.execute(robots):
            if owner in known:
                known[owner][robot] = sector
    return known


def _landing(top: Path, folder: Path, sector: str, newest_ns: int) -> Landing | None:
    left_out: list[str] = []
    try:
        candidates = find_recordings([folder], left_out.append)
    except WrongUseError:
        candidates = []  # nothing that looks like a recording, or nothing at all
    arrived: list[Candidate] = []
    waiting: list[str] = []
    marks: list[str] = []
    for candidate in candidates:
        files = (*candidate.files, *candidate.sidecars)
        try:
            facts = [path.stat() for path in files]
        except FileNotFoundError:
            continue  # renamed or removed since: the next look sees it
        marks += [f"{p}:{s.st_size}:{s.st_mtime_ns}" for p, s in zip(files, facts, strict=True)]
        open_ended = any(p.name.startswith(".") or p.suffix in _UNFINISHED for p in files)
        if open_ended or any(fact.st_mtime_ns > newest_ns for fact in facts):
            waiting.append(str(candidate.path.relative_to(top)))
        else:
            arrived.append(candidate)
    if not candidates and not left_out:
        return None
    organisation, robot, day = folder.relative_to(top).parts
    return Landing(
        organisation=organisation,
        robot=robot,
        sector=sector,
        day=day,
        arrived=tuple(arrived),
        waiting=tuple(waiting),
        left_out=tuple(text.replace(f"{top}{os.sep}", "") for text in left_out),
        fingerprint=_digest(marks),
    )


def _digest(marks: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(marks)).encode()).hexdigest()[:16]


def _folders(parent: Path) -> Iterator[Path]:
    for path in sorted(parent.iterdir()):
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield path
