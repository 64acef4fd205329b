"""A dashboard as the JSON that Grafana reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanhouse.dashboards.model import (
    VARIABLES,
    Column,
    Dashboard,
    Panel,
    Row,
    Threshold,
    Unit,
    Variable,
    dashboards,
    values_statement,
)

# As grafana/provisioning/datasources names them.
CLICKHOUSE: Final = {"type": "grafana-clickhouse-datasource", "uid": "spanhouse"}
PROMETHEUS: Final = {"type": "prometheus", "uid": "prometheus"}
_PLUGIN_VERSION: Final = "4.14.0"
_TIMESERIES, TABLE, _TRACES = (0, "timeseries"), (1, "table"), (3, "traces")

_UNITS: Final[Mapping[Unit, str]] = {
    "": "none",
    "count": "short",
    "usd": "currencyUSD",
    "ms": "ms",
    "seconds": "s",
    "percent": "percentunit",
    "tokens": "short",
    "bytes": "bytes",
    "rate": "cps",
    "time": "dateTimeAsIso",
}
_TYPES: Final = {
    "stat": "stat",
    "timeseries": "timeseries",
    "bars": "barchart",
    "table": "table",
    "gauge": "gauge",
    "trace": "traces",
    "text": "text",
}
# Of panels whose numbers mean neither good nor bad.
_PLAIN: Final = {"stat": "text", "gauge": "blue", "table": "blue", "bars": "blue"}
_COLORS: Final = {"good": "green", "warn": "orange", "bad": "red", "muted": "#8e8e8e"}


def uid(name: str) -> str:
    """The uid of a dashboard, as it stands in its URL."""
    return f"spanhouse-{name}"


def grafana_json(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard's JSON, for provisioning and for import."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in dashboard.rows:
        if row.title:
            panels.append(_row(row, len(panels) + 1, y))
            y += 1
        y = _place(dashboard, row, y, panels)
    return {
        "uid": uid(dashboard.name),
        "title": f"spanhouse: {dashboard.title}",
        "description": dashboard.description,
        "tags": ["spanhouse"],
        "timezone": "browser",
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": dashboard.range, "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "spanhouse",
                "tags": ["spanhouse"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "annotations": {"list": []},
        "templating": {"list": _variables(dashboard)},
        "panels": panels,
    }


def _row(row: Row, number: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": row.title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        "panels": [],
    }


def _place(dashboard: Dashboard, row: Row, y: int, panels: list[dict[str, Any]]) -> int:
    """Put the row's panels side by side as they fit; gives the line below them."""
    x = tallest = 0
    for panel in row.panels:
        if x + panel.width > 24:
            x, y, tallest = 0, y + tallest, 0
        place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        panels.append(_panel(dashboard, panel, len(panels) + 1) | {"gridPos": place})
        x, tallest = x + panel.width, max(tallest, panel.height)
    return y + tallest


def _panel(dashboard: Dashboard, panel: Panel, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": number,
        "type": _TYPES[panel.kind],
        "title": panel.title,
        "description": panel.description,
    }
    if panel.kind == "text":
        return made | {"options": {"mode": "markdown", "content": panel.text}}
    return (
        made
        | {
            "datasource": PROMETHEUS if panel.prometheus else CLICKHOUSE,
            "targets": _targets(dashboard, panel),
            "fieldConfig": _fields(dashboard, panel),
            "options": _options(panel),
        }
        | _panel_links(dashboard)
    )


def _panel_links(dashboard: Dashboard) -> dict[str, Any]:
    """From every panel that has the filters to the traces behind it."""
    if not dashboard.filters or dashboard.name == "traces":
        return {}
    return {"links": [{"title": "traces", "url": _url(dashboard, uid("traces"))}]}


def _targets(dashboard: Dashboard, panel: Panel) -> list[dict[str, Any]]:
    if panel.prometheus:
        return [
            {
                "refId": chr(ord("A") + number),
                "datasource": PROMETHEUS,
                "expr": expression,
                "legendFormat": legend,
                "range": panel.kind == "timeseries",
                "instant": panel.kind != "timeseries",
                "format": "time_series" if panel.kind == "timeseries" else "table",
            }
            for number, (legend, expression) in enumerate(panel.prometheus.items())
        ]
    form = _TIMESERIES if panel.kind == "timeseries" else _TRACES if panel.kind == "trace" else TABLE
    return [target(form, dashboard.statement(panel.id))]


def target(form: tuple[int, str], statement: str) -> dict[str, Any]:
    """A statement as the data source's query; `form` is its `format` and `queryType`, such as TABLE."""
    number, name = form
    return {
        "refId": "A",
        "datasource": CLICKHOUSE,
        "editorType": "sql",
        "pluginVersion": _PLUGIN_VERSION,
        "queryType": name,
        "format": number,
        "rawSql": statement,
    }


def _fields(dashboard: Dashboard, panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": _UNITS[panel.unit], "noValue": "no data"}
    if panel.max is not None:
        defaults |= {"min": 0, "max": panel.max}
    if panel.thresholds:
        defaults |= {"thresholds": _thresholds(panel.thresholds), "color": {"mode": "thresholds"}}
    elif panel.kind in _PLAIN:
        # Or Grafana makes red what is over 80.
        defaults["color"] = {"mode": "fixed", "fixedColor": _PLAIN[panel.kind]}
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": panel.draw,
            "fillOpacity": 70 if panel.draw == "bars" else 30 if panel.stack else 8,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
        }
        # A column of names becomes the label of a series.
        for name, column in panel.columns.items():
            if column.link:
                label = f"${{__field.labels.{name}:percentencode}}"
                defaults["links"] = _links(dashboard, column.link, label)
    return {
        "defaults": defaults,
        "overrides": [
            _override(dashboard, name, column)
            for name, column in panel.columns.items()
            if panel.kind != "timeseries" or not column.link
        ],
    }


def _thresholds(steps: tuple[Threshold, ...]) -> dict[str, Any]:
    # Below the first one the opposite of the last one holds: high is bad, or high is good.
    base = "good" if steps[-1].color == "bad" else "bad"
    first: dict[str, Any] = {"color": _COLORS[base], "value": None}
    return {
        "mode": "absolute",
        "steps": [first, *({"color": _COLORS[step.color], "value": step.value} for step in steps)],
    }


def _override(dashboard: Dashboard, name: str, column: Column) -> dict[str, Any]:
    properties: list[dict[str, Any]] = []
    if column.unit:
        properties.append({"id": "unit", "value": _UNITS[column.unit]})
    if column.title:
        properties.append({"id": "displayName", "value": column.title})
    if column.color:
        properties.append({"id": "color", "value": {"mode": "fixed", "fixedColor": _COLORS[column.color]}})
    if column.bar:
        properties.append({"id": "custom.cellOptions", "value": {"type": "gauge", "mode": "basic"}})
    if column.link:
        links = _links(dashboard, column.link, "${__value.raw:percentencode}")
        properties.append({"id": "links", "value": links})
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def _url(dashboard: Dashboard, target: str, **changed: str) -> str:
    """The view `target` of the same time range and filters, but for those that are changed."""
    filters = [f"var-{name}={value}" for name, value in changed.items()]
    if dashboard.filters:
        filters += [f"${{{name}:queryparam}}" for name in VARIABLES if name not in changed]
    return f"/d/{target}?" + "&".join([*filters, "${__url_time_range}"])


def _links(dashboard: Dashboard, what: str, value: str) -> list[dict[str, Any]]:
    """Where a click on a value leads; `value` is it as a link's text has it."""
    here, traces = "${__dashboard.uid}", uid("traces")
    match what:
        case "trace" | "session":
            url = _url(dashboard, traces, **{f"{what}_id": value})
            return [{"title": f"open this {what}", "url": url}]
        case "search":
            return [{"title": "traces with it", "url": _url(dashboard, traces, search=value)}]
        case "dimension":
            # The filter it changes is known to the row alone, so no other one is kept.
            url = f"/d/{here}?var-${{__data.fields.dimension}}={value}&${{__url_time_range}}"
            return [{"title": "only this", "url": url}]
    return [
        {"title": f"only this {what}", "url": _url(dashboard, here, **{what: value})},
        {"title": f"traces of this {what}", "url": _url(dashboard, traces, **{what: value})},
    ]


def _options(panel: Panel) -> dict[str, Any]:
    reduce = {"values": False, "calcs": ["lastNotNull"], "fields": ""}
    match panel.kind:
        case "stat":
            return {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
        case "gauge":
            return {"reduceOptions": reduce, "showThresholdMarkers": True}
        case "table":
            return {"showHeader": True, "cellHeight": "sm"}
        case "bars":
            return {
                "orientation": "horizontal",
                "legend": {"showLegend": False},
                "tooltip": {"mode": "multi"},
            }
        case "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
    return {}


def _variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    made = [_filter(name) for name in VARIABLES] if dashboard.filters else []
    return made + [_variable(dashboard, variable) for variable in dashboard.variables]


def _filter(name: str) -> dict[str, Any]:
    return _query_variable(name, name, values_statement(name)) | {
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _query_variable(name: str, label: str, statement: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": CLICKHOUSE,
        "query": {"rawSql": statement, "queryType": "table", "refId": "A", "format": 1, "editorType": "sql"},
        "definition": statement,
        "refresh": 2,
        "sort": 0,
        "options": [],
    }


def _variable(dashboard: Dashboard, variable: Variable) -> dict[str, Any]:
    current = {"text": variable.default, "value": variable.default}
    if variable.query:
        statement = dashboard.statement(variable.query)
        return _query_variable(variable.name, variable.label, statement) | {
            "multi": False,
            "includeAll": False,
            "current": current if variable.default else {},
        }
    made: dict[str, Any] = {"name": variable.name, "label": variable.label, "current": current}
    if variable.kind == "text":
        return made | {"type": "textbox", "query": variable.default, "options": [current]}
    return made | {
        "type": "custom",
        "query": ",".join(variable.values),
        "multi": False,
        "includeAll": False,
        "options": [{"text": v, "value": v, "selected": v == variable.default} for v in variable.values],
    }


def files() -> dict[str, dict[str, Any]]:
    """What lies in `grafana/dashboards/`: file name -> JSON."""
    return {f"{name}.json": grafana_json(dashboard) for name, dashboard in dashboards().items()}
