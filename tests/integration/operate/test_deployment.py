"""The deployment files are valid, agree with one another, and call what exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.settings import SETTINGS

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"
OBJECT_STORE = {f"TANADA_S3_{name}" for name in ("ENDPOINT", "REGION", "ACCESS_KEY", "SECRET_KEY")}
SECRETS = {"TANADA_DATABASE_URL", "TANADA_S3_ACCESS_KEY", "TANADA_S3_SECRET_KEY"}
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text("utf-8"))
PASSWORDS = {"POSTGRES_PASSWORD": "p", "MINIO_ROOT_USER": "u", "MINIO_ROOT_PASSWORD": "m"}
IMAGE = (INFRA / "images" / "platform.Dockerfile").read_text("utf-8")
IGNORED = (INFRA / "images" / "platform.Dockerfile.dockerignore").read_text("utf-8")


def manifests() -> list[dict[str, Any]]:
    files = sorted((INFRA / "kubernetes").glob("*.yaml"))
    return [doc for file in files for doc in yaml.safe_load_all(file.read_text("utf-8"))]


def containers() -> list[dict[str, Any]]:
    found = []
    for document in manifests():
        spec = document.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        found += spec.get("template", {}).get("spec", {}).get("containers", [])
    return found


def shared() -> dict[str, str]:
    lines = (INFRA / "platform.env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_one_set_of_settings() -> None:
    (config,) = (doc for doc in manifests() if doc["kind"] == "ConfigMap")
    assert config["data"] == shared()
    assert COMPOSE["services"]["api"]["env_file"] == ["platform.env"]
    known = {setting.env for setting in SETTINGS} | OBJECT_STORE
    assert shared().keys() <= known
    assert COMPOSE["services"]["worker"]["environment"].keys() == SECRETS
    assert not SECRETS & shared().keys()


def test_ports_and_names_agree_with_prometheus() -> None:
    scraped = (INFRA / "alerts" / "prometheus.yaml").read_text("utf-8")
    port = shared()["TANADA_METRICS_ADDRESS"].rsplit(":", 1)[1]
    assert f"api:{port}" in scraped
    assert f"port: {port}" in scraped
    for container in (one for one in containers() if one["name"] in {"api", "worker"}):
        ports = {entry["name"]: entry["containerPort"] for entry in container.get("ports", [])}
        assert ports["metrics"] == int(port)
    # Metrics are reached from inside only.
    published = [p for s in COMPOSE["services"].values() for p in s.get("ports", [])]
    assert not [entry for entry in published if port in entry]
    assert all(entry.startswith("127.0.0.1:") for entry in published)


def test_no_container_may_more_than_it_needs() -> None:
    assert len(containers()) == 5
    for container in containers():
        said = container["securityContext"]
        assert said["readOnlyRootFilesystem"]
        assert not said["allowPrivilegeEscalation"]
        assert said["capabilities"] == {"drop": ["ALL"]}
        assert container["image"] == COMPOSE["services"]["api"]["image"]
        assert {"limits", "requests"} <= container["resources"].keys()


def test_commands_exist() -> None:
    asked = [container["args"] for container in containers()]
    asked += [COMPOSE["services"][name]["command"] for name in ("api", "worker")]
    for arguments in {tuple(arguments) for arguments in asked}:
        command = [sys.executable, "-m", "tanada", *arguments, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)
    assert '["tanada"]' in IMAGE


@pytest.mark.full
def test_compose_accepts_the_file_and_asks_for_passwords() -> None:
    built = ROOT / ".make" / "bin" / "docker-compose"
    command = [built] if built.exists() else ["docker", "compose"]
    command = [*map(str, command), "-f", str(INFRA / "compose.yaml"), "config", "--quiet"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment | PASSWORDS, check=False
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode != 0
    assert "choose one" in done.stderr


@pytest.mark.full
def test_manifests_follow_the_schemas_of_kubernetes() -> None:
    import kubernetes_validate  # only in the environment of `make test-full`

    kinds = set()
    for document in manifests():
        kubernetes_validate.validate(document, "1.30", strict=True)
        kinds.add(document["kind"])
    assert {"Deployment", "Service", "ConfigMap", "CronJob", "NetworkPolicy"} <= kinds
    broken = manifests()[0] | {"kind": "Deployment", "apiVersion": "apps/v1", "spec": {"x": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.30", strict=True)


@pytest.mark.full
def test_the_image_s_steps_make_a_platform_that_runs(tmp_path: Path) -> None:
    """The RUN steps of the build stage, in order, on what the build context would hold."""
    build = IMAGE.split("\nFROM ")[1]
    steps = re.findall(r"^RUN (.+)$", build, re.MULTILINE)
    assert len(steps) == 4
    kept = [line[1:] for line in IGNORED.splitlines() if line.startswith("!")]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *kept],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    source, target = tmp_path / "src", tmp_path / "tanada"
    for name in listed:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    for step in steps:
        words = step.replace("/opt/tanada", str(target)).split()
        words[0] = sys.executable if words[0] == "python3.11" else words[0]
        done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (step, done.stderr)
    root = str(tmp_path / "lake")
    environment = {"PATH": f"{target / 'bin'}:/usr/bin:/bin", "TANADA_ROOT": root}
    for arguments in (
        ("init", "--organisation", "Image"),
        ("worker", "--once"),
        ("lake", "verify"),
        ("plan", "--robots", "10"),
        ("serve", "--help"),
    ):
        done = subprocess.run(
            [target / "bin" / "tanada", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stderr)
