from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.check import suites
from pipelines.check.frame import NUMBERS, TEXTS
from pipelines.check.metrics import PLACES
from pipelines.check.suites import COMMON, suite_of
from schemas.quality import Severity
from schemas.sectors import SECTORS
from schemas.tables import TABLES

FOLDER = Path(suites.__file__).parent
FILES = sorted(file.stem for file in FOLDER.glob("*.json"))


def test_one_file_per_sector_and_the_common_one() -> None:
    assert sorted([COMMON, *SECTORS]) == FILES


@pytest.mark.parametrize("name", FILES)
def test_every_expectation_says_what_it_is(name: str) -> None:
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert document["name"] == name
    rules = [expectation["meta"]["rule"] for expectation in document["expectations"]]
    assert len(rules) == len(set(rules))
    for expectation in document["expectations"]:
        meta, kwargs = expectation["meta"], expectation["kwargs"]
        assert meta["severity"] in set(Severity)
        assert meta["limit"]
        assert meta["notes"]
        assert kwargs["column"] in NUMBERS
        assert {"min_value", "max_value"} & set(kwargs)
        filled = dict.fromkeys((*NUMBERS, *TEXTS), 0)
        assert meta.get("observed", "x").format_map(filled)
        assert meta.get("at", "gap_max_at_ns") in {*PLACES, "gap_max_at_ns"}


def _conditions(condition: dict[str, object]) -> list[dict[str, object]]:
    if condition["type"] == "and":
        parts = condition["conditions"]
        assert isinstance(parts, list)
        return [leaf for part in parts for leaf in _conditions(part)]
    return [condition]


@pytest.mark.parametrize("name", FILES)
def test_conditions_name_real_columns_and_tables(name: str) -> None:
    for expectation in suite_of(name):
        for condition in _conditions(expectation["kwargs"]["row_condition"]):
            column = condition["column"]
            assert isinstance(column, dict)
            assert column["name"] in {*TEXTS, *NUMBERS}
            if column["name"] == "table":
                tables = condition["parameter"]
                assert isinstance(tables, list)
                assert set(tables) <= set(TABLES)
                # Event topics have no rate, so no rule may ask one of them.
                assert "messages" not in tables


@pytest.mark.parametrize("sector", sorted(SECTORS))
def test_a_sector_replaces_rules_without_losing_tables(sector: str) -> None:
    own = {e["meta"]["rule"]: e for e in suite_of(sector)}
    for common in suite_of(COMMON):
        replaced = own[common["meta"]["rule"]]
        mine, theirs = (
            [c for c in _conditions(e["kwargs"]["row_condition"]) if c["operator"] == "IN"]
            for e in (replaced, common)
        )
        assert mine == theirs or replaced["meta"]["rule"] == "lag_jump"


def test_a_sector_without_a_file_is_asked_the_common_rules() -> None:
    assert suite_of("agriculture") == suite_of(COMMON)
    assert suite_of("../common") == suite_of(COMMON)
