"""Prometheus' configuration and alert rules, checked and run by promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from spanhouse import metrics
from tests.parts.fixtures import need
from tests.test_docs import anchors

ROOT = Path(__file__).parents[2]
UNIT_TESTS = Path(__file__).parent / "alerts.test.yaml"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.fixture(scope="module")
def promtool() -> Path:
    return need("promtool")


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid(promtool: Path) -> None:
    run(promtool, "check", "config", "prometheus/prometheus.yml")


def test_alerts_fire_when_they_should(promtool: Path) -> None:
    run(promtool, "test", "rules", UNIT_TESTS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_has_a_case_that_fires_and_one_that_stays_quiet(rule: dict[str, Any]) -> None:
    cases: dict[bool, int] = {True: 0, False: 0}
    for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"]:
        name, text = test["name"].split(" ", 1)
        for expectation in test["promql_expr_test"]:
            asked = re.findall(r'ALERTS\{alertname="(\w+)"', expectation["expr"])
            if rule["alert"] in asked:
                assert name == rule["alert"]
        if name == rule["alert"]:
            fires = any(expectation["exp_samples"] for expectation in test["promql_expr_test"])
            assert fires == text.startswith("fires"), test["name"]
            cases[fires] += 1
    assert all(cases.values()), cases


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_say_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor in anchors(ROOT / page)
    # A label that the expression leaves out would be empty in the text.
    kept = {
        label.strip() for group in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in group.split(",")
    }
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert used <= kept


def exported() -> set[str]:
    names = {"up", "process_start_time_seconds"}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_ask_for_metrics_that_exist(rule: dict[str, Any]) -> None:
    asked = set(re.findall(r"\b(?:spanhouse_\w+|process_\w+|up\b)", re.sub(r'"[^"]*"', "", rule["expr"])))
    assert asked <= exported()


def test_the_documents_list_the_alerts() -> None:
    text = (ROOT / "docs/deploy.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| [^|]+ \| (critical|warning) \|$", text, re.MULTILINE)
    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in RULES]
