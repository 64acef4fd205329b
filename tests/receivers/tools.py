"""A pipeline that keeps what it gets and answers as it is told, and what the doors' tests measure with."""

import socket
from collections import deque
from concurrent.futures import Future

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from prometheus_client import REGISTRY

from spanhouse.errors import Malformed
from spanhouse.pipeline import Accepted

LIMIT = 1 << 20


class KeepingPipeline:
    """Same contract as spanhouse.pipeline.Pipeline.

    `answers` are given in turn: an exception is raised by submit or, in a tuple, set on the future; an
    Accepted is set; "hold" leaves the future to the test, in `held`. Afterwards all is accepted.
    """

    def __init__(self) -> None:
        self.received: list[ExportTraceServiceRequest] = []
        self.answers: deque = deque()
        self.held: deque[Future] = deque()

    def submit(self, payload: bytes) -> Future:
        answer = self.answers.popleft() if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        future: Future = Future()
        future.set_running_or_notify_cancel()
        try:
            request = ExportTraceServiceRequest.FromString(payload)
        except DecodeError as error:
            future.set_exception(Malformed(f"not a trace request: {error}"))
            return future
        if isinstance(answer, tuple):
            future.set_exception(answer[0])
            return future
        self.received.append(request)
        if answer == "hold":
            self.held.append(future)
        else:
            future.set_result(answer or Accepted(spans=span_count(request), rejected=0, message=""))
        return future


def span_count(request: ExportTraceServiceRequest) -> int:
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def count(receiver: str, outcome: str) -> float:
    labels = {"receiver": receiver, "outcome": outcome}
    return REGISTRY.get_sample_value("spanhouse_requests_total", labels) or 0.0


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True


class Peak:
    """The process's largest resident size since the reset, by the kernel's own count."""

    def __init__(self) -> None:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        self._start = self._high_water()

    def grown(self) -> int:
        return self._high_water() - self._start

    @staticmethod
    def _high_water() -> int:
        with open("/proc/self/status") as file:
            (line,) = (line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10


def check_kept_once(exporter: SpanExporter, pipeline: KeepingPipeline) -> None:
    """A span that the SDK sends through `exporter` arrives, once."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("test").start_span("kept").end()
    provider.shutdown()
    names = [m.resource_spans[0].scope_spans[0].spans[0].name for m in pipeline.received]
    assert names == ["kept"]
