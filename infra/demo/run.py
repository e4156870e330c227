"""The main way from end to end, on this machine alone: no server to install, no JVM.

Five partner companies hand in one recording each (one of them broken), the platform checks them,
builds a release, serves it; the model team pulls it, and a rival is refused.
Every step is the command that a person would type; it is printed before it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml
from rich.console import Console
from rich.table import Table

import tanada
from connectors.stores.catalog import parties
from connectors.stores.catalog.database import writing
from infra.demo.sectors import SECTOR_ROBOTS, write_sector_recording
from pipelines.cli.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

HERE = Path(__file__).resolve().parent
TANADA = Path(sys.executable).with_name("tanada")
PARTNERS = {
    "restaurant": "Hinata Diners",
    "food": "Midori Foods",
    "medical": "Aoba Lab Robotics",
    "factory": "Tetsu Works",
    "logistics": "Kaze Logistics",
}
BROKEN = "food"
DATASET = "service-robots"
REFUSED = 1


class Demo:
    """One run: where it lies, whose keys it made, and how it talks."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.root = folder / "platform"
        self.incoming = folder / "incoming"
        self.seconds = seconds
        self.keys: dict[str, str] = {}
        self.robots = {sector: robot.robot for sector, robot in SECTOR_ROBOTS.items()}
        self.console = Console(highlight=False, soft_wrap=True, width=110)
        self.url = ""

    def say(self, text: str) -> None:
        """A headline of the story."""
        self.console.print(f"\n[bold green]■[/] [bold]{text}[/]")

    def tanada(self, *words: str | Path, key: str = "", ok: Sequence[int] = (0,)) -> Any:
        """Run one command with --json and answer with its document."""
        command = [str(word) for word in words]
        shown = [_short(w, self.folder) for w in command]
        self.console.print(f"  [dim]$ tanada {' '.join(shown)}[/]")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TANADA_")}
        environment["TANADA_ROOT"] = str(self.root)
        environment["TANADA_CONFIG"] = str(self.folder / "client")
        if key:
            environment |= {"TANADA_URL": self.url, "TANADA_KEY": self.keys[key]}
        done = subprocess.run(
            [TANADA, *command, "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in ok:
            self.console.print(done.stdout + done.stderr, style="red", markup=False)
            sys.exit(f"demo: tanada {command[0]} ended with {done.returncode}, expected {ok}")
        return json.loads(done.stdout)

    def partners(self) -> None:
        """Organisations, agreements, robots and keys of the five partners and the model team."""
        terms = yaml.safe_load((HERE / "terms" / "contribution.yaml").read_text("utf-8"))
        with Platform.from_environment(root=str(self.root)) as platform:
            clock = platform.clock
            with writing(platform.engine) as connection:
                for sector, name in PARTNERS.items():
                    org = parties.add_organisation(connection, name=name, clock=clock)
                    parties.add_agreement(
                        connection,
                        organisation=org,
                        agreement=f"{org}-2026",
                        clock=clock,
                        title="Contribution to the programme",
                        terms=terms,
                    )
                    robot = SECTOR_ROBOTS[sector]
                    parties.add_robot(
                        connection,
                        organisation=org,
                        robot=robot.robot,
                        sector=sector,
                        kind=robot.kind,
                        site=robot.site,
                        clock=clock,
                    )
                    self._key(connection, platform, sector, org)
                team = parties.add_organisation(connection, name="Kokusan Model Team", clock=clock)
                self._key(connection, platform, "model team", team)

    def _key(self, connection: Connection, platform: Platform, who: str, org: str) -> None:
        roles = ["model"] if who == "model team" else ["partner", "model"]
        clock = platform.clock
        member = parties.add_member(
            connection, organisation=org, name=f"{who} (demo)", roles=roles, clock=clock
        )
        self.keys[who] = parties.issue_key(connection, member, platform.root.pepper(), clock)

    def recordings(self) -> dict[str, Path]:
        """One recording for each sector; the broken one carries impossible orientations."""
        paths = {}
        for seed, sector in enumerate(PARTNERS):
            path = self.incoming / f"{sector}.mcap"
            path.parent.mkdir(parents=True, exist_ok=True)
            facts = write_sector_recording(
                sector,
                path,
                seed=seed,
                seconds=self.seconds,
                broken="imu_norm" if sector == BROKEN else None,
            )
            paths[sector] = path
            count = sum(facts.messages.values())
            self.console.print(
                f"  {path.name:<16} {facts.size / 1e6:5.1f} MB  {count:6,} messages"
                f"  {len(facts.messages)} topics"
                + ("  (broken on purpose)" if sector == BROKEN else "")
            )
        return paths

    @contextmanager
    def server(self) -> Iterator[None]:
        """The catalog on a free port of this machine, ended by its own pid."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.console.print(f"  [dim]$ tanada serve --port {port}[/]")
        log = (self.folder / "server.log").open("w", encoding="utf-8")
        process = subprocess.Popen(
            [TANADA, "serve", "--root", self.root, "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            for _ in range(200):
                if process.poll() is not None:
                    sys.exit(f"demo: the server ended; see {self.folder / 'server.log'}")
                try:
                    httpx.get(f"{self.url}/health", timeout=1).raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)
            log.close()

    def verdicts(self) -> None:
        """What became of each recording, as its own partner sees it."""
        table = Table(box=None, pad_edge=False)
        for column in ("partner", "recording", "verdict", "rows", "why"):
            table.add_column(column)
        self.console.print(
            "  [dim]$ tanada status RECORDING      (each partner, with its own key)[/]"
        )
        for sector, name in PARTNERS.items():
            with tanada.Catalog(self.url, self.keys[sector]) as catalog:
                (listed,) = catalog.recordings()
                found = catalog.recording(listed["recording_id"])
            why = "; ".join(
                f"{r['rule']} on {r['stream'] or 'recording'}: {r['observed']}"
                for r in found["reasons"][:1]
            )
            rows = sum(found["tables"].values())
            table.add_row(name, found["recording_id"][:12], found["state"], f"{rows:,}", why)
        self.console.print(table)


def story(demo: Demo) -> None:
    """The ten steps."""
    demo.say("A platform: a folder, a catalog, an operator")
    demo.keys["operator"] = demo.tanada("init", "--organisation", "Programme Office")["key"]
    demo.partners()
    demo.say("Five sectors record")
    paths = demo.recordings()
    demo.say("The catalog is served, partners upload")
    with demo.server():
        for sector, path in paths.items():
            org = PARTNERS[sector].lower().replace(" ", "-")
            demo.tanada(
                "upload",
                path,
                "--robot",
                demo.robots[sector],
                "--agreement",
                f"{org}-2026",
                key=sector,
            )
        again = demo.tanada(
            "upload",
            paths["factory"],
            "--robot",
            demo.robots["factory"],
            "--agreement",
            "tetsu-works-2026",
            key="factory",
        )
        demo.console.print(f"  handed in again: {again[0]['status']}, nothing doubled")
        demo.say("A worker decodes in limited children, checks, commits exactly once")
        demo.tanada("worker", "--once", ok=(0, REFUSED))
        demo.verdicts()
        demo.say("A release: a recipe, the strictest licence of its parts, exact statistics")
        release = demo.tanada("release", "build", HERE / "recipe.yaml")
        demo.console.print(
            f"  {release['dataset']}@{release['version']}  digest {release['digest'][:16]}…"
        )
        demo.tanada(
            "grant",
            "add",
            "--dataset",
            DATASET,
            "--organisation",
            "kokusan-model-team",
            "--terms",
            HERE / "terms" / "training.yaml",
        )
        demo.say("The model team finds it, pulls it and proves what it has")
        demo.tanada("search", "robots", key="model team")
        target = demo.folder / "pulled"
        demo.tanada(
            "pull",
            f"{DATASET}@{release['version']}",
            "--purpose",
            "pretraining",
            "--to",
            target,
            key="model team",
        )
        demo.tanada("verify", target)
        demo.say("A rival without a grant asks for the same")
        refused = demo.tanada(
            "pull",
            f"{DATASET}@{release['version']}",
            "--purpose",
            "pretraining",
            "--to",
            demo.folder / "rival",
            key="food",
            ok=(REFUSED, 2),
        )
        what = refused.get("error", {}).get("what", "refused")
        demo.console.print(f"  refused: {what}")
        demo.say("A partner sees who used what")
        uses = demo.tanada("status", _first(demo, "factory"), key="factory").get("uses", [])
        for use in uses[:3]:
            demo.console.print(
                f"  {use['recipient']} fetched {use['path']} ({use['bytes']:,} bytes)"
            )


def _short(word: str, folder: Path) -> str:
    for base in (folder.parent, HERE.parents[1]):
        if word.startswith(f"{base}/"):
            return word[len(str(base)) + 1 :]
    return f'"{word}"' if " " in word else word


def _first(demo: Demo, sector: str) -> str:
    return str(demo.tanada("status", key=sector)["items"][0]["recording_id"])


def main() -> None:
    """Make the demo's folder anew and tell the story."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("demo-data"), help="made anew each time"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each recording [s]")
    chosen = parser.parse_args()
    began = time.monotonic()
    folder = chosen.folder.resolve()
    if folder.exists():
        if not (folder / ".tanada-demo").exists() and any(folder.iterdir()):
            sys.exit(f"demo: {folder} is not a demo's folder; name another one with --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / ".tanada-demo").touch()
    demo = Demo(folder, chosen.seconds)
    story(demo)
    keys = folder / "keys.json"
    keys.touch(mode=0o600)
    keys.write_text(json.dumps(demo.keys, indent=2, ensure_ascii=False) + "\n", "utf-8")
    demo.say(f"Done in {time.monotonic() - began:.0f} s. What to open next")
    shown = os.path.relpath(folder)
    demo.console.print(
        f"  make serve ROOT={shown}/platform      then http://127.0.0.1:8000 in a browser"
    )
    demo.console.print(
        f"  {shown}/keys.json                     keys to sign in with: model team, factory, food …"
    )
    demo.console.print(
        f"  {shown}/platform/data-docs            what Great Expectations saw, per organisation"
    )
    demo.console.print(
        f"  {shown}/pulled/card.md                the dataset card that came with the release"
    )


if __name__ == "__main__":
    main()
