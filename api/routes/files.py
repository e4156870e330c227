"""A release's files: decided and reserved, then streamed; single ranges, resumable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from api import gate
from api.access import Access, DataRoute, Visiting, data_route
from api.errors import LOG, RefusedError
from api.ranges import applies, parse_range, unchanged
from api.release_files import FileSlice, find_file, open_file
from api.routes.described import answers
from api.routes.releases import RELEASE, DatasetId, Version
from api.views import PurposeQuery
from connectors.stores.catalog import ledger
from schemas.errors import TanadaError
from schemas.licences import Action, Amount

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection

    from api.access import Visit
    from api.catalog import FileRecord
    from api.gate import Opened

router = APIRouter(route_class=DataRoute, tags=["releases"])
FETCH: Final = Access(
    Action.EXPORT.value,
    "members with the role model of an organisation whose terms allow the purpose and the volume",
)
LOOK: Final = Access("metadata", "members of an organisation whose terms allow the purpose")
_EPISODES: Final = "tables/episodes/"
FilePath = Annotated[str, Path(max_length=500)]


@data_route(
    router,
    "HEAD",
    RELEASE + "/files/{path:path}",
    LOOK,
    responses=answers(None, "size and SHA-256, no bytes", 410, media_type="*/*"),
    query=PurposeQuery,
)
async def look_at_file(
    visit: Visiting, dataset: DatasetId, version: Version, path: FilePath
) -> Response:
    """Tell a file's size, SHA-256 (as ETag) and media type."""
    query = visit.asked(PurposeQuery)
    opened = await gate.open_release(visit, dataset, version, query.purpose, Action.METADATA)
    file = await find_file(visit, opened, path)
    await gate.permit(visit, opened, f"{opened.resource}/files/{path}")
    return Response(headers=_headers(file, file.size), media_type=file.media_type)


@data_route(
    router,
    "GET",
    RELEASE + "/files/{path:path}",
    FETCH,
    responses=answers(None, "the whole file", 410, 416, media_type="application/octet-stream")
    | {206: {"description": "the range that was asked for"}, 304: {"description": "unchanged"}},
    query=PurposeQuery,
)
async def fetch_file(
    *, visit: Visiting, request: Request, dataset: DatasetId, version: Version, path: FilePath
) -> Response:
    """Fetch a file or one range of it; ETag is its SHA-256, a repeated range is charged once."""
    query = visit.asked(PurposeQuery)
    opened = await gate.open_release(visit, dataset, version, query.purpose, Action.EXPORT)
    resource = f"{opened.resource}/files/{path}"
    if gate.PULL_ROLE not in visit.roles:
        refused = RefusedError(
            "only members with the role model fetch files", rules=("role_model",)
        )
        raise await visit.refuse(resource, refused, purpose=opened.purpose)
    file = await find_file(visit, opened, path)
    etag = f'"{file.sha256}"'
    if unchanged(request.headers.get("if-none-match"), etag):
        await gate.permit(visit, opened, resource)
        return Response(status_code=304, headers={"ETag": etag})
    wanted = None
    if applies(request.headers.get("if-range"), etag):
        wanted = parse_range(request.headers.get("range"), file.size)
    start, end = wanted or (0, file.size)
    reader = await visit.services.in_thread(open_file, visit.services.root, opened, file)
    delivery = _Delivery(visit, opened, file, resource)
    try:
        recorded = await delivery.reserve(start, end)
    except BaseException:
        reader.close()
        raise
    headers = _headers(file, end - start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    return FileSlice(
        reader,
        start,
        end,
        sent=delivery.settling(recorded, start),
        in_thread=visit.services.in_thread,
        status_code=200 if wanted is None else 206,
        headers=headers,
    )


def _headers(file: FileRecord, length: int) -> dict[str, str]:
    return {
        "ETag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Length": str(length),
        "Content-Type": file.media_type,
        "Content-Disposition": "attachment",
        "Cache-Control": "private, no-store",
    }


class _Delivery:
    """One delivery of one file: reserved before the first byte, settled after the last."""

    def __init__(self, visit: Visit, opened: Opened, file: FileRecord, resource: str) -> None:
        self._visit = visit
        self._opened = opened
        self._file = file
        self._resource = resource
        self._grant: str | None = None
        self._active = visit.services.active

    async def reserve(self, start: int, end: int) -> ledger.Recorded:
        """Decide on usage, reserve [start, end) and record; the first grant that permits wins.

        Raises:
            RefusedError: no grant permits it now; recorded.
            CatalogBusyError: it could not be recorded.
        """
        visit, file = self._visit, self._file
        rows = file.rows or 0
        inside = file.path.startswith(_EPISODES)
        amount = Amount(episodes=rows) if inside else Amount(rows=rows)
        request = gate.request_of(visit, Action.EXPORT, self._opened.purpose, amount)
        release = self._opened.release
        span = ledger.Span(release.dataset_id, release.version, file.path, start, end)
        rules: tuple[str, ...] = ()
        for terms, grant in gate.permitting(visit, self._opened):
            recorded = await visit.authorise(
                ledger.Ask(
                    terms=terms,
                    request=request,
                    resource=self._resource,
                    grant=grant.id if grant else None,
                    terms_version=grant.terms_version if grant else None,
                    span=span,
                    request_id=visit.request_id,
                    concurrent=self._active[grant.id] if grant else 0,
                )
            )
            if recorded.decision is not None and recorded.decision.permit:
                self._grant = grant.id if grant else None
                if self._grant:
                    self._active[self._grant] += 1
                return recorded
            rules = recorded.decision.rules if recorded.decision else ()
        raise gate.refusal(rules)

    def settling(self, recorded: ledger.Recorded, start: int) -> Callable[[int], Awaitable[None]]:
        """What to do once the answer has ended or was cut."""

        async def settle(sent: int) -> None:
            if self._grant:
                self._active[self._grant] -= 1
            self._visit.services.metrics.delivered(sent)
            now_ns = self._visit.services.clock()
            request_id = self._visit.request_id

            def job(connection: Connection) -> None:
                ledger.settle(connection, recorded, start + sent, now_ns, request_id)

            try:
                await self._visit.services.account.write(job)
            except TanadaError:
                # The reservation stands: the reader is charged for more than was sent, not less.
                LOG.warning("a delivery could not be settled", extra={"request_id": request_id})

        return settle
