"""A bucket of an S3 store: a completed PUT is durable, and its bytes are checked on the way.

The store has to answer conditional puts, check signatures and agree on the time of day:
`connectors.stores.probe` makes sure of it before anything is written.
"""

from __future__ import annotations

import hashlib
import io
import time
from base64 import b64encode
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from urllib.parse import urlsplit

from connectors.stores.durable import storing
from connectors.stores.object_path import ObjectPath, Stat
from schemas.errors import (
    DamagedError,
    FailError,
    MissingDependencyError,
    StoreUnavailableError,
    WrongUseError,
)

try:
    import urllib3
    from minio import Minio
    from minio.commonconfig import ComposeSource, CopySource
    from minio.deleteobjects import DeleteObject
    from minio.error import InvalidResponseError, S3Error, ServerError
except ModuleNotFoundError as missing:
    raise MissingDependencyError(
        "a lake on an object store needs the client for one",
        found=f"no module {missing.name}",
        next_step="pip install 'tanada-platform[s3]'",
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from connectors.stores.store import Access

PART_BYTES: Final = 16 << 20
"""Larger files go up in parts of at least this size, some of them side by side."""
WINDOW_BYTES: Final = 4 << 20
"""What is fetched at a time while a file is read from its start on."""
JUMP_BYTES: Final = 256 << 10
"""What is fetched at least when a read does not go on where the last one ended."""
COPY_BYTES: Final = 5 << 30
"""Most bytes of one server-side copy; more is copied in parts."""
ATTEMPTS: Final = 2
"""How often a read is tried whose connection broke half-way."""
CONNECT_SECONDS: Final = 10
ANSWER_SECONDS: Final = 120
TABLE_SECONDS: Final = 30
"""For delta-rs, some of whose calls hold up all threads of this process, renewal of leases too."""
PRESIGNED_SECONDS: Final = 120
_BLOCK: Final = 1 << 20
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchVersion"})
_REFUSED: Final = frozenset(
    {"AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "AllAccessDisabled"}
)


class Bucket:
    """One bucket, reached with one set of credentials; safe to use from several threads.

    Args:
        bucket: Its name.
        access: How it is reached.

    Raises:
        WrongUseError: the endpoint or the credentials are none.
    """

    def __init__(self, bucket: str, access: Access) -> None:
        self.bucket = bucket
        self.access = access
        address = urlsplit(access.endpoint or "https://s3.amazonaws.com")
        if address.scheme not in {"http", "https"} or not address.netloc or address.path.strip("/"):
            raise WrongUseError(
                "not the address of an object store",
                subject="TANADA_S3_ENDPOINT",
                expected="http://HOST:PORT or https://HOST",
                found=f"{address.scheme}://{address.hostname or ''}",
            )
        if not access.access_key or not access.secret_key:
            raise WrongUseError(
                "a lake on an object store needs credentials",
                subject=f"s3://{bucket}",
                next_step="set TANADA_S3_ACCESS_KEY and TANADA_S3_SECRET_KEY",
            )
        self.secure = address.scheme == "https"
        self.host = address.netloc
        self.pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
            maxsize=16,
            # Whatever is sent here may be sent twice: what must not is a conditional put.
            retries=urllib3.Retry(
                total=6,
                backoff_factor=0.1,
                status_forcelist=[500, 502, 503, 504],
                allowed_methods=None,
                # MinIO says 60 s while it starts. The caller is told sooner, and tries again.
                respect_retry_after_header=False,
            ),
        )
        self.client = Minio(
            self.host,
            access_key=access.access_key,
            secret_key=access.secret_key,
            secure=self.secure,
            region=access.region,
            http_client=self.pool,
        )
        self._arrow: Any = None

    def place(self, prefix: str) -> ObjectPath:
        """The place of a prefix, "" for the whole bucket."""
        return ObjectPath(prefix, self)

    # --- as a store ----------------------------------------------------------------------------

    def make_folder(self, place: ObjectPath) -> None:
        """Nothing: a prefix is there when something lies below it."""

    def write(self, place: ObjectPath, content: bytes, mode: int = 0o644) -> None:
        """One PUT, with the content's SHA-256."""
        del mode
        self._upload(place, io.BytesIO(content), len(content), hashlib.sha256(content).hexdigest())

    def create(self, place: ObjectPath, content: bytes) -> bool:
        """Put a small object unless one is there; whether this call made it.

        Args:
            place: Where to.
            content: Says who writes: where an answer is lost, an equal object that is found
                afterwards is this call's.
        """
        with talking(place):
            url = self.client.presigned_put_object(
                self.bucket, place.key, expires=timedelta(seconds=PRESIGNED_SECONDS)
            )
            try:
                answer = self.pool.request(
                    "PUT", url, body=content, headers={"If-None-Match": "*"}, retries=False
                )
            except urllib3.exceptions.HTTPError:
                if place.is_file() and self.read(place) == content:
                    return True
                raise
        if answer.status in {200, 204}:
            return True
        if answer.status in {409, 412}:
            return False
        raise StoreUnavailableError(
            "the store does not take a conditional put now",
            subject=str(place),
            expected="200 or 412",
            found=str(answer.status),
        )

    def put(self, source: Path, place: ObjectPath, sha256: str, *, synced: bool = False) -> None:
        """Upload; equal bytes at the same place are written again."""
        del synced
        with source.open("rb") as file:
            self._upload(place, file, source.stat().st_size, sha256)

    def move_in(self, source: Path, place: ObjectPath, sha256: str) -> None:
        """Upload, then remove the local file."""
        self.put(source, place, sha256)
        source.unlink()

    def move_tree_in(self, folder: Path, place: ObjectPath, files: Mapping[str, str]) -> None:
        """Upload file by file, in the order given."""
        for path, sha256 in files.items():
            self.move_in(folder / path, place / path, sha256)

    def copy(self, source: ObjectPath, place: ObjectPath) -> None:
        """Copied by the store itself."""
        size = self.stat(source).st_size
        with talking(source):
            if size <= COPY_BYTES:
                self.client.copy_object(self.bucket, place.key, CopySource(self.bucket, source.key))
            else:
                parts = [ComposeSource(self.bucket, source.key)]
                self.client.compose_object(self.bucket, place.key, parts)

    def rename(self, source: ObjectPath, place: ObjectPath) -> None:
        """Copied, then deleted: for a moment it lies at both places."""
        self.copy(source, place)
        self.delete(source)

    def remove_tree(self, place: ObjectPath) -> None:
        """Delete every object below a prefix."""
        doomed = (DeleteObject(found.key) for found in self.listing(f"{place.key}/"))
        with talking(place):
            for error in self.client.remove_objects(self.bucket, doomed):
                raise StoreUnavailableError(
                    "the store did not delete", subject=str(place), found=str(error.code)
                )

    def sync(self, place: ObjectPath) -> None:
        """Nothing: what the store answered is durable."""

    def local(self, place: ObjectPath, folder: Path, sha256: str) -> Path:
        """A checked copy in the folder, named after its digest."""
        target = folder / sha256
        digest = hashlib.sha256()
        with storing(target), target.open("wb") as file, closing(self.reader(place)) as reader:
            position = 0
            while block := reader.read_at(position, _BLOCK):
                digest.update(block)
                file.write(block)
                position += len(block)
        if digest.hexdigest() != sha256:
            target.unlink()
            raise DamagedError(
                "stored bytes differ from what was recorded of them",
                subject=str(place),
                expected=f"SHA-256 {sha256}",
                found=digest.hexdigest(),
            )
        return target

    def landing(self, place: ObjectPath, scratch: Path) -> Path:
        """The scratch folder."""
        del place
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return scratch

    def reader(self, place: ObjectPath) -> ObjectReader:
        """Ranged reads of one object."""
        return ObjectReader(place)

    def delta(self, place: ObjectPath) -> tuple[str, dict[str, str]]:
        """URI, and options under which delta-rs commits by conditional put."""
        access = self.access
        options = {
            "aws_access_key_id": access.access_key,
            "aws_secret_access_key": access.secret_key,
            "aws_region": access.region,
            "aws_conditional_put": "etag",
            "connect_timeout": f"{CONNECT_SECONDS}s",
            "timeout": f"{TABLE_SECONDS}s",
            "retry_timeout": f"{2 * TABLE_SECONDS}s",
        }
        if access.endpoint:
            options["aws_endpoint_url"] = access.endpoint
            options["aws_virtual_hosted_style_request"] = "false"
        if not self.secure:
            options["aws_allow_http"] = "true"
        return str(place), options

    def arrow(self, place: ObjectPath) -> Any:
        """An open file, whose failures are told as all others are."""
        return place.open()

    def arrow_files(self, place: ObjectPath) -> Any:
        """Arrow's own client, below a prefix."""
        import pyarrow.fs as pf

        return pf.SubTreeFileSystem(f"{self.bucket}/{place.key}", self._arrow_client())

    # --- objects -------------------------------------------------------------------------------

    def stat(self, place: ObjectPath) -> Stat:
        """Size and age.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with talking(place):
            found = self.client.stat_object(self.bucket, place.key)
        at = found.last_modified
        return Stat(found.size or 0, int(at.timestamp() * 1e9) if at else 0)

    def read(self, place: ObjectPath, start: int = 0, length: int | None = None) -> bytes:
        """Bytes [start, start + length) of an object, or all from the start on.

        Raises:
            FileNotFoundError: there is no such object.
        """
        if length == 0:
            return b""
        for attempt in range(ATTEMPTS):
            with talking(place, last=attempt == ATTEMPTS - 1):
                answer = self.client.get_object(self.bucket, place.key, start, length or 0)
                try:
                    content: bytes = answer.read()
                finally:
                    answer.close()
                    answer.release_conn()
                return content
            time.sleep(0.1 * 2**attempt)
        raise AssertionError("the last attempt raises")

    def delete(self, place: ObjectPath) -> None:
        """Delete one object; it may be gone already."""
        with talking(place):
            self.client.remove_object(self.bucket, place.key)

    def listing(
        self, prefix: str, *, recursive: bool = True, limit: int | None = None
    ) -> Iterator[ObjectPath]:
        """Objects whose key begins with a prefix, by key; not recursive: prefixes as well."""
        with talking(self.place(prefix)):
            found = self.client.list_objects(
                self.bucket, prefix=prefix.lstrip("/"), recursive=recursive
            )
            for number, item in enumerate(found):
                if limit is not None and number >= limit:
                    return
                key = (item.object_name or "").rstrip("/")
                if item.is_dir:
                    yield ObjectPath(key, self)
                else:
                    at = item.last_modified
                    stamp = int(at.timestamp() * 1e9) if at else 0
                    yield ObjectPath(key, self, Stat(item.size or 0, stamp))

    def _upload(self, place: ObjectPath, content: BinaryIO, size: int, sha256: str) -> None:
        checked = _Checked(content, size, sha256, str(place))
        part = max(PART_BYTES, -(-size // 9_000))
        # One request carries the digest for the store to check. In parts each part is checked by
        # itself, and the whole as it is read, before the upload is completed.
        headers: dict[str, str | list[str] | tuple[str]] = {}
        if size <= part:
            headers["x-amz-checksum-sha256"] = b64encode(bytes.fromhex(sha256)).decode()
        with talking(place):
            self.client.put_object(
                self.bucket,
                place.key,
                cast("BinaryIO", checked),
                size,
                metadata=headers,
                part_size=part,
            )

    def _arrow_client(self) -> Any:
        if self._arrow is None:
            import pyarrow.fs as pf

            access = self.access
            self._arrow = pf.S3FileSystem(
                access_key=access.access_key,
                secret_key=access.secret_key,
                region=access.region,
                scheme="https" if self.secure else "http",
                endpoint_override=self.host if access.endpoint else None,
                connect_timeout=CONNECT_SECONDS,
                request_timeout=ANSWER_SECONDS,
                check_directory_existence_before_creation=False,
            )
        return self._arrow


class ObjectReader:
    """Ranged reads of one object; while they go on from one another, ahead of them.

    Attributes:
        size: Bytes when it was opened.

    Raises:
        FileNotFoundError: there is no such object.
    """

    def __init__(self, place: ObjectPath) -> None:
        self._place = place
        self.size = place.store.stat(place).st_size
        self._start = 0
        self._window = b""

    def read_at(self, position: int, size: int) -> bytes:
        """Bytes from a position; fewer at the end of the object only."""
        wanted = max(0, min(size, self.size - position))
        end = self._start + len(self._window)
        if not (self._start <= position and position + wanted <= end):
            goes_on = position <= end and self._start <= position
            ahead = WINDOW_BYTES if goes_on else JUMP_BYTES
            length = min(max(wanted, ahead), self.size - position)
            store = self._place.store
            self._window = store.read(self._place, position, length) if wanted else b""
            self._start = position
        offset = position - self._start
        return self._window[offset : offset + wanted]

    def close(self) -> None:
        """Drop what was fetched."""
        self._window = b""


class _Checked(io.RawIOBase):
    """A stream that has to have a digest at its end, or the upload is given up."""

    def __init__(self, content: BinaryIO, size: int, sha256: str, subject: str) -> None:
        super().__init__()
        self._content = content
        self._left = size
        self._expected = sha256
        self._subject = subject
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._content.read(size)
        self._digest.update(block)
        self._left -= len(block)
        if self._left <= 0 and self._digest.hexdigest() != self._expected:
            raise DamagedError(
                "the bytes changed before they were stored",
                subject=self._subject,
                expected=f"SHA-256 {self._expected}",
                found=self._digest.hexdigest(),
            )
        return block


@contextmanager
def talking(place: ObjectPath, *, last: bool = True) -> Iterator[None]:
    """Turn what the store or the network says into our errors.

    Args:
        place: What it is about.
        last: Whether a failure that may pass is raised; otherwise the caller tries again.

    Raises:
        FileNotFoundError: there is no such object.
        FailError: the store refuses the credentials, or there is no such bucket.
        StoreUnavailableError: it does not answer, or not now.
    """
    subject = str(place)
    try:
        yield
    except S3Error as error:
        code = error.code or ""
        if code in _MISSING:
            raise FileNotFoundError(subject) from None
        if code == "RequestTimeTooSkewed":
            raise FailError(
                "this machine's clock differs too much from the store's",
                subject=subject,
                expected="at most 15 minutes",
                found=code,
                next_step="set the clock (NTP), then try again",
            ) from None
        if code == "NoSuchBucket":
            raise FailError(
                "there is no such bucket", subject=subject, next_step="make the bucket first"
            ) from None
        if code in _REFUSED:
            raise FailError(
                "the store refuses these credentials",
                subject=subject,
                found=code,
                next_step="check TANADA_S3_ACCESS_KEY, TANADA_S3_SECRET_KEY and their policy",
            ) from None
        if last:
            raise StoreUnavailableError(
                "the store does not take the request", subject=subject, found=code
            ) from None
    except (urllib3.exceptions.HTTPError, ServerError, InvalidResponseError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        if last:
            # Its text may hold a signed address: only its kind is told.
            raise StoreUnavailableError(
                "the store does not answer", subject=subject, found=type(error).__name__
            ) from None
