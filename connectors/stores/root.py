"""The root: one folder or one prefix of a bucket that holds the lake, and where things lie in it.

```
tanada.json                             the lake's id and format version
secret.key                              the pepper of keys and pseudonyms; mode 0600
catalog.db                              the catalog database, unless another is configured
verified.json                           outcome of the last verification, for metrics
seen.db                                 cache: what large local files hashed to; may be removed
notified.json                           which notices were sent, unless another file is configured
staging/                                work in progress; may be emptied when nothing runs
quarantine/<organisation>/<recording>/  bytes refused or not accepted yet
raw/<organisation>/<sha256>             accepted originals
media/<organisation>/<recording>/       pictures of camera streams
tables/<table>/                         Delta tables
releases/<dataset>/<version>/           what recipients fetch
data-docs/<organisation>/               reports of the checks
```
A root in a bucket has none of `secret.key`, `catalog.db` and `seen.db`: its pepper, cache and work
in progress lie in local files (`Access`), its catalog in a database that is named. Below its
`staging/` is only what Spark's executors hand to the process that commits.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.stores.durable import make_folder, write_durable
from connectors.stores.store import SCHEME, Access, store_of
from schemas.errors import ConflictError, DamagedError, FailError, NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from connectors.stores.object_path import ObjectPath
    from connectors.stores.store import Place, Store

FORMAT_VERSION: Final = 1
MARKER: Final = "tanada.json"
_FOLDERS: Final = (
    "staging",
    "quarantine",
    "raw",
    "media",
    "tables",
    "releases",
    "data-docs",
)
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Root:
    """An existing root; use `create` or `open`.

    Attributes:
        path: The folder, absolute; or the prefix.
        lake_id: Random id of this lake.
        staging: Local folder of work in progress. For a folder it lies in it, on the same file
            system as everything else; workers on machines that share a bucket have one each.
        key_file: Local file with the pepper.
    """

    path: Place
    lake_id: str
    staging: Path
    key_file: Path

    @classmethod
    def create(
        cls, path: str | Path, clock: Callable[[], int], access: Access | None = None
    ) -> Root:
        """Make a new root; the marker comes last, so a crash leaves none.

        Args:
            path: A folder, or `s3://bucket/prefix`.
            clock: Nanoseconds UTC.
            access: How an object store is reached.

        Raises:
            ConflictError: there is one already.
            FailError: the store lacks what the platform rests on.
            WrongUseError: the address or what is needed to reach it is none.
        """
        access = access or Access()
        place = _place(path, access)
        if (place / MARKER).exists():
            raise ConflictError("there is a lake already", subject=str(place))
        document = {
            "lake_id": secrets.token_hex(16),
            "format_version": FORMAT_VERSION,
            "created_ns": clock(),
        }
        content = (json.dumps(document, indent=1) + "\n").encode()
        root = cls._of(place, str(document["lake_id"]), access)
        make_folder(root.key_file.parent)
        if not root.key_file.exists():
            write_durable(root.key_file, secrets.token_hex(32).encode(), 0o600)
        if isinstance(place, Path):
            for name in _FOLDERS:
                make_folder(place / name)
            write_durable(place / MARKER, content)
        elif not place.store.create(place / MARKER, content):
            raise ConflictError("there is a lake already", subject=str(place))
        return root

    @classmethod
    def open(cls, path: str | Path, access: Access | None = None) -> Root:
        """Open a root that exists.

        Args:
            path: A folder, or `s3://bucket/prefix`.
            access: How an object store is reached.

        Raises:
            NotFoundError: there is none.
            FailError: it has another format version, or the store lacks what the platform rests
                on.
            DamagedError: its marker cannot be read.
        """
        access = access or Access()
        place = _place(path, access)
        try:
            document = json.loads((place / MARKER).read_bytes())
            lake_id, version = str(document["lake_id"]), int(document["format_version"])
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                "no lake here",
                subject=str(place),
                next_step="tanada init --organisation NAME, or point --root at an existing one",
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f"{MARKER} cannot be read", subject=str(place), expected="lake_id, format_version"
            ) from error
        if version != FORMAT_VERSION:
            raise FailError(
                "the lake has another format version",
                subject=str(place),
                expected=str(FORMAT_VERSION),
                found=str(version),
                next_step="tanada upgrade"
                if version < FORMAT_VERSION
                else "install a newer version of the platform",
            )
        return cls._of(place, lake_id, access)

    @classmethod
    def _of(cls, place: Place, lake_id: str, access: Access) -> Root:
        if isinstance(place, Path):
            return cls(place, lake_id, place / "staging", place / "secret.key")
        if not access.secret_key_file:
            raise WrongUseError(
                "a lake on an object store keeps its pepper in a local file",
                subject=str(place),
                next_step="set TANADA_SECRET_KEY_FILE; every machine of the lake needs the same",
            )
        own = f"tanada-{lake_id[:16]}"
        scratch = Path(access.scratch or tempfile.gettempdir()).expanduser().absolute() / own
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = scratch.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise WrongUseError(
                "the scratch folder is open to others: recordings would be, too",
                subject=str(scratch),
                expected="a folder of this user's, mode 0700",
                found=f"user {found.st_uid}, mode {found.st_mode & 0o777:04o}",
                next_step="set TANADA_SCRATCH",
            )
        return cls(place, lake_id, scratch, Path(access.secret_key_file).expanduser().absolute())

    @property
    def store(self) -> Store[Any]:
        """What keeps its bytes."""
        return store_of(self.path)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return isinstance(self.path, Path)

    @property
    def database_url(self) -> str:
        """URL of the catalog database that lies in the root.

        Raises:
            WrongUseError: it is in a bucket, where no database can lie.
        """
        if not self.is_local:
            raise WrongUseError(
                "a lake on an object store needs a catalog database",
                subject=str(self.path),
                next_step="set TANADA_DATABASE_URL",
            )
        return f"sqlite:///{self.path / 'catalog.db'}"

    @property
    def seen(self) -> Path:
        """Local file that remembers what this machine's files hashed to."""
        if isinstance(self.path, Path):
            return self.path / "seen.db"
        return self.staging.with_name(f"{self.staging.name}-seen.db")

    @property
    def tables(self) -> Place:
        """Folder of all Delta tables."""
        return self.path / "tables"

    def pepper(self) -> bytes:
        """The secret under which keys and pseudonyms are hashed.

        Raises:
            DamagedError: the file is missing or empty.
        """
        pepper = b""
        with suppress(FileNotFoundError):
            pepper = self.key_file.read_bytes().strip()
        if not pepper:
            raise DamagedError(
                f"{self.key_file.name} is missing: no key can be checked",
                subject=str(self.path),
                next_step="restore it from the backup",
            )
        return pepper

    def exchange(self, batch: str) -> Place:
        """Folder of one batch's staged files that executors on other machines reach, too."""
        return (self.staging if self.is_local else self.path / "staging") / _segment(batch)

    def quarantine(self, organisation: str, recording: str) -> Place:
        """Folder of one recording's bytes until they are accepted."""
        return self.path / "quarantine" / _segment(organisation) / _segment(recording)

    def raw(self, organisation: str, sha256: str) -> Place:
        """One accepted original."""
        return self.path / "raw" / _segment(organisation) / _segment(sha256)

    def media(self, organisation: str, recording: str) -> Place:
        """Folder of one recording's pictures."""
        return self.path / "media" / _segment(organisation) / _segment(recording)

    def table(self, name: str) -> Place:
        """Folder of one Delta table."""
        return self.tables / _segment(name)

    def release(self, dataset: str, version: int) -> Place:
        """Folder of one release."""
        return self.path / "releases" / _segment(dataset) / _segment(str(version))

    def data_docs(self, organisation: str) -> Place:
        """Folder of one organisation's check reports; rivals never share a page."""
        return self.path / "data-docs" / _segment(organisation)


def _place(path: str | Path, access: Access) -> Place:
    """A folder, or a prefix of a bucket that is fit for a lake.

    Raises:
        FailError: the store lacks what the platform rests on.
        WrongUseError: an address of another kind, or no bucket in it.
    """
    text = str(path)
    if "://" not in text:
        return Path(path).expanduser().absolute()
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    segments = [segment for segment in prefix.split("/") if segment]
    whole = text.startswith(SCHEME) and _BUCKET.fullmatch(bucket) and segments
    if not whole or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        # What is no plain path may hold a secret: only what stands before it is told.
        raise WrongUseError(
            "not the address of a lake",
            subject=re.split(r"[?#]", text)[0].rsplit("@", 1)[-1][:200],
            expected="a folder, or s3://BUCKET/PREFIX",
        )
    return _opened(bucket, "/".join(segments), access)


def _opened(bucket: str, prefix: str, access: Access) -> ObjectPath:
    # Loaded for lakes on object stores only: the client for one is optional, and takes time.
    from connectors.stores.bucket import Bucket
    from connectors.stores.probe import require_fit

    place = Bucket(bucket, access).place(prefix)
    require_fit(place)
    return place


def _segment(name: str) -> str:
    if not _SEGMENT.fullmatch(name):
        raise WrongUseError(
            "not usable as a folder's name",
            subject=repr(name[:80]),
            expected="letters, digits, '.', '_' and '-', not starting with '.' or '-'",
        )
    return name
