"""Table rows for people: statistics element by element, uses by recipient and release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STATISTICS: Final = ("count", "min", "q01", "q10", "q50", "q90", "q99", "max", "mean", "std")
ELEMENTS_MAX: Final = 8


def statistic_rows(features: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    """A name and its values in the order of `STATISTICS`, one row per element of a vector.

    Args:
        features: `statistics.json`: feature -> statistic -> a number, or a list of them.

    Returns:
        Rows; of a long vector the first `ELEMENTS_MAX` elements, and a row that says how many
        follow.
    """
    rows: list[tuple[str, list[Any]]] = []
    for name, found in features.items():
        values = [found.get(key) for key in STATISTICS]
        length = max((len(value) for value in values if isinstance(value, list)), default=None)
        if length is None:
            rows.append((name, values))
            continue
        rows.extend(
            (f"{name}[{index}]", [_element(value, index) for value in values])
            for index in range(min(length, ELEMENTS_MAX))
        )
        if length > ELEMENTS_MAX:
            rest = f"{name}: {length - ELEMENTS_MAX} more"
            rows.append((rest, [None] * len(STATISTICS)))
    return rows


def _element(value: Any, index: int) -> Any:
    if not isinstance(value, list):
        return value
    return value[index] if index < len(value) else None


def by_recipient(uses: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Uses of single files, summed up by recipient and release, newest first."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for use in uses:
        key = (use["recipient"], use["dataset"], use["version"])
        row = found.setdefault(
            key,
            {
                "recipient": use["recipient"],
                "dataset": use["dataset"],
                "version": use["version"],
                "files": 0,
                "bytes": 0,
                "first_ns": use["first_ns"],
                "last_ns": use["last_ns"],
            },
        )
        row["files"] += 1
        row["bytes"] += use["bytes"]
        row["first_ns"] = min(row["first_ns"], use["first_ns"])
        row["last_ns"] = max(row["last_ns"], use["last_ns"])
    return sorted(found.values(), key=lambda row: -row["last_ns"])
