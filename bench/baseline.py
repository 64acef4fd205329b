"""The straightforward Python translator, to compare with: protobuf objects and a dict per span.

It makes the most important columns of `agent_events`: no masking of texts, no limits, no nested usage, a
table of six prices. So it does less than spanhouse for a span. `python -m bench.baseline PORT URL` serves
OTLP/gRPC and inserts into the ClickHouse server at URL.
"""

from __future__ import annotations

import hashlib
import hmac
import queue
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from typing import Any, Final

import clickhouse_connect
import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

Row = dict[str, Any]

_STATUS: Final = {0: "unset", 1: "ok", 2: "error"}
_KINDS: Final = {"chat": "llm", "invoke_agent": "agent", "execute_tool": "tool"}
# Column: the attribute it is made of.
_COLUMNS: Final = {
    "tenant_id": "tenant.id",
    "agent": "gen_ai.agent.name",
    "session_id": "gen_ai.conversation.id",
    "provider": "gen_ai.provider.name",
    "operation": "gen_ai.operation.name",
    "tool_name": "gen_ai.tool.name",
    "prompt_name": "gen_ai.prompt.name",
    "prompt_version": "gen_ai.prompt.version",
    "error_type": "error.type",
}
# Dollars per million tokens, in and out.
_PRICES: Final = {
    "gpt-4o-mini-2024-07-18": (Decimal("0.15"), Decimal("0.6")),
    "gpt-4o-2024-08-06": (Decimal("2.5"), Decimal(10)),
    "gpt-4.1-2025-04-14": (Decimal(2), Decimal(8)),
    "claude-sonnet-4-5-20250929": (Decimal(3), Decimal(15)),
    "claude-haiku-4-5-20251001": (Decimal(1), Decimal(5)),
    "gemini-2.5-flash": (Decimal("0.3"), Decimal("2.5")),
}
_THREADS: Final = 64
INSERT_ROWS: Final = 10_000
_INSERT_SECONDS: Final = 0.2
_HASH_KEY: Final = b"a key for benchmarks, of 32 bytes."


def decode(request: ExportTraceServiceRequest) -> list[Row]:
    """A dict for each span, with what OTLP says of it."""
    decoded = []
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            for span in scope_spans.spans:
                decoded.append(  # noqa: PERF401  # as one writes it
                    {
                        "trace_id": span.trace_id.hex(),
                        "span_id": span.span_id.hex(),
                        "parent_span_id": span.parent_span_id.hex(),
                        "name": span.name,
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "status": span.status.code,
                        "status_message": span.status.message,
                        "scope": scope.name,
                        "scope_version": scope.version,
                        "resource": resource,
                        "attributes": _attributes(span.attributes),
                        "events": [
                            (event.time_unix_nano, event.name, _attributes(event.attributes))
                            for event in span.events
                        ],
                    }
                )
    return decoded


def rows(request: ExportTraceServiceRequest) -> list[Row]:
    """A row of `agent_events` for each span, as a dict."""
    return [_row(span) for span in decode(request)]


def _row(span: Row) -> Row:
    resource, attributes, events = span["resource"], span["attributes"], span["events"]
    columns = {column: attributes.pop(key, "") for column, key in _COLUMNS.items()}
    model = attributes.pop("gen_ai.response.model", "") or attributes.pop("gen_ai.request.model", "")
    prompt = attributes.pop("gen_ai.usage.input_tokens", 0)
    completion = attributes.pop("gen_ai.usage.output_tokens", 0)
    in_price, out_price = _PRICES.get(model, (Decimal(0), Decimal(0)))
    user = attributes.pop("user.id", "")
    return columns | {
        "ts": span["start"],
        "trace_id": span["trace_id"],
        "span_id": span["span_id"],
        "parent_span_id": span["parent_span_id"],
        "name": span["name"],
        "kind": _KINDS.get(columns["operation"], "other"),
        "service": resource.get("service.name", ""),
        "service_version": resource.get("service.version", ""),
        "env": resource.get("deployment.environment.name", ""),
        "user_id_hash": hmac.digest(_HASH_KEY, user.encode(), hashlib.sha256).hex() if user else "",
        "model": model,
        "status": _STATUS.get(span["status"], "unset"),
        "status_message": span["status_message"],
        "scope": span["scope"],
        "scope_version": span["scope_version"],
        "latency_ms": (span["end"] - span["start"]) / 1e6,
        "tokens_prompt": prompt,
        "tokens_completion": completion,
        "cost_usd": (prompt * in_price + completion * out_price) / 1_000_000,
        "resource": _texts(resource),
        "attrs": _texts(attributes),
        "events.ts": [time for time, _, _ in events],
        "events.name": [name for _, name, _ in events],
        "events.attrs": [_texts(more) for _, _, more in events],
    }


def _texts(attributes: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in attributes.items()}


def _attributes(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


class Translator(TraceServiceServicer):
    """The gRPC service: rows of each request wait until they are inserted together with others'."""

    def __init__(self, url: str) -> None:
        self._client = clickhouse_connect.get_client(dsn=url, database="spanhouse")
        self._waiting: queue.Queue[tuple[list[Row], Future[None]]] = queue.Queue()
        threading.Thread(target=self._insert_loop, daemon=True).start()

    def Export(  # noqa: N802  # the generated class's name
        self, request: ExportTraceServiceRequest, _context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        """Answered when the rows are inserted."""
        stored: Future[None] = Future()
        self._waiting.put((rows(request), stored))
        stored.result()
        return ExportTraceServiceResponse()

    def _insert_loop(self) -> None:
        while True:
            made: list[Row] = []
            futures = []
            deadline = time.monotonic() + _INSERT_SECONDS
            while len(made) < INSERT_ROWS:
                try:
                    more, future = self._waiting.get(timeout=max(0, deadline - time.monotonic()))
                except queue.Empty:
                    break
                made += more
                futures.append(future)
            if not made:
                continue
            columns = list(made[0])
            try:
                self._client.insert("agent_events", [list(row.values()) for row in made], columns)
            except Exception as error:  # noqa: BLE001  # told to all whose rows they are
                for future in futures:
                    future.set_exception(error)
            else:
                for future in futures:
                    future.set_result(None)


def main(port: int, url: str) -> None:
    """Serve until killed."""
    options = [("grpc.max_receive_message_length", 64 << 20)]
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=options)
    add_TraceServiceServicer_to_server(Translator(url), server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
