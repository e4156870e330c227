"""The pages: catalog, dataset, partner. Each asks and records like the machine routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path
from starlette.responses import Response

from api import catalog, gate
from api.access import READERS, Access, DataRoute, Visiting, data_route
from api.listing import search
from api.pages.login import router as login_router
from api.pages.plot import draw
from api.pages.render import PURPOSES, page
from api.pages.rows import STATISTICS, by_recipient, statistic_rows
from api.pagination import decode_cursor, encode_cursor
from api.release_files import read_document
from api.routes.datasets import admit, dataset_document
from api.routes.recordings import recording_item, uses
from api.views import DatasetsQuery, PurposeQuery, RecordingsQuery
from connectors.stores.catalog import recordings
from schemas.errors import NotFoundError
from schemas.licences import Action

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from api.access import Visit
    from api.gate import Opened

router = APIRouter()
guarded = APIRouter(route_class=DataRoute)
CATALOG: Final = Access("list", "members see what their organisation was granted or publishes")
DATASET: Final = Access("metadata", "members of an organisation that was granted it")
PARTNER: Final = Access("list_recordings", "members see their own organisation's", READERS)


@data_route(guarded, "GET", "/", CATALOG, query=DatasetsQuery)
async def show_catalog(visit: Visiting) -> Response:
    """Search the datasets."""
    query = visit.asked(DatasetsQuery)
    position = decode_cursor("datasets", query.cursor, str)
    sector, purpose = query.sector or None, query.purpose or None
    visible = await visit.services.listing.visible(visit)
    found = search(
        visible.datasets,
        words=query.q,
        sector=sector,
        purpose=purpose,
        after=position[0] if position else None,
        limit=query.limit,
    )
    await visit.permit("datasets", purpose=purpose)
    return page(
        "catalog.html",
        caller=visit.caller,
        found=found,
        q=query.q or "",
        sector=sector,
        purpose=purpose,
        next_cursor=encode_cursor("datasets", found.last) if found.last else None,
    )


@data_route(guarded, "GET", "/datasets/{dataset}", DATASET, query=PurposeQuery)
async def show_dataset(visit: Visiting, dataset: Annotated[str, Path(max_length=100)]) -> Response:
    """Show one dataset and, for a purpose that its terms allow, what is in its newest release."""
    query = visit.asked(PurposeQuery)
    record = await gate.find_dataset(visit, dataset, f"datasets/{dataset}")
    judgement = await admit(visit, record, None)
    document = dataset_document(visit, record, judgement)
    releases = await visit.read(lambda connection: catalog.releases_of(connection, dataset))
    stated = query.purpose if query.purpose in PURPOSES else None
    chosen = stated or (document["purposes"][0] if document["purposes"] else None)
    shown: dict[str, Any] = {}
    if chosen and record.latest and document["by_purpose"][chosen]["permit"]:
        shown = await _contents(visit, dataset, chosen)
    return page(
        "dataset.html",
        caller=visit.caller,
        dataset=document,
        releases=releases,
        chosen=chosen,
        verdict=document["by_purpose"][chosen] if chosen else None,
        contents=shown,
        statistics=STATISTICS,
    )


async def _contents(visit: Visit, dataset: str, purpose: str) -> dict[str, Any]:
    opened = await gate.open_release(visit, dataset, "latest", purpose, Action.METADATA)
    documents = {
        name: await _optional(visit, opened, name)
        for name in ("schema.json", "statistics.json", "plot.json")
    }
    release = opened.release
    count, size = await visit.read(
        lambda connection: catalog.file_totals(connection, dataset, release.version)
    )
    preview = await visit.read(
        lambda connection: catalog.file_of(connection, dataset, release.version, "preview.jpg")
    )
    await gate.permit(visit, opened)
    plotted = documents["plot.json"]
    tables = (documents["schema.json"] or {}).get("tables", {})
    return {
        "release": release,
        "tables": sorted(tables.items(), key=lambda table: table[0] != "frames"),
        "statistics": statistic_rows((documents["statistics.json"] or {}).get("features", {})),
        "plot": draw(plotted) if plotted else None,
        "files": {"count": count, "bytes": size},
        "preview": preview is not None,
    }


async def _optional(visit: Visit, opened: Opened, name: str) -> dict[str, Any] | None:
    release = opened.release
    known = await visit.read(
        lambda connection: catalog.file_of(connection, release.dataset_id, release.version, name)
    )
    if known is None:
        return None
    document: dict[str, Any] = orjson.loads(await read_document(visit, opened, name))
    return document


@data_route(
    guarded, "GET", "/datasets/{dataset}/releases/{version}/preview", DATASET, query=PurposeQuery
)
async def show_preview(
    visit: Visiting,
    dataset: Annotated[str, Path(max_length=100)],
    version: Annotated[str, Path(max_length=10)],
) -> Response:
    """The one preview picture of a release."""
    query = visit.asked(PurposeQuery)
    opened = await gate.open_release(visit, dataset, version, query.purpose, Action.METADATA)
    content = await read_document(visit, opened, "preview.jpg")
    await gate.permit(visit, opened, f"{opened.resource}/preview.jpg")
    return Response(content, media_type="image/jpeg")


@data_route(guarded, "GET", "/partner", PARTNER, query=RecordingsQuery)
async def show_partner(visit: Visiting) -> Response:
    """Show what the caller's organisation handed in, what became of it, and who uses it."""
    query = visit.asked(RecordingsQuery)
    state = query.state or None

    def read(connection: Connection) -> tuple[list[dict[str, Any]], str | None]:
        found = recordings.listing(
            connection,
            organisation=visit.organisation,
            state=state,
            cursor=query.cursor,
            limit=query.limit,
        )
        held = catalog.releases_holding(connection, [row["id"] for row in found.items])
        items = [recording_item(row) | {"releases": held.get(row["id"], [])} for row in found.items]
        return items, found.next_cursor

    items, next_cursor = await visit.read(read)
    fetched = await uses(visit)
    await visit.permit(f"organisations/{visit.organisation}/recordings")
    return page(
        "partner.html",
        caller=visit.caller,
        items=items,
        uses=by_recipient(fetched),
        state=state,
        states=recordings.STATES,
        next_cursor=next_cursor,
    )


@data_route(guarded, "GET", "/{rest:path}", Access("none", "nobody: there is no such page"))
async def show_nothing(visit: Visiting, rest: str) -> Response:
    """Answer every other address like an object that does not exist."""
    raise await visit.refuse(rest, NotFoundError("no such page"))


router.include_router(login_router)
router.include_router(guarded)
