"""Great Expectations in a process of its own, asked through pipes.

Its import costs seconds of CPU and 280 MB, so it happens in that process, while recordings are
decoded in others; in a worker the process stays up. Without an answer from it nothing may be
accepted: every failure here is a `ValidatorUnavailableError`, and the recordings are retried.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from schemas.errors import ValidatorUnavailableError
from schemas.quality import CheckResult, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

INSTALL: Final = "pip install 'tanada-platform[checks]'"
KEPT_RUNS: Final = 200
_GRACE_SECONDS: Final = 5.0
_READ_BYTES: Final = 1 << 16
_LAST_WORDS: Final = 400


class _Process:
    """The running process with its pipes; stderr goes to a temporary file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._stderr, name = tempfile.mkstemp()
        Path(name).unlink()
        self._answers, write = os.pipe()
        try:
            self.popen = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                stdout=write,
                stderr=self._stderr,
                env=environment,
            )
        except OSError:
            os.close(self._answers)
            os.close(self._stderr)
            raise
        finally:
            os.close(write)
        self._unread = b""
        self.ready = False

    def tell(self, document: Mapping[str, Any]) -> None:
        """Send one line; OSError where nobody reads."""
        line = json.dumps(document, allow_nan=False).encode() + b"\n"
        if self.popen.stdin is not None:
            self.popen.stdin.write(line)
            self.popen.stdin.flush()

    def hear(self, timeout_seconds: float) -> dict[str, Any]:
        """Next line; EOFError at its end, TimeoutError after silence."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(timeout_seconds):
                    raise TimeoutError(f"silent for {timeout_seconds:g} s")
                read = os.read(self._answers, _READ_BYTES)
                if not read:
                    raise EOFError
                self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        document: dict[str, Any] = json.loads(line)
        return document

    def end(self, grace_seconds: float) -> str:
        """Close the pipes, wait, kill if need be; says how it ended."""
        if self.popen.stdin is not None:
            with contextlib.suppress(OSError):
                self.popen.stdin.close()
        try:
            code = self.popen.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            code = self.popen.wait()
        os.close(self._answers)
        size = os.fstat(self._stderr).st_size
        tail = os.pread(self._stderr, _READ_BYTES, max(size - _READ_BYTES, 0))
        words = tail.decode(errors="replace").strip().splitlines()
        os.close(self._stderr)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {words[-1][:_LAST_WORDS]}" if words else how


class Validator:
    """A Great Expectations process; started once, asked once per batch.

    The process gets an environment of its own: no analytics, no settings or keys of ours.

    Args:
        docs: Folder of an organisation's Data Docs (`Root.data_docs`); None writes none.
        clock: Now, in ns UTC; stamps the Data Docs.
        keep_runs: Data Docs of how many runs stay per organisation.
        timeout_seconds: Longest silence while the process starts or works; then it is ended.
        python: Interpreter of the process.
        search_path: Where it finds modules; this process's `sys.path` if None.
    """

    def __init__(
        self,
        docs: Callable[[str], Path] | None,
        clock: Callable[[], int],
        *,
        keep_runs: int = KEPT_RUNS,
        timeout_seconds: float = 300.0,
        python: str = sys.executable,
        search_path: Sequence[str] | None = None,
    ) -> None:
        self._docs = docs
        self._clock = clock
        self._keep_runs = keep_runs
        self._timeout = timeout_seconds
        self._command = (python, "-m", "pipelines.check.validator_process")
        paths = sys.path if search_path is None else search_path
        self._search_path = os.pathsep.join(path or "." for path in paths)
        self._process: _Process | None = None
        self.starts = 0
        """How often the process was started so far."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.popen.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process and return at once; it imports while other work goes on.

        Raises:
            ValidatorUnavailableError: the interpreter can't be started.
        """
        if self._process is not None:
            if self._process.popen.poll() is None:
                return
            self.close()
        environment = {
            "GX_ANALYTICS_ENABLED": "false",
            "OMP_NUM_THREADS": "1",
            "PATH": os.defpath,
            "PYTHONPATH": self._search_path,
        }
        self.starts += 1
        try:
            self._process = _Process(self._command, environment)
        except OSError as error:
            raise ValidatorUnavailableError(
                "the validator process can't be started", found=str(error)
            ) from error

    def validate(
        self, organisation: str, batch: str, rows: Sequence[Mapping[str, Any]]
    ) -> list[tuple[str, CheckResult]]:
        """Ask for one batch; starts the process where it does not run.

        Args:
            organisation: Whose recordings these are; a batch holds one organisation's.
            batch: Name of the batch, as it appears in Data Docs.
            rows: One per stream, as `frame.validator_rows` makes them.

        Returns:
            (recording_id, result) of every rule that applied to a stream, passed or not.

        Raises:
            ValidatorUnavailableError: Great Expectations is missing, or the process died, kept
                silent too long, or could not do its work. The next call starts a new one.
        """
        if not rows:
            return []
        request = {
            "organisation": organisation,
            "batch": batch,
            "rows": [dict(row) for row in rows],
            "docs": None if self._docs is None else str(self._docs(organisation)),
            "at_ns": self._clock(),
            "keep": self._keep_runs,
        }
        self.start()
        if self._process is not None and not self._process.ready:
            self._ask(self._process, None)
            self._process.ready = True
        answer = self._ask(self._process, request)
        return [_result(result) for result in answer["results"]]

    def _ask(self, process: _Process | None, request: Mapping[str, Any] | None) -> dict[str, Any]:
        """Send a request, if one is given, and wait for the next answer."""
        if process is None:
            raise ValidatorUnavailableError("the validator was closed while it was asked")
        try:
            if request is not None:
                process.tell(request)
            answer = process.hear(self._timeout)
        except TimeoutError as error:
            process.popen.kill()
            self.close()
            raise _died(str(error)) from error
        except (EOFError, OSError) as error:
            raise _died(self.close()) from error
        if "missing" in answer:
            self.close()
            raise ValidatorUnavailableError(
                "the validator can't import a package, and nothing is accepted without it",
                subject=answer["missing"],
                next_step=INSTALL,
            )
        if "failed" in answer:
            raise ValidatorUnavailableError("the validator failed", found=answer["failed"])
        return answer

    def close(self) -> str:
        """End the process and say how it ended; harmless where none runs."""
        process, self._process = self._process, None
        if process is None:
            return ""
        # Still importing, it reads nothing and has nothing to lose.
        return process.end(_GRACE_SECONDS if process.ready else 0.0)


def _died(how: str) -> ValidatorUnavailableError:
    return ValidatorUnavailableError(
        "the validator process died; nothing was accepted, the recordings will be retried",
        found=how,
    )


def _result(answer: dict[str, Any]) -> tuple[str, CheckResult]:
    fields = dict(answer)
    recording = str(fields.pop("recording_id"))
    return recording, CheckResult(**(fields | {"severity": Severity(fields["severity"])}))
