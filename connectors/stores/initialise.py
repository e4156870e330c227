"""Making a new platform: root, catalog, tables, and the operator with terms for its own use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect

from connectors.stores.catalog import parties
from connectors.stores.catalog.database import connect, migrate, reading, writing
from connectors.stores.lake import Lake
from connectors.stores.root import MARKER, Root
from schemas.errors import NotFoundError, WrongUseError
from schemas.ids import organisation_id
from schemas.licences import Terms
from schemas.sectors import sector as known_sector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

    from connectors.stores.store import Access

DEFAULT_ROBOT: Final = "default"


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `initialise` made.

    Attributes:
        root: The folder.
        lake_id: Id of the lake.
        organisation: The operator.
        member: Its first admin.
        agreement: Under which it contributes for its own use.
        robot: Robot for recordings of which nothing else is said.
        sector: That robot's.
        key: The admin's key. It is stored nowhere; a repr does not show it.
    """

    root: str
    lake_id: str
    organisation: str
    member: str
    agreement: str
    robot: str
    sector: str
    key: str

    def __repr__(self) -> str:
        return f"Initialised(root={self.root!r}, organisation={self.organisation!r}, key='***')"


def initialise(
    path: str | Path,
    organisation: str,
    clock: Callable[[], int],
    *,
    database_url: str | None = None,
    sector: str = "factory",
    access: Access | None = None,
) -> Initialised:
    """Make a platform and its operator. One that a crash left half made is completed.

    Args:
        path: Folder to make, or `s3://bucket/prefix`.
        organisation: The operator's name.
        clock: Nanoseconds UTC.
        database_url: Catalog database; default: an SQLite file in the root.
        sector: Sector of the robot `default`.
        access: How an object store is reached.

    Raises:
        FailError: the object store lacks what the platform rests on.
        WrongUseError: it is initialised already (nothing changes), or the name or sector is none.
    """
    known_sector(sector)
    key = organisation_id(organisation)
    try:
        root = Root.open(path, access)
    except NotFoundError:
        root = Root.create(path, clock, access)
    engine = connect(database_url or root.database_url)
    try:
        if (operator := operator_of(engine)) is not None:
            raise WrongUseError(
                "this root is initialised already; nothing was changed",
                subject=str(root.path / MARKER),
                found=f"operator {operator}",
                next_step="choose another --root, or tanada org add for another organisation",
            )
        migrate(engine)
        Lake(root).create_all()
        return _operator(root, engine, clock, name=organisation, key=key, sector=sector)
    finally:
        engine.dispose()


def operator_of(engine: Engine) -> str | None:
    """Id of the operator, or None where the catalog is empty or has no tables yet."""
    with reading(engine) as connection:
        if not inspect(connection).has_table("organisations"):
            return None
        return parties.operator_id(connection)


def _operator(
    root: Root, engine: Engine, clock: Callable[[], int], *, name: str, key: str, sector: str
) -> Initialised:
    terms = Terms.own_use(key).model_dump(mode="json")
    with writing(engine) as connection:
        parties.add_organisation(connection, name=name, clock=clock, operator=True)
        member = parties.add_member(
            connection, organisation=key, name="admin", roles=["admin"], clock=clock, kind="person"
        )
        agreement, _ = parties.add_agreement(
            connection,
            organisation=key,
            title=f"Own use of {name}",
            terms=terms,
            clock=clock,
            agreement=f"{key}-own-use",
        )
        parties.add_robot(
            connection, organisation=key, robot=DEFAULT_ROBOT, sector=sector, clock=clock
        )
        secret = parties.issue_key(connection, member, root.pepper(), clock)
    return Initialised(
        root=str(root.path),
        lake_id=root.lake_id,
        organisation=key,
        member=member,
        agreement=agreement,
        robot=DEFAULT_ROBOT,
        sector=sector,
        key=secret,
    )
