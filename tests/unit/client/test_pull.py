"""Pull: whole, resumed wherever it was cut, and never anything but what the catalog recorded."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from connectors.stores.catalog import database, ledger
from tanada import Catalog, Release
from tanada.errors import (
    CatalogUnavailableError,
    DamagedError,
    GoneError,
    NotFoundError,
    RefusedError,
    WrongUseError,
)
from tanada.pull import Wanted, pull
from tanada.receipt import PART, RECEIPT, Receipt, check

if TYPE_CHECKING:
    from pathlib import Path

    from tanada.wire import Wire

NEWEST = Wanted("tidy")


def clock() -> int:
    return 5


def brought(wire: Wire, folder: Path, wanted: Wanted = NEWEST) -> Receipt:
    with wire:
        return pull(wire, wanted, "pretraining", folder, clock=clock)


def same_bytes(world, folder: Path) -> bool:
    source = world.root.release("tidy", 2)
    names = {p.relative_to(source) for p in source.rglob("*") if p.is_file()}
    found = {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
    assert {str(name) for name in found} == {str(name) for name in names} | {RECEIPT}
    return all((source / n).read_bytes() == (folder / n).read_bytes() for n in names)


def charged(world) -> int:
    with database.reading(world.engine) as connection:
        return ledger.usage(connection, world.grants["tidy"], world.clock.now_ns).term.bytes


def test_a_pull_brings_every_byte_and_a_receipt(world, tmp_path) -> None:
    told: list[int] = []
    with world.wire() as wire:
        receipt = pull(
            wire,
            NEWEST,
            "pretraining",
            tmp_path / "tidy",
            clock=clock,
            progress=lambda _path, more, _total: told.append(more),
        )
    assert same_bytes(world, tmp_path / "tidy")
    assert (receipt.dataset, receipt.version, receipt.pulled_ns) == ("tidy", 2, 5)
    assert "attribution: © Kitchen" in receipt.obligations
    assert sum(told) == sum(file.size for file in receipt.files)
    assert check(tmp_path / "tidy", receipt) == []
    written = json.loads((tmp_path / "tidy" / RECEIPT).read_text())
    assert written["digest"] == receipt.digest
    assert world.keys["model"] not in (tmp_path / "tidy" / RECEIPT).read_text()


def test_a_pulled_release_is_tables(world, tmp_path) -> None:
    with Catalog(world.url, world.keys["model"]) as catalog:
        release = catalog.pull("tidy@2", purpose="evaluation", to=tmp_path)
    assert release.tables == ["episodes", "frames"]
    assert release.arrow().num_rows == 50_000
    assert release.arrow(columns=["t_ns"]).column_names == ["t_ns"]
    assert release.pandas("episodes")["episode"].tolist() == ["e0"]
    assert release.polars().height == 50_000
    answer = release.duckdb().sql("SELECT count(*) FROM frames").fetchall()
    assert answer == [(50_000,)]
    assert release.card == "# 棚田\n"
    assert release.statistics == {"state": {"count": 1}}
    release.verify()
    with pytest.raises(WrongUseError, match="episodes, frames"):
        release.arrow("imu")


@pytest.mark.parametrize("seed", range(6))
def test_a_pull_cut_at_random_points_resumes(world, poor_line, tmp_path, seed) -> None:
    line = poor_line(seed, answers=(3_000, 120_000))
    before = charged(world)
    receipt = brought(world.wire(url=line.url), tmp_path)
    assert same_bytes(world, tmp_path)
    total = sum(file.size for file in receipt.files)
    assert line.cuts > 4
    # What came before each cut was kept: only heads and the pages of the list come again.
    assert line.answered < total + line.cuts * 20_000
    assert charged(world) - before <= total


def test_a_resumed_pull_is_charged_once(world, poor_line, tmp_path) -> None:
    brought(world.wire(), tmp_path / "first")
    before = charged(world)
    line = poor_line(99, answers=(3_000, 60_000))
    brought(world.wire(url=line.url), tmp_path / "second")
    assert line.cuts
    assert charged(world) == before


def test_a_pull_that_gave_up_goes_on_where_it_was(world, poor_line, tmp_path) -> None:
    line = poor_line(1, answers=(200_000, 200_000))
    with pytest.raises(CatalogUnavailableError):
        brought(_impatient(world, line.url), tmp_path)
    parts = [p for p in tmp_path.rglob("*" + PART) if p.stat().st_size]
    assert len(parts) == 1
    held = parts[0].stat().st_size
    assert held > 0
    watched = poor_line(2)
    receipt = brought(world.wire(url=watched.url), tmp_path)
    assert same_bytes(world, tmp_path)
    assert watched.answered < sum(file.size for file in receipt.files) - held + 40_000


def _impatient(world, url: str) -> Wire:
    """Gives up at the first cut, as a process that is killed does."""

    def stop(_seconds: float) -> None:
        raise CatalogUnavailableError("stopped")

    wire: Wire = world.wire(url=url)
    wire.sleep = stop
    return wire


def test_a_spoilt_part_is_found_and_fetched_again(world, tmp_path) -> None:
    source = world.root.release("tidy", 2) / "media" / "e0" / "front camera.blob"
    folder = tmp_path / "tidy"
    brought(world.wire(), folder)
    (folder / RECEIPT).rename(tmp_path / "receipt")
    target = folder / "media" / "e0" / "front camera.blob"
    target.rename(target.with_name(target.name + PART))
    part = target.with_name(target.name + PART)
    part.write_bytes(b"x" * 1000 + source.read_bytes()[1000:5000])
    (tmp_path / "receipt").rename(folder / RECEIPT)
    brought(world.wire(), folder)
    assert same_bytes(world, folder)


def test_a_second_pull_fetches_nothing_and_repairs_what_changed(world, poor_line, tmp_path) -> None:
    brought(world.wire(), tmp_path)
    (tmp_path / "card.md").write_text("# other\n", encoding="utf-8")
    watched = poor_line(3)
    brought(world.wire(url=watched.url), tmp_path)
    assert same_bytes(world, tmp_path)
    assert watched.answered < 20_000


def test_a_byte_changed_on_the_server_is_found_named_and_not_kept(world, tmp_path) -> None:
    world.publish("tidy", 3, 100)
    victim = world.root.release("tidy", 3) / "statistics.json"
    victim.write_bytes(victim.read_bytes().replace(b"1", b"2"))
    with pytest.raises(DamagedError, match=r"statistics\.json: SHA-256"):
        brought(world.wire(), tmp_path, Wanted("tidy", "3"))
    assert not (tmp_path / "statistics.json").exists()
    assert not (tmp_path / RECEIPT).exists()
    with database.writing(world.engine) as connection:
        connection.exec_driver_sql("UPDATE releases SET state = 'withdrawn' WHERE version = 3")


def test_refusals_say_why(world, tmp_path) -> None:
    with world.wire() as wire, pytest.raises(RefusedError) as refused:
        pull(wire, NEWEST, "research", tmp_path, clock=clock)
    assert refused.value.rules == ("purpose_not_allowed",)
    assert refused.value.status == 403
    with world.wire() as wire, pytest.raises(GoneError, match="withdrawn"):
        pull(wire, Wanted("tidy", "1"), "evaluation", tmp_path, clock=clock)
    with world.wire() as wire, pytest.raises(NotFoundError):
        pull(wire, Wanted("other"), "evaluation", tmp_path, clock=clock)
    with world.wire() as wire, pytest.raises(WrongUseError, match="pretraining"):
        pull(wire, NEWEST, "fun", tmp_path, clock=clock)
    with world.wire("partner") as wire, pytest.raises(NotFoundError):
        pull(wire, NEWEST, "evaluation", tmp_path, clock=clock)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_left_alone(world, tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(WrongUseError, match="not empty"):
        brought(world.wire(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_of_another_release_is_left_alone(world, tmp_path) -> None:
    receipt = brought(world.wire(), tmp_path)
    other = json.loads((tmp_path / RECEIPT).read_text())
    other["digest"] = hashlib.sha256(b"").hexdigest()
    (tmp_path / RECEIPT).write_text(json.dumps(other))
    with pytest.raises(WrongUseError, match="holds tidy@2"):
        brought(world.wire(), tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / (RECEIPT + ".pulling")).write_text("tidy@1 " + receipt.digest)
    with pytest.raises(WrongUseError, match="not finished"):
        brought(world.wire(), tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(world, tmp_path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "tidy"
    outside.mkdir()
    brought(world.wire(), folder)
    shutil.rmtree(folder / "media")
    (folder / "media").symlink_to(outside, target_is_directory=True)
    with pytest.raises(DamagedError, match="leads out"):
        brought(world.wire(), folder)
    assert not any(path.is_file() for path in outside.rglob("*"))


@pytest.mark.parametrize("text", ["", "@1", "a@", "a@one", "a/b", "a@1.5"])
def test_names_of_releases_are_checked(text) -> None:
    if text == "a@":
        assert Wanted.parse(text) == Wanted("a", "latest")
        return
    with pytest.raises(WrongUseError, match="DATASET@VERSION"):
        Wanted.parse(text)


def test_a_folder_without_receipt_is_no_release(tmp_path) -> None:
    with pytest.raises(WrongUseError, match="tanada pull"):
        Release(tmp_path)
