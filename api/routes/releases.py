"""Releases: what is in one, under which terms, and which files it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from api import catalog, gate
from api.access import Access, DataRoute, Visiting, data_route
from api.errors import JsonResponse
from api.pagination import decode_cursor, encode_cursor
from api.release_files import read_document
from api.routes.datasets import release_item
from api.routes.described import answers
from api.views import FilePage, FilesQuery, PurposeQuery, ReleaseDetail
from schemas.licences import Action

if TYPE_CHECKING:
    from api.access import Visit
    from api.gate import Opened

router = APIRouter(route_class=DataRoute, tags=["releases"])
SHOW: Final = Access("metadata", "members of an organisation whose terms allow the purpose")
RELEASE: Final = "/v1/datasets/{dataset}/releases/{version}"
DatasetId = Annotated[str, Path(max_length=100)]
Version = Annotated[str, Path(max_length=10, description="a number, or `latest`")]


@data_route(
    router,
    "GET",
    RELEASE,
    SHOW,
    responses=answers(ReleaseDetail, "the release with its terms and obligations", 410),
    query=PurposeQuery,
)
async def show_release(visit: Visiting, dataset: DatasetId, version: Version) -> JsonResponse:
    """Show one release, its effective terms for the caller, and the obligations that follow."""
    query = visit.asked(PurposeQuery)
    opened = await gate.open_release(visit, dataset, version, query.purpose, Action.METADATA)
    document = await release_document(visit, opened)
    await gate.permit(visit, opened)
    return JsonResponse(document)


async def release_document(visit: Visit, opened: Opened) -> dict[str, Any]:
    """One release with its terms as they apply to the caller."""
    release = opened.release
    count, size = await visit.read(
        lambda connection: catalog.file_totals(connection, release.dataset_id, release.version)
    )
    shown = gate.shown_terms(visit, opened.judgement)
    return release_item(release) | {
        "terms": shown.document() if shown else {},
        "terms_summary": shown.summary() if shown else [],
        "obligations": list(opened.judgement.decision.obligations),
        "files": {"count": count, "bytes": size},
    }


async def _document(visit: Visit, opened: Opened, name: str, media_type: str) -> Response:
    resource = f"{opened.resource}/{name}"
    content = await read_document(visit, opened, name)
    await gate.permit(visit, opened, resource)
    return Response(content, media_type=media_type)


@data_route(
    router,
    "GET",
    RELEASE + "/schema",
    SHOW,
    responses=answers(
        None, "tables and columns with types, units and meaning", 410, media_type="application/json"
    ),
    query=PurposeQuery,
)
async def show_schema(visit: Visiting, dataset: DatasetId, version: Version) -> Response:
    """Show the release's tables: columns with types, units and what they mean."""
    query = visit.asked(PurposeQuery)
    opened = await gate.open_release(visit, dataset, version, query.purpose, Action.METADATA)
    return await _document(visit, opened, "schema.json", "application/json")


@data_route(
    router,
    "GET",
    RELEASE + "/statistics",
    SHOW,
    responses=answers(
        None, "exact statistics of every feature", 410, media_type="application/json"
    ),
    query=PurposeQuery,
)
async def show_statistics(visit: Visiting, dataset: DatasetId, version: Version) -> Response:
    """Show exact statistics over all rows of every feature."""
    query = visit.asked(PurposeQuery)
    opened = await gate.open_release(visit, dataset, version, query.purpose, Action.METADATA)
    return await _document(visit, opened, "statistics.json", "application/json")


@data_route(
    router,
    "GET",
    RELEASE + "/card",
    SHOW,
    responses=answers(None, "the release's card", 410, media_type="text/markdown"),
    query=PurposeQuery,
)
async def show_card(visit: Visiting, dataset: DatasetId, version: Version) -> Response:
    """Show the release's card, a text for people."""
    query = visit.asked(PurposeQuery)
    opened = await gate.open_release(visit, dataset, version, query.purpose, Action.METADATA)
    return await _document(visit, opened, "card.md", "text/markdown; charset=utf-8")


@data_route(
    router,
    "GET",
    RELEASE + "/files",
    SHOW,
    responses=answers(FilePage, "a page of the release's files by path", 410),
    query=FilesQuery,
)
async def list_files(visit: Visiting, dataset: DatasetId, version: Version) -> JsonResponse:
    """List the release's files with size and SHA-256, by path."""
    query = visit.asked(FilesQuery)
    opened = await gate.open_release(visit, dataset, version, query.purpose, Action.METADATA)
    listing = f"files/{opened.resource}"
    position = decode_cursor(listing, query.cursor, str)
    after = position[0] if position else None
    release = opened.release
    found = await visit.read(
        lambda connection: catalog.files_of(
            connection, release.dataset_id, release.version, after, query.limit + 1
        )
    )
    page = found[: query.limit]
    more = len(found) > query.limit
    await gate.permit(visit, opened, f"{opened.resource}/files")
    return JsonResponse(
        {
            "items": [
                {
                    "path": file.path,
                    "size": file.size,
                    "sha256": file.sha256,
                    "rows": file.rows,
                    "media_type": file.media_type,
                }
                for file in page
            ],
            "next_cursor": encode_cursor(listing, page[-1].path) if more else None,
        }
    )
