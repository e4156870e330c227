"""The bytes of a release's files: found through the catalog, opened without following links.

They are read here and sent from here, also those in an object store: a signed address of the store
would hand out bytes that nobody counts.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from api import catalog
from api.errors import LOG
from schemas.errors import DamagedError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from api.access import Visit
    from api.catalog import FileRecord
    from api.gate import Opened
    from connectors.stores.root import Root
    from connectors.stores.store import Reader

BLOCK: Final = 1 << 20
DOCUMENT_MAX: Final = 64 << 20
"""Largest schema, statistics or card that is read into memory."""


async def find_file(visit: Visit, opened: Opened, path: str) -> FileRecord:
    """One file of an opened release.

    Raises:
        NotFoundError: the release has no such file; recorded.
    """
    release = opened.release
    file = await visit.read(
        lambda connection: catalog.file_of(connection, release.dataset_id, release.version, path)
    )
    if file is None:
        resource = f"{opened.resource}/files/{path}"
        raise await visit.refuse(resource, NotFoundError("no such file"), purpose=opened.purpose)
    return file


async def read_document(visit: Visit, opened: Opened, name: str) -> bytes:
    """The whole of one small file that the builder put at the release's top.

    Raises:
        NotFoundError: the release has none; recorded.
        DamagedError: it is missing, or not as long as recorded.
    """
    file = await find_file(visit, opened, name)
    if file.size > DOCUMENT_MAX:
        raise DamagedError("too large for a document", subject=f"{opened.resource}/{name}")
    return await visit.services.in_thread(_read_whole, visit.services.root, opened, file)


def _read_whole(root: Root, opened: Opened, file: FileRecord) -> bytes:
    with closing(open_file(root, opened, file)) as reader:
        return reader.read_at(0, file.size)


def open_file(root: Root, opened: Opened, file: FileRecord) -> Reader:
    """One file of a release, opened; the caller closes it.

    Raises:
        DamagedError: it is missing, lies elsewhere, or is not as long as recorded.
        StoreUnavailableError: the object store does not answer.
    """
    release = opened.release
    base = root.release(release.dataset_id, release.version)
    damaged = DamagedError(
        "the file is not as recorded",
        subject=f"{opened.resource}/files/{file.path}",
        next_step="tanada lake verify",
    )
    try:
        place = base / file.path
        if isinstance(base, Path):
            # The catalog names the path; a link or a dotted path in it would still lead elsewhere.
            base = base.resolve()
            place = base / file.path
            if place.parent.resolve() != place.parent or not place.is_relative_to(base):
                raise damaged
        reader: Reader = root.store.reader(place)
    except (OSError, ValueError) as error:
        raise damaged from error
    if reader.size != file.size:
        reader.close()
        raise damaged
    return reader


class FileSlice(Response):
    """Sends [start, end) of an open file in blocks of 1 MiB, then says how much went out.

    Args:
        reader: Open file; closed at the end.
        start: First byte.
        end: Byte behind the last.
        sent: Called with the number of bytes handed over, also when the reader left early.
        in_thread: Runs a blocking read off the event loop.
        status_code: 200 or 206.
        headers: Headers, content-length included.
    """

    def __init__(
        self,
        reader: Reader,
        start: int,
        end: int,
        *,
        sent: Callable[[int], Awaitable[None]],
        in_thread: Callable[..., Awaitable[bytes]],
        status_code: int,
        headers: dict[str, str],
    ) -> None:
        self._reader = reader
        self._start = start
        self._end = end
        self._sent = sent
        self._in_thread = in_thread
        self.status_code = status_code
        self.background = None
        self.body = b""
        self.init_headers(headers)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        position = self._start
        left = asyncio.ensure_future(_left(receive))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            while position < self._end and not left.done():
                size = min(BLOCK, self._end - position)
                block = await self._in_thread(self._reader.read_at, position, size)
                if len(block) != size:
                    LOG.error("a release file became shorter while it was sent")
                    raise DamagedError("the file became shorter while it was sent")
                position += size
                more = position < self._end
                await send({"type": "http.response.body", "body": block, "more_body": more})
            if self._start == self._end:
                await send({"type": "http.response.body", "body": b""})
        finally:
            left.cancel()
            self._reader.close()
            await self._sent(position - self._start)


async def _left(receive: Receive) -> None:
    """Return once the reader has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
