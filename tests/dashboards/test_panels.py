"""Every panel of every dashboard, asked as Grafana and the page ask it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from spanhouse.dashboards.macros import expand
from spanhouse.dashboards.model import VARIABLES, Dashboard, Panel, Variable, dashboards, values_statement
from spanhouse.store import SQL
from tests.dashboards import known
from tests.dashboards.conftest import END, HOUR, MONTH, Asker
from tests.dashboards.shapes import PANELS, check

FILTERS: tuple[dict[str, Sequence[str]], ...] = (
    {"tenant": [known.QUOTED]},
    {"tenant": ["acme", *known.CHOSEN], "env": ["production", "known", "(none)"]},
    {
        "service": ["api-gateway", "it's (not)"],
        "agent": ["(none)", "support"],
        "provider": ["openai"],
        "model": ["(none)", "gpt-4o", "gpt-4o-2024-08-06"],
        "route": ["(none)"],
    },
)


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_it_gives_what_its_kind_wants(asker: Asker, dashboard: Dashboard, panel: Panel) -> None:
    check(panel, asker.panel(dashboard.name, panel.id, HOUR))
    month = asker.panel(dashboard.name, panel.id, MONTH)
    check(panel, month)
    assert any(value not in (None, "") for row in month.rows for value in row), "a month, and nothing to see"
    for chosen in FILTERS if dashboard.filters else ():
        for length in (HOUR, MONTH):
            check(panel, asker.panel(dashboard.name, panel.id, length, **chosen))


OWN = [
    pytest.param(dashboard, panel, variable, id=f"{dashboard.name}-{panel.id}-{variable.name}")
    for dashboard in dashboards().values()
    for panel in dashboard.panels
    for variable in dashboard.variables
    if panel.has_statement and f"${{{variable.name}" in dashboard.statement(panel.id)
]


@pytest.mark.parametrize(("dashboard", "panel", "variable"), OWN)
def test_every_value_of_its_own_variables_works(
    asker: Asker, dashboard: Dashboard, panel: Panel, variable: Variable
) -> None:
    for value in variable.values or ("", "12.5", "it's (a \\ b', $__fromTime"):
        check(panel, asker.panel(dashboard.name, panel.id, MONTH, **{variable.name: value}))


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_values_of_filters(asker: Asker, variable: str) -> None:
    column = VARIABLES[variable]
    query = asker.query(dashboards()["overview"], MONTH, END, {})
    values = [row[0] for row in asker.select(expand(values_statement(variable), query)).rows]
    hours = "ts >= toStartOfHour($__fromTime) AND ts < toStartOfHour($__toTime) + 3600"
    stored = asker.select(expand(f"SELECT DISTINCT {column} FROM agent_events WHERE {hours}", query)).rows
    assert {value or "(none)" for (value,) in stored} == set(values)


def test_every_statement_belongs_to_a_dashboard() -> None:
    for name, dashboard in dashboards().items():
        folder = SQL / "panels" / name
        files = {file.name.removesuffix(".sql") for file in folder.iterdir()} if folder.is_dir() else set()
        used = {panel.id for panel in dashboard.panels if panel.has_statement}
        used |= {variable.query for variable in dashboard.variables if variable.query}
        for file in files:
            used |= set(re.findall(r"\$\{table:(\w+)\}", (folder / f"{file}.sql").read_text()))
        assert files == used, name


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_a_value_cannot_become_sql(dashboard: Dashboard, panel: Panel) -> None:
    """Values stand in quotes, but for those that are one of a list."""
    fixed = {variable.name for variable in dashboard.variables if variable.values}
    known_names = {*VARIABLES, *(variable.name for variable in dashboard.variables)}
    # The second argument of $__conditionalAll is a name, no value.
    statement = re.sub(r",\s*\$\w+\)", ")", dashboard.statement(panel.id))
    for braced, form, plain in re.findall(r"\$\{(\w+)(?::(\w+))?\}|\$(?!__)(\w+)", statement):
        assert (braced or plain) in known_names, statement
        assert form == "singlequote" or (braced or plain) in fixed, statement


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_it_is_explained_and_has_a_unit(dashboard: Dashboard, panel: Panel) -> None:
    assert panel.title
    assert panel.description.endswith(".")
    assert "now(" not in dashboard.statement(panel.id)
