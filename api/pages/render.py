"""Templates, and how values are written for people."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse

from api.access import READERS
from schemas.sectors import SECTORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from api.auth import Caller

TEMPLATES: Final = Path(__file__).parent / "templates"
PURPOSES: Final = {
    "pretraining": "Pretraining",
    "fine_tuning": "Fine-tuning",
    "evaluation": "Evaluation",
    "benchmark": "Benchmark",
    "simulation": "Simulation",
    "research": "Research",
    "product_inference": "Product inference",
    "internal_analytics": "Internal analytics",
}
_RULES: Final = {
    "purpose_not_allowed": "the terms do not name this purpose",
    "purpose_missing": "no purpose was stated",
    "commercial_not_allowed": "commercial use is not allowed",
    "expired": "the terms have run out",
    "revoked": "the terms were revoked",
    "grant_revoked": "the grant was revoked",
    "embargo": "the data are under embargo still",
    "not_yet_effective": "the terms are not in force yet",
    "recipient_not_named": "your organisation is not among the named recipients",
    "member_not_named": "you are not among the named members",
    "territory_processing": "processing is not allowed where you are",
    "territory_storage": "storage is not allowed where you are",
    "network_not_allowed": "your network is not among the allowed ones",
    "enclave_only": "the data may be queried in place only",
    "role": "your role does not allow it",
    "role_model": "only members with the role model may fetch files",
    "consent_scope": "the persons' consent does not cover this purpose",
    "personal_basis_missing": "there is no legal basis for the personal data in it",
    "medical_basis_missing": "there is no legal basis for the medical data in it",
    "terms_conflict": "the release's and the grant's terms contradict each other",
    "no_grant": "there is no grant for it",
}
_STATES: Final = {
    "receiving": "arriving",
    "received": "waiting for its checks",
    "leased": "being checked",
    "planned": "being written",
    "accepted": "accepted",
    "accepted_with_warnings": "accepted with warnings",
    "quarantined": "quarantined",
    "failed": "failed",
    "withdrawn": "withdrawn",
}
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_JAPANESE: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_ROUNDS_UP: Final = 999.5
_THREE_DIGITS: Final = 99.95
_MINUTE: Final = 60
_HOUR: Final = 3600
_LARGE: Final = 100_000
_SMALL: Final = 1e-3


def bytes_text(size: float | None) -> str:
    """A size in bytes, in powers of 1000 with two or three digits: `1.2 MB`, `340 kB`."""
    if size is None:
        return "–"
    value, unit = float(size), 0
    while value >= _ROUNDS_UP and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 1 if unit and value < _THREE_DIGITS else 0
    return f"{value:.{digits}f} {_UNITS[unit]}"


def instant_text(ns: int | None) -> str:
    """A stamp in ns UTC, to the minute."""
    if ns is None:
        return "–"
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def duration_text(seconds: float | None) -> str:
    """A length of time in seconds: `2 h 05 min`, `3 min 20 s`, `12.5 s`."""
    if seconds is None:
        return "–"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR:,} h {whole % _HOUR // _MINUTE:02d} min"


def number_text(value: Any) -> str:
    """A number with four significant digits, lists by their elements; None as a dash."""
    if isinstance(value, list | tuple):
        return ", ".join(number_text(part) for part in value)
    if value is None or isinstance(value, bool | str):
        return "–" if value is None else str(value)
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < _LARGE):
        return f"{int(value):,}"
    size = abs(value)
    return f"{value:.3e}" if size >= _LARGE or size < _SMALL else f"{value:.4g}"


def language_of(text: str) -> str:
    """`ja` where a text holds Japanese, else `en`: it decides how screen readers speak it."""
    return "ja" if _JAPANESE.search(text) else "en"


def duty_text(duty: str) -> str:
    """An obligation in plain words."""
    name, _, value = duty.partition(": ")
    words = name.replace("_", " ").capitalize()
    return f"{words}: {value.replace('_', ' ')}" if value else words


def kept_query(choices: Mapping[str, str]) -> str:
    """The choices that were made, as a query string."""
    return urlencode({name: value for name, value in choices.items() if value})


def rule_text(rule: str) -> str:
    """A rule's name in plain words."""
    if rule.startswith("cap_"):
        _, *volume, window = rule.split("_")
        return f"it would exceed the cap on {' '.join(volume)} per {window}"
    return _RULES.get(rule, rule.replace("_", " "))


def sector_text(sector: str) -> str:
    """A sector's title."""
    found = SECTORS.get(sector)
    return found.title if found else sector


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bytes=bytes_text,
        instant=instant_text,
        duration=duration_text,
        number=number_text,
        rule=rule_text,
        sector=sector_text,
        purpose=lambda purpose: PURPOSES.get(purpose, purpose),
        language=language_of,
        duty=duty_text,
        kept=kept_query,
        state=lambda state: _STATES.get(state, state),
    )
    environment.globals.update(PURPOSES=PURPOSES, READERS=READERS)
    return environment


_ENVIRONMENT: Final = _environment()


def page(template: str, *, caller: Caller | None, status: int = 200, **values: Any) -> HTMLResponse:
    """One page.

    Args:
        template: File below `templates/`.
        caller: Who looks; None before the log-in.
        status: HTTP status.
        values: What the template shows.
    """
    text = _ENVIRONMENT.get_template(template).render(caller=caller, **values)
    return HTMLResponse(text, status_code=status)


def error_page(
    request: Request, document: Mapping[str, Any], headers: Mapping[str, str]
) -> Response:
    """A problem document as a page; without a session, the way to the log-in."""
    status = int(document["status"])
    if status == HTTPStatus.UNAUTHORIZED:
        target = quote(request.url.path, safe="/")
        return RedirectResponse(f"/login?next={target}", status_code=303)
    caller: Caller | None = getattr(request.state, "caller", None)
    response = page("error.html", caller=caller, status=status, problem=document)
    response.headers.update(headers)
    return response
