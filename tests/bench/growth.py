"""What one more file costs while a lake grows, and what known files cost when handed in again.

`python tests/bench/growth.py [--files 1000 10000] [--store folder|s3] [--rounds 3] [--json]
[--no-results] [--keep FOLDER]`; 100,000 files by argument. Method in README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import growth_report
import seeding
from measure import process_cpu

from connectors.settings import Settings
from connectors.stores.root import Root
from tests.servers.lakes import environment_of, s3_settings
from tests.servers.minio import running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.servers.minio import MinioServer

HERE: Final = Path(__file__).resolve().parent
TANADA: Final = Path(sys.executable).with_name("tanada")
STORES: Final = ("folder", "s3")


@dataclass(slots=True)
class Lake:
    """One lake of one size, and what was measured on it.

    Attributes:
        store: folder or s3.
        files: Recordings that it holds once the marginal ones are in.
        settings: How it is opened.
        logs: Folder of exactly these files.
        marginal: Folders of new files, one for each round.
        rounds: Figures of each round.
        looks: Figures of single look-ups.
        objects: Files or objects that it consists of.
    """

    store: str
    files: int
    settings: Settings
    logs: Path
    marginal: list[Path]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    looks: dict[str, Any] = field(default_factory=dict)
    objects: int = 0


def spent(
    command: Sequence[object], settings: Settings, server: MinioServer | None
) -> tuple[str, dict[str, float]]:
    """Run a command; its output, and what it and everything below it used.

    Raises:
        SystemExit: it failed.
    """
    environment = os.environ | environment_of(settings)
    before = process_cpu(server.pid) if server else 0.0
    with tempfile.TemporaryFile("w+") as output:
        wall = time.perf_counter()
        child = subprocess.Popen(list(map(str, command)), stdout=output, env=environment)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - wall
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if child.returncode:
        raise SystemExit(f"{command} ended with {child.returncode}: {text[-2000:]}")
    figures = {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall}
    if server:
        figures["server_cpu_s"] = process_cpu(server.pid) - before
    return text, figures


def part_of(action: str, lake: Lake, server: MinioServer | None, *given: object) -> dict[str, Any]:
    """What `growth_run.py` says of one action on a lake."""
    command = (sys.executable, HERE / "growth_run.py", action, *given)
    text, figures = spent(command, lake.settings, server)
    return {"process": figures} | json.loads(text.splitlines()[-1])


def one_round(lake: Lake, number: int, server: MinioServer | None) -> None:
    """One folder of new files, then everything once more."""
    new = part_of("ingest", lake, server, lake.marginal[number])
    if new["statuses"] != ["accepted"] or new["files"] != seeding.BATCH:
        raise SystemExit(f"not all accepted: {new}")
    lake.rounds.append({"new": new})
    left = len(lake.marginal) - 1 - number
    if left:
        return
    for done in lake.rounds:
        text, figures = spent((TANADA, "ingest", "--json", lake.logs), lake.settings, server)
        found = json.loads(text)
        statuses = {one["status"] for one in found}
        if statuses != {"duplicate"} or len(found) != lake.files:
            raise SystemExit(f"{len(found)} of {lake.files} files, {sorted(statuses)}")
        done["known"] = figures
    _, lake.looks["whole command, 1 known file"] = spent(
        (TANADA, "ingest", "--json", next(lake.marginal[0].iterdir())), lake.settings, server
    )


def grown(folder: Path, sizes: Sequence[int], rounds: int) -> list[Lake]:
    """Folder lakes of every size, all but the last `rounds` parts of each known already."""
    lakes = []
    logs, master = folder / "logs", folder / "master"
    done = 0
    for size in sorted(sizes):
        parts = size // seeding.BATCH
        known = parts - rounds
        if known < 0 or size % seeding.BATCH:
            raise SystemExit(f"{size} is no multiple of {seeding.BATCH}, at least {rounds} of them")
        print(f"{size} files: seeding {(known - done) * seeding.BATCH}", file=sys.stderr)
        whole = Lake("folder", size, Settings(root=str(master)), logs, [])
        part_of("seed", whole, None, logs, done, known)
        done = known
        own = folder / f"logs-{size}"
        for number in range(parts):
            seeding.write_part(logs, number)
            _linked(logs / f"part-{number:04}", own / f"part-{number:04}")
        marginal = [own / f"part-{number:04}" for number in range(known, parts)]
        root = folder / f"lake-{size}"
        _linked(master, root)
        lakes.append(Lake("folder", size, Settings(root=str(root)), own, marginal))
    return lakes


def _linked(source: Path, target: Path) -> None:
    """A copy whose files are links where nothing ever writes into them."""

    def copy(path: str, to: str) -> None:
        if "catalog.db" in path or path.endswith("_last_checkpoint"):
            shutil.copy(path, to)
        else:
            os.link(path, to)

    shutil.copytree(source, target, copy_function=copy)


def on_s3(lake: Lake, folder: Path, server: MinioServer) -> Lake:
    """A copy of a folder's lake on a server."""
    local = folder / f"s3-{lake.files}"
    settings = s3_settings(server, local)
    source = Path(lake.settings.root)
    seeding.copy_catalog(source, local)
    print(f"{lake.files} files: copying to s3", file=sys.stderr)
    objects = seeding.copy_lake(source, settings)
    Root.open(settings.root, settings.access)  # it is one
    return Lake("s3", lake.files, settings, lake.logs, lake.marginal, objects=objects)


def measured(folder: Path, sizes: Sequence[int], stores: Sequence[str], rounds: int) -> list[Lake]:
    """All lakes with their figures; the lakes take turns, so that none has the better hour."""
    with ExitStack() as stack:
        server: MinioServer | None = None
        lakes = grown(folder, sizes, rounds)
        if "s3" in stores:
            (folder / "minio").mkdir()
            server = stack.enter_context(running(folder / "minio"))
            copies = [on_s3(lake, folder, server) for lake in lakes]
            lakes = [lake for pair in zip(lakes, copies, strict=True) for lake in pair]
        lakes = [lake for lake in lakes if lake.store in stores]
        for number in range(rounds):
            turn = number % len(lakes)
            for lake in (*lakes[turn:], *lakes[:turn]):
                one_round(lake, number, server if lake.store == "s3" else None)
                print(f"  round {number + 1}, {lake.store} {lake.files}", file=sys.stderr)
        for lake in lakes:
            lake.looks |= part_of("looks", lake, server if lake.store == "s3" else None, lake.logs)
    return lakes


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--files", type=int, nargs="+", default=[1000, 10000], help="sizes (1000 10000)"
    )
    parser.add_argument("--store", action="append", choices=STORES, help="repeatable; default both")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of 200 new files (3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    parser.add_argument("--keep", type=Path, help="work in this empty folder, and leave it there")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where to keep them")
    parser.add_argument("--no-results", action="store_true", help="print only")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        folder = args.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        lakes = measured(folder, args.files, args.store or STORES, args.rounds)
    date = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d")
    facts = {"date": date, "load": (load, os.getloadavg()[0]), "rounds": args.rounds}
    document = growth_report.document(lakes, facts)
    table = growth_report.table(document)
    print(document if args.json else table)
    if not args.no_results:
        args.results.mkdir(parents=True, exist_ok=True)
        stem = args.results / f"{date}-growth"
        stem.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
        stem.with_suffix(".md").write_text(table)


if __name__ == "__main__":
    main()
