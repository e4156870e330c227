"""The client against the real server: real catalog, real release tree, real sockets."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import uvicorn
from sqlalchemy import insert

from api.app import create_app
from connectors.settings import Settings
from connectors.stores.catalog import database, parties
from connectors.stores.catalog.models import Release, ReleaseFile
from connectors.stores.root import Root
from pipelines.release.tree import TableWriter, release_digest, seal
from schemas.licences import Terms
from tanada.settings import Login
from tanada.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

TERMS: dict[str, Any] = {
    "purposes_allowed": ["pretraining", "evaluation"],
    "territory": {"storage": ["JP"], "processing": ["JP"]},
    "personal": {"contains_pi": False},
    "medical": {"contains_medical": False},
    "attribution": {"required": True, "text": "© Kitchen"},
}
NOW = 1_795_300_000_000_000_000


class Clock:
    """A millisecond with every look."""

    def __init__(self) -> None:
        self.now_ns = NOW

    def __call__(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns


@dataclass
class World:
    """A platform with a published dataset, a partner who hands in and a team that pulls."""

    root: Root
    engine: Engine
    clock: Clock
    url: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    grants: dict[str, str] = field(default_factory=dict)

    def wire(self, who: str = "model", url: str | None = None) -> Wire:
        """A connection whose retries do not wait."""
        return Wire(Login(url or self.url, self.keys[who]), sleep=lambda _seconds: None)

    def environ(self, who: str = "model") -> dict[str, str]:
        return {"TANADA_URL": self.url, "TANADA_KEY": self.keys[who], "TANADA_CONFIG": "/nowhere"}

    def publish(self, dataset: str, version: int, rows: int, **columns: Any) -> None:
        """A release tree as the platform writes it, with a large incompressible file."""
        folder = self.root.release(dataset, version)
        folder.mkdir(parents=True)
        rng = np.random.default_rng(version)
        frames = pa.table({"t_ns": np.arange(rows), "state": rng.normal(size=rows)})
        for name, table in (("frames", frames), ("episodes", pa.table({"episode": ["e0"]}))):
            writer = TableWriter(folder / "tables" / name, table.schema, name)
            writer.write(table)
            writer.close(name)
        (folder / "media" / "e0").mkdir(parents=True)
        (folder / "media" / "e0" / "front camera.blob").write_bytes(rng.bytes(300_000))
        (folder / "card.md").write_text("# 棚田\n", encoding="utf-8")
        (folder / "statistics.json").write_text('{"state": {"count": 1}}', encoding="utf-8")
        files = seal(folder)
        key = {"dataset_id": dataset, "version": version}
        row = {
            **key,
            "digest": release_digest(files),
            "state": "published",
            "recipe": {},
            "pinned": {},
            "terms": Terms.model_validate(TERMS).document(),
            "summary": {"episodes": 1, "frames": rows},
            "created_ns": self.clock(),
        }
        found = [
            {
                **key,
                "path": file.path,
                "size": file.size,
                "sha256": file.sha256,
                "rows": file.rows,
                "media_type": file.media_type,
            }
            for file in files
        ]
        with database.writing(self.engine) as connection:
            connection.execute(insert(Release).values(**(row | columns)))
            connection.execute(insert(ReleaseFile), found)


def build(folder: Path) -> World:
    clock = Clock()
    root = Root.create(folder / "lake", clock)
    engine = database.connect(root.database_url)
    database.migrate(engine)
    world = World(root, engine, clock)
    terms = Terms.model_validate(TERMS).document()
    with database.writing(engine) as connection:
        for name in ("Operator", "Kitchen", "Models"):
            operator = name == "Operator"
            parties.add_organisation(connection, name=name, clock=clock, operator=operator)
        for organisation, role in (("kitchen", "partner"), ("models", "model")):
            member = parties.add_member(
                connection, organisation=organisation, name=role, roles=(role,), clock=clock
            )
            world.keys[role] = parties.issue_key(connection, member, root.pepper(), clock)
        for robot in ("arm-1", "arm-2"):
            parties.add_robot(
                connection, organisation="kitchen", robot=robot, sector="restaurant", clock=clock
            )
        parties.add_agreement(
            connection,
            organisation="kitchen",
            title="provision",
            clock=clock,
            agreement="a-1",
            terms=terms,
        )
        parties.add_dataset(
            connection,
            dataset="tidy",
            organisation="operator",
            title="片付け / Tidying",
            sectors=["restaurant"],
            clock=clock,
        )
        world.grants["tidy"] = parties.add_grant(
            connection, dataset="tidy", organisation="models", terms=terms, clock=clock
        )
    world.publish("tidy", 1, 10, state="withdrawn", withdrawn_ns=clock())
    world.publish("tidy", 2, 50_000)
    return world


@contextmanager
def serving(world: World) -> Iterator[str]:
    app = create_app(Settings(root=str(world.root.path)), world.clock)
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


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    built = build(tmp_path_factory.mktemp("platform"))
    with serving(built) as url:
        built.url = url
        yield built
    built.engine.dispose()


class Line:
    """A poor line: passes bytes on, and cuts each connection after a number that it is given.

    Args:
        target: Address of the server.
        answers: Gives, for each connection, how many bytes of answers pass before the cut.
        requests: The same for requests.
    """

    def __init__(
        self, target: str, answers: Callable[[], int], requests: Callable[[], int]
    ) -> None:
        host, port = target.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._answers, self._requests = answers, requests
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closed = False
        self.answered = 0
        self.cuts = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            with suppress(OSError):
                near, _ = self._listener.accept()
                if self._closed:
                    near.close()
                    return
                far = socket.create_connection(self._target)
                for source, sink, limit, counts in (
                    (near, far, self._requests(), False),
                    (far, near, self._answers(), True),
                ):
                    thread = threading.Thread(target=self._pass, args=(source, sink, limit, counts))
                    thread.start()
                    self._threads.append(thread)

    def _pass(self, source: socket.socket, sink: socket.socket, left: int, counts: object) -> None:
        with suppress(OSError):
            while left > 0 and (block := source.recv(min(left, 16_384))):
                sink.sendall(block)
                left -= len(block)
                self.answered += len(block) if counts else 0
        self.cuts += left <= 0
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            if counts:
                end.close()

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            socket.create_connection(self._listener.getsockname()).close()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()


@pytest.fixture
def poor_line(world: World) -> Iterator[Callable[..., Line]]:
    """poor_line(seed, answers=(low, high), requests=(low, high)) -> a line that cuts at random."""
    lines: list[Line] = []
    endless = (1 << 60, 1 << 60)

    def make(
        seed: int, answers: tuple[int, int] = endless, requests: tuple[int, int] = endless
    ) -> Line:
        rng = random.Random(seed)
        line = Line(world.url, lambda: rng.randint(*answers), lambda: rng.randint(*requests))
        lines.append(line)
        return line

    yield make
    for line in lines:
        line.close()
