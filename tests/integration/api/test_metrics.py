"""Metrics and log lines of the server: counted by template, on a port of their own, no rival."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from typing import Any

import httpx

RUNNING = re.compile(r"running on (http://127\.0\.0\.1:\d+)")
COMMAND = "import typer, api.cli; app = typer.Typer(); api.cli.register(app); app()"
PERSON = "aiko-tanaka"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_metrics_and_logs_of_a_running_server(world: Any) -> None:
    metrics = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--port", "0", "--metrics-port", str(metrics)],
        stderr=subprocess.PIPE,
        text=True,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TANADA_ROOT": str(world.root.path),
            "TANADA_DATABASE_URL": world.settings.database_url,
            "TANADA_LOG_FORMAT": "json",
        },
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if running := RUNNING.search(line):
                break
        else:
            raise AssertionError("".join(lines))
        key = {"Authorization": f"Bearer {world.keys['model']}"}
        release = "/v1/datasets/kitchen-pick/releases/2"
        with httpx.Client(base_url=running[1]) as client:
            assert client.get("/v1/me", headers=key).status_code == 200
            path = next(name for name in world.files if name.endswith(".parquet"))
            got = client.get(f"{release}/files/{path}?purpose=pretraining", headers=key)
            assert got.status_code == 200
            assert client.get("/v1/datasets/no-such", headers=key).status_code == 404
            assert client.get(f"/v1/{PERSON}?q={PERSON}", headers=key).status_code == 422
            assert client.get("/v1/me", headers={"Authorization": "Bearer x"}).status_code == 401
            assert client.get("/metrics", headers=key).status_code == 404
            assert client.get("/static/tanada.css").status_code == 200
        text = httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=30)[1]
    lines += rest.splitlines()

    found = {
        name: float(value)
        for name, value in (
            line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")
        )
    }
    template = 'method="GET",route="/v1/datasets/{dataset}/releases/{version}/files/{path:path}"'
    assert found[f'tanada_http_requests_total{{{template},status="200"}}'] == 1
    assert found[f"tanada_http_request_seconds_count{{{template}}}"] == 1
    assert found['tanada_http_requests_total{method="GET",route="/v1/me",status="401"}'] == 1
    assert found['tanada_http_requests_total{method="GET",route="/static",status="200"}'] == 1
    assert found['tanada_decisions_total{action="export",outcome="permit"}'] == 1
    assert sum(v for k, v in found.items() if 'outcome="deny"' in k) >= 1
    assert found["tanada_delivered_bytes_total"] == len(got.content)
    assert found["tanada_audit_entries_total"] > 0
    assert found["tanada_audit_failures_total"] == 0
    assert found["tanada_audit_waiting"] == 0
    assert found["tanada_catalog_up"] == 1

    logged = [json.loads(line) for line in lines if line.strip()]
    answered = [line for line in logged if line["message"] == "answered"]
    assert len(answered) == 7
    assert all(len(line["request_id"]) == 24 for line in answered)
    secrets = [*world.keys.values(), PERSON, path]
    names = [*world.recordings.values(), *world.members.values(), "kitchen-pick", "tsukuba"]
    for secret in (*secrets, *names):
        assert secret not in text, secret
    for line in lines:
        assert not [secret for secret in secrets if secret in line]
