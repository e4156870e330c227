"""Releases in a bucket: builds on machines that see no lock of each other never mix their trees."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from connectors.stores.catalog import models
from connectors.stores.catalog.database import reading
from connectors.stores.initialise import initialise
from connectors.stores.store import below
from pipelines.cli.platform import Platform
from pipelines.release.build import build
from tests.servers.lakes import s3_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.full, pytest.mark.s3]


@pytest.fixture
def platform(minio, tmp_path: Path, clock) -> Iterator[Platform]:
    settings = s3_settings(minio, tmp_path / "local")
    url, access = settings.database_url, settings.access
    initialise(settings.root, "Acme", clock, database_url=url, access=access)
    with Platform.open(settings, clock) as opened:
        yield opened


@contextmanager
def other_machine(platform: Platform, tmp_path: Path) -> Iterator[Platform]:
    settings = replace(platform.settings, scratch=str(tmp_path / "other"))
    with Platform.open(settings, platform.clock) as opened:
        yield opened


def published(platform: Platform) -> dict[int, set[str]]:
    """Version -> files that the catalog names."""
    found: dict[int, set[str]] = {}
    query = select(models.ReleaseFile.version, models.ReleaseFile.path)
    with reading(platform.engine) as connection:
        for version, path in connection.execute(query):
            found.setdefault(version, set()).add(path)
    return found


def lying(platform: Platform) -> dict[int, set[str]]:
    """Version -> files that lie in the bucket."""
    found: dict[int, set[str]] = {}
    datasets = platform.root.release("arms", 0).parent
    for path in datasets.glob("*/**/*"):
        version, _, name = below(path, datasets).partition("/")
        if version != ".claims":
            found.setdefault(int(version), set()).add(name)
    return found


@pytest.mark.usefixtures("arms")
def test_two_machines_that_build_at_once_make_two_versions(platform, lake, tmp_path):
    beside = []

    def meanwhile(step: str, done: int, _total: int) -> None:
        if (step, done) == ("publish", 0) and not beside:
            with other_machine(platform, tmp_path) as other:
                beside.append(build(other, lake.recipe(rate_hz=10)))

    ours = build(platform, lake.recipe(), progress=meanwhile)
    assert {ours.version, beside[0].version} == {1, 2}
    assert published(platform) == lying(platform)
    assert len(published(platform)) == 2


@pytest.mark.usefixtures("arms")
def test_a_build_that_died_while_its_files_went_up_is_cleared_away_and_never_mixed(
    platform, lake, clock, monkeypatch
):
    class SwitchedOffError(BaseException):
        pass

    uploaded = []
    put = type(platform.root.store).put

    def some(store, source, place, sha256, *, synced=False):
        uploaded.append(place)
        if len(uploaded) > 3:
            raise SwitchedOffError
        put(store, source, place, sha256, synced=synced)

    with monkeypatch.context() as dying:
        dying.setattr(type(platform.root.store), "put", some)
        dying.setattr("pipelines.release.publish._drop", lambda _target: None)
        with pytest.raises(SwitchedOffError):
            build(platform, lake.recipe())
    assert set(lying(platform)) == {1}
    assert published(platform) == {}

    assert build(platform, lake.recipe()).version == 2
    assert published(platform) == {2: lying(platform)[2]}
    assert set(lying(platform)) == {1, 2}, "it may be at work still"

    # Ages come from the store, in real time.
    newest = max(path.stat().st_mtime_ns for path in platform.root.path.glob("releases/**/*"))
    clock.now_ns = newest + 25 * 3_600_000_000_000
    assert build(platform, lake.recipe(rate_hz=10)).version == 3
    assert set(lying(platform)) == {2, 3}
    assert published(platform) == lying(platform)
