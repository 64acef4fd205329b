"""What strangers send to a real instance: told why, good spans kept, and the process lives."""

from __future__ import annotations

import gzip
import json
import os
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.harness import Instance, attributes, request

SECOND = 10**9
DAY = 86_400 * SECOND


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("bad") / "data") as instance:
        yield instance
        assert instance.get("metrics", "/healthz") == "ok\n"


def over_http(instance: Instance, body: bytes) -> ExportTraceServiceResponse:
    status, answer = instance.post(body)
    assert status == 200, answer
    return ExportTraceServiceResponse.FromString(answer)


def over_grpc(instance: Instance, body: bytes) -> ExportTraceServiceResponse:
    with grpc.insecure_channel(instance.addresses["otlp-grpc"]) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        return ExportTraceServiceResponse.FromString(export(body))


def no_trace_id(span: Span) -> None:
    span.trace_id = b""


def zero_trace_id(span: Span) -> None:
    span.trace_id = bytes(16)


def short_trace_id(span: Span) -> None:
    span.trace_id = struct.pack("<I", 0xDEADBEEF)


def no_span_id(span: Span) -> None:
    span.span_id = b""


def long_span_id(span: Span) -> None:
    span.span_id = os.urandom(9)


def short_parent(span: Span) -> None:
    span.parent_span_id = b"\1\2\3\4"


def no_start(span: Span) -> None:
    span.start_time_unix_nano = 0


def no_end(span: Span) -> None:
    span.end_time_unix_nano = 0


def end_before_start(span: Span) -> None:
    span.end_time_unix_nano = span.start_time_unix_nano - 1


def long_ago(span: Span) -> None:
    span.start_time_unix_nano -= 200 * DAY
    span.end_time_unix_nano -= 200 * DAY


def far_ahead(span: Span) -> None:
    span.start_time_unix_nano += 200 * DAY
    span.end_time_unix_nano += 200 * DAY


def greatest_times(span: Span) -> None:
    span.start_time_unix_nano = span.end_time_unix_nano = 2**64 - 1


def milliseconds_for_nanoseconds(span: Span) -> None:
    span.start_time_unix_nano //= 10**6
    span.end_time_unix_nano //= 10**6


def two_days_long(span: Span) -> None:
    span.start_time_unix_nano -= 2 * DAY


def too_many_attributes(span: Span) -> None:
    span.attributes.extend(attributes({f"key.{i}": i for i in range(10_000)}))


def invalid_utf8(span: Span) -> None:
    span.attributes.extend(attributes({"app.note": "REPLACE-ME"}))


BAD: list[tuple[Callable[[Span], None], str]] = [
    (no_trace_id, "trace_id"), (zero_trace_id, "trace_id"), (short_trace_id, "trace_id"),
    (no_span_id, "span_id"), (long_span_id, "span_id"), (short_parent, "parent_span_id"),
    (no_start, "start_time_unix_nano"), (no_end, "end_time_unix_nano"),
    (end_before_start, "end_time_unix_nano"), (long_ago, "in the past"), (far_ahead, "in the future"),
    (greatest_times, "in the future"), (milliseconds_for_nanoseconds, "in the past"),
    (two_days_long, "longer than"), (too_many_attributes, "1024 attributes"), (invalid_utf8, "UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize("door", [over_http, over_grpc])
@pytest.mark.parametrize(("spoil", "reason"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_span_is_rejected_with_its_reason_and_the_others_are_kept(
    instance: Instance,
    door: Callable[[Instance, bytes], ExportTraceServiceResponse],
    spoil: Callable[[Span], None],
    reason: str,
) -> None:
    service = f"{door.__name__}-{spoil.__name__}"
    message = request(5, service=service)
    spans = message.resource_spans[0].scope_spans[0].spans
    spoil(spans[2])
    body = message.SerializeToString().replace(b"REPLACE-ME", b"\xff\xfe\xfd\xc0\xc1 bad.")
    partial = door(instance, body).partial_success
    assert partial.rejected_spans == 1
    assert reason in partial.error_message
    assert "1 of 5 spans" in partial.error_message
    rows = instance.sql(f"SELECT span_id FROM agent_events WHERE service = '{service}'")
    assert {row["span_id"] for row in rows} == {span.span_id.hex() for i, span in enumerate(spans) if i != 2}


def test_all_bad_at_once_are_all_named(instance: Instance) -> None:
    message = request(len(BAD), service="all-bad")
    for (spoil, _), span in zip(BAD, message.resource_spans[0].scope_spans[0].spans, strict=True):
        spoil(span)
    body = message.SerializeToString().replace(b"REPLACE-ME", b"\xff\xfe\xfd\xc0\xc1 bad.")
    partial = over_http(instance, body).partial_success
    assert partial.rejected_spans == len(BAD)
    for _, reason in BAD:
        assert reason in partial.error_message


def test_every_cut_of_a_request_is_refused_or_is_a_request(instance: Instance) -> None:
    body = request(1, service="cut", app__text="text").SerializeToString()
    for end in range(len(body)):
        status, _ = instance.post(body[:end])
        try:
            ExportTraceServiceRequest.FromString(body[:end])
        except Exception:  # noqa: BLE001 whatever protobuf's parser refuses
            assert status == 400, end
        else:
            assert status == 200, end


def test_json_of_the_same_kinds(instance: Instance) -> None:
    now = time.time_ns()
    span = {
        "traceId": os.urandom(16).hex(),
        "spanId": os.urandom(8).hex(),
        "name": "from json",
        "startTimeUnixNano": str(now - SECOND),
        "endTimeUnixNano": str(now),
    }

    def send(*spans: dict[str, object]) -> tuple[int, dict[str, object]]:
        body = {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}
        status, answer = instance.post(json.dumps(body).encode(), "application/json")
        return status, json.loads(answer)

    assert send(span) == (200, {})
    status, answer = send(span, {**span, "traceId": ""}, {**span, "endTimeUnixNano": "1"})
    assert status == 200
    partial = answer["partialSuccess"]
    assert isinstance(partial, dict)
    assert int(partial["rejectedSpans"]) == 2
    assert send({**span, "traceId": "not hexadecimal, and too long"})[0] == 400
    assert send({**span, "startTimeUnixNano": "tomorrow"})[0] == 400
    for text in (b"", b"{", b"[]", b"nonsense", b'{"resourceSpans": [}'):
        assert instance.post(text, "application/json")[0] == 400, text


def test_a_gzip_bomb_costs_no_memory(instance: Instance) -> None:
    process = psutil.Process(instance.process.pid)
    before = process.memory_info().rss
    bomb = gzip.compress(bytes(1 << 30))
    for _ in range(5):
        call = urllib.request.Request(
            instance.url("otlp-http", "/v1/traces"),
            data=bomb,
            headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(call, timeout=60)
        assert refused.value.code == 413
    assert process.memory_info().rss - before < 300e6


def test_a_request_of_millions_of_empty_spans_costs_bounded_memory(instance: Instance) -> None:
    spans = b"\x12\x00" * 4_000_000
    scope = b"\x12" + _varint(len(spans)) + spans
    body = b"\x0a" + _varint(len(scope)) + scope
    status, answer = instance.post(body)
    assert status == 400
    assert b"spans" in answer
    assert psutil.Process(instance.process.pid).memory_info().rss < 2e9


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def test_a_flood_is_answered_within_bounded_memory(tmp_path: Path) -> None:
    config = tmp_path / "spanhouse.yaml"
    config.write_text("receivers: {otlp: {max_queue_bytes: 16000000}}\n")
    with Instance(tmp_path / "data", config=config) as instance:
        trace_id = b"of many spans .."
        message = request(8000, trace_id=trace_id, service="flood", app__text="x" * 200)
        body = message.SerializeToString()
        answers: list[int] = []
        stored = 0

        def send() -> None:
            for _ in range(5):
                status, _ = instance.post(body.replace(trace_id, os.urandom(16)))
                answers.append(status)

        threads = [threading.Thread(target=send) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(answers) <= {200, 429, 503}
        assert 429 in answers
        stored = 8000 * answers.count(200)
        assert int(instance.sql("SELECT count() AS n FROM agent_events")[0]["n"]) == stored
        assert int(instance.sql("SELECT sum(calls) AS n FROM agent_metrics_1m")[0]["n"]) == stored
        peak = int(Path(f"/proc/{instance.process.pid}/status").read_text().split("VmHWM:")[1].split()[0])
        assert peak < 2_000_000  # kB
        assert instance.post(request(1).SerializeToString())[0] == 200
