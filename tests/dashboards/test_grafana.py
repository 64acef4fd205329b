"""What Grafana reads: the dashboards' JSON and how it is provisioned."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanhouse.dashboards.grafana import CLICKHOUSE, PROMETHEUS, files, uid
from spanhouse.dashboards.model import NAMES, VARIABLES, Dashboard, dashboards

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "grafana" / "dashboards"
FILES = files()


def panels(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = FILES[f"{name}.json"]["panels"]
    return found


def test_the_committed_files_are_those_that_are_made() -> None:
    committed = {file.name: json.loads(file.read_text()) for file in FOLDER.iterdir()}
    hint = "run: .venv/bin/python -m spanhouse.dashboards"
    assert committed.keys() == FILES.keys(), hint
    for name, content in FILES.items():
        assert committed[name] == json.loads(json.dumps(content)), f"{name}: {hint}"


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_their_own_id_and_place(name: str) -> None:
    ids = [panel["id"] for panel in panels(name)]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels(name):
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        cells = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            )
        )
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_filled_to_their_end(name: str) -> None:
    """Panels beside each other are as wide as the screen, and equally high."""
    by_line: dict[int, list[dict[str, int]]] = {}
    for panel in panels(name):
        by_line.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])
    for line in by_line.values():
        assert sum(place["w"] for place in line) == 24, line
        assert len({place["h"] for place in line}) == 1, line


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_can_be_asked(name: str) -> None:
    for panel in panels(name):
        if panel["type"] in ("row", "text"):
            continue
        assert panel["datasource"] in (CLICKHOUSE, PROMETHEUS)
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            assert target["rawSql"] if panel["datasource"] == CLICKHOUSE else target["expr"]


@pytest.mark.parametrize("dashboard", [pytest.param(one, id=name) for name, one in dashboards().items()])
def test_filters_take_all_and_many(dashboard: Dashboard) -> None:
    content = FILES[f"{dashboard.name}.json"]
    variables = {one["name"]: one for one in content["templating"]["list"]}
    own = {variable.name for variable in dashboard.variables}
    assert variables.keys() == own | (VARIABLES.keys() if dashboard.filters else set())
    for name in VARIABLES if dashboard.filters else ():
        assert variables[name]["multi"]
        assert variables[name]["includeAll"]
        assert variables[name]["current"]["value"] == ["$__all"]
        assert variables[name]["datasource"] == CLICKHOUSE


def test_links_lead_to_dashboards_and_variables_that_are_there() -> None:
    names = {uid(name) for name in NAMES}
    known = {*VARIABLES, *(one.name for dashboard in dashboards().values() for one in dashboard.variables)}
    links = 0
    for content in FILES.values():
        for panel in content["panels"]:
            found = list(panel.get("links", []))
            for override in panel.get("fieldConfig", {}).get("overrides", []):
                found += [x for p in override["properties"] if p["id"] == "links" for x in p["value"]]
            for link in found:
                path, _, parameters = link["url"].partition("?")
                assert path.removeprefix("/d/") in names | {"${__dashboard.uid}"}, link
                for parameter in parameters.split("&"):
                    if parameter.startswith("var-") and not parameter.startswith("var-${"):
                        assert parameter[4:].partition("=")[0] in known, link
                links += 1
    assert links > 50


def test_dashboards_are_provisioned_from_where_compose_puts_them() -> None:
    (provider,) = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/dashboards.yaml").read_text())[
        "providers"
    ]
    grafana = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]
    folder = provider["options"]["path"]
    assert f"./grafana/dashboards:{folder}:ro" in grafana["volumes"]
    sources = yaml.safe_load((ROOT / "grafana/provisioning/datasources/datasources.yaml").read_text())
    assert {(one["type"], one["uid"]) for one in sources["datasources"]} == {
        (one["type"], one["uid"]) for one in (CLICKHOUSE, PROMETHEUS)
    }
