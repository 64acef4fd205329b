"""Statements of panels: variables, times, names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanhouse.dashboards.model import VARIABLES, dashboards
from spanhouse.page.errors import Problem
from spanhouse.page.panels import described, own_values, panel_statement, values_of
from spanhouse.store import quote

PANELS = [
    (dashboard.name, panel.id)
    for dashboard in dashboards().values()
    for panel in dashboard.panels
    if panel.has_statement
]


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_every_panel_has_a_statement_without_macros(dashboard: str, panel: str) -> None:
    statement = panel_statement(dashboard, panel, {})
    assert "$" not in statement


def test_chosen_values_are_in_the_statement() -> None:
    every = panel_statement("overview", "requests", {})
    for nothing in ({"var-tenant": ["$__all"]}, {"var-tenant": [""]}, {"var-tenant": ["a", "$__all"]}):
        assert panel_statement("overview", "requests", nothing).count("'a'") == every.count("'a'")
    statement = panel_statement("overview", "requests", {"var-tenant": ["a", "b'c"]})
    assert "IN ('a', 'b\\'c')" in statement


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_any_value_stays_inside_its_quotes(values: list[str]) -> None:
    statement = panel_statement("overview", "requests", {"var-model": values})
    if "$__all" not in values:
        assert f"IN ({', '.join(quote(value) for value in values)})" in statement


@pytest.mark.parametrize(
    ("asked", "status", "sentence"),
    [
        ({"from": ["soon"]}, 400, "from=soon is not a time"),
        ({"from": ["now-1h", "now-2h"]}, 400, "from is given 2 times"),
        ({"width": ["0"]}, 400, "width=0 is not a number of points from 1 to 10000"),
        ({"width": ["1e3"]}, 400, "width=1e3 is not a number"),
        ({"width": ["9" * 5000]}, 400, "is not a number"),
        ({"var-colour": ["red"]}, 404, "There is no variable colour. Variables are: agent, "),
    ],
)
def test_what_cannot_be_is_said(asked: dict[str, list[str]], status: int, sentence: str) -> None:
    with pytest.raises(Problem, match=sentence) as caught:
        panel_statement("overview", "requests", asked)
    assert caught.value.status == status


def test_unknown_names_say_which_there_are() -> None:
    with pytest.raises(
        Problem, match=r"There is no dashboard nothing\. Dashboards are: overview, cost"
    ) as caught:
        panel_statement("nothing", "requests", {})
    assert caught.value.status == 404
    with pytest.raises(Problem, match=r"Dashboard overview has no panel nothing\. It has: requests,"):
        panel_statement("overview", "nothing", {})
    with pytest.raises(Problem, match=r"There is no filter nothing\. Filters are: tenant, service"):
        values_of("nothing", {})
    with pytest.raises(Problem, match=r"Dashboard overview has no variable nothing of its own"):
        own_values("overview", "nothing", {})


def test_values_of_every_variable() -> None:
    for name in VARIABLES:
        assert "$" not in values_of(name, {})
    for dashboard in dashboards().values():
        for variable in dashboard.variables:
            values = own_values(dashboard.name, variable.name, {})
            assert "$" not in values if isinstance(values, str) else values == list(variable.values)


def test_the_description_is_whole() -> None:
    found = {one["name"]: one for one in described()}
    assert list(found) == list(dashboards())
    for dashboard in dashboards().values():
        panels = [panel for row in found[dashboard.name]["rows"] for panel in row["panels"]]
        assert [panel["id"] for panel in panels] == [panel.id for panel in dashboard.panels]
        for shown, panel in zip(panels, dashboard.panels, strict=True):
            assert shown["available"] is not bool(panel.prometheus)
            assert "prometheus" not in shown
