"""The `tanada` command: what partners and recipients do, and what other distributions add to it.

Other distributions join through the entry-point group `tanada.commands`: each names a function
`register(app)`. They are loaded only when a command is asked for that is not the client's own.
Exit codes: 0 all well, 1 refused or found damaged, 2 wrong use, 3 failed, a retry may help.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, ParamSpec

import typer

from tanada import show
from tanada.errors import TanadaClientError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tanada.catalog import Catalog

Parameters = ParamSpec("Parameters")
GROUP: Final = "tanada.commands"
OWN: Final = frozenset({"login", "search", "pull", "upload", "status", "verify"})
EXIT_REFUSED: Final = 1
_EXIT_INTERRUPTED: Final = 130
_FAILED: Final = frozenset({"quarantined", "failed", "conflict", "withdrawn"})

UrlOption = Annotated[
    str | None, typer.Option("--url", help="Address of the catalog. [env: TANADA_URL]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
PurposeOption = Annotated[
    str, typer.Option("--purpose", help="What the data are for: pretraining, evaluation, …")
]


def main() -> None:
    """Run the command of this process."""
    app(sys.argv[1:])(prog_name="tanada")


def app(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command with its own subcommands and, where `arguments` need them, everyone's.

    Args:
        arguments: Command line after the program's name; empty: everything is loaded.
    """
    made = typer.Typer(
        name="tanada",
        help="Robot recordings go in, checked and licensed training datasets come out.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for command in (login, search, pull, upload, status, verify):
        made.command()(command)
    if next(iter(arguments), None) not in OWN:
        _join(made)
    return made


def _join(made: typer.Typer) -> None:
    """Let installed distributions add their commands; one that cannot is named and left out."""
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=GROUP)):
        try:
            point.load()(made)
        except ImportError as error:
            show.note(f"note: the commands of {point.value} are not available: {error}")


def reporting(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Turn the client's errors into lines on stderr, a document on stdout, and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except TanadaClientError as error:
            show.note(f"error: {error}")
            if kwargs.get("as_json"):
                show.emit({"error": error.document()}, as_json=True, people=str)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            show.note("interrupted; the same command goes on from here")
            raise typer.Exit(_EXIT_INTERRUPTED) from None

    return wrapped


def _catalog(url: str | None) -> Catalog:
    from tanada.catalog import Catalog

    return Catalog(url)


@reporting
def login(
    *,
    url: UrlOption = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="The key; asked for where it is not given. [env: TANADA_KEY]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a key and keep it with the catalog's address, readable by you alone."""
    from tanada import settings
    from tanada.wire import Wire

    environ = settings.environment()
    address = settings.checked_url(url or environ.get("TANADA_URL") or settings.DEFAULT_URL)
    secret = (key or environ.get("TANADA_KEY") or "").strip()
    if not secret:
        secret = str(typer.prompt("Key", hide_input=True, err=True)).strip()
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise WrongUseError("that is no key", next_step="copy it as it was shown: tnd_…")
    found = settings.Login(address, secret)
    with Wire(found) as wire:
        me = wire.json("GET", "/v1/me")
    path = settings.login_file(environ)
    settings.save_login(path, found)
    document = {
        "url": address,
        "member": me["member"],
        "organisation": me["organisation"],
        "roles": me["roles"],
        "file": str(path),
    }
    show.emit(
        document,
        as_json=as_json,
        people=lambda d: (
            f"{d['member']} of {d['organisation']} ({', '.join(d['roles'])}) at {d['url']}\n"
            f"kept in {d['file']}"
        ),
    )


@reporting
def search(
    *,
    query: Annotated[str, typer.Argument(help="Words to look for; none: everything.")] = "",
    sector: Annotated[str | None, typer.Option("--sector", help="Only this sector.")] = None,
    purpose: Annotated[
        str | None, typer.Option("--purpose", help="Only what you may use for this.")
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the datasets that you may see."""
    with _catalog(url) as catalog:
        items = catalog.search(query, sector=sector, purpose=purpose)
    columns = ("id", "latest", "sectors", "purposes", "title")
    show.emit({"items": items}, as_json=as_json, people=lambda d: show.table(d["items"], columns))


@reporting
def pull(
    *,
    name: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The release.")],
    purpose: PurposeOption,
    to: Annotated[str, typer.Option("--to", help="Folder to put it in.")],
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a release into a folder, and prove every byte; the same command resumes it."""
    with _catalog(url) as catalog, show.progress_bar() as progress:
        release = catalog.pull(name, purpose=purpose, to=to, progress=progress)
    receipt = release.receipt
    document = {
        "dataset": receipt.dataset,
        "version": receipt.version,
        "digest": receipt.digest,
        "purpose": receipt.purpose,
        "folder": str(release.folder),
        "files": len(receipt.files),
        "bytes": sum(file.size for file in receipt.files),
        "obligations": list(receipt.obligations),
    }
    show.emit(document, as_json=as_json, people=_pulled)


def _pulled(document: dict[str, Any]) -> str:
    size = f"{document['files']} files, {show.amount(document['bytes'])}"
    lines = [
        f"{document['dataset']}@{document['version']} in {document['folder']}: {size}, verified",
        f"digest {document['digest']}",
        *(f"you have to: {text}" for text in document["obligations"]),
    ]
    return "\n".join(lines)


@reporting
def upload(
    *,
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files and folders.")],
    robot: Annotated[str, typer.Option("--robot", help="Robot that they are of.")],
    agreement: Annotated[str, typer.Option("--agreement", help="Agreement they come under.")],
    sector: Annotated[
        str | None, typer.Option("--sector", help="Sector; else the robot's.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdicts.")] = False,
    wait_seconds: Annotated[
        float, typer.Option("--wait-seconds", min=0, help="How long to wait for each.")
    ] = 600.0,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hand in recordings; what was sent before is not sent again."""
    from pathlib import Path

    from tanada import settings
    from tanada.grouping import find
    from tanada.upload import Outcome, Sending, send
    from tanada.upload import wait as wait_for

    groups = find([Path(path) for path in paths], show.note)
    sending = Sending(robot, agreement, sector)
    outcomes: list[Outcome] = []
    with _catalog(url) as catalog:
        with show.progress_bar() as progress:
            outcomes += [send(catalog.wire, group, sending, progress) for group in groups]
        if wait:
            for outcome in outcomes:
                if outcome.recording_id:
                    wait_for(catalog.wire, outcome, wait_seconds, settings.now_ns)
    documents = [_outcome(outcome) for outcome in outcomes]
    show.emit(documents, as_json=as_json, people=_uploaded)
    if any(outcome.status in _FAILED for outcome in outcomes):
        raise typer.Exit(EXIT_REFUSED)


def _outcome(outcome: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(outcome)


def _uploaded(documents: list[dict[str, Any]]) -> str:
    lines = []
    for document in documents:
        detail = f" ({document['detail']})" if document["detail"] else ""
        identity = document["recording_id"][:12] or "-"
        lines.append(f"{document['status']:<22}  {identity:<12}  {document['path']}{detail}")
        lines += [f"    {_reason(reason)}" for reason in document["reasons"]]
    return "\n".join(lines)


def _reason(reason: dict[str, Any]) -> str:
    where = f" on {reason['stream']}" if reason.get("stream") else ""
    said = f"observed {reason['observed']}" if reason.get("observed") else ""
    limit = f", limit {reason['limit']}" if reason.get("limit") else ""
    detail = f": {reason['detail']}" if reason.get("detail") else ""
    return f"{reason.get('rule')}{where} {said}{limit}{detail}".rstrip()


@reporting
def status(
    *,
    recording: Annotated[str, typer.Argument(help="Recording id; none: the newest ones.")] = "",
    state: Annotated[str | None, typer.Option("--state", help="Only in this state.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what became of your recordings: state, verdict, reasons, releases and uses."""
    with _catalog(url) as catalog:
        if not recording:
            columns = ("recording_id", "state", "robot", "bytes", "name")
            document: dict[str, Any] = {"items": catalog.recordings(state)}
            show.emit(document, as_json=as_json, people=lambda d: show.table(d["items"], columns))
            return
        document = catalog.recording(recording) | {"uses": catalog.uses(recording)}
    show.emit(document, as_json=as_json, people=_recording)


def _recording(document: dict[str, Any]) -> str:
    lines = [
        f"{document['recording_id']}  {document['name']}",
        f"state     {document['state']}",
        f"verdict   {document['verdict'] or 'not judged yet'}",
        *(f"reason    {_reason(reason)}" for reason in document["reasons"]),
        *(f"rows      {name}: {rows:,}" for name, rows in sorted(document["tables"].items())),
        *(f"release   {r['dataset']}@{r['version']}" for r in document["releases"]),
        *(
            f"use       {use['recipient']} fetched {show.amount(use['bytes'])} of "
            f"{use['dataset']}@{use['version']} {use['path']}"
            for use in document["uses"]
        ),
    ]
    return "\n".join(lines)


@reporting
def verify(
    *,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of a pulled release.")],
    as_json: JsonOption = False,
) -> None:
    """Read every byte of a pulled release and compare it with its receipt; no network needed."""
    from dataclasses import asdict
    from pathlib import Path

    from tanada.receipt import Receipt, check

    receipt = Receipt.read(Path(folder))
    total = sum(file.size for file in receipt.files)
    with show.progress_bar() as progress:
        findings = check(Path(folder), receipt, lambda more: progress("verifying", more, total))
    document = {
        "dataset": receipt.dataset,
        "version": receipt.version,
        "digest": receipt.digest,
        "folder": folder,
        "whole": not findings,
        "findings": [asdict(finding) for finding in findings],
    }
    show.emit(document, as_json=as_json, people=_verified)
    if findings:
        show.note(f"next: tanada pull {receipt.dataset}@{receipt.version} --to {folder} …")
        raise typer.Exit(EXIT_REFUSED)


def _verified(document: dict[str, Any]) -> str:
    name = f"{document['dataset']}@{document['version']}"
    if document["whole"]:
        return f"{name} in {document['folder']} is whole: digest {document['digest']}"
    lines = [f"{f['problem']:<8}  {f['path']}: {f['detail']}" for f in document["findings"]]
    return "\n".join([f"{name} in {document['folder']} is damaged:", *lines])
