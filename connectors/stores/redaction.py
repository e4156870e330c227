"""Persons' names in sidecars, dropped before the sidecar is stored."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any, Final

from schemas.errors import WrongFormatError

LIMIT_BYTES: Final = 4 << 20
"""Largest sidecar that is read to be redacted."""


def is_redacted(name: str) -> bool:
    """Whether files of that name pass through `redact`."""
    return PurePosixPath(name).name == "meta.json"


def redact(content: bytes, name: str) -> bytes:
    """An AIRoA `meta.json` (schema 2.0) without `runner.name`, which is a person.

    Bytes without a runner's name come back unchanged.

    Raises:
        WrongFormatError: it is no JSON, so that nobody can tell what it holds.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WrongFormatError(
            "a meta.json that is no JSON cannot be redacted, so it is not stored",
            subject=name,
            next_step="repair it, or hand the recording in without it",
        ) from error
    if not _drop_runner(document):
        return content
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def _drop_runner(value: Any) -> bool:
    dropped = False
    if isinstance(value, dict):
        runners = value.get("runner")
        for runner in runners if isinstance(runners, list) else [runners]:
            if isinstance(runner, dict) and "name" in runner:
                del runner["name"]
                dropped = True
        if isinstance(runners, str):
            del value["runner"]
            dropped = True
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            dropped |= _drop_runner(item)
    return dropped
