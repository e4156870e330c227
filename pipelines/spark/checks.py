"""Table-wide checks: Great Expectations over whole tables, computed by Spark.

The rules at ingest see one batch. These see every visible row: required columns, keys without
doubles, and that each stream has as many rows in the tables as it was committed with.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from pipelines.spark.session import session_of
from pipelines.spark.tables import frame
from schemas.errors import MissingDependencyError, WrongUseError
from schemas.tables import PARTITION, TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipelines.cli.platform import Platform

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "episodes": ("episode",),
    "streams": ("episode", "stream"),
    "transforms": ("episode", "stream", "seq", "item"),
    "message_schemas": ("recording_id", "schema_id"),
    "quality": (),
}
_MESSAGE_KEY: Final = ("episode", "stream", "seq")


@dataclass(frozen=True, slots=True)
class TableCheck:
    """One rule asked of one table.

    Attributes:
        table / version: What was looked at.
        rule / severity / limit: As the suite says; severity error or warning.
        rows: Rows it was asked of.
        failed: Rows that do not hold.
    """

    table: str
    version: int
    rule: str
    severity: str
    limit: str
    rows: int
    failed: int

    @property
    def passed(self) -> bool:
        """Whether the rule holds."""
        return self.failed == 0

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__slots__} | {"passed": self.passed}


def check(platform: Platform, tables: Sequence[str] | None = None) -> list[TableCheck]:
    """Ask the suites of the tables as they are now.

    Args:
        platform: The opened platform.
        tables: Which; None = all.

    Raises:
        MissingDependencyError: Spark or Great Expectations is not installed.
        WrongUseError: no such table.
    """
    chosen = list(TABLES) if tables is None else list(dict.fromkeys(tables))
    if unknown := [table for table in chosen if table not in TABLES]:
        raise WrongUseError(
            "no such table", subject=unknown[0][:80], next_step="tanada lake tables"
        )
    try:
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig
    except ImportError as error:
        raise MissingDependencyError(
            "Great Expectations is not installed",
            next_step="pip install 'tanada-platform[spark]'",
        ) from error
    session = session_of(platform.settings)
    pinned = platform.lake.pin()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_spark("lake", force_reuse_spark_context=True, persist=False)
    found = []
    for table in chosen:
        # Read once: every rule looks at it again.
        rows = _frame(session, platform, table, pinned).persist()
        batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
        suite = gx.ExpectationSuite(table, expectations=suite_of(table))
        outcome = batch.get_batch({"dataframe": rows}).validate(
            suite, result_format={"result_format": "BASIC", "partial_unexpected_count": 0}
        )
        rows.unpersist()
        found += [_checked(table, pinned[table], result) for result in outcome.results]
    return found


def suite_of(table: str) -> list[dict[str, Any]]:
    """Expectations (type, kwargs, meta) asked of one table: of its definition, then its own."""
    columns = [column for column in TABLES[table].columns if column.name not in PARTITION]
    suite: list[dict[str, Any]] = [
        _expectation(
            "expect_column_values_to_not_be_null",
            {"column": column.name},
            f"required:{column.name}",
            "no nulls",
        )
        for column in columns
        if not column.nullable
    ]
    key = list(_KEYS.get(table, _MESSAGE_KEY))
    if len(key) > 1:
        suite.append(
            _expectation(
                "expect_compound_columns_to_be_unique",
                {"column_list": key, "ignore_row_if": "never"},
                "key_unique",
                f"one row for each {', '.join(key)}",
            )
        )
    elif key:
        suite.append(
            _expectation(
                "expect_column_values_to_be_unique",
                {"column": key[0]},
                "key_unique",
                f"one row for each {key[0]}",
            )
        )
    return suite + _own_rules().get(table, [])


def _own_rules() -> dict[str, list[dict[str, Any]]]:
    text = (resources.files("pipelines.spark") / "lake_suite.json").read_text(encoding="utf-8")
    tables: dict[str, list[dict[str, Any]]] = json.loads(text)["tables"]
    return tables


def _expectation(kind: str, kwargs: dict[str, Any], rule: str, limit: str) -> dict[str, Any]:
    meta = {"rule": rule, "severity": "error", "limit": limit}
    return {"type": kind, "kwargs": kwargs, "meta": meta}


def _frame(session: Any, platform: Platform, table: str, pinned: Mapping[str, int]) -> Any:
    rows = frame(session, platform.root, table, pinned)
    if table != "streams":
        return rows
    # Joined once here: a rule sees one frame only.
    counted = functools.reduce(
        lambda one, other: one.unionByName(other),
        (
            frame(session, platform.root, name, pinned).groupBy("episode", "stream").count()
            for name, spec in TABLES.items()
            if spec.has_messages
        ),
    )
    found = counted.groupBy("episode", "stream").sum("count")
    found = found.withColumnRenamed("sum(count)", "rows_found")
    return rows.join(found, ["episode", "stream"], "left").fillna({"rows_found": 0})


def _checked(table: str, version: int, result: Any) -> TableCheck:
    meta, counts = result.expectation_config.meta, result.result
    # A rule that could not be evaluated has no counts, and must never pass for one that held.
    if "unexpected_count" not in counts:
        raise RuntimeError(
            f"rule {meta['rule']} of {table} was not evaluated: {result.exception_info}"
        )
    return TableCheck(
        table,
        version,
        meta["rule"],
        meta["severity"],
        meta["limit"],
        rows=counts["element_count"],
        failed=counts["unexpected_count"],
    )
