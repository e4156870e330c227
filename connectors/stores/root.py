"""The root: one folder that holds the lake, and where things lie in it.

```
tanada.json                             the lake's id and format version
secret.key                              the pepper of keys and pseudonyms; mode 0600
catalog.db                              the catalog database, unless another is configured
verified.json                           outcome of the last verification, for metrics
notified.json                           which notices were sent, unless another file is configured
staging/                                work in progress; may be emptied when nothing runs
quarantine/<organisation>/<recording>/  bytes refused or not accepted yet
raw/<organisation>/<sha256>             accepted originals
media/<organisation>/<recording>/       pictures of camera streams
tables/<table>/                         Delta tables
releases/<dataset>/<version>/           what recipients fetch
data-docs/<organisation>/               reports of the checks
```
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connectors.stores.durable import make_folder, write_durable
from schemas.errors import ConflictError, DamagedError, FailError, NotFoundError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable

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
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Root:
    """An existing root; use `create` or `open`.

    Attributes:
        path: The folder, absolute.
        lake_id: Random id of this lake.
    """

    path: Path
    lake_id: str

    @classmethod
    def create(cls, path: str | Path, clock: Callable[[], int]) -> Root:
        """Make a new root; the marker comes last, so a crash leaves none.

        Raises:
            ConflictError: there is one already.
            WrongUseError: an object store's address; this version keeps its lake in a folder.
        """
        folder = _folder(path)
        if (folder / MARKER).exists():
            raise ConflictError("there is a lake already", subject=str(folder))
        make_folder(folder)
        for name in _FOLDERS:
            make_folder(folder / name)
        if not (folder / "secret.key").exists():
            write_durable(folder / "secret.key", secrets.token_hex(32).encode(), 0o600)
        document = {
            "lake_id": secrets.token_hex(16),
            "format_version": FORMAT_VERSION,
            "created_ns": clock(),
        }
        write_durable(folder / MARKER, (json.dumps(document, indent=1) + "\n").encode())
        return cls(folder, str(document["lake_id"]))

    @classmethod
    def open(cls, path: str | Path) -> Root:
        """Open a root that exists.

        Raises:
            NotFoundError: there is none.
            FailError: it has another format version.
            DamagedError: its marker cannot be read.
        """
        folder = _folder(path)
        try:
            document = json.loads((folder / MARKER).read_bytes())
            lake_id, version = str(document["lake_id"]), int(document["format_version"])
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                "no lake here",
                subject=str(folder),
                next_step="tanada init --organisation NAME, or point --root at an existing one",
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f"{MARKER} cannot be read", subject=str(folder), expected="lake_id, format_version"
            ) from error
        if version != FORMAT_VERSION:
            raise FailError(
                "the lake has another format version",
                subject=str(folder),
                expected=str(FORMAT_VERSION),
                found=str(version),
                next_step="tanada upgrade"
                if version < FORMAT_VERSION
                else "install a newer version of the platform",
            )
        return cls(folder, lake_id)

    @property
    def database_url(self) -> str:
        """URL of the catalog database that lies in the root."""
        return f"sqlite:///{self.path / 'catalog.db'}"

    @property
    def staging(self) -> Path:
        """Folder of work in progress, on the same file system as everything else."""
        return self.path / "staging"

    @property
    def tables(self) -> Path:
        """Folder of all Delta tables."""
        return self.path / "tables"

    def pepper(self) -> bytes:
        """The secret under which keys and pseudonyms are hashed.

        Raises:
            DamagedError: the file is missing or empty.
        """
        try:
            pepper = (self.path / "secret.key").read_bytes().strip()
        except FileNotFoundError:
            pepper = b""
        if not pepper:
            raise DamagedError(
                "secret.key is missing: no key can be checked",
                subject=str(self.path),
                next_step="restore it from the backup",
            )
        return pepper

    def quarantine(self, organisation: str, recording: str) -> Path:
        """Folder of one recording's bytes until they are accepted."""
        return self.path / "quarantine" / _segment(organisation) / _segment(recording)

    def raw(self, organisation: str, sha256: str) -> Path:
        """One accepted original."""
        return self.path / "raw" / _segment(organisation) / _segment(sha256)

    def media(self, organisation: str, recording: str) -> Path:
        """Folder of one recording's pictures."""
        return self.path / "media" / _segment(organisation) / _segment(recording)

    def table(self, name: str) -> Path:
        """Folder of one Delta table."""
        return self.tables / _segment(name)

    def release(self, dataset: str, version: int) -> Path:
        """Folder of one release."""
        return self.path / "releases" / _segment(dataset) / _segment(str(version))

    def data_docs(self, organisation: str) -> Path:
        """Folder of one organisation's check reports; rivals never share a page."""
        return self.path / "data-docs" / _segment(organisation)


def _folder(path: str | Path) -> Path:
    if "://" in str(path):
        raise WrongUseError(
            "this version keeps its lake in a local folder", subject=str(path).split("?")[0][:200]
        )
    return Path(path).expanduser().absolute()


def _segment(name: str) -> str:
    if not _SEGMENT.fullmatch(name):
        raise WrongUseError(
            "not usable as a folder's name",
            subject=repr(name[:80]),
            expected="letters, digits, '.', '_' and '-', not starting with '.' or '-'",
        )
    return name
