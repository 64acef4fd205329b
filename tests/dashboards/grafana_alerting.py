"""What Grafana does with provisioned alert rules: reads the file, asks, compares, and waits for `for`.

Sources: Grafana's documentation, "Alert on numeric data", "Stale alert instances", "No Data and Error
states", "Use configuration files to provision alerting resources".
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spanhouse.dashboards.macros import Query, expand

FOLDER = Path(__file__).parents[2] / "grafana/provisioning/alerting"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

# The labels that a row gave.
Labels = tuple[tuple[str, str], ...]
# Runs a statement; gives ClickHouse's JSONCompact: {"meta": [{"name", "type"}], "data": [[...]]}.
Ask = Callable[[str], dict[str, Any]]

_NUMBERS = ("UInt", "Int", "Float", "Decimal")
_TEXTS = ("String", "LowCardinality(String)")


def provisioned(name: str) -> dict[str, Any]:
    """A file of grafana/provisioning/alerting."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return content


def duration(text: str) -> dt.timedelta:
    return dt.timedelta(seconds=int(text[:-1]) * SECONDS[text[-1]])


def rules() -> dict[str, dict[str, Any]]:
    """Rules by uid, each with the `interval` of its group."""
    return {
        rule["uid"]: {**rule, "interval": group["interval"]}
        for group in provisioned("rules.yaml")["groups"]
        for rule in group["rules"]
    }


def numbers(answer: dict[str, Any]) -> dict[Labels, float]:
    """A table as numeric data in long format: one column of numbers, the others are labels."""
    names = [column["name"] for column in answer["meta"]]
    kinds = [column["type"] for column in answer["meta"]]
    (value,) = (place for place, kind in enumerate(kinds) if kind.startswith(_NUMBERS))
    assert all(kind in _TEXTS for place, kind in enumerate(kinds) if place != value), kinds
    found: dict[Labels, float] = {}
    for row in answer["data"]:
        labels = tuple((name, row[place]) for place, name in enumerate(names) if place != value)
        assert labels not in found, f"twice: {labels}"
        assert row[value] is not None
        found[labels] = float(row[value])
    return found


@dataclass
class _Instance:
    state: str
    since: dt.datetime
    missing: int = 0


@dataclass
class Alert:
    """A rule over time.

    Attributes:
        rule: as `rules` gives it.
        ask: see Ask.
        instances: by labels, those that are pending or firing.
    """

    rule: dict[str, Any]
    ask: Ask
    instances: dict[Labels, _Instance] = field(default_factory=dict)

    def run(self, start: dt.datetime, end: dt.datetime) -> list[tuple[dt.datetime, set[str]]]:
        """Evaluate every interval; gives when what fires changed, and to what."""
        changes: list[tuple[dt.datetime, set[str]]] = []
        before = self.firing()
        at = start
        while at <= end:
            self.evaluate(at)
            firing = self.firing()
            if firing != before:
                changes.append((at, firing))
            before = firing
            at += duration(self.rule["interval"])
        return changes

    def firing(self) -> set[str]:
        """What fires: the values of labels, or the rule's title for a rule without any."""
        return {
            " ".join(value for _, value in labels) or self.rule["title"]
            for labels, instance in self.instances.items()
            if instance.state == "firing"
        }

    def evaluate(self, at: dt.datetime) -> None:
        """One evaluation."""
        results: dict[str, dict[Labels, float]] = {}
        for node in self.rule["data"]:
            if node["datasourceUid"] == "__expr__":
                results[node["refId"]] = _threshold(node["model"], results)
            else:
                results[node["refId"]] = self._query(node, at)
        condition = results[self.rule["condition"]]
        if not condition:
            # No data at all, and noDataState is OK.
            assert self.rule["noDataState"] == "OK"
            self.instances.clear()
        for labels, value in condition.items():
            self._judge(labels, bool(value), at)
        for labels in set(self.instances) - set(condition):
            self.instances[labels].missing += 1
            if self.instances[labels].missing >= 2:
                del self.instances[labels]

    def _judge(self, labels: Labels, bad: bool, at: dt.datetime) -> None:
        if not bad:
            self.instances.pop(labels, None)
            return
        instance = self.instances.setdefault(labels, _Instance("pending", at))
        instance.missing = 0
        if at - instance.since >= duration(self.rule["for"]):
            instance.state = "firing"

    def _query(self, node: dict[str, Any], at: dt.datetime) -> dict[Labels, float]:
        span = node["relativeTimeRange"]
        start = at - dt.timedelta(seconds=span["from"])
        end = at - dt.timedelta(seconds=span["to"])
        statement = expand(node["model"]["rawSql"], Query(start, end, interval_s=1))
        assert "$" not in statement, statement
        return numbers(self.ask(statement))


def _threshold(model: dict[str, Any], results: dict[str, dict[Labels, float]]) -> dict[Labels, float]:
    assert model["type"] == "threshold"
    (condition,) = model["conditions"]
    assert condition["evaluator"]["type"] == "gt"
    (limit,) = condition["evaluator"]["params"]
    return {labels: float(value > limit) for labels, value in results[model["expression"]].items()}
