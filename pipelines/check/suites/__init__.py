"""The rules, as Great Expectations suites in JSON: `common.json` and one file per sector.

An expectation's `meta` holds `rule` (its name in verdicts), `severity` (error quarantines),
`limit` (for people), `observed` (text with metric names in braces; the column alone without it),
`at` (metric that says where; `<column>_at_ns` without it) and `notes` (why the rule is there).
A sector's rule takes the place of the common rule of the same name.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

COMMON: Final = "common"
Suite = list[dict[str, Any]]


def suite_of(sector: str) -> Suite:
    """Expectations (type, kwargs, meta) asked of a sector's streams.

    Args:
        sector: Sector id; one without a file of its own is asked the common rules alone.

    Returns:
        The common expectations that the sector does not replace, then the sector's own.
    """
    own = _read(sector) if sector != COMMON else []
    replaced = {expectation["meta"]["rule"] for expectation in own}
    kept = [e for e in _read(COMMON) if e["meta"]["rule"] not in replaced]
    return kept + own


def _read(name: str) -> Suite:
    file = resources.files(__name__) / f"{name}.json"
    if not name.isidentifier() or not file.is_file():
        return []
    suite: Suite = json.loads(file.read_text(encoding="utf-8"))["expectations"]
    return suite
