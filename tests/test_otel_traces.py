"""The views that look like the Collector's table: what was sent is in them, and found by the indexes."""

from __future__ import annotations

import base64
import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanhouse.batch import NORMALIZED
from tests.harness import Instance, attributes, request
from tests.page.conftest import everything

# The table of the Collector's clickhouseexporter (contrib, sqltemplates/traces_table.sql). The view's times
# also have their time zone.
COLUMNS = {
    "Timestamp": "DateTime64(9, 'UTC')",
    "TraceId": "String",
    "SpanId": "String",
    "ParentSpanId": "String",
    "TraceState": "String",
    "SpanName": "LowCardinality(String)",
    "SpanKind": "LowCardinality(String)",
    "ServiceName": "LowCardinality(String)",
    "ResourceAttributes": "Map(LowCardinality(String), String)",
    "ScopeName": "String",
    "ScopeVersion": "String",
    "SpanAttributes": "Map(LowCardinality(String), String)",
    "Duration": "UInt64",
    "StatusCode": "LowCardinality(String)",
    "StatusMessage": "String",
    "Events.Timestamp": "Array(DateTime64(9, 'UTC'))",
    "Events.Name": "Array(LowCardinality(String))",
    "Events.Attributes": "Array(Map(LowCardinality(String), String))",
    "Links.TraceId": "Array(String)",
    "Links.SpanId": "Array(String)",
    "Links.TraceState": "Array(String)",
    "Links.Attributes": "Array(Map(LowCardinality(String), String))",
}
COMPANION = {"TraceId": "String", "Start": "DateTime('UTC')", "End": "DateTime('UTC')"}
TRACE = bytes(range(100, 116))
HOUR_AGO = time.time_ns() - 3_600_000_000_000
KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")


@pytest.fixture(scope="module")
def sent() -> ExportTraceServiceRequest:
    """Everything that OTLP can say, and all that normalize takes into columns."""
    message = everything(TRACE)
    spans = message.resource_spans[0].scope_spans[0].spans
    spans[0].kind, spans[0].status.code = 2, 0
    spans[1].kind, spans[1].status.code = 1, 1
    spans[1].attributes.extend(
        attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.usage.output_tokens": 77,
                "gen_ai.agent.name": "planner",
                "gen_ai.conversation.id": "s-1",
                "tenant.id": "acme",
                "http.route": "/ask",
                "gen_ai.usage.cost": 0.0125,
                "error.type": "Timeout",
            }
        )
    )
    message.resource_spans[1].resource.attributes.extend(
        attributes({"service.version": "1.2", "deployment.environment.name": "prod", "host.cpus": 4})
    )
    return message


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, sent: ExportTraceServiceRequest) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("otel") / "data") as instance:
        assert instance.post(sent.SerializeToString())[0] == 200
        for place in range(20):
            other = request(100, service=f"service-{place}", start_ns=HOUR_AGO - place * 86_400_000_000_000)
            assert instance.post(other.SerializeToString())[0] == 200
        yield instance
        assert instance.stop() == 0


def spans_of(sent: ExportTraceServiceRequest) -> Iterator[tuple[Span, Any, Any]]:
    for block in sent.resource_spans:
        for span in block.scope_spans[0].spans:
            yield span, block.resource, block.scope_spans[0].scope


def same(pairs: list[KeyValue], found: dict[str, str]) -> None:
    assert found.keys() == {pair.key for pair in pairs}
    for pair in pairs:
        text = found[pair.key]
        match pair.value.WhichOneof("value"):
            case "array_value" | "kvlist_value":
                assert len(json.loads(text)) == len(
                    getattr(pair.value, pair.value.WhichOneof("value")).values
                )
            case _:
                assert text == plain(pair.value), pair.key


def plain(value: AnyValue) -> str:
    match value.WhichOneof("value"):
        case None:
            return ""
        case "string_value":
            return value.string_value
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case name:
            return str(getattr(value, name))


def test_columns_and_types(up: Instance) -> None:
    for table, columns in (("otel_traces", COLUMNS), ("otel_traces_trace_id_ts", COMPANION)):
        assert {row["name"]: row["type"] for row in up.sql(f"DESCRIBE {table}")} == columns


def test_what_was_sent_is_there(up: Instance, sent: ExportTraceServiceRequest) -> None:
    rows = up.sql(
        "SELECT *, toUnixTimestamp64Nano(Timestamp) AS start, arrayMap(t -> toUnixTimestamp64Nano(t), "
        f"Events.Timestamp) AS event_times FROM otel_traces WHERE TraceId = '{TRACE.hex()}'"
    )
    by_id = {row["SpanId"]: row for row in rows}
    assert len(by_id) == 4
    for span, resource, scope in spans_of(sent):
        row = by_id[span.span_id.hex()]
        assert row["ParentSpanId"] == span.parent_span_id.hex()
        assert row["TraceState"] == span.trace_state
        assert row["SpanName"] == span.name
        assert row["SpanKind"] == KINDS[span.kind]
        assert row["ServiceName"] == "shop"
        assert (row["ScopeName"], row["ScopeVersion"]) == (scope.name, scope.version)
        assert int(row["start"]) == span.start_time_unix_nano
        assert int(row["Duration"]) == span.end_time_unix_nano - span.start_time_unix_nano
        assert row["StatusCode"] == ("Unset", "Ok", "Error")[span.status.code]
        assert row["StatusMessage"] == span.status.message
        same(list(resource.attributes), row["ResourceAttributes"])
        same(list(span.attributes), row["SpanAttributes"])
        assert row["Events.Name"] == [event.name for event in span.events]
        assert [int(ns) for ns in row["event_times"]] == [event.time_unix_nano for event in span.events]
        for event, found in zip(span.events, row["Events.Attributes"], strict=True):
            same(list(event.attributes), found)
        assert row["Links.TraceId"] == [link.trace_id.hex() for link in span.links]
        assert row["Links.SpanId"] == [link.span_id.hex() for link in span.links]
        assert row["Links.TraceState"] == [link.trace_state for link in span.links]
        for link, found in zip(span.links, row["Links.Attributes"], strict=True):
            same(list(link.attributes), found)


def test_columns_hold_what_is_back_among_the_attributes(up: Instance) -> None:
    """Else the test above would show nothing of it."""
    (row,) = up.sql(
        f"SELECT promoted, attrs FROM agent_events WHERE trace_id = '{TRACE.hex()}' AND tenant_id != ''"
    )
    assert len(json.loads(row["promoted"])) > 8
    assert "gen_ai.usage.output_tokens" not in row["attrs"]


def test_every_column_that_an_attribute_may_stand_in_is_known_to_the_view(up: Instance) -> None:
    (shown,) = up.sql(
        "SELECT as_select FROM system.tables WHERE name = 'otel_traces' AND database = 'spanhouse'"
    )
    # No attribute stands in what only the price makes.
    assert set(re.findall(r"'(\w+)', ", shown["as_select"])) >= set(NORMALIZED) - {"cost_computed_usd"}


# What Grafana's data source asks in its OpenTelemetry mode: a trace by its id, with the companion's times and
# nested columns as a quoted name and a field; the list of traces; lists of services and operations.
BY_ID = """
WITH '{id}' AS trace_id,
    (SELECT min(Start) FROM "spanhouse"."otel_traces_trace_id_ts" WHERE TraceId = trace_id) AS trace_start,
    (SELECT max(End) + 1 FROM "spanhouse"."otel_traces_trace_id_ts" WHERE TraceId = trace_id) AS trace_end
SELECT "TraceId" AS traceID, "SpanId" AS spanID, "ParentSpanId" AS parentSpanID, "ServiceName" AS serviceName,
    "SpanName" AS operationName, multiply(toUnixTimestamp64Nano("Timestamp"), 0.000001) AS startTime,
    multiply("Duration", 0.000001) AS duration,
    arrayMap(k -> map('key', k, 'value', "SpanAttributes"[k]), mapKeys("SpanAttributes")) AS tags,
    arrayMap(k -> map('key', k, 'value', "ResourceAttributes"[k]), mapKeys("ResourceAttributes"))
        AS serviceTags,
    if("StatusCode" IN ('Error', 'STATUS_CODE_ERROR'), 2, 0) AS statusCode,
    arrayMap((n, t, a) -> tuple(n, toString(toUnixTimestamp64Milli(t)),
        arrayMap(k -> map('key', k, 'value', a[k]), mapKeys(a)))
        ::Tuple(name String, timestamp String, fields Array(Map(String, String))),
        "Events".Name, "Events".Timestamp, "Events".Attributes) AS logs,
    arrayMap((t, s, a) -> tuple(t, s, arrayMap(k -> map('key', k, 'value', a[k]), mapKeys(a)))
        ::Tuple(traceID String, spanID String, tags Array(Map(String, String))),
        "Links".TraceId, "Links".SpanId, "Links".Attributes) AS references,
    "SpanKind" AS kind, "StatusMessage" AS statusMessage, "TraceState" AS traceState
FROM "spanhouse"."otel_traces"
WHERE traceID = trace_id AND "Timestamp" >= trace_start AND "Timestamp" <= trace_end
LIMIT 1000
"""
SEARCH = """
SELECT "TraceId" AS traceID, "ServiceName" AS serviceName, "SpanName" AS operationName,
    "Timestamp" AS startTime, multiply("Duration", 0.000001) AS duration
FROM "spanhouse"."otel_traces"
WHERE ( Timestamp >= fromUnixTimestamp64Milli({start}) AND Timestamp <= fromUnixTimestamp64Milli({end}) )
    AND ( ParentSpanId = '' ) AND ( Duration > 0 )
ORDER BY Timestamp DESC, Duration DESC
LIMIT 1000
"""
SERVICES = """
SELECT DISTINCT ServiceName FROM "spanhouse"."otel_traces"
WHERE Timestamp >= toDateTime({start}) AND Timestamp <= toDateTime({end})
ORDER BY ServiceName
"""
OPERATIONS = """
SELECT DISTINCT SpanName FROM spanhouse.otel_traces
WHERE Timestamp >= toDateTime({start}) AND Timestamp <= toDateTime({end}) AND ServiceName IN ('shop')
"""


def test_a_trace_by_its_id(up: Instance, sent: ExportTraceServiceRequest) -> None:
    rows = {row["spanID"]: row for row in up.sql(BY_ID.format(id=TRACE.hex()))}
    assert len(rows) == 4
    for span, _, _ in spans_of(sent):
        row = rows[span.span_id.hex()]
        assert row["startTime"] == pytest.approx(span.start_time_unix_nano / 1e6)
        assert row["duration"] == (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        assert row["statusCode"] == (2 if span.status.code == 2 else 0)
        tags = {tag["key"]: tag["value"] for tag in row["tags"]}
        assert tags["gen_ai.request.model"] == "gpt-4o"
        assert {"key": "service.name", "value": "shop"} in row["serviceTags"]
        (log,) = row["logs"]
        assert (log["name"], log["timestamp"]) == (
            "exception",
            str(span.events[0].time_unix_nano // 1_000_000),
        )
        assert log["fields"]
        (reference,) = row["references"]
        assert (reference["traceID"], reference["spanID"]) == ("01" * 16, "02" * 8)
    assert up.sql(BY_ID.format(id="0" * 32)) == []


def test_lists(up: Instance) -> None:
    span = {"start": (HOUR_AGO - 10**9) // 10**6, "end": (HOUR_AGO + 10**9) // 10**6}
    found = up.sql(SEARCH.format(**span))
    assert len(found) == 100
    assert {row["serviceName"] for row in found} == {"service-0"}
    assert {row["duration"] for row in found} == {250}
    whole = {"start": HOUR_AGO // 10**9 - 86_400, "end": time.time_ns() // 10**9}
    assert up.sql(SERVICES.format(**whole)) == [
        {"ServiceName": name} for name in ("service-0", "service-1", "shop")
    ]
    assert up.sql(OPERATIONS.format(**whole)) == [{"SpanName": "chat gpt-4o"}]


def test_the_companion_says_when_a_trace_was(up: Instance, sent: ExportTraceServiceRequest) -> None:
    (row,) = up.sql(
        "SELECT toUnixTimestamp(Start) AS start, toUnixTimestamp(End) AS end FROM otel_traces_trace_id_ts "
        f"WHERE TraceId = '{TRACE.hex()}'"
    )
    starts = [span.start_time_unix_nano // 10**9 for span, _, _ in spans_of(sent)]
    assert (row["start"], row["end"]) == (min(starts), max(starts))


@pytest.mark.parametrize(
    ("query", "index"),
    {
        f"SELECT * FROM otel_traces WHERE TraceId = '{TRACE.hex()}'": "Name: trace_filter",
        f"SELECT * FROM otel_traces_trace_id_ts WHERE TraceId = '{TRACE.hex()}'": "Name: trace_filter",
        BY_ID.format(id=TRACE.hex()): "Name: trace_filter",
        "SELECT SpanName FROM otel_traces WHERE Timestamp >= now() - INTERVAL 2 HOUR": "toDate(ts)",
    }.items(),
    ids=["trace", "companion", "by id", "time"],
)
def test_indexes_are_used(up: Instance, query: str, index: str) -> None:
    asked = urllib.parse.urlencode({"query": f"EXPLAIN indexes = 1 {query}"})
    plan = up.get("clickhouse-http", f"/?{asked}")
    assert index in plan
    # After each index: how many parts are left, of how many.
    steps = re.findall(r"Parts: (\d+)/(\d+)", plan)
    assert int(steps[-1][0]) <= 2 < 20 <= int(steps[0][1]), plan
