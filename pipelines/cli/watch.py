"""How work in progress looks on stderr: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from pipelines.batch import Watch
from pipelines.cli.platform import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress

    from pipelines.batch import Outcome
    from pipelines.cli.platform import Platform

LOG: Final = logging.getLogger("tanada.worker")


class PlainWatch(Watch):
    """One line per recording."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._decided = 0

    def left_out(self, text: str) -> None:
        """Say what is left out."""
        progress(text)

    def trouble(self, text: str) -> None:
        """Say what failed."""
        progress(text)

    def decided(self, outcome: Outcome) -> None:
        """Count it and show it."""
        self._decided += 1
        progress(_line(outcome))

    def rate(self) -> str:
        """How fast."""
        return f"{self._decided / max(time.monotonic() - self._started, 0.001):.1f}/s"

    def total(self) -> str:
        """How many, and how long it took."""
        seconds = time.monotonic() - self._started
        return f"{self._decided} recordings in {seconds:.1f} s ({self.rate()})"


class LiveWatch(PlainWatch):
    """The same above a line with rate and time left."""

    def __init__(self, live: Progress) -> None:
        super().__init__()
        self._live = live
        self._task = live.add_task("recordings", total=None, rate="")

    def found(self, recordings: int) -> None:
        """Now the total is known."""
        self._live.update(self._task, total=recordings)

    def decided(self, outcome: Outcome) -> None:
        """Count it and show it."""
        super().decided(outcome)
        self._live.update(self._task, advance=1, rate=self.rate())


class LogWatch(Watch):
    """Log lines in place of progress: ids, verdicts and rules, never names or paths."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing to end."""

    def left_out(self, text: str) -> None:
        """A path is no matter for a log."""
        del text
        LOG.warning("a file is no recording")

    def trouble(self, text: str) -> None:
        """Log what failed."""
        LOG.warning("trouble: %s", text)

    def decided(self, outcome: Outcome) -> None:
        """Log the verdict."""
        said = {
            "recording_id": outcome.recording_id,
            "status": outcome.status,
            "rules": sorted({reason.rule for reason in outcome.reasons}),
            "seconds": round(outcome.seconds, 3),
        }
        LOG.info("decided", extra=said)


@contextmanager
def metrics_served(platform: Platform) -> Iterator[None]:
    """Serve metrics while the block runs, where the settings name an address."""
    if not platform.settings.metrics_address:
        yield
        return
    from pipelines.metrics import serve_worker_metrics

    port, end = serve_worker_metrics(platform, platform.settings.metrics_address)
    LOG.info("metrics on port %d", port)
    try:
        yield
    finally:
        end()


@contextmanager
def shown_on_stderr(*, quiet: bool = False) -> Iterator[Watch]:
    """Show progress while the block runs.

    Args:
        quiet: Show nothing: stdout gets a document, stderr only trouble.
    """
    if quiet:
        yield Watch()
        return
    if not sys.stderr.isatty():
        plain = PlainWatch()
        yield plain
        progress(plain.total())
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), *Progress.get_default_columns(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as live:
        watch = LiveWatch(live)
        yield watch
    progress(watch.total())


def _line(outcome: Outcome) -> str:
    rules = ", ".join(dict.fromkeys(reason.rule for reason in outcome.reasons))
    text = f"{outcome.status:<22}  {outcome.path or outcome.recording_id}"
    return f"{text}  ({rules})" if rules else text
