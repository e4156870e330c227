"""Log lines on stderr, as text or as one JSON object a line.

A line holds what a message says, ids (request, recording, plan) and figures: nothing else gets in.
Of an exception that is not one of ours only its type and place are logged: a driver's text may
hold the values of a statement. What looks like a key or a password is struck out in any case.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import sys
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from schemas.errors import TanadaError, WrongUseError

if TYPE_CHECKING:
    from connectors.settings import Settings

FIELDS: Final = (
    "request_id",
    "recording_id",
    "plan_id",
    "method",
    "route",
    "status",
    "seconds",
    "bytes",
    "rules",
    "recordings",
    "table",
    "dataset",
    "version",
)
"""What may stand beside a message; given as `extra`. Never a key, a person or a payload."""
LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")
STRUCK: Final = "***"
_KEY: Final = re.compile(r"\btnd_[0-9A-Za-z]+_[0-9A-Za-z_-]+")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"']+")
_PASSWORD: Final = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")
_FRAMES: Final = 20


def struck(text: str) -> str:
    """The text without keys, tokens and passwords in URLs."""
    text = _KEY.sub(STRUCK, text)
    text = _BEARER.sub(rf"\1 {STRUCK}", text)
    return _PASSWORD.sub(rf"\1:{STRUCK}@", text)


class Formatter(logging.Formatter):
    """Formats a record as text or JSON.

    Args:
        as_json: One JSON object a line.
    """

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        said: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": struck(record.getMessage()),
        }
        for name in FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                said[name] = struck(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[1] is not None:
            said["error"] = _error(record.exc_info[1])
        if self._as_json:
            return json.dumps(said, ensure_ascii=False, default=str)
        head = [said.pop(name) for name in ("at", "level", "logger", "message")]
        rest = (f"{name}={_one_line(value)}" for name, value in said.items())
        return " ".join([*map(_one_line, head), *rest])


def configure(settings: Settings, stream: IO[str] | None = None) -> None:
    """Send every logger's lines to stderr; what was configured before is replaced.

    Args:
        settings: Format and level.
        stream: In place of stderr.

    Raises:
        WrongUseError: no such format or level.
    """
    form, level = settings.log_format.lower(), settings.log_level.lower()
    for name, value, known in (
        ("TANADA_LOG_FORMAT", form, FORMATS),
        ("TANADA_LOG_LEVEL", level, LEVELS),
    ):
        if value not in known:
            raise WrongUseError(
                "no such value", subject=name, expected=", ".join(known), found=value[:40]
            )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Formatter(as_json=form == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Chatty at info, and their lines hold whole URLs.
    for name in ("httpx", "httpcore", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _error(error: BaseException) -> dict[str, Any]:
    """Type and place of an exception; its text only where it is one of ours."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    said: dict[str, Any] = {
        "type": type(error).__name__,
        "at": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, TanadaError):
        said["what"] = struck(error.what)
    if error.__cause__ is not None:
        said["cause"] = type(error.__cause__).__name__
    return said


def _one_line(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.replace("\n", "\\n").replace("\r", "\\r")
