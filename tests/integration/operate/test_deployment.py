"""The deployment files are valid, agree with one another, and call what exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from connectors.settings import SECRET, SETTINGS
from tests.servers import minio, postgresql
from tests.servers.images import (
    COMPOSE,
    IMAGES,
    INFRA,
    ROOT,
    SERVICES,
    SHARED_BASE,
    Image,
    ignored,
    settings_file,
    stages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN = {setting.env for setting in SETTINGS}
SECRETS = {"TANADA_DATABASE_URL", "TANADA_S3_ACCESS_KEY", "TANADA_S3_SECRET_KEY"}
ASKED = sorted(set(re.findall(r"\$\{(\w+):\?choose one\}", str(COMPOSE))))
# A cluster brings these along, or they are made by hand there: operations.md says which.
PROVIDED = {"postgresql", "minio", "bucket", "prometheus"}
# Work by the clock, beside which neither scheduler runs.
BY_CLOCK = {"verify", "optimize", "notify"}
OWN = {name: service for name, service in SERVICES.items() if name not in PROVIDED}
ONCE = {"setup", "airflow-init"}
PROFILES = ("spark", "airflow", "dagster", "setup")


def manifests() -> list[dict[str, Any]]:
    files = sorted((INFRA / "kubernetes").glob("*.yaml"))
    return [doc for file in files for doc in yaml.safe_load_all(file.read_text("utf-8"))]


def pods() -> Iterator[dict[str, Any]]:
    for document in manifests():
        spec = document.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield spec["template"]["spec"]


def containers() -> dict[str, dict[str, Any]]:
    found = [container for pod in pods() for container in pod["containers"]]
    assert len({container["name"] for container in found}) == len(found)
    return {container["name"]: container for container in found}


def config_map(name: str) -> dict[str, str]:
    (data,) = (
        doc["data"]
        for doc in manifests()
        if doc["kind"] == "ConfigMap" and doc["metadata"]["name"] == name
    )
    return dict(data)


def own_environment(container: dict[str, Any]) -> dict[str, str | None]:
    """What a container is given beside its maps; None where a secret or its own address is."""
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def test_one_set_of_settings() -> None:
    assert config_map("tanada") == settings_file("platform.env")
    assert config_map("airflow") == settings_file("airflow.env")
    assert settings_file("platform.env").keys() <= KNOWN - SECRETS
    assert {setting.env for setting in SETTINGS if setting.name in SECRET} >= SECRETS
    for service in SERVICES.values():
        for file in service.get("env_file", []):
            assert file in {"platform.env", "airflow.env"}


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_service_of_compose_is_the_same_in_its_manifest(name: str) -> None:
    service, container = OWN[name], containers()[name]
    assert container["image"] == service["image"]
    assert container.get("command") == service.get("entrypoint")
    if name != "setup":  # there the organisation's name is a setting, here it is typed
        assert container["args"] == service["command"]
    assert ("livenessProbe" in container) == ("healthcheck" in service) == (name not in ONCE)

    there = own_environment(container)
    here = service.get("environment", {})
    ours = {key: value for key, value in here.items() if key.startswith("TANADA_")}
    assert ours.keys() <= KNOWN
    assert {key for key in there if key.startswith("TANADA_")} <= KNOWN
    # What one says for itself, beside the common settings and the secrets, the other says too.
    assert {key: value for key, value in ours.items() if key not in SECRETS} == {
        key: value
        for key, value in there.items()
        if key.startswith("TANADA_") and key not in SECRETS
    }
    maps, secrets = (
        {source[kind]["name"] for source in container.get("envFrom", []) if kind in source}
        for kind in ("configMapRef", "secretRef")
    )
    # Airflow's pages and parser get no secret of the platform; in compose they share one block.
    assert here.keys() >= (SECRETS if "tanada" in secrets else there.keys() & SECRETS)
    if "tanada" in maps:
        assert "platform.env" in service["env_file"]
    assert ("airflow" in maps) == ("airflow.env" in service.get("env_file", []))
    mounted = {volume.split(":")[1] for volume in service.get("volumes", [])}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} <= mounted | {"/tmp"}  # noqa: S108
    settings = settings_file("platform.env")
    asked = {settings["TANADA_SCRATCH"]} if "tanada" in maps else set()
    if "tanada" in secrets:
        asked.add(str(Path(settings["TANADA_SECRET_KEY_FILE"]).parent))
    assert asked <= {mount["mountPath"] for mount in container["volumeMounts"]}


def test_every_container_is_a_service_of_compose() -> None:
    assert containers().keys() == OWN.keys() | BY_CLOCK
    assert {key for service in SERVICES.values() for key in service.get("profiles", [])} == set(
        PROFILES
    )


def test_what_other_programs_are_told_agrees_with_the_settings() -> None:
    shared = settings_file("platform.env")
    # The platform tells Spark the store's address and keys by itself: they stand in no file twice.
    assert "s3a" not in (INFRA / "images" / "spark-defaults.conf").read_text("utf-8")

    port = shared["TANADA_SPARK_MASTER"].rsplit(":", 1)[1]
    master, worker = (SERVICES[f"spark-{name}"]["command"] for name in ("master", "worker"))
    assert shared["TANADA_SPARK_MASTER"] == f"spark://{master[master.index('--host') + 1]}:{port}"
    assert port == master[master.index("--port") + 1]
    assert worker[-1] == shared["TANADA_SPARK_MASTER"]
    final = " ".join(f"{a} {b}" for a, b in stages("spark")[-1].steps)
    assert f" {shared['TANADA_SPARK_JARS']}" in final
    assert shared["TANADA_SPARK_PYTHON"].startswith("/opt/tanada/bin/")

    folder = INFRA / "images"
    instance = yaml.safe_load((folder / "dagster.yaml").read_text("utf-8"))
    common = yaml.safe_load((ROOT / "dags/dagster_defs/dagster.yaml").read_text("utf-8"))
    assert instance | common == instance
    (code,) = yaml.safe_load((folder / "workspace.yaml").read_text("utf-8"))["load_from"]
    code_server = SERVICES["dagster-code"]["command"]
    assert code["grpc_server"]["host"] == "dagster-code"
    assert str(code["grpc_server"]["port"]) == code_server[code_server.index("--port") + 1]

    airflow = settings_file("airflow.env")
    assert "http://airflow-api-server:8080/" in airflow["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
    # What asks for no lock of its own must not run twice.
    assert airflow["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"


def test_ports_and_names_agree_with_prometheus() -> None:
    scraped = yaml.safe_load((INFRA / "alerts" / "prometheus.yaml").read_text("utf-8"))
    port = settings_file("platform.env")["TANADA_METRICS_ADDRESS"].rsplit(":", 1)[1]
    api, workers = scraped["scrape_configs"]
    assert api["static_configs"] == [{"targets": [f"api:{port}"]}]
    (found,) = workers["dns_sd_configs"]
    assert str(found["port"]) == port
    watched = {"api", *found["names"]}
    assert watched == {"api", "worker", "worker-spark"}
    for name in watched:
        ports = {entry["name"]: entry["containerPort"] for entry in containers()[name]["ports"]}
        assert ports["metrics"] == int(port)
    # Metrics are reached from inside only.
    published = [p for s in SERVICES.values() for p in s.get("ports", [])]
    assert not [entry for entry in published if port in entry]
    assert all(entry.startswith("127.0.0.1:") for entry in published)


def test_no_container_may_more_than_it_needs() -> None:
    for name, container in containers().items():
        said = container["securityContext"]
        assert said["readOnlyRootFilesystem"]
        assert not said["allowPrivilegeEscalation"]
        assert said["capabilities"] == {"drop": ["ALL"]}
        assert {"limits", "requests"} <= container["resources"].keys(), name
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        # A service named spark-master would otherwise set SPARK_MASTER_PORT, which Spark reads.
        assert pod["enableServiceLinks"] is False
    for name, service in OWN.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        # The pepper is written once, by hand.
        keys = [v for v in service.get("volumes", []) if v.startswith("keys:")]
        assert all(entry.endswith(":ro") for entry in keys) or name == "setup"


def test_files_hold_no_secret() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|_KEY|ROOT_USER|URL|CONN", key):
                assert "${" in value, (name, key)
            # None has a default that somebody might forget to change.
            assert all(asked.endswith(":?choose one}") for asked in re.findall(r"\$\{.*?\}", value))
    assert not [doc for doc in manifests() if doc["kind"] == "Secret"]
    assert len(ASKED) == 7


def test_commands_exist() -> None:
    """Those of the platform; the others are started by the suites of Spark and the schedulers."""
    asked = [c["args"] for c in containers().values() if c["image"].startswith("tanada-platform")]
    asked += [s["command"] for s in OWN.values() if s["image"].startswith("tanada-platform")]
    assert len(asked) > 6
    for arguments in {tuple(arguments) for arguments in asked}:
        command = [sys.executable, "-m", "tanada", *arguments, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)


def test_images_differ_in_what_they_must_only() -> None:
    built = {image: stages(image) for image in IMAGES}
    assert {f"tanada-{image}:0.1.0" for image in IMAGES} == {s["image"] for s in OWN.values()}
    plain = built["platform"][0]
    for image, found in built.items():
        lock = "service.txt" if image == "platform" else f"service-{image}.txt"
        same = [(step, rest.replace(lock, "service.txt")) for step, rest in found[0].steps]
        assert same == plain.steps
        assert (ROOT / "infra" / "locks" / lock).exists()
        assert found[0].base == found[-1].base == SHARED_BASE
        assert found[-1].of("USER") == ["10001:10001"]
        assert any("--uid 10001" in rest for rest in found[-1].of("RUN"))
        for stage in found:
            for rest in stage.of("COPY"):
                *sources, _target = rest.split()
                if rest.startswith("--from=") or sources == ["."]:
                    continue
                for source in sources:
                    assert (ROOT / source).exists()
                    assert any(source.startswith(kept) for kept in ignored(image)), source
        # The context is what the platform's wheel is built from, and what this image adds.
        assert set(ignored("platform")) <= set(ignored(image))
    volumes = {v.split(":")[1] for s in OWN.values() for v in s.get("volumes", [])}
    made = {image: " ".join(found[-1].of("RUN")) for image, found in built.items()}
    for name, service in OWN.items():
        image = service["image"].removeprefix("tanada-").split(":")[0]
        for volume in service.get("volumes", []):
            # A new volume takes the owner of the image's folder; without one it is root's.
            assert volume.split(":")[1] in made[image].split(), (name, volume)
    assert volumes


@pytest.mark.full
def test_compose_accepts_the_file_and_asks_for_each_password() -> None:
    built = ROOT / ".make" / "bin" / "docker-compose"
    command = [str(built)] if built.exists() else ["docker", "compose"]
    command += ["-f", str(INFRA / "compose.yaml")]
    profiles = [word for name in PROFILES for word in ("--profile", name)]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    given = dict.fromkeys(ASKED, "x")

    def config(*words: str, **passwords: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words],
            capture_output=True,
            text=True,
            env=environment | passwords,
            check=False,
        )

    done = config(*profiles, "config", "--services", **given)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == SERVICES.keys()
    done = config("config", "--services", **given)
    assert set(done.stdout.split()) == PROVIDED | {"api", "worker"}
    for name in ASKED:
        done = config("config", "--quiet", **{k: v for k, v in given.items() if k != name})
        assert done.returncode != 0
        assert f"required variable {name} is missing a value: choose one" in done.stderr


@pytest.mark.full
def test_manifests_follow_the_schemas_of_kubernetes() -> None:
    import kubernetes_validate  # only in the environment of `make test-full`

    kinds = set()
    for document in manifests():
        kubernetes_validate.validate(document, "1.30", strict=True)
        kinds.add(document["kind"])
    assert kinds >= {
        *("Deployment", "StatefulSet", "Service", "ConfigMap", "CronJob", "Job"),
        *("NetworkPolicy", "PodDisruptionBudget", "PersistentVolumeClaim"),
    }
    broken = manifests()[0] | {"kind": "Deployment", "apiVersion": "apps/v1", "spec": {"x": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.30", strict=True)


@pytest.mark.full
def test_the_image_s_steps_make_a_platform_that_runs(tmp_path: Path) -> None:
    """The RUN steps of the build stage, in order, on what the build context would hold.

    The other images differ in the lock; their suites compare it with the environment they run in.
    """
    steps = stages("platform")[0].of("RUN")
    assert len(steps) == 4
    kept = ignored("platform")
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
    _run_the_core_services(Image("platform", tmp_path / "image", target), tmp_path)


def _run_the_core_services(image: Image, folder: Path) -> None:
    """Setup, server and worker as the compose file has them, on a real MinIO and PostgreSQL."""
    with minio.running(folder / "minio") as store, postgresql.running(logins=False) as cluster:
        image.secrets = dict.fromkeys(ASKED, "only-here") | {
            "MINIO_ROOT_USER": store.access_key,
            "MINIO_ROOT_PASSWORD": store.secret_key,
        }
        cluster.run_script(INFRA / "images" / "postgresql-logins.sh", image.secrets)
        # One address for each service: here they share one machine.
        image.swap = {
            "postgresql:5432": f"127.0.0.1:{cluster.port}",
            "minio:9000": store.endpoint.removeprefix("http://"),
            "s3://tanada": f"s3://{minio.BUCKET}",
            "8000": str(minio.free_port()),
            "9464": str(minio.free_port()),
            "0.0.0.0": "127.0.0.1",  # noqa: S104
        }
        image.lay_out()
        made = image.run(["tanada", "init", "--organisation", "Image", "--json"], "setup")
        assert made.returncode == 0, made.stderr
        assert (image.folder / "var/lib/tanada/keys/secret.key").stat().st_mode & 0o777 == 0o600
        for service in ("api", "worker"):
            process = image.start(service, folder / f"{service}.log")
            try:
                deadline = time.monotonic() + 60
                while not image.healthy(service):
                    assert process.poll() is None, (folder / f"{service}.log").read_text()
                    assert time.monotonic() < deadline, (folder / f"{service}.log").read_text()
                    time.sleep(0.5)
                if service == "api":
                    address = f"http://127.0.0.1:{image.swap['8000']}/v1/me"
                    key = {"Authorization": f"Bearer {json.loads(made.stdout)['key']}"}
                    assert httpx.get(address, headers=key).json()["organisation"] == "image"
            finally:
                process.terminate()
                process.wait(60)
        for words in (["lake", "verify"], ["plan", "--robots", "10"], ["worker", "--once"]):
            done = image.run(["tanada", *words], "worker")
            assert done.returncode == 0, (words, done.stderr)
        assert image.strays("worker") == []
