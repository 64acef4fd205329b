"""The page's API on a running `spanhouse up`."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import re
import time
from pathlib import Path

import pytest
import requests

from spanhouse import __version__
from spanhouse.dashboards.model import NAMES, VARIABLES
from tests.harness import PORTS, Instance, eventually, request
from tests.page.conftest import Browser, everything, tree


def test_the_page_is_announced_first(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        assert tuple(instance.addresses) == PORTS
        assert re.findall(r"http://\S+", instance.announced)[0] == instance.url("page", "/")
        assert PORTS[0] == "page"


def test_dashboards(page: Browser) -> None:
    found = page.json("/api/dashboards")
    assert found["version"] == __version__
    assert found["grafana_url"] == "http://localhost:3000"
    assert found["sql_url"] == page.instance.url("clickhouse-http")
    assert found["otlp_url"] == page.instance.url("otlp-http")
    assert found["variables"] == list(VARIABLES)
    assert [one["name"] for one in found["dashboards"]] == list(NAMES)


def test_a_panel_over_what_was_sent(page: Browser) -> None:
    for tenant, count in (("ann", 3), ("b'o\\b", 2), ("", 1)):
        named = {"tenant__id": tenant} if tenant else {}
        message = request(count, service="panels", **named)
        assert page.instance.post(message.SerializeToString())[0] == 200

    def requests_of(**asked: object) -> int:
        answer = page.json("/api/panels/overview/requests", **{"var-service": "panels", **asked})
        assert answer["columns"][0] == {"name": "requests", "type": "UInt64"}
        assert isinstance(answer["seconds"], float)
        assert not answer["truncated"]
        return int(answer["rows"][0][0])

    assert requests_of() == 6
    assert requests_of(**{"var-tenant": "ann"}) == 3
    assert requests_of(**{"var-tenant": ["ann", "b'o\\b"]}) == 5
    assert requests_of(**{"var-tenant": "(none)"}) == 1
    assert requests_of(**{"var-tenant": "nobody"}) == 0
    assert requests_of(**{"var-tenant": "$__all"}) == 6
    assert requests_of(from_="now-30d") == requests_of(from_="now-30d", to="now/d") == 6
    assert requests_of(from_="now-30d", to="now-29d") == 0
    values = page.json("/api/values/tenant")["values"]
    assert {"ann", "b'o\\b", "(none)"} <= set(values)


def test_a_panel_as_csv(page: Browser) -> None:
    answer = page.get("/api/panels/overview/calls", format="csv", from_="now-2h", width=100)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="overview-calls.csv"'
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert rows[0][0] == "time"


def test_what_is_not_there(page: Browser) -> None:
    assert "Dashboards are: overview" in page.error("/api/panels/nothing/requests", 404)
    assert "It has: requests" in page.error("/api/panels/overview/nothing", 404)
    assert "Filters are: tenant" in page.error("/api/values/nothing", 404)
    assert "has no variable nothing" in page.error("/api/values/overview/nothing", 404)
    assert "no variable colour" in page.error("/api/panels/overview/requests", 404, **{"var-colour": "red"})
    assert "is not a time" in page.error("/api/panels/overview/requests", 400, from_="soon")
    assert "format=xml is not known" in page.error("/api/panels/overview/requests", 400, format="xml")
    assert page.error("/api/nothing", 404) == "There is nothing at this address."
    assert "not a trace id" in page.error("/api/traces/123", 400)
    assert "No span of trace" in page.error(f"/api/traces/{'0' * 32}", 404)
    assert "No span of trace" in page.error(f"/api/traces/{'0' * 32}.json", 404)
    answer = requests.get(page.instance.url("page", "/api/sql"), timeout=60)
    assert answer.status_code == 405
    assert answer.json()["error"] == "This address does not take such a request."


def test_sql(page: Browser) -> None:
    answer = page.sql(
        "SELECT 1 AS a, 9007199254740993 AS b, -9007199254740993 AS c, toUInt64(7) AS d, 1.5 AS e, "
        "NULL AS f, [18446744073709551615, 1] AS g, map('k', toInt64(9007199254740993)) AS h, "
        "toInt128(5) AS i, 'ü\"\\n' AS j, "
        "toFloat64(1e18) AS k, toDecimal128('12345678901234567.891', 3) AS n, "
        "toDecimal64('0.0001234567', 10) AS o, "
        "0.1 + 0.2 AS p, toDateTime64('2026-01-02 03:04:05.123456789', 9, 'UTC') AS l, nan AS m"
    )
    assert answer["rows"] == [
        [1, "9007199254740993", "-9007199254740993", 7, 1.5, None, ["18446744073709551615", 1],
         {"k": "9007199254740993"}, 5, 'ü"\n', 1e18, "12345678901234567.891", 0.0001234567,
         0.1 + 0.2, "2026-01-02T03:04:05.123456789Z", None]
    ]  # fmt: skip
    assert answer["columns"][1] == {"name": "b", "type": "UInt64"}
    nothing = page.sql("SELECT 1 AS a WHERE 0")
    assert (nothing["columns"], nothing["rows"]) == ([{"name": "a", "type": "UInt8"}], [])
    for statement in ("SHOW TABLES", "DESCRIBE agent_events", "EXPLAIN SELECT 1", "EXISTS agent_events"):
        assert page.sql(statement)["rows"]


def test_a_long_result_is_cut_and_says_so(page: Browser) -> None:
    answer = page.sql("SELECT number FROM numbers(10001)")
    assert (len(answer["rows"]), answer["truncated"]) == (10_000, True)
    answer = page.sql("SELECT number FROM numbers(10000)")
    assert (len(answer["rows"]), answer["truncated"]) == (10_000, False)
    wide = page.sql("SELECT repeat('x', 100000) AS x FROM numbers(1000)")
    assert 0 < len(wide["rows"]) < 400
    assert wide["truncated"]
    whole = page.post({"query": "SELECT number FROM numbers(200000)"}, "csv")
    assert whole.text.count("\r\n") == 200_001


def test_a_query_that_fails_after_its_first_rows_says_why(page: Browser) -> None:
    query = "SELECT throwIf(number = 9000, 'late'), repeat('x', 1000) FROM numbers(10000)"
    assert "late" in page.sql_error(f"{query} SETTINGS max_block_size = 100", 500)


def test_csv_is_quoted_as_rfc_4180_says(page: Browser) -> None:
    values = ["plain", 'say "hi"', "a,b", "two\r\nlines", "=1+1", "ünï", ""]
    listed = ", ".join("'" + value.replace("\r", "\\r").replace("\n", "\\n") + "'" for value in values)
    answer = page.post({"query": f'SELECT arrayJoin([{listed}]) AS `a "b"`, 1 AS n'}, "csv")
    rows = list(csv.reader(io.StringIO(answer.content.decode(), newline=""), strict=True))
    assert rows == [['a "b"', "n"], *([value, "1"] for value in values)]
    assert answer.content.endswith(b"\r\n")


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("SELECT nonsense FROM agent_events", 400, "Unknown expression identifier `nonsense`"),
        ("SELECT count() FROM agent_event", 400, "agent_event"),
        ("SELECT 1,\n  FORM x y", 400, "The SQL has a mistake at line 2, column"),
        ("SELECT (1", 400, "not complete"),
        ("", 400, "There is no statement to run"),
        ("SELECT 1; SELECT 2", 400, "Only one statement"),
        ("DROP TABLE agent_events", 403, "This statement is not allowed here"),
        ("INSERT INTO agent_events (ts) VALUES (now())", 403, "This statement is not allowed here"),
        ("SELECT * FROM file('/etc/passwd')", 403, "not allowed"),
        ("SELECT * FROM url('http://localhost')", 403, "not allowed"),
        ("SELECT * FROM system.users", 403, "Not enough privileges"),
        ("SELECT 1 FORMAT CSV", 400, "Leave out FORMAT CSV"),
        ("SELECT 1 SETTINGS max_memory_usage = 99999999999", 403, "max_memory_usage should be over 0"),
        ("SELECT throwIf(1, 'on purpose')", 500, "on purpose"),
    ],
)  # fmt: skip
def test_what_sql_may_not_or_cannot(page: Browser, query: str, status: int, sentence: str) -> None:
    error = page.sql_error(query, status)
    assert sentence in error
    assert "\n" not in error
    assert "DB::Exception" not in error


def test_a_query_that_is_too_large(page: Browser) -> None:
    assert "256 KiB" in page.sql_error(f"SELECT '{'x' * 300_000}'", 413)


def test_a_body_that_is_no_query(page: Browser) -> None:
    url = page.instance.url("page", "/api/sql")
    form = requests.post(url, data={"query": "SELECT 1"}, timeout=60)
    assert form.status_code == 415
    assert "application/json" in form.json()["error"]
    json_type = {"Content-Type": "application/json"}
    for text in ("{", "[" * 100_000, b"\xff"):
        assert requests.post(url, data=text, headers=json_type, timeout=60).status_code == 400
    odd = '{"query": "SELECT \'\\ud800\' AS a"}'
    assert requests.post(url, data=odd, headers=json_type, timeout=60).json()["rows"] == [["?"]]
    for body in ([], {"query": 1}, {}, "SELECT 1"):
        assert page.post(body).status_code == 400
    assert page.post({"query": "SELECT 1"}, "xml").status_code == 400
    assert "FORMAT JSON" in page.post({"query": "SELECT 1 FORMAT JSON"}, "csv").json()["error"]
    assert requests.post(url, data=b"x" * 2_000_000, headers=json_type, timeout=60).status_code == 413


HEAVY = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"


def begin(page: Browser, query: str) -> http.client.HTTPConnection:
    """A connection on which the query runs."""
    connection = http.client.HTTPConnection(page.instance.addresses["page"], timeout=60)
    body = json.dumps({"query": query})
    connection.request("POST", "/api/sql", body, {"Content-Type": "application/json"})
    return connection


def test_the_query_of_who_has_left_is_cancelled_and_others_keep_a_place(page: Browser) -> None:
    def running() -> float:
        return page.instance.metric("spanhouse_queries_running")

    eventually(lambda: running() == 0)
    leaving = [begin(page, HEAVY) for _ in range(6)]
    eventually(lambda: running() == 3)
    # The page holds three places of four.
    assert page.instance.sql("SELECT 1 AS one") == [{"one": 1}]
    assert running() == 3
    for one in leaving:
        one.close()
    eventually(lambda: running() == 0)
    assert page.sql("SELECT 1 AS one")["rows"] == [[1]]


def test_a_stop_with_a_query_of_the_page_running_exits_0(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        connection = begin(Browser(instance), HEAVY)
        eventually(lambda: instance.metric("spanhouse_queries_running") == 1)
        assert instance.stop() == 0
        connection.close()
        assert "Traceback" not in instance.log.read_text()


def test_a_query_that_takes_too_long_says_what_helps(tmp_path: Path) -> None:
    config = tmp_path / "spanhouse.yaml"
    config.write_text("exporters:\n  clickhouse: {max_seconds: 1, max_memory_bytes: 100000000}\n")
    with Instance(tmp_path / "data", config=config) as instance:
        page = Browser(instance)
        assert "took too long and was stopped. Choose a shorter time range" in page.sql_error(HEAVY, 504)
        memory = "SELECT count() FROM (SELECT number FROM numbers(100000000) GROUP BY number)"
        assert "needed more memory" in page.sql_error(memory, 507)


def test_an_empty_store_answers_everything(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        page = Browser(instance)
        for dashboard in page.json("/api/dashboards")["dashboards"]:
            for row in dashboard["rows"]:
                for panel in row["panels"]:
                    if panel["available"] and panel["kind"] != "text":
                        page.json(f"/api/panels/{dashboard['name']}/{panel['id']}")
            for variable in dashboard["variables"]:
                assert isinstance(
                    page.json(f"/api/values/{dashboard['name']}/{variable['name']}")["values"], list
                )
        for name in VARIABLES:
            assert page.json(f"/api/values/{name}") == {"values": []}
        assert instance.stop() == 0


def test_a_trace_is_a_waterfall(page: Browser) -> None:
    trace_id = os.urandom(16)
    message = everything(trace_id)
    assert page.instance.post(message.SerializeToString())[0] == 200
    trace = page.json(f"/api/traces/{trace_id.hex().upper()}")
    sent = [span for block in message.resource_spans for span in block.scope_spans[0].spans]
    start = min(span.start_time_unix_nano for span in sent)
    assert trace["trace_id"] == trace_id.hex()
    assert trace["start"] == str(start)
    assert not trace["truncated"]
    by_id = {span.span_id.hex(): span for span in sent}
    assert {span["span_id"] for span in trace["spans"]} == by_id.keys()
    for span in trace["spans"]:
        original = by_id[span["span_id"]]
        assert span["depth"] == 0  # the parent was not sent
        assert span["parent_span_id"] == "aa" * 8
        assert span["name"] == "chat gpt-4o"
        assert span["start_ms"] == (original.start_time_unix_nano - start) / 1e6
        assert span["duration_ms"] == (original.end_time_unix_nano - original.start_time_unix_nano) / 1e6
        assert (span["model"], span["tokens_prompt"], span["status"]) == ("gpt-4o", 1234, "error")
        assert span["error_message"] == "it did not work out"
        assert span["attrs"]["gen_ai.request.model"] == "gpt-4o"
        assert span["attrs"]["gen_ai.usage.input_tokens"] == "1234"
        assert span["attrs"]["key.5"] == str(2**62)
        assert span["attrs"].keys() == {pair.key for pair in original.attributes}
        assert span["resource"] == {"service.name": "shop"}
        (event,) = span["events"]
        assert (event["name"], event["ms"]) == ("exception", 7 / 1e6)
        assert "exception.type" in event["attrs"]


def test_orphans_and_circles_survive(page: Browser) -> None:
    trace_id = os.urandom(16)
    shape = {
        "a": "",
        "b": "a",
        "c": "a",
        "d": "b",
        "e": "x",
        "f": "g",
        "g": "h",
        "h": "f",
        "i": "h",
        "j": "j",
    }
    assert page.instance.post(tree(trace_id, shape).SerializeToString())[0] == 200
    spans = page.json(f"/api/traces/{trace_id.hex()}")["spans"]
    assert [(span["name"], span["depth"]) for span in spans] == [
        ("a", 0), ("b", 1), ("d", 2), ("c", 1), ("e", 0), ("f", 0), ("h", 1), ("g", 2), ("i", 2), ("j", 0),
    ]  # fmt: skip


def test_a_single_span(page: Browser) -> None:
    trace_id = os.urandom(16)
    assert page.instance.post(request(1, trace_id=trace_id).SerializeToString())[0] == 200
    trace = page.json(f"/api/traces/{trace_id.hex()}")
    assert trace["duration_ms"] == 250
    assert [span["depth"] for span in trace["spans"]] == [0]


def test_a_huge_trace_is_cut_and_says_so(page: Browser) -> None:
    trace_id = os.urandom(16)
    start = time.time_ns() - 10_000_000_000
    message = request(10_050, trace_id=trace_id, start_ns=start)
    for place, span in enumerate(message.resource_spans[0].scope_spans[0].spans):
        span.parent_span_id = (
            message.resource_spans[0].scope_spans[0].spans[place - 1].span_id if place else b""
        )
    assert page.instance.post(message.SerializeToString())[0] == 200
    trace = page.json(f"/api/traces/{trace_id.hex()}")
    assert len(trace["spans"]) == 10_000
    assert trace["truncated"]
    export = page.get(f"/api/traces/{trace_id.hex()}.json")
    assert "first-10000-spans.json" in export.headers["Content-Disposition"]
    (resource,) = export.json()["resourceSpans"]
    assert len(resource["scopeSpans"][0]["spans"]) == 10_000


def test_an_exported_trace_can_be_sent_again(page: Browser, tmp_path: Path) -> None:
    trace_id = os.urandom(16)
    message = everything(trace_id)
    assert page.instance.post(message.SerializeToString())[0] == 200
    export = page.get(f"/api/traces/{trace_id.hex()}.json")
    assert export.headers["Content-Type"] == "application/json"
    assert export.headers["Content-Disposition"] == f'attachment; filename="trace-{trace_id.hex()}.json"'
    span = export.json()["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    # As OTLP/JSON has it: hexadecimal ids, numbers for enums, text for 64 bits.
    assert span["traceId"] == trace_id.hex()
    assert (span["kind"], span["status"]["code"]) == (3, 2)
    assert isinstance(span["startTimeUnixNano"], str)
    of_trace = f"WHERE trace_id = '{trace_id.hex()}' ORDER BY span_id"
    query = f"SELECT * EXCEPT (ingested_at) FROM agent_events {of_trace}"
    with Instance(tmp_path / "data") as other:
        status, body = other.post(export.content, "application/json")
        assert (status, json.loads(body)) == (200, {})
        again = other.sql(query)
        assert len(again) == 4
        assert again == page.instance.sql(query)
        assert other.stop() == 0
