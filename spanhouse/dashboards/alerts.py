"""Alert rules for Grafana, from `alerts.yaml` of this folder and the statements in `sql/alerts/`.

A statement may use `$__fromTime` and `$__toTime` alone: in alerting there are no dashboard variables. Its
result is what Grafana calls numeric data in long format: columns of text, which become the labels of one
alert per row, and one number. It should give a row for what is well, too: an alert whose row is missing
lives on for two more evaluations.

Sources: Grafana's documentation, "Use configuration files to provision alerting resources" and "Alert on
numeric data".
"""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field

from spanhouse.dashboards.grafana import CLICKHOUSE, TABLE, target
from spanhouse.dashboards.model import Strict, with_percentiles
from spanhouse.store import plain, statement

RUNBOOKS: Final = "docs/operations.md"

_HEADER: Final = (
    "# Written by `python -m spanhouse.dashboards` from spanhouse/dashboards/alerts.yaml and sql/alerts/.\n"
)
_EXPRESSION: Final = {"type": "__expr__", "uid": "__expr__"}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Duration = Annotated[str, Field(pattern=r"^\d+[smhd]$")]


class Rule(Strict):
    """One rule.

    Attributes:
        id: unique; part of Grafana's uid.
        title: what the alert is called.
        statement: names `sql/alerts/<statement>.sql`.
        range: from how long ago until now `$__fromTime` and `$__toTime` go.
        above: the number above which it fires.
        duration: for how long it must be above (`for`).
        severity: `critical` or `warning`, a label.
        summary, description: annotations, with Grafana's templates.
        runbook: anchor in RUNBOOKS.
    """

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,25}$")]
    title: str
    statement: str
    range: Duration
    above: float
    duration: Annotated[Duration, Field(alias="for")]
    severity: Literal["critical", "warning"]
    summary: str
    description: str
    runbook: str


class Group(Strict):
    """Rules that are evaluated together, every `interval`."""

    name: str
    interval: Duration
    rules: tuple[Rule, ...]


class _Alerts(Strict):
    groups: tuple[Group, ...]


def groups() -> tuple[Group, ...]:
    """All rules, in the order of `alerts.yaml`."""
    text = (resources.files("spanhouse") / "dashboards" / "alerts.yaml").read_text()
    return _Alerts(**yaml.safe_load(text)).groups


def seconds(duration: str) -> int:
    """A duration as Grafana writes it (`5m`), in seconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def rules_file() -> str:
    """What lies in `grafana/provisioning/alerting/rules.yaml`."""
    content = {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": group.name,
                "folder": "spanhouse",
                "interval": group.interval,
                "rules": [_rule(rule) for rule in group.rules],
            }
            for group in groups()
        ],
    }
    return _HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "uid": f"spanhouse-{rule.id.replace('_', '-')}",
        "title": rule.title,
        "condition": "B",
        "data": [_query(rule), _threshold(rule)],
        # No row: there was nothing to judge. A statement that fails is told of, as DatasourceError.
        "noDataState": "OK",
        "execErrState": "Error",
        "for": rule.duration,
        "labels": {"severity": rule.severity},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": f"{RUNBOOKS}#{rule.runbook}",
        },
        "isPaused": False,
    }


def _query(rule: Rule) -> dict[str, Any]:
    # Without comments, whose apostrophes and names are not for the plugin's macros.
    model = target(TABLE, with_percentiles(plain(statement("alerts", rule.statement))))
    return {
        "refId": model["refId"],
        "queryType": model["queryType"],
        "datasourceUid": CLICKHOUSE["uid"],
        "relativeTimeRange": {"from": seconds(rule.range), "to": 0},
        "model": model,
    }


def _threshold(rule: Rule) -> dict[str, Any]:
    return {
        "refId": "B",
        "queryType": "",
        "datasourceUid": _EXPRESSION["uid"],
        "relativeTimeRange": {"from": 0, "to": 0},
        "model": {
            "refId": "B",
            "datasource": _EXPRESSION,
            "type": "threshold",
            "expression": "A",
            "conditions": [{"type": "query", "evaluator": {"type": "gt", "params": [rule.above]}}],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Statements as blocks of lines, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write what is there twice twice."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
