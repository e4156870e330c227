"""What `growth.py` has done in a process of its own; prints one JSON object.

`growth_run.py seed LOGS FROM TO` makes parts of logs known, `ingest PART` hands a new one in and
says what every step took, `looks LOGS` times single look-ups. The environment names the lake.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import seeding
from measure import tree_cpu

from connectors.settings import Settings
from connectors.stores.catalog import recordings
from connectors.stores.catalog.database import reading
from connectors.stores.grouping import find_recordings
from connectors.stores.initialise import initialise
from connectors.stores.known import KnownRecordings
from pipelines.check.docs_site import DocsSite
from pipelines.check.validator import Validator
from pipelines.cli.platform import Platform
from pipelines.commit.log import markers, versions
from pipelines.commit.manifest import Manifest
from pipelines.ingest import contribution, ingest
from pipelines.recover import recover

if TYPE_CHECKING:
    from collections.abc import Callable

WRITTEN: Final = ("imu", "wrenches", "message_schemas", "streams", "quality", "episodes")
"""Tables that one of these logs has rows in."""
_LOOKS: Final = 5


class Steps:
    """Wall seconds, and CPU seconds of the whole tree, of every step of a batch."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}
        self._step = ""
        self._since = (0.0, 0.0)
        self.begin("receive")

    def trace(self, step: str) -> None:
        """Told of every step of the real code, which names tables and recordings in them."""
        kind = step.partition(" ")[0]
        # Recordings are received and given to the decoder in turns.
        self.begin("receive" if kind == "decode" else kind)

    def begin(self, step: str) -> None:
        """End the step at work, and begin another one."""
        if step == self._step:
            return
        now = (time.perf_counter(), tree_cpu())
        if self._step:
            wall, cpu = (after - before for after, before in zip(now, self._since, strict=True))
            self.wall_s[self._step] = self.wall_s.get(self._step, 0.0) + wall
            self.cpu_s[self._step] = self.cpu_s.get(self._step, 0.0) + cpu
        self._step, self._since = step, now


def seed(platform: Platform, logs: Path, first: int, end: int) -> dict[str, Any]:
    """Make the parts [first, end) known."""
    like = seeding.template(platform, seeding.write_part(logs, 0)[0])
    wall, cpu = time.perf_counter(), tree_cpu()
    for number in range(first, end):
        seeding.seed(platform, like, seeding.write_part(logs, number))
    return {"cpu_s": tree_cpu() - cpu, "wall_s": time.perf_counter() - wall}


def take(platform: Platform, part: Path) -> dict[str, Any]:
    """Ingest new logs with a validator that is up already."""
    docs = DocsSite(platform.root)
    with Validator(docs.folder, platform.clock) as validator:
        validator.validate(seeding.ORGANISATION, "warm-up", seeding.warm_rows(platform, part))
        docs.publish(seeding.ORGANISATION)
        steps = Steps()
        under = contribution(platform)
        wall, cpu = time.perf_counter(), tree_cpu()
        result = ingest(platform, [part], under, validator=validator, trace=steps.trace)
        spent = {"cpu_s": tree_cpu() - cpu, "wall_s": time.perf_counter() - wall}
        steps.begin("end")
    return spent | {
        "statuses": sorted({outcome.status for outcome in result.outcomes}),
        "files": len(result.outcomes),
        "steps": {"wall_s": steps.wall_s, "cpu_s": steps.cpu_s},
    }


def looks(platform: Platform, logs: Path) -> dict[str, Any]:
    """Milliseconds of single look-ups, every one of them several times."""
    root, lake = platform.root, platform.lake
    under = contribution(platform)
    candidates = find_recordings([logs])
    known = KnownRecordings(platform.engine, under.organisation, under.robot, under.agreement)
    with reading(platform.engine) as connection:
        page = recordings.listing(connection, limit=100)
    pinned = lake.pin()
    nobody = {f"ing1/imu/{number:064}" for number in range(seeding.BATCH)}

    def listed() -> None:
        with reading(platform.engine) as connection:
            recordings.listing(connection, organisation=under.organisation, cursor=page.next_cursor)

    what: dict[str, Callable[[], object]] = {
        "snapshots of 6 tables": lambda: [lake.open(table) for table in WRITTEN],
        "200 markers in 6 tables": lambda: [
            markers(root.table(table), pinned[table], nobody) for table in WRITTEN
        ],
        "logs of 6 tables, listed": lambda: [versions(root.table(table)) for table in WRITTEN],
        "manifests of 6 tables, looked at": lambda: [
            Manifest(root.table(table)).extend(pinned[table]) for table in WRITTEN
        ],
        "recovery, nothing to do": lambda: recover(platform),
        "catalog: 200 known recordings": lambda: recordings.known(
            platform.engine, [row["id"] for row in page.items] * 2
        ),
        "catalog: a page of 100": listed,
        "200 files hashed and recognised": lambda: known.among(candidates[:200]),
        "all files found": lambda: find_recordings([logs]),
    }
    return {name: _timed(action) for name, action in what.items()}


def _timed(action: Callable[[], object]) -> dict[str, list[float]]:
    action()
    found: dict[str, list[float]] = {"wall_s": [], "cpu_s": []}
    for _ in range(_LOOKS):
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        found["cpu_s"].append(time.process_time() - cpu)
        found["wall_s"].append(time.perf_counter() - wall)
    return found


def main() -> None:
    """Command line."""
    what, path, *numbers = sys.argv[1:]
    settings = Settings.from_environment(os.environ)
    if what == "seed" and not Path(settings.root).exists():
        initialise(settings.root, "Acme", time.time_ns)
    with Platform.open(settings) as platform:
        if what == "seed":
            found = seed(platform, Path(path), *map(int, numbers))
        else:
            found = {"ingest": take, "looks": looks}[what](platform, Path(path))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
