from __future__ import annotations

import datetime as dt
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters import clickhouse_server
from spanhouse.exporters.clickhouse_server import ClickHouseServer
from spanhouse.store import migrations
from tests.exporters.conftest import STORED, rows, totals, with_content, with_evaluations
from tests.parts.clickhouse import ClickHouse
from tests.parts.faults import Fault, FaultProxy

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


SOME = 5_000


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def test_the_window_is_that_of_the_tables() -> None:
    setting = r"TABLE (\w+) MODIFY SETTING non_replicated_deduplication_window = (\d+)"
    windows = dict(pair for _, _, text in migrations() for pair in re.findall(setting, text))
    assert windows == dict.fromkeys(STORED, str(clickhouse_server.DEDUPLICATION_WINDOW))


def test_rows_come_as_they_are(server: ClickHouseServer, clickhouse: ClickHouse) -> None:
    table = rows(2, first=40, partition=5)
    server.insert(table, token="a")
    stored = clickhouse.sql("SELECT trace_id, name, model, topic, partition, toInt32(offset) AS offset "
                            "FROM agent_events ORDER BY offset")  # fmt: skip
    assert stored == [
        {
            "trace_id": table["trace_id"][number], "name": "chat gpt-4o-mini", "model": "gpt-4o-mini",
            "topic": "spans", "partition": 5, "offset": 40 + number,
        }
        for number in range(2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "step"), [(now(), 0 * DAY), (now(), -HOUR), (now(), -DAY), (now(), -2 * DAY)]
)
def test_a_repeated_insert_counts_once(
    server: ClickHouseServer, clickhouse: ClickHouse, start: dt.datetime, step: dt.timedelta
) -> None:
    table = rows(40, start=start, step=step)
    server.insert(table, token="a")
    once = totals(clickhouse)
    assert once == [(40, 280)] * 4
    server.insert(table, token="a")
    server.insert(table, token="a", repeated=now())
    assert totals(clickhouse) == once


def test_the_same_rows_under_another_token_count_again(
    server: ClickHouseServer, clickhouse: ClickHouse
) -> None:
    table = rows(3)
    for token in ("a", "b", "c"):
        server.insert(table, token=token)
    assert totals(clickhouse) == [(9, 63)] * 4


def test_two_at_the_same_time_count_once(server: ClickHouseServer, clickhouse: ClickHouse) -> None:
    table = rows(20_000, step=-dt.timedelta(seconds=10))
    together = threading.Barrier(4)

    def insert(number: int) -> None:
        together.wait()
        server.insert(table, token="a", repeated=now() if number % 2 else None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(insert, range(4)))
    assert totals(clickhouse) == [(20_000, 140_000)] * 4


@pytest.mark.parametrize(
    "table", ["agent_events", "agent_metrics_1m_state", "agent_metrics_1h_state", "agent_metrics_1d_state"]
)
def test_an_insert_cut_off_between_the_tables_is_completed_by_its_repetition(
    server: ClickHouseServer, clickhouse: ClickHouse, table: str
) -> None:
    batch, begun = rows(50, step=-DAY / 3), now()
    setting = f"ALTER TABLE {table} MODIFY SETTING min_free_disk_bytes_to_perform_insert ="
    clickhouse.sql(f"{setting} {10**18}")
    with pytest.raises(Unavailable, match=r"refused \(free space on its disk\).*NOT_ENOUGH_SPACE"):
        server.insert(batch, token="a")
    with pytest.raises(Unavailable):
        server.insert(batch, token="a", repeated=begun)
    clickhouse.sql(f"{setting} 0")
    server.insert(batch, token="a", repeated=begun)
    assert totals(clickhouse) == [(50, 350)] * 4


def content_rows(clickhouse: ClickHouse) -> tuple[int, int]:
    """Rows of content, and distinct ones."""
    (row,) = clickhouse.sql(
        "SELECT count() AS rows, uniqExact(span_id, number) AS texts FROM content "
        "SETTINGS output_format_json_quote_64bit_integers = 0"
    )
    return row["rows"], row["texts"]


@pytest.mark.parametrize(
    "table", ["content", "agent_events", "agent_metrics_1h_state", "agent_metrics_1d_state"]
)
@pytest.mark.parametrize("token", ["a", "b"])
def test_content_counts_once_whatever_is_repeated(
    server: ClickHouseServer, clickhouse: ClickHouse, table: str, token: str
) -> None:
    batch, begun = with_content(rows(50, step=-DAY / 10)), now()
    setting = f"ALTER TABLE {table} MODIFY SETTING min_free_disk_bytes_to_perform_insert ="
    clickhouse.sql(f"{setting} {10**18}")
    with pytest.raises(Unavailable):
        server.insert(batch, token="a")
    clickhouse.sql(f"{setting} 0")
    # With another token it is what a sender brings again, to another process.
    for _ in range(2):
        server.insert(batch, token=token, repeated=begun if token == "a" else None)
    assert content_rows(clickhouse) == (50, 50)


def test_evaluations_count_once(server: ClickHouseServer, clickhouse: ClickHouse) -> None:
    batch, begun = with_content(with_evaluations(rows(20))), now()
    server.insert(batch, token="a")
    server.insert(batch, token="a", repeated=begun)
    server.insert(batch, token="b")
    assert clickhouse.sql(
        "SELECT type, toInt32(count()) AS n FROM evaluations GROUP BY type ORDER BY type"
    ) == [
        {"type": "evaluation", "n": 20},
        {"type": "feedback", "n": 2},
    ]
    assert content_rows(clickhouse) == (20, 20)


def test_content_that_has_expired_is_not_waited_for(server: ClickHouseServer, clickhouse: ClickHouse) -> None:
    batch = with_content(rows(4, start=now() - 20 * DAY))
    for _ in range(2):
        server.insert(batch, token="a", repeated=now())
    assert content_rows(clickhouse) == (0, 0)
    assert totals(clickhouse) == [(4, 28)] * 4


def test_content_that_a_killed_server_only_says_it_has_is_inserted(
    server: ClickHouseServer, clickhouse: ClickHouse
) -> None:
    batch, begun = with_content(rows(20)), now()
    server.insert(batch, token="a")
    # As after a kill between the note of the token and the part.
    clickhouse.sql("ALTER TABLE content DELETE WHERE true", mutations_sync="2")
    server.insert(batch, token="a", repeated=begun)
    assert content_rows(clickhouse) == (20, 20)


@pytest.mark.parametrize("fault", list(Fault))
def test_an_answer_that_does_not_come(
    clickhouse: ClickHouse, server: ClickHouseServer, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse_server, "_ANSWER_SECONDS", 2)
    batch, begun = rows(5), now()
    with FaultProxy(clickhouse.url) as proxy:
        through = ClickHouseServer(proxy.url, "spanhouse", "", "")
        through.check()
        proxy.fail(fault)
        for _ in range(2):
            with pytest.raises(Unavailable):
                through.insert(batch, token="a", repeated=begun)
        proxy.clear()
        through.insert(batch, token="a", repeated=begun)
        through.close()
    assert totals(clickhouse) == [(5, 35)] * 4


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[ClickHouse, ClickHouseServer]]:
    """A server that can be killed."""
    with ClickHouse(tmp_path) as clickhouse:
        server = ClickHouseServer(clickhouse.url, "spanhouse", "", "")
        yield clickhouse, server
        server.close()


def test_tokens_are_known_after_a_restart_and_a_kill(own: tuple[ClickHouse, ClickHouseServer]) -> None:
    clickhouse, server = own
    batch, begun = rows(50, step=-DAY), now()
    server.insert(batch, token="a")
    for end in (clickhouse.stop, clickhouse.kill):
        end()
        with pytest.raises(Unavailable, match="does not answer"):
            server.insert(batch, token="a", repeated=begun)
        clickhouse.start()
        server.insert(batch, token="a", repeated=begun)
        assert totals(clickhouse) == [(50, 350)] * 4


def test_an_insert_whose_server_is_killed_is_completed(own: tuple[ClickHouse, ClickHouseServer]) -> None:
    clickhouse, server = own
    for number in range(3):
        batch, begun = rows(SOME, first=number * SOME, step=-dt.timedelta(minutes=1)), now()
        with ThreadPoolExecutor(1) as pool:
            insert = pool.submit(server.insert, batch, token=f"{number}")
            while not insert.done() and totals(clickhouse)[number % 2][0] <= number * SOME:
                pass
            clickhouse.kill()
        clickhouse.start()
        server.insert(batch, token=f"{number}", repeated=begun)
        server.keep_rollups(0)
        assert totals(clickhouse) == [((number + 1) * SOME, (number + 1) * SOME * 7)] * 4


def lose_a_part(clickhouse: ClickHouse, table: str) -> None:
    """What a kill leaves between the note of a block and its part: the note without the part."""
    (part,) = clickhouse.sql(
        f"SELECT path FROM system.parts WHERE active AND table = '{table}' ORDER BY name LIMIT 1"
    )
    clickhouse.stop()
    shutil.rmtree(part["path"])
    clickhouse.start()


@pytest.mark.parametrize(
    "table", ["agent_events", "agent_metrics_1m_state", "agent_metrics_1h_state", "agent_metrics_1d_state"]
)
def test_what_the_server_only_believes_to_have_is_inserted(
    own: tuple[ClickHouse, ClickHouseServer], table: str
) -> None:
    clickhouse, server = own
    batch, begun = rows(10, step=-6 * HOUR), now()
    server.insert(batch, token="a")
    lose_a_part(clickhouse, table)
    assert totals(clickhouse) != [(10, 70)] * 4
    for _ in range(2):
        server.insert(batch, token="a", repeated=begun)
        assert totals(clickhouse)[0] == (10, 70)
    server.keep_rollups(0)
    assert totals(clickhouse) == [(10, 70)] * 4


def small_window(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (
        "agent_events",
        "agent_metrics_1m_state",
        "agent_metrics_1h_state",
        "agent_metrics_1d_state",
    ):
        clickhouse.sql(f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 4")
    monkeypatch.setattr(clickhouse_server, "DEDUPLICATION_WINDOW", 4)


def test_a_window_that_was_outrun_doubles_nothing(
    own: tuple[ClickHouse, ClickHouseServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    clickhouse, server = own
    small_window(clickhouse, monkeypatch)
    batch, begun = rows(20), now()
    server.insert(batch, token="a")
    for number in range(10):
        server.insert(rows(1, first=100 + number), token=f"{number}")
    server.insert(batch, token="a", repeated=begun)
    assert totals(clickhouse) == [(30, 210)] * 4


def test_of_a_window_that_was_outrun_the_missing_rows_are_inserted(
    own: tuple[ClickHouse, ClickHouseServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    clickhouse, server = own
    small_window(clickhouse, monkeypatch)
    batch, begun = rows(20), now()
    server.insert(batch.slice(0, 12), token="a")
    for number in range(10):
        server.insert(rows(1, first=100 + number), token=f"{number}")
    for _ in range(2):
        server.insert(batch, token="a", repeated=begun)
        assert totals(clickhouse) == [(30, 210)] * 4
    # The same offsets of another partition are others.
    server.insert(rows(20, partition=1), token="b", repeated=begun)
    assert totals(clickhouse) == [(50, 350)] * 4


def test_of_rows_that_came_by_otlp_the_missing_ones_are_inserted(
    server: ClickHouseServer, clickhouse: ClickHouse
) -> None:
    batch, begun = rows(20).drop("topic", "partition", "offset"), now()
    server.insert(batch.slice(0, 12), token="a")
    for _ in range(2):
        # As after a kill at the wrong moment, ClickHouse believes to have all of them.
        server.insert(batch, token="a", repeated=begun)
        assert totals(clickhouse) == [(20, 140)] * 4
    assert server.recent_spans().height == 20


def test_seeding_gives_the_last_spans_of_the_partition(server: ClickHouseServer) -> None:
    first, second = rows(10), rows(10, first=10)
    for token, table in (("a", first), ("b", second), ("c", rows(10, first=5, partition=1))):
        server.insert(table, token=token)
    both = pl.concat([first, second])

    def ids(start: int, end: int) -> set[tuple[str, str]]:
        part = both.slice(start, end - start)
        return set(part.select("trace_id", "span_id").rows())

    assert set(server.spans("spans", 0, 20, 100).rows()) == ids(0, 20)
    assert set(server.spans("spans", 0, 12, 4).rows()) == ids(8, 12)
    assert server.spans("spans", 2, 100, 10).is_empty()
    assert server.spans("others", 0, 100, 10).schema == {"trace_id": pl.String, "span_id": pl.String}


def test_existing_spans_are_told_from_new_ones(
    server: ClickHouseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanhouse.exporters.stored._TRACES", 7)
    stored, new = rows(20, step=-DAY), rows(5, step=-DAY)
    server.insert(stored, token="a")
    keys = pl.concat([new, stored]).select("trace_id", "span_id", "ts")
    # Of the trace, not of the span.
    keys = keys.vstack(keys.tail(1).with_columns(span_id=pl.lit("0" * 16)))
    found = server.existing(keys)
    assert set(found.rows()) == set(stored.select("trace_id", "span_id").rows())
    assert server.existing(keys.clear()).is_empty()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with ClickHouse(tmp_path, user="ann", password="s3cret") as clickhouse:

        def fails(kind: type[Exception], text: str, **changed: str) -> None:
            arguments = {
                "url": clickhouse.url,
                "database": "spanhouse",
                "user": "ann",
                "password": "s3cret",
                **changed,
            }
            server = ClickHouseServer(**arguments)
            actions: list[Callable[[], object]] = [server.check]
            if kind is Unavailable:
                actions += [lambda: server.insert(rows(1), token="a"), lambda: server.spans("t", 0, 1, 1)]
            for action in actions:
                with pytest.raises(kind, match=text) as caught:
                    action()
                assert "s3cret" not in str(caught.value)
            server.close()

        fails(
            Unavailable,
            r"refused \(check exporters.clickhouse.user and password\): .*516",
            password="wrong s3",
        )
        fails(Unavailable, "does not answer", url=f"http://127.0.0.1:{closed_port()}")
        fails(UserError, "no tables of spanhouse in database nope: run `spanhouse migrate`", database="nope")
        server = ClickHouseServer(clickhouse.url, "spanhouse", "ann", "s3cret")
        server.check()
        clickhouse.sql("INSERT INTO schema_versions (version) SELECT 9999")
        fails(UserError, "tables of version 9999, .* install a newer one")
        clickhouse.sql("TRUNCATE TABLE schema_versions")
        fails(UserError, "tables of version 0, .*run `spanhouse migrate`")
        clickhouse.sql("RENAME TABLE agent_events TO away")
        with pytest.raises(Unavailable, match="tables are missing or old, run `spanhouse migrate`"):
            server.insert(rows(1), token="a")
        clickhouse.sql("DROP TABLE schema_versions")
        fails(UserError, "no tables of spanhouse")
        server.close()


@pytest.mark.parametrize("url", ["clickhouse:8123", "", "ftp://x", "http://"])
def test_an_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=r"exporters\.clickhouse\.url: expected"):
        ClickHouseServer(url, "spanhouse", "", "")


def test_an_answer_of_something_else_is_no_clickhouse(tmp_path: Path) -> None:
    def answer(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=[listener])
        thread.start()
        server = ClickHouseServer(f"http://127.0.0.1:{listener.getsockname()[1]}", "spanhouse", "", "")
        with pytest.raises(Unavailable):
            server.check()
        thread.join()
