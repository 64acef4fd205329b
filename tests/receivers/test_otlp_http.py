import asyncio
import gzip
import http.client
import json
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import lz4.frame
import pyarrow as pa
import pytest
import requests
import zstandard
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from spanhouse.errors import Overloaded, Unavailable
from spanhouse.pipeline import Accepted
from spanhouse.receivers import intake
from spanhouse.receivers.otlp_http import start_otlp_http
from tests.harness import eventually, request
from tests.receivers.tools import LIMIT, Peak, accepts, check_kept_once, count

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
MESSAGE = request(3)
BODY = MESSAGE.SerializeToString()


def otlp_json(message: ExportTraceServiceRequest) -> bytes:
    """OTLP's JSON: protobuf's own, but with ids in hex."""
    document = MessageToDict(message, use_integers_for_enums=True)
    spans = message.resource_spans[0].scope_spans[0].spans
    for span, source in zip(document["resourceSpans"][0]["scopeSpans"][0]["spans"], spans, strict=True):
        span["traceId"] = source.trace_id.hex()
        span["spanId"] = source.span_id.hex()
    return json.dumps(document).encode()


@pytest.fixture
def post(http_port):
    def post(body=BODY, content_type=PROTOBUF, path="/v1/traces", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type:
            headers["Content-Type"] = content_type
        return requests.post(f"http://127.0.0.1:{http_port}{path}", data=body, headers=headers, timeout=60)

    return post


def status_of(response) -> Status:
    assert response.headers["Content-Type"] == PROTOBUF
    return Status.FromString(response.content)


def test_protobuf_is_taken_and_answered_in_protobuf(post, pipeline):
    response = post()
    assert (response.status_code, response.headers["Content-Type"]) == (200, PROTOBUF)
    assert ExportTraceServiceResponse.FromString(response.content) == ExportTraceServiceResponse()
    assert pipeline.received == [MESSAGE]


@pytest.mark.parametrize(
    "content_type", [JSON, "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
def test_json_is_taken_and_answered_in_json(post, pipeline, content_type):
    response = post(otlp_json(MESSAGE), content_type)
    assert (response.status_code, response.headers["Content-Type"]) == (200, JSON)
    assert response.json() == {}
    assert pipeline.received == [MESSAGE]


def test_a_large_json_body_is_taken(post, pipeline):
    message = request(500)
    assert post(otlp_json(message), JSON).status_code == 200
    assert pipeline.received == [message]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:])),
        ("deflate", zlib.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
        ("zlib", zlib.compress),
        ("lz4", lz4.frame.compress),
        ("snappy", partial(pa.compress, codec="snappy", asbytes=True)),
    ],
)
@pytest.mark.parametrize("spans", [3, 2000])
def test_encodings(post, pipeline, encoding, compress, spans):
    message = request(spans)
    assert post(compress(message.SerializeToString()), Content_Encoding=encoding).status_code == 200
    assert pipeline.received == [message]


@pytest.mark.parametrize(("body", "content_type"), [(b"", PROTOBUF), (b"{}", JSON)])
def test_an_empty_request_is_valid(post, body, content_type):
    assert post(body, content_type).status_code == 200


def test_a_chunked_body_is_taken(post, pipeline):
    assert post(iter([BODY[:10], BODY[10:100], BODY[100:]])).status_code == 200
    assert pipeline.received == [MESSAGE]


def test_what_is_decompressed_is_counted_as_it_was_sent(post):
    before = count("otlp_http", "stored")
    assert post(gzip.compress(BODY), Content_Encoding="gzip").status_code == 200
    assert count("otlp_http", "stored") == before + 1


@pytest.mark.parametrize(
    ("body", "content_type", "headers", "status", "text"),
    [
        (b"\xff\xff\xff\xff", PROTOBUF, {}, 400, "not a trace request"),
        (BODY[:-1], PROTOBUF, {}, 400, "not a trace request"),
        (otlp_json(MESSAGE)[:-1], JSON, {}, 400, ""),
        (b"[]", JSON, {}, 400, ""),
        (b"", JSON, {}, 400, ""),
        (b'{"resourceSpans": "\xff"}', JSON, {}, 400, ""),
        (BODY, "text/plain", {}, 415, PROTOBUF),
        (BODY, None, {}, 415, PROTOBUF),
        (b"{}", "application/json; charset=utf-16", {}, 415, "UTF-8"),
        (BODY, PROTOBUF, {"Content_Encoding": "br"}, 415, "gzip"),
        (BODY, PROTOBUF, {"Content_Encoding": "gzip, gzip"}, 415, "gzip"),
        (BODY, PROTOBUF, {"Content_Encoding": "gzip"}, 400, "gzip"),
        (gzip.compress(BODY)[:-4], PROTOBUF, {"Content_Encoding": "gzip"}, 400, "ends early"),
        (b"", PROTOBUF, {"Content_Encoding": "gzip"}, 400, "ends early"),
        (gzip.compress(BODY), PROTOBUF, {}, 400, "not a trace request"),
    ],
)
def test_bad_input_gets_an_error_in_its_own_content_type(
    post, pipeline, body, content_type, headers, status, text
):
    response = post(body, content_type, **headers)
    assert response.status_code == status
    if content_type == PROTOBUF:
        error = status_of(response)
        assert error.code == 3
        assert text in error.message
    else:
        assert response.headers["Content-Type"] == JSON
        assert response.json()["code"] == 3
        assert text in response.json()["message"]
    assert pipeline.received == []
    assert post().status_code == 200


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs"])
def test_other_signals_are_told_that_only_traces_are_taken(post, path):
    response = post(path=path)
    assert response.status_code == 404
    assert "traces only" in status_of(response).message


@pytest.mark.parametrize("path", ["/", "/v1/trace", "/v1/traces/x"])
def test_other_paths_are_told_the_path(post, path):
    response = post(path=path)
    assert response.status_code == 404
    assert "/v1/traces" in status_of(response).message


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_told_the_method(http_port, method):
    response = requests.request(method, f"http://127.0.0.1:{http_port}/v1/traces", timeout=60)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_a_body_over_the_limit_is_refused_before_it_is_sent(http_port):
    connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=60)
    connection.putrequest("POST", "/v1/traces")
    connection.putheader("Content-Type", PROTOBUF)
    connection.putheader("Content-Length", str(10 << 30))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert str(LIMIT) in Status.FromString(response.read()).message
    connection.close()


def test_a_chunked_body_over_the_limit_is_refused_without_keeping_it(http_port):
    before = count("otlp_http", "too_large")
    peak = Peak()
    with socket.create_connection(("127.0.0.1", http_port), timeout=60) as client:
        client.sendall(head(b"Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        for _ in range((64 << 20) >> 16):
            client.sendall(chunk)
        client.sendall(b"0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 413"
    assert peak.grown() < 16 << 20
    assert count("otlp_http", "too_large") == before + 1


@pytest.mark.parametrize("body", [BODY, otlp_json(MESSAGE)])
def test_gzip_bombs_stop_at_the_limit(post, body):
    bomb = gzip.compress(bytes(64 << 20)) * 8
    content_type = PROTOBUF if body == BODY else JSON
    peak = Peak()
    with ThreadPoolExecutor(8) as threads:
        posts = [threads.submit(post, bomb, content_type, Content_Encoding="gzip") for _ in range(8)]
        assert {response.result().status_code for response in posts} == {413}
    assert peak.grown() < 64 << 20
    assert post().status_code == 200


def test_partial_success_in_protobuf_and_json(post, pipeline):
    pipeline.answers += [Accepted(3, 2, "2 of 3 spans rejected: no trace id (2)")] * 2
    response = ExportTraceServiceResponse.FromString(post().content)
    assert response.partial_success.rejected_spans == 2
    assert response.partial_success.error_message == "2 of 3 spans rejected: no trace id (2)"
    assert post(otlp_json(MESSAGE), JSON).json() == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "2 of 3 spans rejected: no trace id (2)"}
    }


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [("gzip", "gzip"), ("br, GZIP;q=0.5", "gzip"), ("gzip;q=0", None), ("identity", None)],
)
def test_a_long_answer_is_compressed_for_those_who_accept_it(post, pipeline, accept, encoding):
    pipeline.answers.append(Accepted(3, 1, "long " * 1000))
    response = post(Accept_Encoding=accept)
    assert response.headers.get("Content-Encoding") == encoding
    assert ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans == 1


@pytest.mark.parametrize(
    ("answer", "status", "code", "retry_after"),
    [
        (Overloaded("full", 0.2), 429, 8, "1"),
        (Overloaded("full", 2.1), 429, 8, "3"),
        (Unavailable("shutting down"), 503, 14, "1"),
        ((Unavailable("not stored"),), 503, 14, "1"),
    ],
)
def test_overload_and_failure_say_when_to_come_back(post, pipeline, answer, status, code, retry_after):
    pipeline.answers.append(answer)
    response = post()
    assert (response.status_code, response.headers["Retry-After"]) == (status, retry_after)
    assert status_of(response).code == code


def test_bodies_being_read_share_a_budget(monkeypatch, loop, pipeline, request):
    monkeypatch.setattr(intake, "READ_BUDGET_BYTES", len(BODY) + 100)
    port = request.getfixturevalue("http_port")
    before = count("otlp_http", "overloaded")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
        slow.sendall(head(f"Content-Length: {len(BODY)}".encode()) + BODY[:-1])

        def refused() -> bool:
            answer = requests.post(
                f"http://127.0.0.1:{port}/v1/traces",
                data=BODY,
                headers={"Content-Type": PROTOBUF},
                timeout=60,
            )
            return answer.status_code == 429

        eventually(refused)
        assert count("otlp_http", "overloaded") > before
        slow.sendall(BODY[-1:])
        assert slow.recv(12) == b"HTTP/1.1 200"
    assert not refused()


def head(*lines: bytes) -> bytes:
    start = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    return start + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def test_a_body_that_does_not_come_is_given_up(monkeypatch, http_port):
    monkeypatch.setattr(intake, "BODY_TIMEOUT_S", 0.05)
    with socket.create_connection(("127.0.0.1", http_port), timeout=60) as client:
        client.sendall(head(b"Content-Length: 100") + b"only this")
        assert client.recv(12) == b"HTTP/1.1 408"


def test_a_sender_that_waits_for_100_continue_gets_it(http_port):
    with socket.create_connection(("127.0.0.1", http_port), timeout=60) as client:
        client.sendall(head(f"Content-Length: {len(BODY)}".encode(), b"Expect: 100-continue"))
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"\x00\x01\x02 garbage \r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS handshake
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        head(b"Content-Length: 5", b"Content-Length: 6") + b"hello!",
        head(b"Content-Length: -5"),
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: chunked") + b"zz\r\n",
        head(b"X: " + b"y" * 100_000),
        head(f"Content-Length: {len(BODY)}".encode()) + BODY + b"garbage behind it\r\n\r\n" * 10,
    ],
)
def test_garbage_is_refused_and_the_server_lives(http_port, post, bytes_sent):
    with socket.create_connection(("127.0.0.1", http_port), timeout=60) as client:
        client.sendall(bytes_sent)
        client.shutdown(socket.SHUT_WR)
        answers = b""
        while received := client.recv(65536):
            answers += received
    assert b" 400 Bad Request" in answers or answers == b""
    assert post().status_code == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [(b"Content-Type: application/json", 400), (b"Content-Encoding: gzip\r\nContent-Encoding: gzip", 415)],
)
def test_headers_given_twice_are_refused(http_port, pipeline, header, status):
    with socket.create_connection(("127.0.0.1", http_port), timeout=60) as client:
        client.sendall(head(f"Content-Length: {len(BODY)}".encode(), header) + BODY)
        assert f" {status} " in client.recv(15).decode()
    assert pipeline.received == []


def test_pipelined_requests_are_answered_in_turn(http_port):
    one = head(f"Content-Length: {len(BODY)}".encode()) + BODY
    with socket.create_connection(("127.0.0.1", http_port), timeout=60) as client:
        client.sendall(one * 20)
        received = b""
        while received.count(b"HTTP/1.1 200") < 20:
            received += client.recv(65536)


def test_a_sender_that_leaves_in_the_middle_of_the_body_harms_nobody(http_port, post, pipeline):
    before = count("otlp_http", "malformed")
    with socket.create_connection(("127.0.0.1", http_port), timeout=60) as client:
        client.sendall(head(f"Content-Length: {len(BODY)}".encode()) + BODY[:-1])
    eventually(lambda: count("otlp_http", "malformed") > before)
    assert pipeline.received == []
    assert post().status_code == 200


def test_a_sender_that_leaves_before_the_answer_harms_nobody(http_port, post, pipeline):
    before = count("otlp_http", "stored")
    pipeline.answers.append("hold")
    with socket.create_connection(("127.0.0.1", http_port), timeout=60) as client:
        client.sendall(head(f"Content-Length: {len(BODY)}".encode()) + BODY)
        future = eventually(lambda: pipeline.held and pipeline.held.popleft())
    future.set_result(Accepted(3, 0, ""))
    eventually(lambda: count("otlp_http", "stored") > before)
    assert post().status_code == 200


def test_many_connections_at_once(post, pipeline):
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda _: post().status_code, range(300)))
    assert answers == [200] * 300
    assert len(pipeline.received) == 300


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_the_python_exporter_sends_again_until_it_is_stored(http_port, pipeline, compression):
    pipeline.answers += [Unavailable("not now")]
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{http_port}/v1/traces", compression=compression)
    check_kept_once(exporter, pipeline)


def test_stop_lets_the_requests_being_answered_finish(loop, pipeline):
    pipeline.answers.append("hold")
    start = start_otlp_http(pipeline, "127.0.0.1", 0, max_body_bytes=LIMIT)
    server = asyncio.run_coroutine_threadsafe(start, loop).result()
    answers = []
    sender = threading.Thread(
        target=lambda: answers.append(
            requests.post(
                f"http://127.0.0.1:{server.port}/v1/traces",
                BODY,
                headers={"Content-Type": PROTOBUF},
                timeout=60,
            )
        )
    )
    sender.start()
    future = eventually(lambda: pipeline.held and pipeline.held.popleft())
    stopping = asyncio.run_coroutine_threadsafe(server.stop(60), loop)
    eventually(lambda: not accepts(server.port))
    future.set_result(Accepted(3, 0, ""))
    stopping.result()
    sender.join()
    assert answers[0].status_code == 200


def test_a_port_in_use_is_an_os_error(loop, http_port, pipeline):
    start = start_otlp_http(pipeline, "127.0.0.1", http_port, max_body_bytes=LIMIT)
    with pytest.raises(OSError, match="in use"):
        asyncio.run_coroutine_threadsafe(start, loop).result()
