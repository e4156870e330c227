"""What a store is asked before anything is written to it, once per process and root.

The committer rests on three of its answers. A second writer of one log entry must be refused, or
commits overwrite one another without a word. A signature must really be checked, or anyone reads.
And store and machine must agree on the time, or every request fails in the middle of the work.
"""

from __future__ import annotations

import email.utils
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from connectors.stores.bucket import PRESIGNED_SECONDS, talking
from schemas.errors import FailError

if TYPE_CHECKING:
    from collections.abc import Callable

    from connectors.stores.bucket import Bucket
    from connectors.stores.object_path import ObjectPath

RACERS: Final = 8
SKEW_SECONDS: Final = 300
"""Stores refuse requests from 15 minutes on; a clock that drifts is told of earlier."""
_READ: Final = frozenset({200, 206, 304})
_asked: set[tuple[str, str, str]] = set()
_asking: Final = threading.Lock()


def require_fit(place: ObjectPath, clock: Callable[[], int] = time.time_ns) -> None:
    """Ask a store about what the platform rests on; the answers hold for this process.

    Args:
        place: The root, which is written to below `.probe/`.
        clock: The clock that requests are signed by, ns UTC.

    Raises:
        FailError: the store lacks something; the message says what was expected and found.
        StoreUnavailableError: it does not answer.
    """
    store = place.store
    known = (store.host, str(place), store.access.access_key)
    with _asking:
        if known in _asked:
            return
        folder = place / f".probe/{secrets.token_hex(8)}"
        try:
            _require_signatures(store, folder / "signed", clock)
            _require_conditional_put(store, folder)
        finally:
            with talking(place):
                for found in store.listing(f"{folder.key}/"):
                    store.delete(found)
        _asked.add(known)


def _require_conditional_put(store: Bucket, folder: ObjectPath) -> None:
    first, second = folder / "first", folder / "raced"
    if not store.create(first, b"1") or store.create(first, b"2") or store.read(first) != b"1":
        raise _unfit(
            store,
            "the store ignores conditional puts: two writers would overwrite each other's commits",
            "412 for the second put of one key with If-None-Match: *",
            "the second put went through",
        )
    with ThreadPoolExecutor(RACERS) as pool:
        won = sum(pool.map(lambda number: store.create(second, b"%d" % number), range(RACERS)))
    if won != 1:
        raise _unfit(
            store,
            "the store's conditional puts are not atomic: commits would be lost",
            f"one winner of {RACERS} puts at once",
            f"{won} winners",
        )


def _require_signatures(store: Bucket, place: ObjectPath, clock: Callable[[], int]) -> None:
    with talking(place):
        store.write(place, b"signed")
        url = store.client.presigned_get_object(
            store.bucket, place.key, expires=timedelta(seconds=PRESIGNED_SECONDS)
        )
        signed = store.pool.request("GET", url, retries=False)
        _require_time(store, signed.headers.get("Date", ""), clock)
        parts = urlsplit(url)
        plain = urlunsplit(parts._replace(query=""))
        # Another signature of the same length: its last digit is another one.
        tampered = url[:-1] + ("0" if url[-1] != "0" else "1")
        found = {
            "without a signature": store.pool.request("GET", plain, retries=False).status,
            "with another signature": store.pool.request("GET", tampered, retries=False).status,
        }
    if signed.status != 200 or signed.data != b"signed":  # noqa: PLR2004
        raise _unfit(
            store, "the store refuses a signed request", "status 200", f"status {signed.status}"
        )
    for how, status in found.items():
        if status in _READ:
            raise _unfit(
                store,
                f"the store answers a request {how}: anyone could read the lake",
                "status 403",
                f"status {status}",
            )


def _require_time(store: Bucket, date: str, clock: Callable[[], int]) -> None:
    try:
        theirs = email.utils.parsedate_to_datetime(date).timestamp()
    except ValueError:
        raise _unfit(store, "the store does not say its time", "a header Date", date[:40]) from None
    skew = abs(clock() / 1e9 - theirs)
    if skew > SKEW_SECONDS:
        raise _unfit(
            store,
            "this machine's clock differs too much from the store's",
            f"at most {SKEW_SECONDS} s",
            f"{skew:.0f} s",
            "set the clock (NTP), then try again",
        )


def _unfit(
    store: Bucket,
    what: str,
    expected: str,
    found: str,
    next_step: str = "use a store that does, such as Amazon S3 or MinIO",
) -> FailError:
    return FailError(
        what,
        subject=f"{store.host}, bucket {store.bucket}",
        expected=expected,
        found=found,
        next_step=next_step,
    )
