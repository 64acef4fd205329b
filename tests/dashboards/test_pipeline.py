"""The dashboard Pipeline health, against numbers counted here; and its metrics against those there are."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from prometheus_client.metrics import MetricWrapperBase

from spanhouse import metrics
from spanhouse.dashboards.model import dashboards
from tests.dashboards.conftest import END, HOUR, MONTH, Asker
from tests.dashboards.data import MINUTE, Row, prompts, slo, users

ROWS = [*slo(END), *prompts(END), *users(END)]


def stored() -> list[Row]:
    return [row for row in ROWS if END - HOUR <= row["ingested_at"] <= END]


def test_what_comes_in(small: Asker) -> None:
    row = small.panel("pipeline", "ingest_now", HOUR).one()
    assert row["rows"] == len(stored())
    recent = [r for r in ROWS if END - 5 * MINUTE < r["ingested_at"] <= END]
    assert row["rows_per_second"] == pytest.approx(len(recent) / 300)
    nothing = small.panel("pipeline", "ingest_now", HOUR, tenant="nobody").one()
    assert nothing == {"rows_per_second": 0, "rows": 0, "seconds_since_newest": None}
    rates = small.panel("pipeline", "ingest_rate", HOUR).rows
    width = 3600 // 500
    assert sum(rate for *_, rate in rates) * width == pytest.approx(len(stored()))


def test_delays_are_from_the_end_of_a_span(small: Asker) -> None:
    row = small.panel("pipeline", "delay_now", HOUR).one()
    assert row["median"] == pytest.approx(2, abs=0.002)
    assert row["longest"] == pytest.approx(2, abs=0.002)
    assert set(small.panel("pipeline", "delay_now", HOUR, tenant="nobody").rows[0]) == {None}


def test_who_sends(small: Asker) -> None:
    counts = Counter(row["service"] for row in stored())
    found = {row["service"]: row for row in small.panel("pipeline", "services", HOUR).dicts()}
    assert {service: row["rows"] for service, row in found.items()} == counts
    assert sum(row["share"] for row in found.values()) == pytest.approx(1)


def test_what_the_data_lacks(small: Asker) -> None:
    found = {row["column_name"]: row for row in small.panel("pipeline", "unnamed", HOUR).dicts()}
    rows = stored()
    assert found["service"]["rows"] == 0
    assert found["user_id_hash"]["rows"] == sum("user_id_hash" not in row for row in rows)
    entries = [row for row in rows if not row["parent_span_id"]]
    without = sum("route" not in row for row in entries)
    assert found["route of requests"]["rows_without"] == pytest.approx(without / len(entries))


def test_rollups_agree_with_rows(small: Asker, asker: Asker) -> None:
    for store in (small, asker):
        row = store.panel("pipeline", "rollups_differ", MONTH).one()
        assert row["hours_that_differ"] == 0
        assert row["hours"] > 10
        assert {state for *_, state in store.panel("pipeline", "rollups", MONTH).rows} == {"agree"}


def test_sizes_are_those_of_the_tables(small: Asker) -> None:
    found = {row["table"]: row for row in small.panel("pipeline", "sizes", HOUR).dicts()}
    assert found["agent_events"]["rows_stored"] == len(ROWS)
    assert found["agent_events"]["bytes_per_row"] > 0
    assert {"agent_metrics_1m_state", "agent_metrics_1h_state", "agent_metrics_1d_state"} <= set(found)


def test_metrics_exist() -> None:
    exported = {
        f"{family.name}{suffix}"
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
        for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(
            family.type, [""]
        )
    }
    asked = {
        name
        for panel in dashboards()["pipeline"].panels
        for expression in panel.prometheus.values()
        for name in re.findall(r"\bspanhouse_\w+", expression)
    }
    assert asked <= exported, asked - exported
    assert len(asked) > 10
