"""The receipt beside a pulled release, and the proof that the files are still what it says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from tanada.errors import DamagedError, WrongUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RECEIPT: Final = "tanada-receipt.json"
PART: Final = ".part"
_BLOCK: Final = 1 << 20
_SHA256_DIGITS: Final = 64


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of a release: path below its folder, size in bytes, SHA-256, rows of a table."""

    path: str
    size: int
    sha256: str
    rows: int | None = None
    media_type: str = "application/octet-stream"

    @classmethod
    def from_wire(cls, item: dict[str, Any]) -> ReleaseFile:
        """From the catalog's answer, refused where it could write outside the folder.

        Raises:
            DamagedError: the path leaves the folder, or the line is malformed.
        """
        try:
            file = cls(
                path=str(item["path"]),
                size=int(item["size"]),
                sha256=str(item["sha256"]),
                rows=None if item.get("rows") is None else int(item["rows"]),
                media_type=str(item.get("media_type") or "application/octet-stream"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError("the catalog's list of files is malformed") from error
        if not safe_path(file.path) or file.size < 0 or not _is_sha256(file.sha256):
            raise DamagedError(
                f"the catalog's list of files holds {file.path[:200]!r}, which is refused",
                next_step="report this to the operator; nothing was written outside the folder",
            )
        return file


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was pulled: release, purpose, obligations and every file."""

    dataset: str
    version: int
    digest: str
    purpose: str
    url: str
    pulled_ns: int
    obligations: tuple[str, ...]
    files: tuple[ReleaseFile, ...]

    def write(self, folder: Path) -> None:
        """Write the receipt into the folder of the release."""
        fresh = folder / (RECEIPT + PART)
        fresh.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        fresh.replace(folder / RECEIPT)

    @classmethod
    def read(cls, folder: Path) -> Receipt:
        """The receipt in a folder.

        Raises:
            WrongUseError: there is none, so this is no pulled release.
            DamagedError: it cannot be read as one.
        """
        try:
            document = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
            files = tuple(ReleaseFile.from_wire(item) for item in document.pop("files"))
            obligations = tuple(str(text) for text in document.pop("obligations"))
            return cls(**document, obligations=obligations, files=files)
        except FileNotFoundError:
            raise WrongUseError(
                f"{folder} holds no {RECEIPT}", next_step="tanada pull DATASET --to DIR"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(
                f"{folder / RECEIPT} is damaged", next_step="pull the release again"
            ) from error


def _is_sha256(text: str) -> bool:
    return len(text) == _SHA256_DIGITS and set(text) <= set("0123456789abcdef")


def safe_path(path: str) -> bool:
    r"""Whether a path from the wire stays inside a folder on every system.

    Refused: absolute, `..`, `.`, empty parts, backslashes, drive letters, control characters,
    and the names that this client itself writes.
    """
    parts = path.split("/")
    named = all(part not in {"", ".", ".."} and not part.endswith((PART, " ")) for part in parts)
    plain = not any(ord(char) < ord(" ") or char in '\\:\x7f<>|?*"' for char in path)
    return named and plain and not path.casefold().startswith(RECEIPT)


def release_digest(files: Iterable[ReleaseFile]) -> str:
    r"""SHA-256 over the sorted lines `sha256 size path\n` of all files outside Delta logs."""
    lines = sorted(
        f"{file.sha256} {file.size} {file.path}\n"
        for file in files
        if "_delta_log" not in file.path.split("/")
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256_of(path: Path, advance: Callable[[int], None] = lambda _bytes: None) -> str:
    """SHA-256 of a file, in hex; `advance` is told of each block read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a folder differs from its receipt: `missing`, `changed` or `surplus`."""

    path: str
    problem: str
    detail: str = ""


def check(
    folder: Path, receipt: Receipt, advance: Callable[[int], None] = lambda _bytes: None
) -> list[Finding]:
    """Everything in which a folder differs from its receipt, by path.

    Reads every byte. A receipt whose list does not give its own digest is itself a finding.
    """
    findings = []
    if release_digest(receipt.files) != receipt.digest:
        findings.append(Finding(RECEIPT, "changed", "its list does not give the release's digest"))
    for file in receipt.files:
        finding = _check_file(folder, file, advance)
        if finding is not None:
            findings.append(finding)
    known = {file.path for file in receipt.files} | {RECEIPT}
    findings += [
        Finding(name, "surplus", "not part of the release")
        for name in sorted(_present(folder))
        if name not in known
    ]
    return sorted(findings, key=lambda finding: finding.path)


def _check_file(folder: Path, file: ReleaseFile, advance: Callable[[int], None]) -> Finding | None:
    path = folder / PurePosixPath(file.path)
    if path.is_symlink() or not path.is_file():
        return Finding(file.path, "missing", f"{file.size} bytes expected")
    found = path.stat().st_size
    if found != file.size:
        return Finding(file.path, "changed", f"{found} bytes instead of {file.size}")
    sha256 = sha256_of(path, advance)
    if sha256 != file.sha256:
        return Finding(file.path, "changed", f"SHA-256 {sha256} instead of {file.sha256}")
    return None


def _present(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
