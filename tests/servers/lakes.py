"""Settings of new lakes: in a folder of the test, or with `--store=s3` on the tests' MinIO."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from connectors.settings import SETTINGS, Settings
from connectors.stores.root import Root
from tests.servers.minio import BUCKET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.catalogs import Catalogs
    from tests.servers.minio import MinioServer


class Lakes:
    """Gives every lake of one test its settings."""

    def __init__(self, folder: Path, catalogs: Catalogs, minio: MinioServer | None) -> None:
        self._folder = folder
        self._catalogs = catalogs
        self._minio = minio
        self._known: dict[str, Settings] = {}

    @property
    def on_s3(self) -> bool:
        return self._minio is not None

    def settings(self, name: str = "lake", **given: Any) -> Settings:
        """Settings of a lake that nobody has made yet."""
        if self._minio is None:
            folder = self._folder / name
            made = Settings(root=str(folder), database_url=self._catalogs.new(folder), **given)
        else:
            local = self._folder / f"{name}-local"
            url = self._catalogs.new(local)
            made = s3_settings(self._minio, local, database_url=url, **given)
        self._known[made.root] = made
        return made

    def tell(self, root: object, settings: Settings) -> None:
        """What processes of their own are to be told of a lake."""
        self._known[str(root)] = settings

    def environment(self, root: object) -> dict[str, str]:
        """What a process of its own has to be told to open a lake of this test."""
        return environment_of(self._known.get(str(root)) or Settings(root=str(root)))


def s3_settings(minio: MinioServer, local: Path, **given: Any) -> Settings:
    """Settings of a lake with a prefix of its own; what is local of it lies in one folder."""
    local.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "root": f"s3://{BUCKET}/{secrets.token_hex(8)}",
        "database_url": f"sqlite:///{local / 'catalog.db'}",
        "s3_endpoint": minio.endpoint,
        "s3_access_key": minio.access_key,
        "s3_secret_key": minio.secret_key,
        "secret_key_file": str(local / "secret.key"),
        "scratch": str(local / "scratch"),
    }
    return Settings(**(values | given))


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings that differ from the defaults, as environment variables."""
    values = {s.env: (getattr(settings, s.name), s.default) for s in SETTINGS}
    return {env: str(value) for env, (value, default) in values.items() if value != default}


def new_root(settings: Settings, clock: Callable[[], int]) -> Root:
    """An empty root, without tables or catalog."""
    return Root.create(settings.root, clock, settings.access)
