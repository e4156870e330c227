"""The server as people start it: the command, and the application for a server of one's own."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

RUNNING = re.compile(r"running on (http://127\.0\.0\.1:\d+)")
COMMAND = "import typer, api.cli; app = typer.Typer(); api.cli.register(app); app()"


def resident(pid: int) -> int:
    """Resident memory of a process, bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


def test_the_command_serves_and_stops(world: Any) -> None:
    process = start(
        "--port", "0", "--root", str(world.root.path), "--database-url", world.settings.database_url
    )
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if running := RUNNING.search(line):
                break
        else:
            raise AssertionError("".join(lines))
        key = {"Authorization": f"Bearer {world.keys['model']}"}
        assert httpx.get(running[1] + "/health").json() == {"status": "ok"}
        answer = httpx.get(running[1] + "/v1/me", headers=key)
        assert answer.json()["organisation"] == "model-team"
        assert "server" not in answer.headers
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=120)[1]
    assert "Traceback" not in rest
    assert world.keys["model"] not in "".join(lines) + rest


def test_an_upload_takes_no_memory(world: Any) -> None:
    size, block = 192 << 20, bytes(1 << 20)
    digest = hashlib.sha256()
    for _ in range(size >> 20):
        digest.update(block)
    entry = {"name": "big.mcap", "size": size, "sha256": digest.hexdigest()}
    form = {"robot": "arm-1", "agreement": "a-tsukuba-kitchen", "files": [entry]}
    process = start(
        "--port", "0", "--root", str(world.root.path), "--database-url", world.settings.database_url
    )
    assert process.stderr is not None
    try:
        url = next(found[1] for line in process.stderr if (found := RUNNING.search(line)))
        with httpx.Client(base_url=url, timeout=60) as client:
            client.headers["Authorization"] = f"Bearer {world.keys['partner']}"
            key = client.post("/v1/recordings", json=form).json()["recording_id"]
            before = resident(process.pid)
            body = (block for _ in range(size >> 20))
            sent = client.put(f"/v1/recordings/{key}/files/big.mcap", content=body)
            grown = resident(process.pid) - before
        assert (sent.status_code, sent.json()) == (200, {k: entry[k] for k in sent.json()})
        assert grown < 64 << 20, f"{grown >> 20} MiB"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


def test_without_a_lake_the_command_says_what_to_do(tmp_path: Any) -> None:
    process = start(TANADA_ROOT=str(tmp_path / "none"))
    text = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert text.startswith("error: ")
    assert "tanada init" in text


def test_the_command_costs_nothing_before_it_runs() -> None:
    code = (
        "import sys, typer, api.cli; api.cli.register(typer.Typer());"
        "print([m for m in ('fastapi', 'sqlalchemy', 'uvicorn', 'pydantic') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_application_for_another_server(world: Any) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from api.asgi import app; print(len(app.routes))"],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TANADA_ROOT": str(world.root.path),
            "TANADA_DATABASE_URL": world.settings.database_url,
        },
    )
    assert int(found.stdout) > 20
