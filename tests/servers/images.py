"""Dockerfiles and the compose file as data, and an image's final stage laid out without an engine.

`Image` copies what the final stage copies, makes the folders that it makes, and stands an
environment that exists already in for `/opt/tanada`. Commands, health checks and environments of
the compose file then run on this machine, with paths, names and ports exchanged. Nothing shows of
users, capabilities, owners of volumes, networks and foreign images.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
IMAGES = ("platform", "spark", "schedulers")
SHARED_BASE = "python:3.11-slim-bookworm"
_NEEDED = re.compile(r"\$\{(\w+):\?[^}]*\}")
_PATH = re.compile(r"(?<![\w./-])(/opt/tanada(?![\w-])|/opt(?=/)|/var/lib(?=/)|/tmp(?=/))")


@dataclass(frozen=True)
class Stage:
    """One stage of a Dockerfile.

    Attributes:
        base: What it starts from.
        name: Its own name, "" for the final one.
        steps: (instruction, the rest of its line), continued lines joined.
    """

    base: str
    name: str
    steps: list[tuple[str, str]]

    def of(self, instruction: str) -> list[str]:
        return [rest for found, rest in self.steps if found == instruction]


def stages(image: str) -> list[Stage]:
    """The stages of infra/images/<image>.Dockerfile."""
    text = (INFRA / "images" / f"{image}.Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    found: list[Stage] = []
    for line in joined:
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name, []))
        else:
            found[-1].steps.append((instruction, rest))
    return found


def ignored(image: str) -> list[str]:
    """What the image's build context leaves in."""
    text = (INFRA / "images" / f"{image}.Dockerfile.dockerignore").read_text("utf-8")
    return [line[1:] for line in text.splitlines() if line.startswith("!")]


def settings_file(name: str) -> dict[str, str]:
    """An env file of infra/."""
    lines = (INFRA / name).read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@dataclass
class Image:
    """The final stage of an image, laid out below a folder.

    Attributes:
        name: Of `IMAGES`.
        folder: Where.
        prefix: The environment that stands in for /opt/tanada.
        swap: Names, addresses and ports of the compose file -> those on this machine.
        secrets: What the compose file asks the operator for.
    """

    name: str
    folder: Path
    prefix: Path
    swap: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    laid_out: set[Path] = field(default_factory=set)

    def lay_out(self) -> None:
        final = stages(self.name)[-1]
        (self.folder / "tmp").mkdir(parents=True)
        for rest in final.of("RUN"):
            for made in re.findall(r"/var/lib/\S+", rest):
                Path(self.native(made)).mkdir(parents=True, exist_ok=True)
        for rest in final.of("COPY"):
            *sources, target = (word for word in rest.split() if not word.startswith("--from="))
            if sources == ["/opt/tanada"]:
                continue
            for source in sources:
                self._copy(ROOT / source.removeprefix("/src/"), Path(self.native(target)))
        self.laid_out = set(self.folder.rglob("*"))

    def strays(self, *services: str) -> list[str]:
        """What was written where the services' file system is read-only: not on a volume."""
        mounts = {volume.split(":")[1] for name in services for volume in SERVICES[name]["volumes"]}
        writable = [self.folder / mount[1:] for mount in {*mounts, "/tmp"}]  # noqa: S108
        new = set(self.folder.rglob("*")) - self.laid_out
        return sorted(
            str(path)
            for path in new
            # Python does without its caches where it cannot write them.
            if "__pycache__" not in path.parts
            and not any(path.is_relative_to(place) for place in writable)
        )

    def _copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
            return
        target.mkdir(parents=True, exist_ok=True)
        (target / source.name).write_text(self.native(source.read_text("utf-8")))

    def native(self, text: str) -> str:
        """A text of the image or the compose file, as it is on this machine."""
        for old, new in self.swap.items():
            text = re.sub(rf"(?<![\w-]){re.escape(old)}(?![\w-])", new, text)
        return _PATH.sub(lambda found: self._place(found[0]), text)

    def _place(self, start: str) -> str:
        return str(self.prefix if start == "/opt/tanada" else self.folder / start[1:])

    def environment(self, service: str) -> dict[str, str]:
        """What a service's process would find: the image's, the env files', its own."""
        found = {"PATH": os.defpath, "HOME": self.native("/var/lib/tanada")}
        for rest in stages(self.name)[-1].of("ENV"):
            # What one instruction sets is seen by the next.
            given = dict(pair.split("=", 1) for pair in rest.split())
            found |= {key: Template(self.native(v)).substitute(found) for key, v in given.items()}
        for name in SERVICES[service].get("env_file", []):
            found |= {key: self.native(value) for key, value in settings_file(name).items()}
        for key, value in SERVICES[service].get("environment", {}).items():
            text = _NEEDED.sub(lambda name: self.secrets[name[1]], value)
            found[key] = self.native(text)
        return found

    def command(self, service: str) -> list[str]:
        """What a service starts."""
        entry = stages(self.name)[-1].of("ENTRYPOINT")
        words = SERVICES[service].get("entrypoint") or (yaml.safe_load(entry[0]) if entry else [])
        return [self.native(word) for word in [*words, *SERVICES[service]["command"]]]

    def start(self, service: str, log: Path, **more: str) -> subprocess.Popen[bytes]:
        environment = self.environment(service) | more
        with log.open("wb") as output:
            return subprocess.Popen(
                self._found(self.command(service), environment),
                cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def run(self, words: list[str], service: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run words to their end, as that service would."""
        environment = self.environment(service) | more
        return subprocess.run(
            self._found(words, environment),
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def healthy(self, service: str, **more: str) -> bool:
        """Whether the service's own health check passes."""
        kind, *words = SERVICES[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run([self.native(word) for word in words], service, **more).returncode == 0

    def _found(self, words: list[str], environment: dict[str, str]) -> list[str]:
        program = shutil.which(words[0], path=environment["PATH"])
        assert program, f"{words[0]} is not in the image's PATH"
        return [program, *words[1:]]


def differences(image: str, prefix: Path) -> str:
    """What installing the image's lock would change in an environment; "" where nothing."""
    (lock,) = re.findall(r"infra/locks/service\S*\.txt", " ".join(stages(image)[0].of("RUN")))
    done = subprocess.run(
        [prefix / "bin" / "python", "-m", "uv", "pip", "install", "--dry-run", "--offline",
         "--python", prefix / "bin" / "python", "--require-hashes", "-r", ROOT / lock],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return "" if "no changes" in done.stderr else done.stderr
