"""One small platform with rivals on it, over real files, a real database and the real app."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from PIL import Image
from sqlalchemy import insert

from api.app import create_app
from connectors.settings import Settings
from connectors.stores.catalog import database, parties, recordings
from connectors.stores.catalog.models import Release, ReleaseFile, ReleaseRecording
from connectors.stores.receive import FileEntry, Receiver
from connectors.stores.root import Root
from schemas.licences import MedicalData, PersonalData, Terms, Territory
from tests.servers.lakes import s3_settings
from tests.servers.minio import BUCKET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI
    from sqlalchemy import Engine

    from tests.servers.catalogs import Catalogs

DAY_NS = 86_400_000_000_000
DATASET = "kitchen-pick"


@dataclass
class Clock:
    """A clock that moves when told, and a millisecond with every look."""

    now_ns: int = 1_795_300_000_000_000_000

    def __call__(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def forward(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


def make_terms(**values: Any) -> Terms:
    """Terms that let anyone pretrain and evaluate in Japan, unless told otherwise."""
    given: dict[str, Any] = {
        "purposes_allowed": ("pretraining", "evaluation"),
        "territory": Territory(storage=("JP",), processing=("JP",)),
        "personal": (PersonalData(contains_pi=False),),
        "medical": (MedicalData(contains_medical=False),),
    }
    return Terms(**(given | values))


@dataclass
class World:
    """What is on the platform, and the keys of everyone."""

    root: Root
    settings: Settings
    clock: Clock
    engine: Engine
    keys: dict[str, str] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    grants: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    recordings: dict[str, str] = field(default_factory=dict)

    def member(self, name: str, organisation: str, *roles: str) -> None:
        with database.writing(self.engine) as connection:
            member = parties.add_member(
                connection, organisation=organisation, name=name, roles=roles, clock=self.clock
            )
            self.members[name] = member
            self.keys[name] = parties.issue_key(connection, member, self.root.pepper(), self.clock)

    def organisation(self, name: str, *, operator: bool = False) -> str:
        with database.writing(self.engine) as connection:
            return parties.add_organisation(
                connection, name=name, clock=self.clock, operator=operator
            )

    def grant(self, name: str, dataset: str, organisation: str, given: Terms) -> None:
        with database.writing(self.engine) as connection:
            self.grants[name] = parties.add_grant(
                connection,
                dataset=dataset,
                organisation=organisation,
                terms=given.document(),
                clock=self.clock,
            )

    def recording(self, name: str, organisation: str, content: bytes, **state: Any) -> str:
        receiver = Receiver(self.root, self.engine, self.clock)
        digest = hashlib.sha256(content).hexdigest()
        entry = FileEntry(f"{name}.mcap", len(content), digest)
        begun = receiver.begin(organisation, [entry], "arm-1", f"a-{organisation}")
        with receiver.writer(begun.recording_id, organisation, entry.name) as writer:
            writer.write(content)
            writer.finish()
        receiver.complete(begun.recording_id, organisation)
        if state:
            with database.writing(self.engine) as connection:
                recordings.set_state(connection, begun.recording_id, **state)
        self.recordings[name] = begun.recording_id
        return begun.recording_id

    def release(self, dataset: str, version: int, given: Terms, **columns: Any) -> None:
        folder = self.root.release(dataset, version)
        rows = []
        for path, content in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            rows.append(
                {
                    "dataset_id": dataset,
                    "version": version,
                    "path": path,
                    "size": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "rows": 600 if path.endswith(".parquet") else None,
                    "media_type": _media_type(path),
                }
            )
        row = {
            "dataset_id": dataset,
            "version": version,
            "digest": hashlib.sha256(f"{dataset}{version}".encode()).hexdigest(),
            "state": "published",
            "recipe": {},
            "pinned": {"episodes": 1},
            "terms": given.document(),
            "summary": {"episodes": 2, "frames": 600, "seconds": 20.0, "bytes": 3_200_000},
            "created_ns": self.clock(),
        }
        held = [
            {
                "dataset_id": dataset,
                "version": version,
                "recording_id": self.recordings["accepted"],
                "agreement_id": "a-tsukuba-kitchen",
                "agreement_version": 1,
                "rows": 600,
            }
        ]
        with database.writing(self.engine) as connection:
            connection.execute(insert(Release).values(**(row | columns)))
            connection.execute(insert(ReleaseFile), rows)
            connection.execute(insert(ReleaseRecording), held)

    def rows(self, query: Any) -> list[Any]:
        with database.reading(self.engine) as connection:
            return list(connection.execute(query))


def _media_type(path: str) -> str:
    kinds = {"json": "application/json", "md": "text/markdown", "jpg": "image/jpeg"}
    return kinds.get(path.rsplit(".", 1)[-1], "application/octet-stream")


def _picture() -> bytes:
    image = Image.new("RGB", (320, 180), (96, 125, 80))
    for x in range(320):
        for y in range(120, 180):
            image.putpixel((x, y), (120 + x // 8, 100, 60))
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


def _files() -> dict[str, bytes]:
    rng = random.Random(7)
    schema = {
        "tables": {
            "frames": [
                {"name": "t_ns", "type": "int64", "unit": "ns", "doc": "time of the frame"},
                {"name": "state", "type": "list<double>", "unit": "rad", "doc": "joint positions"},
                {"name": "gripper", "type": "double", "unit": "m", "doc": "opening <of> the hand"},
            ],
            "episodes": [{"name": "episode", "type": "string", "unit": "", "doc": "episode id"}],
        }
    }
    names = ("count", "min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
    single = dict(
        zip(names, (600, -0.01, 0.08, 0.0312, 0.02, 0, 0.01, 0.03, 0.07, 0.08), strict=True)
    )
    vector = {k: v if k == "count" else [v, v * 2] for k, v in single.items()}
    plot = {
        "title": "state of episode 1",
        "unit": "rad",
        "series": [
            {
                "name": f"joint_{n}",
                "t": [i / 10 for i in range(200)],
                "v": [None if i == 50 else ((i * (n + 1)) % 40) / 20 - 1 for i in range(200)],
            }
            for n in range(3)
        ],
    }
    return {
        "card.md": "# 厨房ピッキング\n\nPicked things in a kitchen.\n".encode(),
        "schema.json": json.dumps(schema).encode(),
        "statistics.json": json.dumps({"features": {"state": vector, "gripper": single}}).encode(),
        "plot.json": json.dumps(plot).encode(),
        "preview.jpg": _picture(),
        "tables/frames/part-0.parquet": rng.randbytes(3_000_000),
        "tables/episodes/part-0.parquet": rng.randbytes(4_000),
    }


REASON = {
    "rule": "norm_error",
    "observed": "0.31",
    "limit": "≤ 0.01",
    "stream": "/imu",
    "t_ns": 1_795_200_000_000_000_000,
    "severity": "error",
    "detail": "the orientation quaternion is not a unit quaternion",
}


def build(settings: Settings) -> World:
    """A platform with an operator, a partner, its rival, a model team and a stranger."""
    clock = Clock()
    root = Root.create(settings.root, clock, settings.access)
    engine = database.connect(settings.database_url or root.database_url)
    database.migrate(engine)
    world = World(root, settings, clock, engine)
    world.files = _files()
    _parties(world)
    with database.writing(engine) as connection:
        for dataset, title in ((DATASET, "厨房ピッキング / Kitchen picking"), ("secret", "Secret")):
            parties.add_dataset(
                connection,
                dataset=dataset,
                organisation="operator",
                title=title,
                description="Grasping in restaurant kitchens <script>alert(1)</script>",
                sectors=["restaurant"],
                clock=clock,
            )
    decided = {"decided_ns": clock(), "messages": 636, "source": "mcap"}
    world.recording(
        "accepted", "tsukuba-kitchen", b"a" * 5000,
        state="accepted_with_warnings", tables={"imu": 400, "joint_states": 236},
        reasons=[REASON | {"severity": "warning", "rule": "rate_gap", "detail": ""}], **decided,
    )  # fmt: skip
    world.recording(
        "bad", "tsukuba-kitchen", b"b" * 800, state="quarantined", reasons=[REASON], **decided
    )
    world.recording("waiting", "tsukuba-kitchen", b"c" * 64)
    world.recording("rival", "rival-foods", b"d" * 64)
    world.release(DATASET, 1, make_terms(), state="withdrawn", withdrawn_ns=clock())
    world.release(
        DATASET, 2, make_terms(purposes_allowed=("pretraining", "evaluation", "research"))
    )
    world.release("secret", 1, make_terms())
    world.grant("model", DATASET, "model-team", make_terms(disclose_recipient=True))
    world.grant("former", DATASET, "former-team", make_terms(expires_at=clock.now_ns + DAY_NS))
    return world


def _parties(world: World) -> None:
    world.organisation("Operator", operator=True)
    for name in ("Tsukuba Kitchen", "Rival Foods", "Model Team", "Former Team", "Stranger"):
        world.organisation(name)
    world.member("steward", "operator", "steward", "admin")
    world.member("engineer", "operator", "engineer")
    world.member("partner", "tsukuba-kitchen", "partner")
    world.member("rival", "rival-foods", "partner")
    world.member("model", "model-team", "model")
    world.member("looker", "model-team", "auditor")
    world.member("former", "former-team", "model")
    world.member("stranger", "stranger", "model", "partner", "steward", "admin")
    with database.writing(world.engine) as connection:
        for organisation in ("tsukuba-kitchen", "rival-foods"):
            parties.add_robot(
                connection, organisation=organisation, robot="arm-1", sector="restaurant",
                clock=world.clock,
            )  # fmt: skip
            parties.add_agreement(
                connection, organisation=organisation, title="provision", clock=world.clock,
                agreement=f"a-{organisation}", terms=make_terms().document(),
            )  # fmt: skip


@pytest.fixture(scope="session")
def pattern(
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    session_catalogs: Catalogs,
) -> tuple[World, Path]:
    """The platform that every test gets a copy of, and what of it is local."""
    folder = tmp_path_factory.mktemp("pattern") / "lake"
    url = session_catalogs.new(folder)
    if request.config.getoption("--store") == "s3":
        built = build(s3_settings(request.getfixturevalue("minio"), folder, database_url=url))
    else:
        built = build(Settings(root=str(folder), database_url=url))
    built.engine.dispose()
    return built, folder


@pytest.fixture
def world(
    pattern: tuple[World, Path], tmp_path: Path, request: pytest.FixtureRequest, catalogs: Catalogs
) -> Iterator[World]:
    made, folder = pattern
    lake = tmp_path / "lake"
    shutil.copytree(folder, lake, ignore=shutil.ignore_patterns("catalog.db*"))
    url = catalogs.copy(made.settings.database_url or "", lake)
    settings = Settings(root=str(lake), database_url=url)
    if not made.root.is_local:
        settings = s3_settings(request.getfixturevalue("minio"), lake, database_url=url)
        target = made.root.path.store.place(settings.root.removeprefix(f"s3://{BUCKET}/"))
        for found in made.root.path.rglob("*"):
            made.root.store.copy(found, target / str(found.relative_to(made.root.path)))
    root = Root.open(settings.root, settings.access)
    copied = replace(
        made,
        root=root,
        settings=settings,
        clock=Clock(made.clock.now_ns),
        engine=database.connect(url),
        grants=dict(made.grants),
        files=dict(made.files),
        recordings=dict(made.recordings),
    )
    yield copied
    copied.engine.dispose()


@pytest.fixture
def locked_account(world: World) -> Any:
    """Holds the audit log inside the block, as another process that hangs might."""

    sqlite = world.engine.dialect.name == "sqlite"

    @contextmanager
    def lock() -> Iterator[None]:
        holder = world.engine.raw_connection()
        holder.cursor().execute(
            "BEGIN EXCLUSIVE" if sqlite else "LOCK TABLE audit IN ACCESS EXCLUSIVE MODE"
        )
        try:
            yield
        finally:
            holder.rollback()
            holder.close()

    return lock


@pytest.fixture
def app(world: World, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    # Tests that lock the account need not wait a whole second for each answer.
    monkeypatch.setattr("api.services.ACCOUNT_WAIT_MS", 100)
    return create_app(world.settings, world.clock)


@contextmanager
def run_server(app: FastAPI) -> Iterator[str]:
    """Run the app on a free port of this machine; gives its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, ws="none", proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
    assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with run_server(app) as base:
        yield base


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as opened:
        yield opened


@pytest.fixture
def call(client: httpx.Client, world: World) -> Any:
    """call(who, method, path, …) -> answer; who None is anonymous."""

    def send(who: str | None, method: str, path: str, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {world.keys[who]}"
        return client.request(method, path, headers=headers, **options)

    return send


@pytest.fixture
def serving() -> Any:
    return run_server


@pytest.fixture
def terms() -> Any:
    return make_terms
