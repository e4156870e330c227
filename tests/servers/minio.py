"""A MinIO server of the tests' own: free ports, random credentials, ended by its pid."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3
from minio import Minio
from minio.error import MinioException

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "tanada-tests"


class MinioServer:
    """One server over one folder; it may be stopped and started again at the same address."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.access_key = f"ak{secrets.token_hex(8)}"
        self.secret_key = secrets.token_hex(20)
        self._folder = folder
        self._settings = settings
        self._ports = [free_port(), free_port()]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._ports[0]

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None, "minio does not run"
        return self._process.pid

    @property
    def client(self) -> Minio:
        return Minio(
            self.endpoint.removeprefix("http://"),
            self.access_key,
            self.secret_key,
            secure=False,
            region="us-east-1",
            # Without retries of its own, which wait for a minute while the server starts.
            http_client=urllib3.PoolManager(retries=False, timeout=30),
        )

    def start(self) -> None:
        main, console = self._ports
        command = [binary(), "server", "--quiet", "--address", f"127.0.0.1:{main}"]
        command += ["--console-address", f"127.0.0.1:{console}", str(self._folder)]
        environment = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "HOME": str(self._folder),
            "PATH": os.defpath,
            **self._settings,
        }
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not self._ready():
            assert self._process.poll() is None, "minio ended while it started"
            assert time.monotonic() < deadline, "minio did not start"
            time.sleep(0.05)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _ready(self) -> bool:
        try:
            self.client.list_buckets()
        except (urllib3.exceptions.HTTPError, MinioException):
            return False
        return True


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[MinioServer]:
    """A started server with one bucket, and environment variables of its own."""
    server = MinioServer(folder, **settings)
    server.start()
    try:
        server.client.make_bucket(BUCKET)
        yield server
    finally:
        server.stop()


def binary() -> str:
    """The server's program; without one the tests that need it fail."""
    places = [os.environ.get("GOBIN", ""), f"{os.environ.get('GOPATH') or Path.home() / 'go'}/bin"]
    found = shutil.which("minio") or shutil.which(
        "minio", path=os.pathsep.join(filter(None, places))
    )
    if found is None:
        pytest.fail("no minio server: run infra/services/minio.sh", pytrace=False)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
