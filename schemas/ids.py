"""Identifiers and how they are derived.

Ids are derived from content, so that handing in the same bytes again gives the same id.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from schemas.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Iterable

ORGANISATION_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


def organisation_id(name: str) -> str:
    """Slug of an organisation's name: lower-case ASCII letters, digits and hyphens, at most 40.

    Raises:
        WrongUseError: nothing is left of the name.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    if not ORGANISATION_PATTERN.fullmatch(slug):
        raise WrongUseError(
            "an organisation's name needs at least one ASCII letter or digit",
            subject=repr(name),
            next_step="give it an ASCII name; the legal name may hold any script",
        )
    return slug


def recording_id(organisation: str, files: Iterable[tuple[int, str]]) -> str:
    """SHA-256 over the organisation and the sorted (size, sha256) of its data files.

    Names and sidecars are metadata: the same bytes, renamed or in another order, are the same
    recording; the same bytes from another organisation are another recording.

    Args:
        organisation: Organisation id.
        files: (size in bytes, lower-case hex SHA-256) of each data file.

    Returns:
        64 lower-case hex digits.

    Raises:
        WrongUseError: no files, or a digest that is none.
    """
    digest = hashlib.sha256(b"tanada-recording-1\n" + organisation.encode())
    lines = sorted(files)
    if not lines:
        raise WrongUseError("a recording needs at least one data file")
    for size, sha256 in lines:
        if not SHA256_PATTERN.fullmatch(sha256):
            raise WrongUseError("not a SHA-256", subject=sha256[:80], expected="64 hex digits")
        digest.update(f"\n{size} {sha256}".encode())
    return digest.hexdigest()


def episode_id(recording: str, index: int = 0) -> str:
    """Id of one episode of a recording; most formats hold exactly one (index 0)."""
    return f"{recording}-{index}"


def schema_id(name: str, encoding: str, text: bytes) -> str:
    """SHA-256 of a message schema: its type name, schema encoding and text."""
    return hashlib.sha256(f"{name}\n{encoding}\n".encode() + text).hexdigest()
