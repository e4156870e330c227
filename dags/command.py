"""Run a job of the platform from a scheduler: by the `tanada` command, in a process of its own.

A scheduler's environment has to hold `pipelines.jobs`, which needs nothing, and not what decoding
and the lake need. A job that takes too much memory or crashes takes no scheduler with it.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dags import launch
from pipelines.jobs import WELL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.jobs import Job

EXIT_WRONG_USE: Final = 2
_FOR_A_PERSON: Final = (1, EXIT_WRONG_USE, launch.NOT_FOUND)
GRACE_SECONDS: Final = 20
_WITHHELD: Final = ("AIRFLOW", "DAGSTER", "PYTHON")
"""Beginnings of variables that the platform's process does not get: they hold the scheduler's
own secrets, or would make another environment's interpreter load this one's packages."""
_SHOWN: Final = 100
_running: Final[set[subprocess.Popen[str]]] = set()
log = logging.getLogger(__name__)


class JobError(Exception):
    """A job did not end well."""


class TryAgainError(JobError):
    """The same call later may succeed: exit code 3, a signal, a crash."""


class RefusedError(JobError):
    """A person has to act: wrong use, or an alarm such as damage found; no retry helps.

    Attributes:
        document: What the job answered; {} where it answered nothing.
    """

    def __init__(self, text: str, document: dict[str, Any]) -> None:
        super().__init__(text)
        self.document = document


def command(environ: Mapping[str, str] = os.environ) -> list[str]:
    """`TANADA_COMMAND` if it is set, else the `tanada` beside this interpreter."""
    given = environ.get("TANADA_COMMAND")
    return shlex.split(given) if given else [str(Path(sys.executable).with_name("tanada"))]


def run_job(job: Job, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Run one job to its end.

    Args:
        job: Of `pipelines.jobs.JOBS`.
        parameters: Values of its parameters; None = not given.

    Returns:
        Its document, without the recordings that simply went well.

    Raises:
        RefusedError: wrong use, an error that needs a person, or a refusal that is an alarm.
        TryAgainError: anything that another try may mend, the job's timeout included.
    """
    words = [*command(), "jobs", "run", job.name, "--json"]
    for key, value in parameters.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += ["--param", f"{key}={text}"]
    log.info("running: %s", shlex.join(words))
    code, out = _finished(words, job.timeout_minutes * 60)
    try:
        document = json.loads(out)
    except ValueError:
        document = {}
    if "outcome" in document and code in (0, 1):
        if job.refusal_fails and document["outcome"] != WELL:
            raise RefusedError(f"{job.name}: {json.dumps(document)[:4000]}", document)
        return _short(document)
    what = json.dumps(document.get("error", _short(document)))[:4000]
    if code in _FOR_A_PERSON:
        raise RefusedError(f"{job.name}: exit code {code}: {what}", document)
    raise TryAgainError(f"{job.name}: exit code {code}: {what}")


def end_jobs() -> None:
    """End every job that this process runs, with what it started; safe in a signal handler.

    Whoever waits for one sees it ended by a signal: `TryAgainError`.
    """
    for process in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def _finished(words: list[str], seconds: float) -> tuple[int, str]:
    """Exit code (negative: the signal that ended it) and stdout; ended when the caller is."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_WITHHELD)}
    # The launcher sees to it that the job does not outlive this process either.
    held = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *words]
    with subprocess.Popen(
        held,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        _running.add(process)
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException as error:
            # A timeout, or a stop by the scheduler: the whole group, so that nothing works on.
            _end_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TryAgainError(f"not done within {seconds:g} s: {shlex.join(words)}") from None
            raise
        finally:
            _running.discard(process)
    for line in err.splitlines():
        log.info("%s", line)
    return process.returncode, out


def _end_group(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def _short(document: dict[str, Any]) -> dict[str, Any]:
    """Schedulers keep a task's answer in their database: what went well is only counted."""
    if "recordings" not in document or not isinstance(document["recordings"], list):
        return document
    odd = [r for r in document["recordings"] if r["status"] not in {"accepted", "duplicate"}]
    return document | {"recordings": odd[:_SHOWN]}
