"""Datasets: search what the caller may see, and what it may do with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from api import catalog
from api.access import Access, DataRoute, Visiting, data_route
from api.errors import JsonResponse
from api.gate import checked_purpose, find_dataset, judge, refusal, shown_terms
from api.listing import dataset_item, search
from api.pagination import decode_cursor, encode_cursor
from api.routes.described import answers
from api.views import (
    DatasetDetail,
    DatasetPage,
    DatasetsQuery,
    PurposeQuery,
    ReleasePage,
)
from schemas.licences import Action, Purpose

if TYPE_CHECKING:
    from api.access import Visit
    from api.catalog import DatasetRecord, ReleaseRecord
    from api.gate import Judgement
    from api.listing import Visible

router = APIRouter(route_class=DataRoute, tags=["datasets"])
LIST: Final = Access("list", "members of an organisation see what it was granted or publishes")
SHOW: Final = Access("list", "members of an organisation that was granted it or publishes it")


@data_route(
    router,
    "GET",
    "/v1/datasets",
    LIST,
    responses=answers(DatasetPage, "a page of datasets with facets"),
    query=DatasetsQuery,
)
async def list_datasets(visit: Visiting) -> Response:
    """List the datasets that the caller may see, with facets by sector and purpose."""
    query = visit.asked(DatasetsQuery)
    purpose = checked_purpose(query.purpose).value if query.purpose else None
    visible = await visit.services.listing.visible(visit)
    page = visible.page(query, lambda: _page(visible, query, purpose))
    await visit.permit("datasets", purpose=purpose)
    return Response(page, media_type="application/json")


def _page(visible: Visible, query: DatasetsQuery, purpose: str | None) -> bytes:
    position = decode_cursor("datasets", query.cursor, str)
    found = search(
        visible.datasets,
        words=query.q,
        sector=query.sector,
        purpose=purpose,
        after=position[0] if position else None,
        limit=query.limit,
    )
    return orjson.dumps(
        {
            "items": found.items,
            "facets": found.facets,
            "next_cursor": encode_cursor("datasets", found.last) if found.last else None,
        }
    )


@data_route(
    router,
    "GET",
    "/v1/datasets/{dataset}",
    SHOW,
    responses=answers(DatasetDetail, "the dataset, and what the caller may do with it"),
    query=PurposeQuery,
)
async def show_dataset(visit: Visiting, dataset: str) -> JsonResponse:
    """Show one dataset; with `purpose`, refuse where the terms do not allow it."""
    query = visit.asked(PurposeQuery)
    record = await find_dataset(visit, dataset, f"datasets/{dataset}")
    purpose = checked_purpose(query.purpose) if query.purpose else None
    judgement = await admit(visit, record, purpose)
    document = dataset_document(visit, record, judgement)
    return JsonResponse(document)


async def admit(visit: Visit, record: DatasetRecord, purpose: Purpose | None) -> Judgement:
    """Judge and record that the caller sees one dataset.

    Raises:
        RefusedError: granted, and over or not for this purpose; recorded.
    """
    action = Action.METADATA if purpose else Action.LIST
    judgement = judge(visit, record, record.latest, action, purpose)
    details: dict[str, Any] = {
        "purpose": purpose,
        "grant": judgement.grant_key,
        "obligations": judgement.decision.obligations,
    }
    resource = f"datasets/{record.id}"
    if not judgement.decision.permit:
        raise await visit.refuse(resource, refusal(judgement.decision.rules), **details)
    await visit.permit(resource, **details)
    return judgement


def dataset_document(visit: Visit, record: DatasetRecord, judgement: Judgement) -> dict[str, Any]:
    """One dataset with what the caller may do with it, purpose by purpose."""
    by_purpose = {
        purpose: judge(visit, record, record.latest, Action.METADATA, purpose).decision
        for purpose in Purpose
    }
    permitted = [purpose.value for purpose, found in by_purpose.items() if found.permit]
    access = "granted" if judgement.grant else "publisher"
    terms = shown_terms(visit, judgement)
    return dataset_item(record, permitted, access) | {
        "by_purpose": {
            purpose.value: {
                "permit": found.permit,
                "rules": list(found.rules),
                "obligations": list(found.obligations),
            }
            for purpose, found in by_purpose.items()
        },
        "terms_summary": terms.summary() if terms else [],
    }


@data_route(
    router,
    "GET",
    "/v1/datasets/{dataset}/releases",
    SHOW,
    responses=answers(ReleasePage, "all versions, newest first"),
)
async def list_releases(visit: Visiting, dataset: str) -> JsonResponse:
    """List all versions of a dataset, withdrawn ones included."""
    record = await find_dataset(visit, dataset, f"datasets/{dataset}")
    await admit(visit, record, None)
    releases = await visit.read(lambda connection: catalog.releases_of(connection, dataset))
    return JsonResponse({"items": [release_item(release) for release in releases]})


def release_item(release: ReleaseRecord) -> dict[str, Any]:
    """A release as lists show it."""
    return {
        "dataset": release.dataset_id,
        "version": release.version,
        "digest": release.digest,
        "state": release.state,
        "summary": release.summary,
        "created_ns": release.created_ns,
        "withdrawn_ns": release.withdrawn_ns,
    }
