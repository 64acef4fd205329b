"""Prints recorded spans: `python -m tests.dialects.show openlit [scenario ...]`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.dialects import golden


def show(library: str, scenario: str, request: ExportTraceServiceRequest) -> None:
    names: dict[bytes, str] = {}
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            names |= {span.span_id: span.name for span in scope.spans}
    print(f"\n=== {library} {scenario}")
    for resource in request.resource_spans:
        print("resource:", _line(resource.resource.attributes))
        for scope in resource.scope_spans:
            print(f"scope: {scope.scope.name} {scope.scope.version} {_line(scope.scope.attributes)}")
            for span in sorted(scope.spans, key=lambda span: span.start_time_unix_nano):
                _span(span, names)


def _span(span: Span, names: dict[bytes, str]) -> None:
    milliseconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    parent = names.get(span.parent_span_id, span.parent_span_id.hex()) or "-"
    status = Status.StatusCode.Name(span.status.code)[len("STATUS_CODE_") :]
    kind = Span.SpanKind.Name(span.kind)[len("SPAN_KIND_") :]
    outcome = f"{milliseconds:.0f} ms {status} {span.status.message!r:.200}"
    print(f"  {span.name!r} parent={parent!r} {kind} {outcome}")
    for attribute in sorted(span.attributes, key=lambda attribute: attribute.key):
        print("     ", _pair(attribute))
    for event in span.events:
        after = (event.time_unix_nano - span.start_time_unix_nano) / 1e6
        print(f"      event {event.name!r} after {after:.0f} ms: {_line(event.attributes)}")
    for link in span.links:
        print(f"      link {link.span_id.hex()}: {_line(link.attributes)}")


def _line(attributes: Iterable[KeyValue]) -> str:
    return "; ".join(_pair(attribute) for attribute in attributes)


def _pair(attribute: KeyValue) -> str:
    kind = (attribute.value.WhichOneof("value") or "empty").removesuffix("_value")
    text = f"{_value(attribute.value)!r}"
    return f"{attribute.key} ({kind}) = {text if len(text) < 120 else text[:120] + '…'}"


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: _value(item.value) for item in value.kvlist_value.values}
    return getattr(value, kind) if kind else None


if __name__ == "__main__":
    name, *wanted = sys.argv[1:]
    for each, sent in golden.requests(name).items():
        if not wanted or each in wanted:
            show(name, each, sent)
