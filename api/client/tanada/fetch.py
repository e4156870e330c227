"""Fetch one file: continue where it was cut, prove it, and only then give it its name."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import httpx

from tanada.errors import DamagedError, WrongUseError
from tanada.receipt import PART, sha256_of
from tanada.wire import ATTEMPTS, problem_of, worth_retrying

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tanada.errors import TanadaClientError
    from tanada.receipt import ReleaseFile
    from tanada.wire import Wire

_PARTIAL: Final = 206
_UNSATISFIABLE: Final = 416


class Fetch:
    """One file of a release on its way into a folder.

    Args:
        wire: The catalog.
        url: Path of the file on the wire.
        purpose: Stated purpose.
        file: What it has to be.
        folder: Folder of the release.
    """

    def __init__(self, wire: Wire, url: str, purpose: str, file: ReleaseFile, folder: Path) -> None:
        self._wire = wire
        self._url = url
        self._purpose = purpose
        self._file = file
        self._folder = folder
        self._idle = 0
        self._target = folder / PurePosixPath(file.path)
        self._part = self._target.with_name(self._target.name + PART)

    def run(self, advance: Callable[[int], None]) -> None:
        """Bring the file into the folder; nothing is fetched where it is there and proven.

        Args:
            advance: Told of bytes as they arrive, negative where some have to come again.

        Raises:
            DamagedError: twice, what arrived was not what the catalog says.
            TanadaClientError: the catalog refused, or does not answer after all retries.
        """
        if self._there():
            advance(self._file.size)
            return
        self._inside()
        for _ in range(2):
            self._complete(advance)
            found = sha256_of(self._part)
            if found == self._file.sha256:
                self._settle()
                return
            # A resumed part may have been spoilt on disk: once more, from the start.
            advance(-self._part.stat().st_size)
            self._part.unlink()
        raise DamagedError(
            f"{self._file.path}: SHA-256 {found} instead of {self._file.sha256}",
            next_step="report this to the operator; the file was not kept",
        )

    def _there(self) -> bool:
        target, file = self._target, self._file
        plain = target.is_file() and not target.is_symlink()
        return plain and target.stat().st_size == file.size and sha256_of(target) == file.sha256

    def _inside(self) -> None:
        """Make the file's folder, refusing a way that leads out through a symbolic link."""
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            if not self._target.parent.resolve().is_relative_to(self._folder.resolve()):
                raise DamagedError(f"{self._file.path} leads out of the folder")
            if self._part.is_symlink():
                self._part.unlink()
        except OSError as error:
            raise WrongUseError(f"{self._target.parent}: {error.strerror}") from error

    def _settle(self) -> None:
        with self._part.open("rb+") as file:
            os.fsync(file.fileno())
        self._part.replace(self._target)

    def _held(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _complete(self, advance: Callable[[int], None]) -> None:
        """Fetch until the part has the file's size."""
        if self._held() > self._file.size:
            self._part.unlink()
        advance(self._held())
        self._part.touch()
        self._idle = 0
        while (before := self._held()) < self._file.size:
            failure = self._once(before, advance)
            if self._held() == self._file.size:
                break
            # Only tries without any progress count: a poor line still gets there.
            self._idle = self._idle + 1 if self._held() <= before else 0
            if self._idle >= ATTEMPTS:
                raise failure or DamagedError(f"{self._file.path}: the answer ends too early")
        if self._held() > self._file.size:
            raise DamagedError(f"{self._file.path}: more bytes than the catalog lists")

    def _once(self, offset: int, advance: Callable[[int], None]) -> TanadaClientError | None:
        """One request from `offset` on; the error if it may be worth another try."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": f'"{self._file.sha256}"'}
        query = {"purpose": self._purpose}
        try:
            with self._wire.stream(self._url, params=query, headers=headers) as response:
                if worth_retrying(response.status_code):
                    response.read()
                    self._wire.pause(self._idle, response)
                    return problem_of(response)
                if response.status_code == _UNSATISFIABLE:
                    self._restart(advance)
                    return None
                self._wire.check(response)
                self._receive(response, offset, advance)
        except httpx.TransportError as error:
            self._wire.pause(self._idle, None)
            return self._wire.unreachable(error)
        return None

    def _restart(self, advance: Callable[[int], None]) -> None:
        advance(-self._held())
        self._part.write_bytes(b"")

    def _receive(
        self, response: httpx.Response, offset: int, advance: Callable[[int], None]
    ) -> None:
        stated = response.headers.get("content-range", "")
        continued = response.status_code == _PARTIAL
        if continued and not stated.startswith(f"bytes {offset}-"):
            raise DamagedError(f"{self._file.path}: asked from {offset}, answered {stated!r}")
        if offset and not continued:
            self._restart(advance)
        left = self._file.size - (offset if continued else 0)
        with self._part.open("ab") as file:
            for block in response.iter_raw():
                if len(block) > left:
                    raise DamagedError(f"{self._file.path}: more bytes than the catalog lists")
                file.write(block)
                left -= len(block)
                advance(len(block))
