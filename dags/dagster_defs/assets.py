"""The asset graph: landings, the lake's tables, releases; and the checks between them.

Tables are partitioned by day of delivery and sector. A release is built from everything that is
visible, and only when the blocking checks hold: every table is as its manifest says (`intact`,
the job `verify`), and every verdict follows from its recorded results (`judged`, the job
`verdicts`). What a partner sent broken blocks nothing: `verdicts` and the rules only warn.
"""

import json
import os
from collections.abc import Iterator
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from dags.dagster_defs.running import answer, limits, run
from pipelines.jobs import JOBS, WELL
from schemas.sectors import SECTORS
from schemas.tables import TABLES

START = date.fromisoformat(os.environ.get("TANADA_SCHEDULE_FROM") or "2026-01-01")
DAY, SECTOR = "day", "sector"
# The day that has just begun is a partition too: its landings are ingested as they come.
PARTITIONS = dg.MultiPartitionsDefinition(
    {
        DAY: dg.DailyPartitionsDefinition(START.isoformat(), timezone="UTC", end_offset=1),
        SECTOR: dg.StaticPartitionsDefinition(sorted(SECTORS)),
    }
)
LANDING = dg.AssetKey("landing")
HARMLESS = "file_surplus"
_SUITES = resources.files("pipelines.check") / "suites"
_BAR = 24


def table_key(table: str) -> dg.AssetKey:
    """Asset of a table."""
    return dg.AssetKey(["lake", table])


def release_key(dataset: str) -> dg.AssetKey:
    """Asset of a dataset's newest release."""
    return dg.AssetKey(["releases", dataset])


def rules() -> list[str]:
    """Every rule of the platform's own quality suites."""
    found = set()
    for path in _SUITES.iterdir():
        if path.name.endswith(".json"):
            suite = json.loads(path.read_text("utf-8"))
            found |= {expectation["meta"]["rule"] for expectation in suite["expectations"]}
    return sorted(found)


landing = dg.AssetSpec(
    LANDING,
    description="What partners' transfers left: <organisation>/<robot>/<YYYY-MM-DD>/",
    group_name="landing",
    partitions_def=PARTITIONS,
    kinds={"file"},
)


# --- tables --------------------------------------------------------------------------------------


class IngestConfig(dg.Config):
    """What a run of the ingest may be told.

    Attributes:
        settled_seconds: A file that changed since is still being written.
    """

    settled_seconds: int = 60


@dg.multi_asset(
    name="ingest",
    specs=[
        dg.AssetSpec(
            table_key(name),
            deps=[LANDING],
            description=spec.doc,
            group_name="lake",
            kinds={"deltalake"},
        )
        for name, spec in TABLES.items()
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "verdicts",
            asset=table_key("episodes"),
            description="No recording of the day was quarantined or is in conflict.",
        ),
        *(
            dg.AssetCheckSpec(
                rule,
                asset=table_key("streams"),
                description=f"No recording of the day broke the rule {rule}.",
            )
            for rule in rules()
        ),
    ],
    partitions_def=PARTITIONS,
    **limits(JOBS["ingest"]),
)
def ingest(context: dg.AssetExecutionContext, config: IngestConfig) -> Iterator[Any]:
    """Ingest one day's landings of one sector; what is known is a duplicate."""
    of = context.partition_key.keys_by_dimension
    done = run(
        JOBS["ingest"],
        {"day": of[DAY], "sector": of[SECTOR], "settled_seconds": config.settled_seconds},
    )
    for name in TABLES:
        metadata: dict[str, Any] = {"dagster/partition_row_count": done["rows"].get(name, 0)}
        if name == "episodes":
            metadata |= _about(done)
        yield dg.MaterializeResult(asset_key=table_key(name), metadata=metadata)
    refused = {k: n for k, n in done["verdicts"].items() if k in {"quarantined", "conflict"}}
    yield dg.AssetCheckResult(
        asset_key=table_key("episodes"),
        check_name="verdicts",
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=done["verdicts"],
    )
    for rule in rules():
        broken = done["rules"].get(rule, 0)
        yield dg.AssetCheckResult(
            asset_key=table_key("streams"),
            check_name=rule,
            passed=not broken,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"recordings": broken},
        )


def _about(done: dict[str, Any]) -> dict[str, Any]:
    """Counts, a small plot of the verdicts, and where the checks' pages lie."""
    docs = {f"data_docs_{Path(p).name}": dg.MetadataValue.path(p) for p in done["data_docs"]}
    counts = {f"recordings_{verdict}": number for verdict, number in done["verdicts"].items()}
    return {
        "verdicts": dg.MetadataValue.md(_bars(done["verdicts"])),
        "left_out": len(done["left_out"]),
        **counts,
        **docs,
    }


def _bars(counts: dict[str, int]) -> str:
    most = max(counts.values(), default=1)
    lines = ["| verdict | recordings | |", "|---|---:|---|"]
    for name, number in counts.items():
        lines.append(f"| {name} | {number} | {'█' * max(1, _BAR * number // most)} |")
    return "\n".join(lines)


# --- checks that a release waits for -------------------------------------------------------------


@dg.multi_asset_check(
    name="intact",
    specs=[
        dg.AssetCheckSpec(
            "intact",
            asset=table_key(name),
            blocking=True,
            description="Log, manifest and data files are as they were recorded.",
        )
        for name in TABLES
    ],
    pool=limits(JOBS["verify"])["pool"],
)
def intact() -> Iterator[dg.AssetCheckResult]:
    """Compare every table with its manifest."""
    found = answer(JOBS["verify"], {})["findings"]
    for name in TABLES:
        own = [one for one in found if one["table"] == name and one["what"] != HARMLESS]
        yield dg.AssetCheckResult(
            asset_key=table_key(name),
            check_name="intact",
            passed=not own,
            metadata={"findings": dg.MetadataValue.json(own[:50])},
        )


@dg.asset_check(
    asset=table_key("episodes"),
    name="judged",
    blocking=True,
    description="Every visible recording's verdict follows from its recorded results.",
    pool=limits(JOBS["verdicts"])["pool"],
)
def judged() -> dg.AssetCheckResult:
    """Judge every visible recording again."""
    found = answer(JOBS["verdicts"], {})
    return dg.AssetCheckResult(
        passed=found["outcome"] == WELL,
        metadata={
            "recordings": found["recordings"],
            "findings": dg.MetadataValue.json(found["findings"][:50]),
            "warnings": dg.MetadataValue.json(found["warnings"]),
        },
    )


# --- releases ------------------------------------------------------------------------------------


def releases(folder: str | None) -> list[dg.AssetsDefinition]:
    """An asset for every recipe of a folder; it depends on the tables that the recipe names."""
    if folder is None or not Path(folder).is_dir():
        return []
    paths = sorted(p for p in Path(folder).iterdir() if p.suffix in {".yaml", ".yml"})
    return [_release(path) for path in paths]


def _release(path: Path) -> dg.AssetsDefinition:
    recipe = yaml.safe_load(path.read_text("utf-8"))
    tables = {"episodes", "streams", "quality"} | {
        feature["table"] for feature in recipe["features"].values()
    }

    @dg.asset(
        key=release_key(recipe["dataset"]),
        deps=[table_key(name) for name in TABLES if name in tables],
        description=recipe.get("title", recipe["dataset"]),
        group_name="releases",
        kinds={"deltalake"},
        **limits(JOBS["releases"]),
    )
    def build() -> dg.MaterializeResult[Any]:
        """Build a release where the sources changed; else the newest one stays."""
        (done,) = run(JOBS["releases"], {"recipe": path.name})["releases"]
        names = ("version", "created", "digest", "episodes", "bytes", "left_out")
        return dg.MaterializeResult(
            metadata={name: done[name] for name in names} | {"dagster/row_count": done["frames"]}
        )

    return build
