"""The dashboards for a browser: what is in them, and the statement that a panel asks with which values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from spanhouse.dashboards.macros import Chosen, Query, expand
from spanhouse.dashboards.model import VARIABLES, Dashboard, Panel, Variable, dashboards, values_statement
from spanhouse.page.errors import Problem
from spanhouse.page.times import interval_s, time_range

_ALL: Final = "$__all"
_POINTS: Final = 500
_MAX_POINTS: Final = 10_000


def described() -> list[dict[str, Any]]:
    """All dashboards with their variables, rows and panels."""
    return [
        dashboard.model_dump(exclude={"rows"})
        | {
            "rows": [
                {"title": row.title, "panels": [_panel(panel) for panel in row.panels]}
                for row in dashboard.rows
            ]
        }
        for dashboard in dashboards().values()
    ]


def _panel(panel: Panel) -> dict[str, Any]:
    # Only Prometheus can answer the others.
    return panel.model_dump(exclude={"prometheus"}) | {"available": not panel.prometheus}


def panel_statement(dashboard: str, panel: str, asked: Mapping[str, list[str]]) -> str:
    """The statement of a panel.

    Args:
        dashboard: its name.
        panel: the panel's id.
        asked: the URL's query: `from`, `to`, `width`, `var-<name>`.

    Raises:
        Problem: 404 for what is not there, 400 for a time or value that cannot be.
    """
    found = _dashboard(dashboard)
    try:
        wanted = found.panel(panel)
    except KeyError:
        has = ", ".join(one.id for one in found.panels)
        raise Problem(404, f"Dashboard {dashboard} has no panel {panel}. It has: {has}.") from None
    if not wanted.has_statement:
        raise Problem(404, f"Panel {panel} is not made of a query to ClickHouse.")
    return _expanded(found.statement(panel), found, asked)


def values_of(variable: str, asked: Mapping[str, list[str]]) -> str:
    """The statement that gives the values of a filter; raises Problem as `panel_statement`."""
    if variable not in VARIABLES:
        raise Problem(404, f"There is no filter {variable}. Filters are: {', '.join(VARIABLES)}.")
    return _expanded(values_statement(variable), None, asked)


def own_values(dashboard: str, variable: str, asked: Mapping[str, list[str]]) -> str | list[str]:
    """The values of a dashboard's own variable, or the statement that gives them; raises as above."""
    found = _dashboard(dashboard)
    for one in found.variables:
        if one.name == variable:
            return _expanded(found.statement(one.query), found, asked) if one.query else list(one.values)
    has = ", ".join(one.name for one in found.variables) or "none"
    raise Problem(404, f"Dashboard {dashboard} has no variable {variable} of its own. It has: {has}.")


def _dashboard(name: str) -> Dashboard:
    try:
        return dashboards()[name]
    except KeyError:
        has = ", ".join(dashboards())
        raise Problem(404, f"There is no dashboard {name}. Dashboards are: {has}.") from None


def _expanded(statement: str, dashboard: Dashboard | None, asked: Mapping[str, list[str]]) -> str:
    default = dashboard.range if dashboard else "now-6h"
    try:
        start, end = time_range(_one(asked, "from", default), _one(asked, "to", "now"), datetime.now(UTC))
        points = _points(_one(asked, "width", str(_POINTS)))
        query = Query(start, end, interval_s(start, end, points), _chosen(dashboard, asked))
        return expand(statement, query)
    except ValueError as error:
        raise Problem(400, str(error)) from None


def _points(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= _MAX_POINTS:
        return int(text)
    raise ValueError(f"width={text[:20]} is not a number of points from 1 to {_MAX_POINTS}.")


def _one(asked: Mapping[str, list[str]], name: str, default: str) -> str:
    given = [value for value in asked.get(name, ()) if value]
    if len(given) > 1:
        raise ValueError(f"{name} is given {len(given)} times.")
    return given[0] if given else default


def _chosen(dashboard: Dashboard | None, asked: Mapping[str, list[str]]) -> dict[str, Chosen]:
    own = dashboard.variables if dashboard else ()
    given = {key[4:]: values for key, values in asked.items() if key.startswith("var-")}
    # A link from one dashboard to another brings the first one's variables along.
    known = {*VARIABLES, *(one.name for each in dashboards().values() for one in each.variables)}
    if unknown := sorted(given.keys() - known):
        raise Problem(404, f"There is no variable {unknown[0]}. Variables are: {', '.join(sorted(known))}.")
    filters = {name: _filter(given.get(name, ())) for name in VARIABLES}
    return filters | {one.name: [_value(one, given.get(one.name, []))] for one in own}


def _filter(values: Iterable[str]) -> Chosen:
    kept = [value for value in values if value]
    return None if _ALL in kept else kept or None


def _value(variable: Variable, values: list[str]) -> str:
    if len(values) > 1:
        raise ValueError(f"Variable {variable.name} takes one value, not {len(values)}.")
    value = values[0] if values and (values[0] or variable.kind == "text") else variable.default
    value = value or next(iter(variable.values), "")
    if variable.values and value not in variable.values:
        raise ValueError(f"Variable {variable.name} is one of: {', '.join(variable.values)}.")
    return value
