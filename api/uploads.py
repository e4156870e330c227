"""The body of an upload: streamed to disk, hashed on the way, capped by what was declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect

from schemas.errors import CorruptError

if TYPE_CHECKING:
    from fastapi import Request

    from api.access import Visit
    from connectors.stores.landing import FileWriter, Landed

BLOCK: Final = 4 << 20
"""Bytes gathered before a thread hashes and writes them: a hop costs little against that."""


async def receive_body(
    visit: Visit, request: Request, recording: str, name: str, declared: int
) -> Landed:
    """Stream a request's body into one announced file; nothing is kept unless it is equal.

    Args:
        visit: The request, permitted already.
        request: Where the body comes from.
        recording: Recording id.
        name: Name in the manifest.
        declared: Size in the manifest, bytes.

    Raises:
        CorruptError: size or digest differ from the manifest.
        ConflictError: the recording is complete already.
        StoreUnavailableError: no space.
    """
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdecimal() and int(announced) != declared:
        raise CorruptError(
            "the bytes announced differ from the manifest: size",
            subject=name,
            expected=f"{declared} B",
            found=f"{announced} B",
            next_step="send the file again",
        )
    services = visit.services
    writer: FileWriter = await services.in_thread(
        services.receiver.writer, recording, visit.organisation, name
    )
    try:
        await _pour(visit, request, writer)
        return await services.in_thread(writer.finish)
    except ClientDisconnect:
        raise CorruptError(
            "the connection ended early", subject=name, next_step="send the file again"
        ) from None
    finally:
        # Leaves nothing unless the file was finished.
        await services.in_thread(writer.abort)


async def _pour(visit: Visit, request: Request, writer: FileWriter) -> None:
    block = bytearray()
    async for chunk in request.stream():
        block += chunk
        if len(block) >= BLOCK:
            full, block = block, bytearray()
            await visit.services.in_thread(writer.write, full)
    if block:
        await visit.services.in_thread(writer.write, block)
