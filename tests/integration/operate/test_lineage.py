"""Lineage events hold what the specification requires, and never stand in the way."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from pipelines.batch import Outcome
from pipelines.lineage import PATH, Lineage
from pipelines.observe import FinishedBatch, FinishedRelease, Observers, failure_told
from pipelines.release.build import build
from schemas.errors import StoreUnavailableError, TanadaError, WrongUseError
from schemas.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.cli.platform import Platform

NOW = 1_795_000_000_000_000_000
BATCH = FinishedBatch(
    plan="0123456789abcdef0123456789abcdef",
    organisation="acme",
    started_ns=NOW,
    finished_ns=NOW + 1_500_000_000,
    outcomes=(
        Outcome("r1", "accepted", tables={"imu": 10, "episodes": 1}),
        Outcome("r2", "quarantined"),
        Outcome("r3", "failed"),
    ),
    versions={"imu": 4, "episodes": 7},
)
RELEASE = FinishedRelease("pick", 3, "d" * 64, NOW, NOW + 1, {"imu": 4, "episodes": 7})


def check_required(event: dict[str, Any]) -> None:
    """Required by RunEvent, Run, Job, Dataset and BaseFacet of the OpenLineage specification."""
    assert event.keys() >= {"eventTime", "producer", "schemaURL", "run", "job"}
    assert dt.datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    kinds = {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
    assert event["eventType"] in kinds
    uuid.UUID(event["run"]["runId"])
    assert event["job"].keys() >= {"namespace", "name"}
    for facet in event["run"].get("facets", {}).values():
        assert facet.keys() >= {"_producer", "_schemaURL"}
    for dataset in (*event["inputs"], *event["outputs"]):
        assert dataset.keys() >= {"namespace", "name"}
        facets = {**dataset.get("facets", {}), **dataset.get("outputFacets", {})}
        for facet in facets.values():
            assert facet.keys() >= {"_producer", "_schemaURL"}
            assert facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/")
    assert not [d for d in event["inputs"] if "outputFacets" in d]


def test_batches_and_releases_over_http(posted: Any) -> None:
    lineage = Lineage.to(posted.url)
    lineage.batch_finished(BATCH)
    lineage.released(RELEASE)
    events = posted.at(PATH)
    assert len(events) == 4
    for event in events:
        check_required(event)
    _, ingest, _, release = events
    assert [one["name"] for one in ingest["inputs"]] == [
        "recordings/acme/r1",
        "recordings/acme/r2",
    ]
    out = {one["name"]: one for one in ingest["outputs"]}
    assert out["tables/imu"]["facets"]["version"]["datasetVersion"] == "4"
    assert out["tables/imu"]["outputFacets"]["outputStatistics"]["rowCount"] == 10
    assert [one["name"] for one in release["inputs"]] == ["tables/episodes", "tables/imu"]
    assert release["outputs"][0]["name"] == "releases/pick"


def test_what_fails_says_so_with_the_errors_code_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "lineage.jsonl"
    observer = Observers([Lineage.to(path.as_uri())])
    secret = StoreUnavailableError("no answer", found="https://user:secret@host")
    batch = failure_told(
        observer, lambda: NOW, "ingest", BATCH.plan, organisation="acme", recordings=["r1"]
    )
    with pytest.raises(StoreUnavailableError), batch:
        raise secret
    build = failure_told(observer, lambda: NOW + 5, "release", "pick", started_ns=NOW)
    with pytest.raises(StoreUnavailableError), build:
        raise secret
    assert "secret" not in path.read_text("utf-8")
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [event["eventType"] for event in events] == ["START", "FAIL"] * 2
    for event in events:
        check_required(event)
    _, ingest, _, release = events
    for event in (ingest, release):
        facet = event["run"]["facets"]["errorMessage"]
        assert facet["message"] == "StoreUnavailableError"
        assert facet["programmingLanguage"] == "python"
    assert ingest["run"]["runId"] == str(uuid.UUID(BATCH.plan))
    assert [one["name"] for one in ingest["inputs"]] == ["recordings/acme/r1"]
    assert [one["name"] for one in release["outputs"]] == ["releases/pick"]


def test_a_build_of_what_is_not_there_is_a_failed_run(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "lineage.jsonl"
    platform.observer.add(Lineage.to(path.as_uri()))
    recipe = Recipe.model_validate(
        {
            "dataset": "pick",
            "title": "Picking",
            "purposes": ["pretraining"],
            "rate_hz": 10,
            "features": {
                "a": {
                    "table": "imu",
                    "stream": "/imu",
                    "columns": ["orientation_x"],
                    "max_skew_ms": 20,
                }
            },
        }
    )
    with pytest.raises(TanadaError) as refused:
        build(platform, recipe)
    (start, end) = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    assert (start["eventType"], end["eventType"]) == ("START", "FAIL")
    assert end["run"]["facets"]["errorMessage"]["message"] == type(refused.value).__name__


def test_an_address_with_a_path_is_taken_as_it_is(posted: Any) -> None:
    Lineage.to(posted.url + "/elsewhere").released(RELEASE)
    assert len(posted.at("/elsewhere")) == 2


def test_events_of_a_file_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "lineage.jsonl"
    for _ in range(2):
        Lineage.to(path.as_uri()).batch_finished(BATCH)
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * 2
    for event in events:
        check_required(event)


def test_a_batch_in_which_nothing_was_decided_has_no_event(tmp_path: Path) -> None:
    path = tmp_path / "lineage.jsonl"
    empty = FinishedBatch(BATCH.plan, "acme", NOW, NOW, (Outcome("r", "failed"),), {})
    Lineage.to(path.as_uri()).batch_finished(empty)
    assert not path.exists()


def test_a_receiver_that_refuses_or_is_gone_stops_nothing(posted: Any, tmp_path: Path) -> None:
    posted.status = 500
    told = Observers([Lineage.to(posted.url), Lineage.to((tmp_path / "no" / "x").as_uri())])
    told.batch_finished(BATCH)
    assert len(posted.documents) == 1  # the end is not sent after a start that was refused
    Lineage.to("http://127.0.0.1:1").batch_finished(BATCH)


@pytest.mark.parametrize("url", ["ftp://host", "http://", "file://host/path", "nowhere"])
def test_other_addresses_are_wrong_use(url: str) -> None:
    with pytest.raises(WrongUseError, match="TANADA_OPENLINEAGE_URL"):
        Lineage.to(url)
