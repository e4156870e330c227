"""The groups org, member, key, robot, agreement, dataset, grant: each add, list, show, revoke."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pipelines.cli.platform import (
    DatabaseOption,
    JsonOption,
    Platform,
    RootOption,
    emit,
    examples,
    progress,
    read_yaml,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

OrganisationOption = Annotated[
    str | None, typer.Option("--organisation", help="Organisation id. Default: the operator.")
]
StateOption = Annotated[
    str | None, typer.Option("--state", help="Only those: active, revoked, superseded.")
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id.")]
TermsOption = Annotated[
    Path, typer.Option("--terms", metavar="FILE.yaml", help="Terms; what they omit is strict.")
]
AgreementIdOption = Annotated[
    str | None, typer.Option("--agreement", help="The recipient's agreement, if on file.")
]
NewIdOption = Annotated[str | None, typer.Option("--id", help="Its id. Default: a new one.")]

TITLES: Final[Mapping[str, str]] = {
    "org": "Organisations: the legal parties.",
    "member": "Members: persons and machines of an organisation, with roles.",
    "key": "Keys of members. Only a keyed hash of a key is stored.",
    "robot": "Robots of an organisation, with sector and joint limits.",
    "agreement": "Agreements: terms under which an organisation contributes.",
    "dataset": "Datasets: named recipes.",
    "grant": "Grants: what an organisation may do with a dataset.",
}
EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "org": ("tanada org add 'Acme Foods' --corporate-number 1234567890123",),
    "member": ("tanada member add uploader --organisation acme-foods --role partner",),
    "key": (
        "tanada key add m-0123456789abcdef",
        "tanada key add m-0123456789abcdef --expires 2027-04-01T00:00:00+09:00 --json",
    ),
    "robot": ("tanada robot add arm-7 --sector food --joint-limits limits.yaml",),
    "agreement": (
        "tanada agreement add 'Contribution 2026' --organisation acme-foods --terms terms.yaml",
    ),
    "dataset": ("tanada dataset add pick-and-place --title 'Pick and place' --recipe recipe.yaml",),
    "grant": (
        "tanada grant add --dataset pick-and-place --organisation model-team --terms terms.yaml",
    ),
}
Shown = tuple[dict[str, Any], str]
"""A row, and the id under which it is shown."""


def register(app: typer.Typer) -> None:
    """Add the seven groups."""
    adders: Mapping[str, Callable[..., None]] = {
        "org": add_org,
        "member": add_member,
        "key": add_key,
        "robot": add_robot,
        "agreement": add_agreement,
        "dataset": add_dataset,
        "grant": add_grant,
    }
    for kind, adder in adders.items():
        group = typer.Typer(help=TITLES[kind], no_args_is_help=True, rich_markup_mode=None)
        group.command("add", epilog=examples(*EXAMPLES[kind]))(adder)
        for name, make in (("list", _lister), ("show", _shower), ("revoke", _revoker)):
            example = f"tanada {kind} {name}" + ("" if name == "list" else " ID") + " --json"
            group.command(name, epilog=examples(example))(make(kind))
        app.add_typer(group, name=kind)


def _lister(kind: str) -> Callable[..., None]:
    @run
    def list_rows(
        *,
        organisation: Annotated[
            str | None, typer.Option("--organisation", help="Only those of it.")
        ] = None,
        state: StateOption = None,
        root: RootOption = None,
        database_url: DatabaseOption = None,
        as_json: JsonOption = False,
    ) -> None:
        from connectors.stores.catalog import parties
        from connectors.stores.catalog.database import reading

        with (
            Platform.from_environment(root=root, database_url=database_url) as platform,
            reading(platform.engine) as connection,
        ):
            rows = parties.listing(connection, kind, organisation=organisation, state=state)
        if not as_json:
            rows = [{k: v for k, v in row.items() if k not in {"terms", "recipe"}} for row in rows]
        emit(rows, as_json=as_json)

    list_rows.__doc__ = "List them, oldest first."
    return list_rows


def _shower(kind: str) -> Callable[..., None]:
    @run
    def show_row(
        *,
        key: IdArgument,
        organisation: Annotated[
            str | None, typer.Option("--organisation", help="Whose, where several have that id.")
        ] = None,
        root: RootOption = None,
        database_url: DatabaseOption = None,
        as_json: JsonOption = False,
    ) -> None:
        from connectors.stores.catalog import parties
        from connectors.stores.catalog.database import reading

        with (
            Platform.from_environment(root=root, database_url=database_url) as platform,
            reading(platform.engine) as connection,
        ):
            row = parties.show(connection, kind, key, organisation=organisation)
        emit(row, as_json=as_json)

    show_row.__doc__ = "Show one."
    return show_row


def _revoker(kind: str) -> Callable[..., None]:
    @run
    def revoke_row(
        *,
        key: IdArgument,
        organisation: Annotated[
            str | None, typer.Option("--organisation", help="Whose, where several have that id.")
        ] = None,
        root: RootOption = None,
        database_url: DatabaseOption = None,
        as_json: JsonOption = False,
    ) -> None:
        from connectors.stores.catalog import parties
        from connectors.stores.catalog.database import writing

        with (
            Platform.from_environment(root=root, database_url=database_url) as platform,
            writing(platform.engine) as connection,
        ):
            row = parties.revoke(connection, kind, key, platform.clock, organisation=organisation)
        emit(row, as_json=as_json)

    revoke_row.__doc__ = "End one: it stays on record, and counts no more."
    return revoke_row


def _added(
    kind: str,
    add: Callable[[Connection, Platform], tuple[str, str | None]],
    *,
    root: str | None,
    database_url: str | None,
    as_json: bool,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Run an addition in one transaction and answer the new row.

    `add` returns the row's id and its organisation (None where ids are unique anyway).
    """
    from connectors.stores.catalog import parties
    from connectors.stores.catalog.database import writing

    with (
        Platform.from_environment(root=root, database_url=database_url) as platform,
        writing(platform.engine) as connection,
    ):
        key, owner = add(connection, platform)
        row = parties.show(connection, kind, key, organisation=owner)
    emit(row | dict(extra or {}), as_json=as_json)


def _organisation(connection: Connection, given: str | None) -> str:
    from connectors.stores.catalog import parties
    from schemas.errors import NotFoundError

    organisation = given or parties.operator_id(connection)
    if organisation is None:
        raise NotFoundError("no operator yet", next_step="tanada init --organisation NAME")
    return organisation


@run
def add_org(
    *,
    name: Annotated[str, typer.Argument(help="Legal name.")],
    key: Annotated[str | None, typer.Option("--id", help="Default: made from the name.")] = None,
    country: Annotated[str, typer.Option("--country", help="ISO 3166 code.")] = "JP",
    corporate_number: Annotated[
        str | None, typer.Option("--corporate-number", help="13 digits.")
    ] = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register an organisation."""
    from connectors.stores.catalog import parties

    def add(connection: Connection, platform: Platform) -> tuple[str, str | None]:
        made = parties.add_organisation(
            connection,
            name=name,
            clock=platform.clock,
            organisation=key,
            country=country,
            corporate_number=corporate_number,
        )
        return made, None

    _added("org", add, root=root, database_url=database_url, as_json=as_json)


@run
def add_member(
    *,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    role: Annotated[
        list[str],
        typer.Option("--role", help="partner, engineer, steward, model, auditor or admin; repeat."),
    ],
    organisation: OrganisationOption = None,
    kind: Annotated[str, typer.Option("--kind", help="machine or person.")] = "machine",
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a member of an organisation."""
    from connectors.stores.catalog import parties

    def add(connection: Connection, platform: Platform) -> tuple[str, str | None]:
        owner = _organisation(connection, organisation)
        made = parties.add_member(
            connection,
            organisation=owner,
            name=name,
            roles=role,
            clock=platform.clock,
            kind=kind,
        )
        return made, owner

    _added("member", add, root=root, database_url=database_url, as_json=as_json)


@run
def add_key(
    *,
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="Member id.")],
    expires: Annotated[
        str | None, typer.Option("--expires", help="ISO 8601 with offset. Default: never.")
    ] = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key for a member. It is shown once."""
    from connectors.stores.catalog import parties
    from schemas.errors import WrongUseError
    from schemas.licences import parse_instant

    try:
        expires_ns = None if expires is None else parse_instant(expires)
    except ValueError as error:
        raise WrongUseError(
            "not a point in time", subject="--expires", found=expires or ""
        ) from error
    secret: dict[str, str] = {}

    def add(connection: Connection, platform: Platform) -> tuple[str, str | None]:
        secret["key"] = parties.issue_key(
            connection, member, platform.root.pepper(), platform.clock, expires_ns
        )
        return secret["key"].split("_")[1], None

    _added("key", add, root=root, database_url=database_url, as_json=as_json, extra=secret)
    progress("keep the key: it is stored nowhere and not shown again")


@run
def add_robot(
    *,
    robot: Annotated[str, typer.Argument(metavar="ID", help="Its id, unique in its organisation.")],
    sector: Annotated[
        str, typer.Option("--sector", help="restaurant, food, medical, factory or logistics.")
    ],
    organisation: OrganisationOption = None,
    kind: Annotated[str, typer.Option("--type", help="Type or model.")] = "unknown",
    site: Annotated[str | None, typer.Option("--site", help="Where it works.")] = None,
    joint_limits: Annotated[
        Path | None,
        typer.Option(
            "--joint-limits", metavar="FILE.yaml", help="joint: [lower, upper], in rad or m."
        ),
    ] = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a robot of an organisation."""
    from connectors.stores.catalog import parties

    limits = {} if joint_limits is None else read_yaml(joint_limits)

    def add(connection: Connection, platform: Platform) -> tuple[str, str | None]:
        owner = _organisation(connection, organisation)
        made = parties.add_robot(
            connection,
            organisation=owner,
            robot=robot,
            sector=sector,
            clock=platform.clock,
            kind=kind,
            site=site,
            joint_limits=limits,
        )
        return made, owner

    _added("robot", add, root=root, database_url=database_url, as_json=as_json)


@run
def add_agreement(
    *,
    title: Annotated[str, typer.Argument(help="What it is called.")],
    terms: TermsOption,
    organisation: OrganisationOption = None,
    key: Annotated[
        str | None,
        typer.Option("--id", help="Its id; an existing one gets a new version. Default: a new id."),
    ] = None,
    kind: Annotated[
        str, typer.Option("--kind", help="provision_licence, transfer, joint_use or platform.")
    ] = "provision_licence",
    document: Annotated[
        Path | None, typer.Option("--document", help="The signed paper; its SHA-256 is kept.")
    ] = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register terms under which an organisation contributes."""
    from connectors.stores.catalog import parties

    stated = _terms(terms)
    sha256 = None if document is None else _sha256(document)

    def add(connection: Connection, platform: Platform) -> tuple[str, str | None]:
        owner = _organisation(connection, organisation)
        made, _ = parties.add_agreement(
            connection,
            organisation=owner,
            title=title,
            terms=stated,
            clock=platform.clock,
            agreement=key,
            kind=kind,
            document_sha256=sha256,
        )
        return made, owner

    _added("agreement", add, root=root, database_url=database_url, as_json=as_json)


@run
def add_dataset(
    *,
    dataset: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in addresses.")],
    title: Annotated[str, typer.Option("--title", help="For people.")],
    description: Annotated[str, typer.Option("--description", help="For people.")] = "",
    sector: Annotated[
        list[str] | None, typer.Option("--sector", help="Sectors it covers; repeat.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE.yaml", help="Its first recipe.")
    ] = None,
    organisation: OrganisationOption = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a dataset, published by an organisation."""
    from connectors.stores.catalog import parties

    stated = {} if recipe is None else _validated(recipe, _recipe)

    def add(connection: Connection, platform: Platform) -> tuple[str, str | None]:
        owner = _organisation(connection, organisation)
        made = parties.add_dataset(
            connection,
            dataset=dataset,
            organisation=owner,
            title=title,
            clock=platform.clock,
            description=description,
            sectors=sector or (),
            recipe=stated,
        )
        return made, owner

    _added("dataset", add, root=root, database_url=database_url, as_json=as_json)


@run
def add_grant(
    *,
    dataset: Annotated[str, typer.Option("--dataset", help="Dataset id.")],
    organisation: Annotated[str, typer.Option("--organisation", help="The recipient's id.")],
    terms: TermsOption,
    agreement: AgreementIdOption = None,
    key: NewIdOption = None,
    root: RootOption = None,
    database_url: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let an organisation use a dataset under terms; the release's own terms hold as well."""
    from connectors.stores.catalog import parties

    stated = _terms(terms)

    def add(connection: Connection, platform: Platform) -> tuple[str, str | None]:
        made = parties.add_grant(
            connection,
            dataset=dataset,
            organisation=organisation,
            terms=stated,
            clock=platform.clock,
            agreement=agreement,
            grant=key,
        )
        return made, organisation

    _added("grant", add, root=root, database_url=database_url, as_json=as_json)


def _terms(path: Path) -> dict[str, Any]:
    from schemas.licences import Terms

    return _validated(path, Terms.model_validate)


def _recipe(document: Any) -> Any:
    from schemas.recipe import Recipe

    return Recipe.model_validate(document)


def _validated(path: Path, validate: Callable[[Any], Any]) -> dict[str, Any]:
    from pydantic import ValidationError

    from schemas.errors import WrongUseError

    try:
        document: dict[str, Any] = validate(read_yaml(path)).model_dump(mode="json")
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'document'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise WrongUseError(
            "the file does not hold what it should", subject=str(path), found=found
        ) from error
    return document


def _sha256(path: Path) -> str:
    import hashlib

    from schemas.errors import NotFoundError

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NotFoundError("the file cannot be read", subject=str(path)) from error
