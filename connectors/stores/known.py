"""Which recordings are known already: asked for many at a time, and nothing is written for it.

Handing in a folder again is what schedules do all day. Receiving copies and hashes each file, and
takes the catalog's write lock for it; here small files are hashed where they lie, large ones that
did not change since are not even read (`connectors.stores.seen`), and one query answers for
hundreds of them. Only what the catalog has decided is answered: whatever else is found
(unknown, half received, under another robot, unreadable) is the receiver's, who says why.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from connectors.stores.catalog import parties, recordings
from connectors.stores.catalog.database import reading
from connectors.stores.receive import Received
from connectors.stores.redaction import is_redacted
from schemas.ids import recording_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from connectors.stores.grouping import Candidate
    from connectors.stores.seen import SeenFiles

READ_BYTES: Final = 1 << 20
"""Files up to this size are read to learn whether they are known: less than a millisecond each.
A larger one that turned out to be new would be read twice; the receiver reads it once."""


class KnownRecordings:
    """Recognises what was handed in before under the same robot and agreement.

    Args:
        engine: The catalog.
        organisation / robot / agreement: Under what recordings are handed in.
        seen: What larger files hashed to; None = they are the receiver's to read.
    """

    def __init__(
        self,
        engine: Engine,
        organisation: str,
        robot: str,
        agreement: str,
        seen: SeenFiles | None = None,
    ) -> None:
        self._engine = engine
        self._seen = seen
        self._organisation = organisation
        self._under = {"robot_id": robot, "agreement_id": agreement}

    def among(self, candidates: Sequence[Candidate]) -> list[Received | None]:
        """What is known of each, None where the receiver has to be asked.

        One statement for every 500 recordings, in one transaction that only reads.

        Raises:
            NotFoundError: no such active organisation.
        """
        keys = [self._key(candidate) for candidate in candidates]
        asked = list(dict.fromkeys(key for key in keys if key))
        with reading(self._engine, self._organisation) as connection:
            parties.require_organisation(connection, self._organisation)
            found = recordings.standing(connection, asked)
        return [self._answer(key, found) for key in keys]

    def _answer(self, key: str, found: dict[str, dict[str, str]]) -> Received | None:
        row = found.get(key)
        if row is None or row["state"] not in recordings.DECIDED:
            return None
        if any(row[column] != given for column, given in self._under.items()):
            return None
        return Received(key, row["state"], duplicate=True, missing=[])

    def _key(self, candidate: Candidate) -> str:
        """Its id; "" where finding it out is the receiver's."""
        # A sidecar that has to be redacted may be one that cannot be, which has to be said.
        if any(is_redacted(path.name) for path in candidate.sidecars):
            return ""
        files = []
        for path in candidate.files:
            file = self._hashed(path)
            if file is None:
                return ""
            files.append(file)
        return recording_id(self._organisation, files)

    def _hashed(self, path: Path) -> tuple[int, str] | None:
        """Size and SHA-256 of a file that is small, or as it was when it was hashed before."""
        try:
            with path.open("rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                if found.st_size > READ_BYTES:
                    digest = None if self._seen is None else self._seen.digest(found)
                    return None if digest is None else (found.st_size, digest)
                content = file.read(found.st_size + 1)
        except OSError:
            return None
        if len(content) != found.st_size:
            return None  # it is being written
        return found.st_size, hashlib.sha256(content).hexdigest()
