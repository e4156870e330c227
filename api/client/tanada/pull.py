"""Pull a release: list its files, fetch each with resume, prove size, SHA-256 and digest.

A file is written to `NAME.part` and renamed once it is proven, so what has its final name is whole.
What is cut is continued with a range request that holds only while the file is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from tanada.errors import DamagedError, WrongUseError
from tanada.fetch import Fetch
from tanada.receipt import RECEIPT, Receipt, ReleaseFile, release_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tanada.wire import Wire

_PAGE: Final = 1000
_MARKER: Final = RECEIPT + ".pulling"
"""Says which release a folder without a receipt was begun for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release as asked for: dataset, and a version number or `latest`."""

    dataset: str
    version: str = "latest"

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """From `DATASET` or `DATASET@VERSION`.

        Raises:
            WrongUseError: it is neither.
        """
        dataset, _, version = text.partition("@")
        number = version or "latest"
        if not dataset or "/" in dataset or not (number == "latest" or number.isdigit()):
            raise WrongUseError(
                f"{text!r} names no release", next_step="give DATASET or DATASET@VERSION"
            )
        return cls(dataset, number)


def release_path(dataset: str, version: int | str) -> str:
    """Path of a release on the wire."""
    return f"/v1/datasets/{quote(dataset, safe='')}/releases/{version}"


def list_files(wire: Wire, dataset: str, version: int, purpose: str) -> list[ReleaseFile]:
    """Every file of a release, by path.

    Raises:
        DamagedError: a path would be written outside the folder, or comes twice.
    """
    files: list[ReleaseFile] = []
    query: dict[str, Any] = {"purpose": purpose, "limit": _PAGE}
    while True:
        page = wire.json("GET", release_path(dataset, version) + "/files", params=query)
        files += [ReleaseFile.from_wire(item) for item in page["items"]]
        if not page.get("next_cursor"):
            break
        query["cursor"] = page["next_cursor"]
    if len({file.path.casefold() for file in files}) != len(files):
        raise DamagedError("the catalog's list of files names a path twice")
    return files


def pull(
    wire: Wire,
    wanted: Wanted,
    purpose: str,
    folder: Path,
    *,
    clock: Callable[[], int],
    progress: Callable[[str, int, int], None] = lambda _path, _done, _total: None,
) -> Receipt:
    """Bring a release into a folder; what is there already and proven is not fetched again.

    Args:
        wire: The catalog.
        wanted: Which release.
        purpose: What it is for, as the terms name it.
        folder: Where to; empty, or of an earlier pull of the same release.
        clock: Nanoseconds UTC, for the receipt.
        progress: Told `(path, bytes more, bytes in all)`.

    Returns:
        The receipt, as written into the folder.

    Raises:
        RefusedError: the terms do not allow it; the rules are named.
        DamagedError: what arrived is not what the catalog says.
        WrongUseError: the folder holds something else.
    """
    release = wire.json(
        "GET", release_path(wanted.dataset, wanted.version), params={"purpose": purpose}
    )
    dataset, version = str(release["dataset"]), int(release["version"])
    files = list_files(wire, dataset, version, purpose)
    digest = str(release["digest"])
    if release_digest(files) != digest:
        raise DamagedError(
            f"the list of files of {dataset}@{version} does not give its digest",
            next_step="report this to the operator",
        )
    _claim(folder, dataset, version, digest)
    total = sum(file.size for file in files)
    for file in files:
        url = f"{release_path(dataset, version)}/files/{quote(file.path)}"

        def advance(more: int, path: str = file.path) -> None:
            progress(path, more, total)

        Fetch(wire, url, purpose, file, folder).run(advance)
    receipt = Receipt(
        dataset=dataset,
        version=version,
        digest=digest,
        purpose=purpose,
        url=wire.url,
        pulled_ns=clock(),
        obligations=tuple(str(text) for text in release.get("obligations", ())),
        files=tuple(files),
    )
    receipt.write(folder)
    (folder / _MARKER).unlink(missing_ok=True)
    return receipt


def _claim(folder: Path, dataset: str, version: int, digest: str) -> None:
    """Refuse a folder that holds anything but an earlier, whole or cut, pull of this release."""
    marker = folder / _MARKER
    name = f"{dataset}@{version} {digest}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / RECEIPT).is_file():
            held = Receipt.read(folder)
            if held.digest != digest:
                raise WrongUseError(
                    f"{folder} holds {held.dataset}@{held.version}",
                    next_step=f"give another folder for {dataset}@{version}",
                )
        elif marker.is_file():
            if marker.read_text(encoding="utf-8") != name:
                raise WrongUseError(
                    f"{folder} holds a pull of another release that was not finished",
                    next_step="give another folder, or delete this one",
                )
        elif any(folder.iterdir()):
            raise WrongUseError(f"{folder} is not empty", next_step="give another folder")
        marker.write_text(name, encoding="utf-8")
    except OSError as error:
        raise WrongUseError(f"{folder} cannot be written: {error.strerror}") from error
