"""A platform with a partner, a model team and a rival on it, served by a real server."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn
import yaml

from api.app import create_app
from connectors.stores.catalog import parties
from connectors.stores.catalog.database import writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.cli.platform import Platform

TERMS = Path(__file__).parents[2] / "infra" / "demo" / "terms"


@dataclass
class World:
    """The platform, where it is served, and everyone's key."""

    platform: Platform
    url: str
    keys: dict[str, str] = field(default_factory=dict)

    def grant(self, dataset: str, organisation: str) -> None:
        """Let an organisation train on a dataset."""
        terms = yaml.safe_load((TERMS / "training.yaml").read_text("utf-8"))
        with writing(self.platform.engine) as connection:
            parties.add_grant(
                connection,
                dataset=dataset,
                organisation=organisation,
                terms=terms,
                clock=self.platform.clock,
            )


@contextmanager
def serving(platform: Platform) -> Iterator[str]:
    """The catalog on a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = create_app(platform.settings, platform.clock)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 120
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=120)


@pytest.fixture
def world(platform: Platform) -> Iterator[World]:
    """Partner `kaze-logistics` with a robot and terms; `model-team`; a rival `hinata-diners`."""
    terms = yaml.safe_load((TERMS / "contribution.yaml").read_text("utf-8"))
    keys = {}
    with writing(platform.engine) as connection:
        clock = platform.clock
        for name, roles in (
            ("Kaze Logistics", ["partner"]),
            ("Model Team", ["model"]),
            ("Hinata Diners", ["partner", "model"]),
        ):
            org = parties.add_organisation(connection, name=name, clock=clock)
            member = parties.add_member(
                connection, organisation=org, name=f"{name} machine", roles=roles, clock=clock
            )
            keys[org] = parties.issue_key(connection, member, platform.root.pepper(), clock)
        parties.add_robot(
            connection,
            organisation="kaze-logistics",
            robot="yard-amr-05",
            sector="logistics",
            kind="mobile robot",
            site="distribution centre, Chiba",
            clock=clock,
        )
        parties.add_agreement(
            connection,
            organisation="kaze-logistics",
            agreement="kaze-2026",
            title="Contribution to the programme",
            terms=terms,
            clock=clock,
        )
    with serving(platform) as url:
        yield World(platform, url, keys)
