"""The embedded store: what may be there already is looked for, and not inserted again."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from spanhouse import rollups
from spanhouse.errors import Unavailable
from spanhouse.exporters.clickhouse import EmbeddedClickHouse
from spanhouse.store import Store
from tests.exporters.conftest import STORED, rows, with_content, with_evaluations
from tests.harness import COUNTED


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("embedded")) as store:
        yield store


@pytest.fixture
def exporter(store: Store) -> Iterator[EmbeddedClickHouse]:
    """Into empty tables."""
    for table in STORED:
        store.rows(f"TRUNCATE TABLE {table}")
    exporter = EmbeddedClickHouse(store)
    yield exporter
    exporter.close()


def counts(store: Store) -> list[tuple[int, int]]:
    """(spans, input tokens) by the rows and by the rollups."""
    found = []
    for table, calls in COUNTED.items():
        (line,) = store.rows(f"SELECT {calls}, sum(tokens_prompt) FROM {table}")
        found.append((int(line.split("\t")[0]), int(line.split("\t")[1])))
    return found


def refuse(store: Store, table: str, room: int) -> None:
    store.rows(f"ALTER TABLE {table} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {room}")


@pytest.mark.parametrize("table", list(COUNTED))
@pytest.mark.parametrize("crashed", [False, True])
def test_an_insert_cut_off_between_the_tables_counts_once_when_repeated(
    store: Store, exporter: EmbeddedClickHouse, table: str, crashed: bool
) -> None:
    batch, begun = rows(40, step=-dt.timedelta(hours=7)), dt.datetime.now(dt.UTC)
    table = table if table == "agent_events" else f"{table}_state"
    refuse(store, table, 10**18)
    with pytest.raises(Unavailable):
        exporter.insert(batch, token="a")
    refuse(store, table, 0)
    if crashed:
        # The next process makes rollups anew before it takes anything, and knows no token.
        rollups.repair(store)
        store.rollups_doubtful = False
        exporter.close()
        exporter = EmbeddedClickHouse(store)
    for _ in range(2):
        exporter.insert(batch, token="a", repeated=begun if crashed else None)
        assert counts(store) == [(40, 280)] * 4
    if crashed:
        exporter.close()


def test_the_rows_that_are_missing_are_inserted(store: Store, exporter: EmbeddedClickHouse) -> None:
    batch = rows(40)
    exporter.insert(batch.slice(0, 25))
    exporter.insert(rows(10, partition=1))  # the same offsets of another partition are others
    exporter.insert(batch, token="a", repeated=dt.datetime.now(dt.UTC))
    assert counts(store) == [(50, 350)] * 4
    assert set(exporter.spans("spans", 0, 40, 100).rows()) == set(batch.select("trace_id", "span_id").rows())
    assert exporter.spans("spans", 0, 12, 4).height == 4
    assert exporter.spans("others", 0, 100, 10).is_empty()
    assert exporter.recent_spans().height == 50


def test_two_attempts_at_the_same_time_count_once(store: Store, exporter: EmbeddedClickHouse) -> None:
    batch, together = rows(20_000), threading.Barrier(4)

    def insert(_: int) -> None:
        together.wait()
        exporter.insert(batch, token="a")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(insert, range(4)))
    assert counts(store) == [(20_000, 140_000)] * 4


CONTENT_ROWS = "SELECT count(), uniqExact(span_id, number) FROM content"


def test_content_goes_to_its_table_as_it_is(store: Store, exporter: EmbeddedClickHouse) -> None:
    batch = with_content(rows(2))
    exporter.insert(batch)
    columns = "trace_id, span_id, number, kind, event, key, text, bytes, truncated"
    ids = f"{batch['trace_id'][0]}\t{batch['span_id'][0]}"
    assert store.rows(f"SELECT {columns} FROM content ORDER BY number") == [
        f"{ids}\t{number}\tinput\t\tgen_ai.prompt\ttext {number}\t5\tfalse" for number in range(2)
    ]
    assert counts(store) == [(2, 14)] * 4


@pytest.mark.parametrize(
    "table", ["content", "agent_events", "agent_metrics_1h_state", "agent_metrics_1d_state"]
)
@pytest.mark.parametrize("token", ["", "a"])
def test_content_of_spans_that_come_again_is_stored_once(
    store: Store, exporter: EmbeddedClickHouse, table: str, token: str
) -> None:
    batch = with_content(rows(40, step=-dt.timedelta(hours=3)))
    refuse(store, table, 10**18)
    with pytest.raises(Unavailable):
        exporter.insert(batch, token=token)
    refuse(store, table, 0)
    assert store.rows("SELECT count() > 0 FROM content") == [str(int(table != "content"))]
    # By OTLP they may come with others, and in another process.
    exporter.insert(batch if token else batch[:25], token=token)
    if not token:
        exporter.insert(batch[25:])
    assert store.rows(CONTENT_ROWS) == ["40\t40"]


def test_content_is_kept_for_a_week(store: Store) -> None:
    (table,) = store.rows("SELECT create_table_query FROM system.tables WHERE name = 'content'")
    assert "TTL toDateTime(ts) + toIntervalDay(7)" in table
    assert "ttl_only_drop_parts = 1" in table


def test_evaluations_come_once_with_what_their_span_is_of(store: Store, exporter: EmbeddedClickHouse) -> None:
    batch = with_evaluations(rows(3).with_columns(parent_span_id=pl.lit("c" * 16), agent=pl.lit("planner")))
    # Of other spans than the content is.
    batch = with_content(batch)
    refuse(store, "agent_events", 10**18)
    with pytest.raises(Unavailable):
        exporter.insert(batch)
    refuse(store, "agent_events", 0)
    exporter.insert(batch)
    told = "type, name, score, label, evaluator, agent, model, evaluated_span_id = span_id AS itself"
    score = "evaluation\ttone\t0.5\t\tx\tplanner\tgpt-4o-mini\t1"
    feedback = "feedback\ttone\t\\N\tgood\tx\tplanner\tgpt-4o-mini\t0"
    assert sorted(store.rows(f"SELECT {told} FROM evaluations")) == [*3 * [score], *2 * [feedback]]
    assert store.rows("SELECT DISTINCT evaluated_span_id FROM evaluations WHERE type = 'feedback'") == [
        "c" * 16
    ]
    assert counts(store) == [(3, 21)] * 4
    assert store.rows(CONTENT_ROWS) == ["4\t4"]
