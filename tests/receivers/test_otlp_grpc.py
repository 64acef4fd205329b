import asyncio
import gzip
import socket
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from spanhouse.errors import Overloaded, Unavailable
from spanhouse.pipeline import Accepted
from spanhouse.receivers import intake
from spanhouse.receivers.otlp_grpc import start_otlp_grpc
from tests.harness import eventually, request
from tests.receivers.tools import LIMIT, Peak, accepts, check_kept_once, count

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
MESSAGE = request(3)
BODY = MESSAGE.SerializeToString()
Code = grpc.StatusCode


@pytest.fixture
def channel(grpc_port):
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        yield channel


@pytest.fixture
def export(channel):
    """Sends raw bytes."""
    return channel.unary_unary(f"/{SERVICE}/Export")


def fails(call, *arguments, **named) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, timeout=60, **named)
    return raised.value


def retry_delay(error: grpc.RpcError) -> float | None:
    """Seconds of the RetryInfo in the error's google.rpc.Status; None without one."""
    details = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    assert len(details) == 1
    status = Status.FromString(details[0])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    for detail in status.details:
        info = RetryInfo()
        assert detail.Unpack(info)
        return info.retry_delay.ToNanoseconds() / 1e9
    return None


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("spans", [3, 2000])
def test_spans_are_taken(channel, pipeline, compression, spans):
    message = request(spans)
    answer = TraceServiceStub(channel).Export(message, timeout=60, compression=compression)
    assert answer == ExportTraceServiceResponse()
    assert pipeline.received == [message]


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_an_empty_request_is_valid(export, compression):
    assert export(b"", timeout=60, compression=compression) == b""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\xff\xff\xff\xff", "not a trace request"),
        (BODY[:-1], "not a trace request"),
        (gzip.compress(BODY, mtime=0)[:-4], "ends early"),
        (gzip.compress(BODY, mtime=0)[:20] + bytes(20), "not valid gzip"),
        (zlib.compress(BODY)[:-1], "ends early"),
    ],
)
def test_malformed_is_invalid_argument_with_the_reason(export, pipeline, body, text):
    error = fails(export, body)
    assert error.code() == Code.INVALID_ARGUMENT
    assert text in error.details()
    assert retry_delay(error) is None
    assert pipeline.received == []
    assert export(BODY, timeout=60) == b""


def test_a_message_over_the_limit_is_not_retryable(export):
    before = count("otlp_grpc", "too_large")
    error = fails(export, bytes(LIMIT + 1))
    assert error.code() == Code.RESOURCE_EXHAUSTED
    assert str(LIMIT) in error.details()
    assert not any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata())
    assert count("otlp_grpc", "too_large") == before + 1
    assert export(BODY, timeout=60) == b""


def test_partial_success(channel, pipeline):
    pipeline.answers.append(Accepted(3, 2, "2 of 3 spans rejected: no trace id (2)"))
    partial = TraceServiceStub(channel).Export(MESSAGE, timeout=60).partial_success
    assert (partial.rejected_spans, partial.error_message) == (2, "2 of 3 spans rejected: no trace id (2)")


def test_a_long_answer_is_compressed(channel, pipeline):
    pipeline.answers.append(Accepted(3, 0, "long " * 1000))
    partial = TraceServiceStub(channel).Export(MESSAGE, timeout=60).partial_success
    assert partial.error_message == "long " * 1000


@pytest.mark.parametrize(
    ("answer", "code", "delay"),
    [
        (Overloaded("full", 0.25), Code.RESOURCE_EXHAUSTED, 0.25),
        (Unavailable("shutting down"), Code.UNAVAILABLE, 1.0),
        ((Unavailable("not stored"),), Code.UNAVAILABLE, 1.0),
    ],
)
def test_overload_and_failure_carry_retry_info(export, pipeline, answer, code, delay):
    pipeline.answers.append(answer)
    error = fails(export, BODY)
    assert error.code() == code
    assert retry_delay(error) == delay


@pytest.mark.parametrize("package", ["metrics.v1.MetricsService", "logs.v1.LogsService"])
def test_other_signals_are_told_that_only_traces_are_taken(channel, package):
    error = fails(channel.unary_unary(f"/opentelemetry.proto.collector.{package}/Export"), b"")
    assert error.code() == Code.UNIMPLEMENTED
    assert "traces only" in error.details()


def test_unknown_methods_are_unimplemented(channel):
    assert fails(channel.unary_unary("/some.Service/Method"), b"").code() == Code.UNIMPLEMENTED


def test_health(channel):
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=60) == b"\x08\x01"


def test_a_sender_that_cancels_harms_nobody(export, pipeline):
    before = count("otlp_grpc", "cancelled")
    pipeline.answers.append("hold")
    call = export.future(BODY)
    future = eventually(lambda: pipeline.held and pipeline.held.popleft())
    call.cancel()
    eventually(lambda: count("otlp_grpc", "cancelled") > before)
    future.set_result(Accepted(3, 0, ""))
    assert export(BODY, timeout=60) == b""


class RawCall:
    """An Export call written frame by frame, to stop in the middle of its message."""

    def __init__(self, port: int, size: int, encoding: str = "identity") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self._frame(4, 0, 0, b""))
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": f"/{SERVICE}/Export",
            ":authority": "test",
            "te": "trailers",
            "content-type": "application/grpc",
            "grpc-encoding": encoding,
        }
        block = b"".join(
            b"\x00" + b"".join(bytes([len(text)]) + text.encode() for text in pair)
            for pair in headers.items()
        )
        self.socket.sendall(self._frame(1, 4, 1, block))
        self.send(struct.pack(">?I", encoding != "identity", size))

    def send(self, data: bytes, end: bool = False) -> None:
        """At most 64 KiB in all: the server's window is not looked at."""
        pieces = [data[at : at + 16384] for at in range(0, len(data), 16384)]
        for piece in pieces:
            self.socket.sendall(self._frame(0, int(end and piece is pieces[-1]), 1, piece))

    def received(self) -> bytes:
        """Everything up to the call's status."""
        data = b""
        while b"grpc-status" not in data:
            data += self.socket.recv(65536)
        return data

    def close(self) -> None:
        self.socket.close()

    @staticmethod
    def _frame(kind: int, flags: int, stream: int, data: bytes) -> bytes:
        return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data


def test_gzip_bombs_stop_at_the_limit(grpc_port, export):
    before = count("otlp_grpc", "too_large")
    bomb = gzip.compress(bytes(48 << 20))
    peak = Peak()
    calls = [RawCall(grpc_port, len(bomb), "gzip") for _ in range(8)]
    for call in calls:
        call.send(bomb, end=True)
    for call in calls:
        assert str(LIMIT).encode() in call.received()
        call.close()
    assert peak.grown() < 32 << 20
    assert count("otlp_grpc", "too_large") == before + 8
    assert export(BODY, timeout=60) == b""


def test_a_sender_that_leaves_in_the_middle_of_a_message_harms_nobody(grpc_port, export, pipeline):
    def ended() -> float:
        return count("otlp_grpc", "cancelled") + count("otlp_grpc", "too_large")

    before = ended()
    call = RawCall(grpc_port, len(BODY))
    call.send(BODY[:50])
    call.close()
    eventually(lambda: ended() > before)
    assert pipeline.received == []
    assert export(BODY, timeout=60) == b""


def test_a_message_that_does_not_come_is_given_up(monkeypatch, grpc_port, export):
    monkeypatch.setattr(intake, "BODY_TIMEOUT_S", 0.1)
    call = RawCall(grpc_port, len(BODY))
    call.send(BODY[:50])
    assert b"not read within" in call.received()
    call.close()
    assert export(BODY, timeout=60) == b""


def test_no_more_messages_are_read_at_once_than_memory_allows(monkeypatch, loop, pipeline, request):
    monkeypatch.setattr(intake, "READ_BUDGET_BYTES", LIMIT)
    port = request.getfixturevalue("grpc_port")
    slow = RawCall(port, len(BODY))
    slow.send(BODY[:50])
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        waiting = channel.unary_unary(f"/{SERVICE}/Export").future(BODY, timeout=60)
        slow.send(BODY[50:], end=True)
        slow.received()
        assert waiting.result() == b""
    slow.close()
    assert pipeline.received == [MESSAGE, MESSAGE]


FLOOD = """
import sys, grpc
body = bytes(1 << 20)
options = [("grpc.max_send_message_length", -1)]
with grpc.insecure_channel(sys.argv[1], options) as channel:
    export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    for call in [export.future(body, timeout=2) for _ in range(200)]:
        print(call.code())
"""


def test_messages_wait_unread_outside_of_memory(monkeypatch, loop, pipeline, request):
    monkeypatch.setattr(intake, "READ_BUDGET_BYTES", LIMIT)
    port = request.getfixturevalue("grpc_port")
    slow = RawCall(port, len(BODY))  # takes the only reader
    slow.send(BODY[:50])
    peak = Peak()
    command = [sys.executable, "-c", FLOOD, f"127.0.0.1:{port}"]
    codes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(codes) == {"StatusCode.DEADLINE_EXCEEDED"}
    assert peak.grown() < 64 << 20
    slow.send(BODY[50:], end=True)
    slow.received()
    slow.close()
    assert pipeline.received == [MESSAGE]


def test_many_calls_at_once(export, pipeline):
    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(lambda _: export(BODY, timeout=60), range(500))) == [b""] * 500
    assert len(pipeline.received) == 500


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_the_python_exporter_sends_again_until_it_is_stored(grpc_port, pipeline, compression):
    pipeline.answers += [Overloaded("full", 0.1), Overloaded("still full", 0.1), Unavailable("not now")]
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{grpc_port}", compression=compression)
    check_kept_once(exporter, pipeline)


def test_stop_lets_the_calls_being_answered_finish(loop, pipeline):
    pipeline.answers.append("hold")
    start = start_otlp_grpc(pipeline, "127.0.0.1", 0, max_body_bytes=LIMIT)
    server = asyncio.run_coroutine_threadsafe(start, loop).result()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        export = channel.unary_unary(f"/{SERVICE}/Export")
        call = export.future(BODY, timeout=60)
        future = eventually(lambda: pipeline.held and pipeline.held.popleft())
        stopping = asyncio.run_coroutine_threadsafe(server.stop(60), loop)
        eventually(lambda: not accepts(server.port))
        assert fails(export, BODY).code() in (Code.UNAVAILABLE, Code.CANCELLED)  # both are retryable
        future.set_result(Accepted(3, 0, ""))
        assert call.result() == b""
        stopping.result()


def test_a_port_in_use_is_an_error(loop, grpc_port, pipeline):
    start = start_otlp_grpc(pipeline, "127.0.0.1", grpc_port, max_body_bytes=LIMIT)
    with pytest.raises(RuntimeError, match="bind"):
        asyncio.run_coroutine_threadsafe(start, loop).result()
