"""A few payloads that between them use every field and every type of value."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList


def values() -> list[AnyValue]:
    leaves = [
        AnyValue(),
        AnyValue(string_value="text"),
        AnyValue(string_value="long text with é and 𝄞 in it"),
        AnyValue(bool_value=True),
        AnyValue(int_value=-5),
        AnyValue(int_value=2**62),
        AnyValue(double_value=0.1),
        AnyValue(bytes_value=b"\x00\xff\x10\x20"),
    ]
    array = AnyValue(array_value=ArrayValue(values=leaves))
    pairs = KeyValueList(
        values=[KeyValue(key=f"k{i}", value=leaf) for i, leaf in enumerate([*leaves, array])]
    )
    return [*leaves, array, AnyValue(kvlist_value=pairs)]


def request() -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    for i in range(2):
        resource_spans = message.resource_spans.add(schema_url="https://opentelemetry.io/schemas/1.30.0")
        resource_spans.resource.dropped_attributes_count = i
        resource_spans.resource.attributes.add(key="service.name").value.string_value = "shop"
        scope_spans = resource_spans.scope_spans.add(schema_url="https://example.test/schema")
        scope_spans.scope.name, scope_spans.scope.version = "library", "1.2.3"
        scope_spans.scope.attributes.add(key="b").value.bool_value = True
        for j in range(2):
            span = scope_spans.spans.add(
                trace_id=bytes(range(16)),
                span_id=bytes(range(8)),
                parent_span_id=b"\xaa" * 8,
                trace_state="a=b",
                flags=257,
                name="chat gpt-4o",
                kind=3,
                start_time_unix_nano=1_763_700_000_000_000_000,
                end_time_unix_nano=1_763_700_001_000_000_000 + j,
                dropped_attributes_count=1,
                dropped_events_count=2,
                dropped_links_count=3,
            )
            span.status.code, span.status.message = 2, "it did not work out"
            span.attributes.add(key="gen_ai.request.model").value.string_value = "gpt-4o"
            span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 1234
            for k, value in enumerate(values()):
                span.attributes.add(key=f"key.{k}", value=value)
            event = span.events.add(name="exception", time_unix_nano=17, dropped_attributes_count=4)
            event.attributes.add(key="exception.type", value=values()[-1])
            link = span.links.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8, trace_state="c=d", flags=1)
            link.attributes.add(key="why", value=values()[-2])
    return message


def small() -> ExportTraceServiceRequest:
    message = request()
    del message.resource_spans[1:]
    del message.resource_spans[0].scope_spans[0].spans[1:]
    del message.resource_spans[0].scope_spans[0].spans[0].attributes[3:-1]
    return message


def samples() -> list[bytes]:
    unknown = b"\xf2\x07\x03abc\xf8\x07\x80\x01\xfb\x07\x0a\x01x\xfc\x07\xfd\x07abcd\xf9\x07abcdefgh"
    first, second = small().SerializeToString(), request().SerializeToString()
    return [first, second, first + unknown, first + second]
