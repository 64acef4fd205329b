"""Rollups of a server that do not count their rows, and how they come to."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from spanhouse.config import ClickHouseSettings
from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters.clickhouse_server import ClickHouseServer
from spanhouse.repair import repair
from spanhouse.rollups import Mended
from tests.exporters.conftest import rows, totals
from tests.parts.clickhouse import ClickHouse

HOUR = dt.timedelta(hours=1)
LONG_AGO = dt.datetime.now(dt.UTC) - 2 * HOUR
RIGHT = [(50, 350)] * 4


@pytest.fixture
def filled(server: ClickHouseServer) -> ClickHouseServer:
    table = rows(50, start=LONG_AGO.replace(minute=10), step=dt.timedelta(seconds=10))
    # Some are entries, and all belong to one of three sessions.
    table = table.with_columns(
        parent_span_id=pl.Series(["" if number % 3 else "0000000000000001" for number in range(50)]),
        session_id=pl.Series([f"s{number % 3}" for number in range(50)]),
    )
    server.insert(table, token="a")
    return server


def test_entries_and_sessions_are_counted(filled: ClickHouseServer, clickhouse: ClickHouse) -> None:
    for rollup in ("agent_metrics_1m", "agent_metrics_1h", "agent_metrics_1d"):
        (row,) = clickhouse.sql(
            f"SELECT toInt32(sumIf(calls, entry)) AS e, toInt32(uniqMerge(sessions)) AS s, "
            f"toInt32(sum(calls)) AS c FROM {rollup}_state"
        )
        assert row == {"e": 33, "s": 3, "c": 50}


def costs(clickhouse: ClickHouse) -> list[float]:
    """Dollars by the rows and by both rollups."""
    tables = ("agent_events", "agent_metrics_1m", "agent_metrics_1h", "agent_metrics_1d")
    return [clickhouse.sql(f"SELECT sum(cost_usd) AS cost FROM {table}")[0]["cost"] for table in tables]


def detailed(clickhouse: ClickHouse) -> list[dict[str, object]]:
    by_hour = [
        f"SELECT '{table}' AS of, service, model, sum(calls) AS c, sum(tokens_total) AS t, "
        f"round(sum(cost_usd), 6) AS d, max(users) AS u, round(avg(p95), 3) AS p, entry, max(sessions) AS s "
        f"FROM {table} GROUP BY service, model, entry"
        for table in ("agent_metrics_1m", "agent_metrics_1h", "agent_metrics_1d")
    ]
    return [row for query in by_hour for row in clickhouse.sql(query)]


DAMAGES = {
    "minutes lost": "ALTER TABLE agent_metrics_1m_state DELETE WHERE toMinute(minute) IN (11, 13)",
    "hours lost": "ALTER TABLE agent_metrics_1h_state DELETE WHERE 1",
    "days lost": "ALTER TABLE agent_metrics_1d_state DELETE WHERE 1",
    "all lost": "TRUNCATE TABLE agent_metrics_1m_state; TRUNCATE TABLE agent_metrics_1h_state; "
    "TRUNCATE TABLE agent_metrics_1d_state",
    "histograms lost": "ALTER TABLE agent_metrics_1m_state UPDATE latency_histogram = map() WHERE 1; "
    "ALTER TABLE agent_metrics_1h_state UPDATE latency_histogram = map() WHERE 1; "
    "ALTER TABLE agent_metrics_1d_state UPDATE latency_histogram = map() WHERE 1",
    "minutes doubled": "INSERT INTO agent_metrics_1m_state SELECT * FROM agent_metrics_1m_state "
    "WHERE toMinute(minute) = 12",
    "hours doubled": "INSERT INTO agent_metrics_1h_state SELECT * FROM agent_metrics_1h_state",
    "days doubled": "INSERT INTO agent_metrics_1d_state SELECT * FROM agent_metrics_1d_state",
    "other tokens": "ALTER TABLE agent_metrics_1m_state UPDATE tokens_prompt = tokens_prompt + 5 "
    "WHERE toMinute(minute) = 12",
    "other costs": "ALTER TABLE agent_metrics_1h_state UPDATE cost_usd = 0 WHERE 1",
    "a part lost": "ALTER TABLE agent_metrics_1m_state UPDATE calls = calls - 2, "
    "tokens_prompt = tokens_prompt - 14 WHERE toMinute(minute) = 12",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_differences_are_mended(filled: ClickHouseServer, clickhouse: ClickHouse, damage: str) -> None:
    before = detailed(clickhouse)
    for statement in DAMAGES[damage].split(";"):
        clickhouse.sql(statement, mutations_sync="2", deduplicate_insert="disable")
    assert detailed(clickhouse) != before
    done = filled.mend_rollups(0)
    assert done.periods > 0
    assert done.waiting == 0
    assert totals(clickhouse) == RIGHT
    assert costs(clickhouse) == [25.0] * 4
    assert detailed(clickhouse) == before
    assert filled.mend_rollups(0) == Mended(0, 0)


def test_two_that_mend_at_once_do_it_once(filled: ClickHouseServer, clickhouse: ClickHouse) -> None:
    for table in ("agent_metrics_1m_state", "agent_metrics_1h_state", "agent_metrics_1d_state"):
        clickhouse.sql(f"TRUNCATE TABLE {table}")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: filled.mend_rollups(0), range(4)))
    assert totals(clickhouse) == RIGHT


def test_minutes_into_which_rows_come_wait(filled: ClickHouseServer, clickhouse: ClickHouse) -> None:
    clickhouse.sql(
        "ALTER TABLE agent_metrics_1m_state DELETE WHERE toMinute(minute) = 12", mutations_sync="2"
    )
    assert filled.mend_rollups(3600) == Mended(0, 1)
    assert totals(clickhouse) != RIGHT


def test_only_hours_in_doubt_are_looked_at(server: ClickHouseServer, clickhouse: ClickHouse) -> None:
    batch, recent = rows(10, start=LONG_AGO), rows(10, first=10)
    server.insert(batch, token="a")
    server.insert(recent, token="b")
    # A process that begins looks at the hours that rows came into lately; here they agree.
    assert server.keep_rollups(0) == Mended(0, 0)
    for table in ("agent_metrics_1m_state", "agent_metrics_1h_state", "agent_metrics_1d_state"):
        clickhouse.sql(f"TRUNCATE TABLE {table}")
    assert server.keep_rollups(0) == Mended(0, 0)
    # The server has forgotten these rollups, so the repetition makes them again ...
    server.insert(recent, token="b", repeated=dt.datetime.now(dt.UTC))
    assert server.keep_rollups(0) == Mended(0, 0)
    for table in ("agent_metrics_1h_state", "agent_metrics_1d_state"):
        clickhouse.sql(f"TRUNCATE TABLE {table}")
    assert server.keep_rollups(0) == Mended(0, 0)
    # ... and of the others nothing was in doubt, until a process begins again.
    again = ClickHouseServer(clickhouse.url, "spanhouse", "", "")
    assert again.keep_rollups(0).periods > 0
    again.close()
    assert totals(clickhouse) == [(20, 140)] * 4


def test_an_hour_stays_in_doubt_until_it_agrees(server: ClickHouseServer, clickhouse: ClickHouse) -> None:
    batch = rows(10)
    server.insert(batch, token="a")
    clickhouse.sql(
        "INSERT INTO agent_metrics_1h_state (hour, calls) SELECT any(hour), 1 FROM agent_metrics_1h"
    )
    for _ in range(2):
        assert server.keep_rollups(3600) == Mended(0, 1)
    assert server.keep_rollups(0) == Mended(1, 0)
    assert totals(clickhouse) == [(10, 70)] * 4


def test_rows_of_one_attempt_and_rollups_of_another_come_to_agree(
    server: ClickHouseServer, clickhouse: ClickHouse
) -> None:
    # The next owner of a partition knows less of what went before, and may give a span other tokens.
    batch = rows(10)
    other = batch.with_columns(tokens_prompt=pl.lit(9, pl.UInt64))
    setting = "ALTER TABLE agent_metrics_1m_state MODIFY SETTING min_free_disk_bytes_to_perform_insert ="
    clickhouse.sql(f"{setting} {10**18}")
    with pytest.raises(Unavailable):
        server.insert(batch, token="a")
    clickhouse.sql(f"{setting} 0")
    server.insert(other, token="a", repeated=dt.datetime.now(dt.UTC))
    assert totals(clickhouse) == [(10, 70), (10, 90), (10, 90), (10, 90)]
    server.keep_rollups(0)
    assert totals(clickhouse) == [(10, 70)] * 4


def test_the_command_mends_and_says_so(filled: ClickHouseServer, clickhouse: ClickHouse) -> None:
    settings = ClickHouseSettings(url=clickhouse.url)
    said: list[str] = []
    clickhouse.sql("ALTER TABLE agent_metrics_1h_state DELETE WHERE 1", mutations_sync="2")
    assert repair(settings, said.append, quiet_seconds=3600) == 1
    assert "run this again" in said[-1]
    assert repair(settings, said.append, quiet_seconds=0) == 0
    assert said[-1].endswith("mended: 2")
    assert totals(clickhouse) == RIGHT
    with pytest.raises(UserError, match="does not answer"):
        repair(ClickHouseSettings(url="http://127.0.0.1:1"), said.append)
