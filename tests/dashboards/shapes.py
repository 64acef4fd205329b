"""All panels, and what the kind of a panel asks of a result."""

from __future__ import annotations

import re

import pytest

from spanhouse.dashboards.model import Panel, dashboards
from tests.dashboards.conftest import Answer

PANELS = [
    pytest.param(dashboard, panel, id=f"{dashboard.name}-{panel.id}")
    for dashboard in dashboards().values()
    for panel in dashboard.panels
    if panel.has_statement
]
_NUMBER = re.compile(r"(?:Nullable\()?(?:U?Int\d+|Float\d+|Bool)\)?$")
_TEXT = re.compile(r"(?:LowCardinality\()?(?:Nullable\()?(?:String|Enum.*)\)*$")
_TIME = re.compile(r"(?:Nullable\()?Date(?:Time)?(?:64)?(?:\(.*\))?\)?$")
_TRACE = {
    "traceID": _TEXT,
    "spanID": _TEXT,
    "parentSpanID": _TEXT,
    "serviceName": _TEXT,
    "operationName": _TEXT,
    "startTime": _NUMBER,
    "duration": _NUMBER,
    "tags": re.compile(r"Array\(Map\(String, String\)\)$"),
    "serviceTags": re.compile(r"Array\(Map\(String, String\)\)$"),
    "logs": re.compile(
        r"Array\(Tuple\(name String, timestamp String, fields Array\(Map\(String, String\)\)\)\)$"
    ),
}


def check(panel: Panel, answer: Answer) -> None:
    """Whether a result has the shape that the kind of its panel asks for."""
    columns = answer.columns
    kinds = {
        name: next((kind for kind, pattern in (("number", _NUMBER), ("text", _TEXT), ("time", _TIME))
                    if pattern.match(type_)), "other")
        for name, type_ in columns.items()
    }  # fmt: skip
    missing = {name for name in panel.columns if name not in columns}
    names = [place for place, kind in enumerate(kinds.values()) if kind == "text"]
    labels = {row[place] for row in answer.rows for place in names}
    # A setting may be for a series, which is called after its name.
    assert panel.kind in ("timeseries", "bars") or not missing, missing
    match panel.kind:
        case "timeseries":
            assert next(iter(columns)) == "time"
            assert kinds["time"] == "time", columns
            assert len(names) <= 1
            assert all(kind == "number" for kind in list(kinds.values())[1 + len(names) :]), columns
            assert len(kinds) > 1 + len(names)
            times = [row[0] for row in answer.rows]
            assert times == sorted(times)
            assert len({(row[0], *(row[place] for place in names)) for row in answer.rows}) == len(times)
            assert missing <= labels or not answer.rows, missing
        case "bars":
            assert sorted(kinds.values()) == ["number", "text"], columns
        case "stat" | "gauge":
            assert set(kinds.values()) == {"number"}, columns
            assert len(answer.rows) <= 1
        case "table":
            assert "other" not in kinds.values(), columns
        case "trace":
            for name, pattern in _TRACE.items():
                assert pattern.match(columns[name]), columns
    for row in answer.rows:
        for value, kind in zip(row, kinds.values(), strict=True):
            assert kind != "number" or value is None or isinstance(value, int | float), (row, columns)
