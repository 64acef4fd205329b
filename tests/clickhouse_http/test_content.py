"""Prompts and completions are for their reader alone."""

from __future__ import annotations

from collections.abc import Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.clickhouse_http.conftest import Door, Doors

QUERIES = [
    "SELECT * FROM content",
    "SELECT text FROM spanhouse.content",
    "SELECT c.text FROM `content` AS c",
    'SELECT text FROM "spanhouse"."content"',
    "SELECT text FROM default.content",
    "SELECT text FROM agent_events LEFT JOIN content USING (trace_id, span_id)",
    "WITH t AS (SELECT text FROM content) SELECT * FROM t",
    "SELECT * FROM (SELECT 1 UNION ALL SELECT count() FROM content)",
    "SELECT (SELECT any(text) FROM content)",
    "SELECT * FROM view(SELECT text FROM content)",
    "SELECT 'x' IN content",
    "SELECT 'x' IN (content)",
    "SELECT 'x' IN spanhouse.content",
    "SELECT 'x' GLOBAL NOT IN content",
    "WITH content AS t SELECT 'x' IN t",
    "SELECT 'x' IN `spanhouse.content`",
    "SELECT * FROM merge('spanhouse', '^content$')",
    "EXPLAIN SELECT text FROM content",
    "DESCRIBE content",
    "SHOW CREATE TABLE content",
    "EXISTS TABLE content",
]


@pytest.fixture(scope="module", autouse=True)
def _a_text(doors: Doors) -> Iterator[None]:
    doors.write.text(
        "INSERT INTO content (ts, trace_id, span_id, text) SELECT now(), 't', 's', 'a secret prompt'"
    )
    yield
    doors.write.text("TRUNCATE TABLE content")


@pytest.mark.parametrize("query", QUERIES)
def test_others_cannot_name_it(read: Door, query: str) -> None:
    answer = read.ask(query)
    assert answer.status_code != 200
    assert "secret" not in answer.text
    reasons = ("Not enough privileges", "not allowed", "Unknown expression or table expression")
    assert any(reason in answer.text for reason in reasons)


def test_nor_by_a_parameter(read: Door) -> None:
    answer = read.ask("SELECT text FROM {t:Identifier}", param_t="content")
    assert "Not enough privileges" in answer.text


def connect(door: Door, user: str, password: str) -> Client:
    return clickhouse_connect.get_client(host="127.0.0.1", port=door.port, username=user, password=password)


def test_its_reader_reads_it_and_all_else(doors: Doors) -> None:
    for door in (doors.read, doors.secret):
        client = connect(door, "carol", "c0ntent")
        assert client.query("SELECT text FROM content").result_rows == [("a secret prompt",)]
        assert client.query("SELECT 't' IN (SELECT trace_id FROM content)").result_rows == [(1,)]
        assert client.query("SELECT count() FROM t").result_rows == [(1000,)]
        client.close()


def test_a_wrong_password_is_nobodys(doors: Doors) -> None:
    for door in (doors.read, doors.secret):
        for user, password in (("carol", ""), ("carol", "s3cret")):
            with pytest.raises(DatabaseError, match="Authentication failed"):
                connect(door, user, password)
    with pytest.raises(DatabaseError, match="Authentication failed"):
        connect(doors.secret, "ann", "c0ntent")


def test_without_a_password_nobody_reads_it(doors: Doors) -> None:
    for headers in ({}, {"X-ClickHouse-User": "content"}, {"X-ClickHouse-User": "", "X-ClickHouse-Key": ""}):
        assert "Not enough privileges" in doors.tight.ask("SELECT text FROM content", headers).text
