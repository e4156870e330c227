"""Alert rules name metrics that exist, are tested one by one, and have a place in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from api.account import Account
from api.metrics import ApiMetrics
from connectors.telemetry.catalog_state import CatalogState
from pipelines.metrics import WorkerMetrics

INFRA = Path(__file__).parents[3] / "infra"
ALERTS = INFRA / "alerts"
RULES = yaml.safe_load((ALERTS / "rules.yaml").read_text("utf-8"))
NAMES = [rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]


def promtool(*arguments: str) -> str:
    tool = shutil.which("promtool")
    assert tool, "no promtool: run infra/services/prometheus.sh"
    done = subprocess.run(
        [tool, *arguments], cwd=ALERTS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
def test_promtool_accepts_rules_and_configuration() -> None:
    assert f"{len(NAMES) + 1} rules found" in promtool("check", "rules", "rules.yaml")
    assert "is valid" in promtool("check", "config", "prometheus.yaml")


@pytest.mark.full
def test_rules_fire_when_they_should_and_are_quiet_otherwise() -> None:
    assert "SUCCESS" in promtool("test", "rules", "tests.yaml")


def test_every_alert_is_tested_and_explained() -> None:
    cases = yaml.safe_load((ALERTS / "tests.yaml").read_text("utf-8"))["tests"]
    asked = [check for case in cases for check in case["alert_rule_test"]]
    assert {check["alertname"] for check in asked if check["exp_alerts"]} == set(NAMES)
    text = (INFRA / "operations.md").read_text("utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == NAMES
    for group in RULES["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                where = f"infra/operations.md#{rule['alert'].lower()}"
                assert rule["annotations"]["runbook"] == where


def test_rules_name_metrics_that_exist(platform: Any, clock: Any) -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    registry.register(CatalogState(platform.engine, clock, platform.root.path))
    shown = generate_latest(registry) + generate_latest(
        ApiMetrics(Account(platform.engine)).registry
    )
    known = set(re.findall(r"^# TYPE (\w+) ", shown.decode(), re.MULTILINE))
    used = {
        name
        for group in RULES["groups"]
        for rule in group["rules"]
        for name in re.findall(r"\b(tanada_\w+)", rule["expr"])
    }
    assert used - known == set()
    assert len(used) > 10
