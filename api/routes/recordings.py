"""Recordings: hand in, follow, and see who uses them. A contributor sees its own only."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Request

from api import catalog
from api.access import CONTRIBUTORS, READERS, Access, DataRoute, Visiting, data_route
from api.errors import JsonResponse
from api.gate import disclosed
from api.routes.described import answers
from api.uploads import receive_body
from api.views import (
    FileView,
    ReceivedView,
    RecordingDetail,
    RecordingForm,
    RecordingPage,
    RecordingsQuery,
    StateView,
    UsePage,
)
from connectors.stores.catalog import recordings
from connectors.stores.receive import FileEntry
from schemas.errors import NotFoundError, WrongUseError
from schemas.ids import recording_id
from schemas.quality import Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from api.access import Visit
    from connectors.stores.receive import Received

router = APIRouter(route_class=DataRoute, tags=["recordings"])
BEGIN: Final = Access("receive", "partner, engineer or admin, for its organisation", CONTRIBUTORS)
SEND: Final = Access("receive", "the organisation that announced the recording", CONTRIBUTORS)
LIST: Final = Access("list_recordings", "members see their own organisation's", READERS)
SHOW: Final = Access("show_recording", "members see their own organisation's", READERS)
USES: Final = Access("show_uses", "members see uses of their own organisation's data", READERS)
RECORDING_DIGITS: Final = 64
"""An episode id begins with its recording's."""
VERDICTS: Final = frozenset(verdict.value for verdict in Verdict)
RecordingId = Annotated[str, Path(max_length=64)]


@data_route(
    router,
    "POST",
    "/v1/recordings",
    BEGIN,
    status_code=201,
    responses=answers(ReceivedView, "announced; send the missing files", 409, 413, status=201)
    | {200: {"model": ReceivedView, "description": "known already; nothing more is wanted"}},
)
async def begin_recording(visit: Visiting, form: RecordingForm) -> JsonResponse:
    """Announce a recording by its manifest; the answer names the files to send."""
    entries = [FileEntry(f.name, f.size, f.sha256, f.sidecar) for f in form.files]
    data = [(entry.size, entry.sha256) for entry in entries if not entry.sidecar]
    if not data:
        raise WrongUseError("a recording needs at least one data file", subject="files")
    await visit.permit(f"recordings/{recording_id(visit.organisation, data)}")
    received = await visit.services.in_thread(_begin, visit, form, entries)
    document = {
        "recording_id": received.recording_id,
        "state": received.state,
        "duplicate": received.duplicate,
        "missing": received.missing,
    }
    return JsonResponse(document, status_code=200 if received.duplicate else 201)


def _begin(visit: Visit, form: RecordingForm, entries: list[FileEntry]) -> Received:
    try:
        return visit.services.receiver.begin(
            visit.organisation,
            entries,
            form.robot,
            form.agreement,
            sector=form.sector,
            name=form.name,
            start_time_ns=form.start_time_ns,
        )
    except NotFoundError as error:
        # Robots and agreements of the caller's own organisation: it may be told which is unknown.
        raise WrongUseError(error.what, subject=error.subject, next_step=error.next_step) from error


@data_route(
    router,
    "PUT",
    "/v1/recordings/{recording}/files/{name:path}",
    SEND,
    responses=answers(FileView, "stored, and equal to the manifest", 409),
    openapi_body="the file's bytes as they are",
)
async def put_file(visit: Visiting, request: Request, recording: str, name: str) -> JsonResponse:
    """Send one file of an announced recording; what differs from the manifest is dropped."""
    name = unicodedata.normalize("NFC", name)
    resource = f"recordings/{recording}/files/{name}"
    declared = await visit.read(
        lambda connection: catalog.upload_of(connection, visit.organisation, recording, name)
    )
    if declared is None:
        raise await visit.refuse(resource, NotFoundError("no such recording or file"))
    await visit.permit(resource)
    landed = await receive_body(visit, request, recording, name, declared[0])
    return JsonResponse({"name": name, "size": landed.size, "sha256": landed.sha256})


@data_route(
    router,
    "POST",
    "/v1/recordings/{recording}/complete",
    SEND,
    status_code=202,
    responses=answers(StateView, "registered; a worker takes it from here", 409, status=202),
)
async def complete_recording(visit: Visiting, recording: RecordingId) -> JsonResponse:
    """Say that every file was sent; repeated, it answers the state reached."""
    await _own(visit, recording)
    await visit.permit(f"recordings/{recording}")
    complete = visit.services.receiver.complete
    state = await visit.services.in_thread(complete, recording, visit.organisation)
    return JsonResponse({"recording_id": recording, "state": state}, status_code=202)


@data_route(
    router,
    "GET",
    "/v1/recordings",
    LIST,
    responses=answers(RecordingPage, "a page of recordings, newest first"),
    query=RecordingsQuery,
)
async def list_recordings(visit: Visiting) -> JsonResponse:
    """List the recordings of the caller's organisation, newest first."""
    query = visit.asked(RecordingsQuery)
    page = await visit.read(
        lambda connection: recordings.listing(
            connection,
            organisation=visit.organisation,
            state=query.state,
            cursor=query.cursor,
            limit=query.limit,
        )
    )
    await visit.permit(f"organisations/{visit.organisation}/recordings")
    items = [recording_item(row) for row in page.items]
    return JsonResponse({"items": items, "next_cursor": page.next_cursor})


@data_route(
    router,
    "GET",
    "/v1/recordings/{recording}",
    SHOW,
    responses=answers(RecordingDetail, "its state, verdict, reasons, history and releases"),
)
async def show_recording(visit: Visiting, recording: RecordingId) -> JsonResponse:
    """Show one recording with its files, history and the releases that hold it."""
    row = await _own(visit, recording)

    def read(connection: Connection) -> dict[str, Any]:
        return recording_item(row) | {
            "files": [
                {key: file[key] for key in ("name", "size", "sha256", "sidecar", "stored")}
                for file in recordings.files_of(connection, recording)
            ],
            "steps": [
                {key: step[key] for key in ("step", "at_ns", "detail")}
                for step in recordings.steps_of(connection, recording)
            ],
            "releases": catalog.releases_holding(connection, [recording]).get(recording, []),
        }

    document = await visit.read(read)
    await visit.permit(f"recordings/{recording}")
    return JsonResponse(document)


@data_route(
    router,
    "GET",
    "/v1/recordings/{recording}/uses",
    USES,
    responses=answers(UsePage, "who fetched what of releases that hold it"),
)
async def show_uses(visit: Visiting, recording: RecordingId) -> JsonResponse:
    """Show who fetched what of the releases that hold this recording."""
    await _own(visit, recording)
    items = await uses(visit, recording)
    await visit.permit(f"recordings/{recording}/uses")
    return JsonResponse({"items": items})


async def uses(visit: Visit, recording: str | None = None) -> list[dict[str, Any]]:
    """Uses of the caller's recordings; a recipient is named only where its terms say so."""

    def read(connection: Connection) -> tuple[list[dict[str, Any]], set[tuple[str, int, str]]]:
        held = catalog.held_by_releases(connection, visit.organisation, recording)
        return catalog.uses_of(connection, visit.organisation, recording), held

    rows, held = await visit.read(read)
    pseudonym = visit.services.authenticator.pseudonym
    shown = ("dataset", "version", "path", "bytes", "first_ns", "last_ns")
    return [
        {
            "recipient": row["recipient_name"]
            if row["recipient"] == visit.organisation or disclosed(row["terms"])
            else pseudonym(visit.organisation, row["recipient"])
        }
        | {key: row[key] for key in shown}
        for row in rows
        if _concerns(row, held)
    ]


def _concerns(use: Mapping[str, Any], held: set[tuple[str, int, str]]) -> bool:
    """Whether a delivered file holds anything of the recordings in `held`.

    Tables mix all contributors; pictures lie per episode, and a rival's path would name its ids.
    """
    top, _, rest = use["path"].partition("/")
    if top != "media":
        return True
    return (use["dataset"], use["version"], rest[:RECORDING_DIGITS]) in held


async def _own(visit: Visit, recording: str) -> dict[str, Any]:
    try:
        return await visit.read(
            lambda connection: recordings.get(connection, recording, visit.organisation)
        )
    except NotFoundError as error:
        raise await visit.refuse(f"recordings/{recording}", error) from None


def recording_item(row: Mapping[str, Any]) -> dict[str, Any]:
    """A recording as lists show it."""
    state = row["state"]
    return {
        "recording_id": row["id"],
        "name": row["name"],
        "state": state,
        "verdict": state if state in VERDICTS else None,
        "robot": row["robot_id"],
        "agreement": row["agreement_id"],
        "sector": row["sector"],
        "reasons": [Reason.from_json(reason).as_json() for reason in row["reasons"]],
        "tables": row["tables"],
        "bytes": row["bytes"],
        "messages": row["messages"],
        "received_ns": row["received_ns"],
        "decided_ns": row["decided_ns"],
        "start_ns": row["start_ns"],
        "end_ns": row["end_ns"],
    }
