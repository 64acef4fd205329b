"""What the fuzzer starts from: small inputs which between them have every field and form."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, EntityRef

from tests.otlp.json_text import to_json
from tests.otlp.samples import samples, small, values

ODD = """{"a":[1,{"b":null},"x\\\\",-0.5e-3,true],
"resourceSpans":[{"scopeSpans":[{"spans":[null,{"traceId":"5B8E",
"startTimeUnixNano":"1e3","kind":"3","flags":1.0,"attributes":[{"key":"\\u0061","value":{"doubleValue":"-Infinity"}},
{"key":"b","value":{"bytesValue":"-_8=","intValue":"-7","boolValue":false}}]}]}]}]}"""


def _with(value: AnyValue) -> ExportTraceServiceRequest:
    """A span with the value wherever one can be."""
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    resource_spans.resource.entity_refs.append(EntityRef(type="host", id_keys=["a"]))
    scope_spans = resource_spans.scope_spans.add()
    span = scope_spans.spans.add()
    for owner in (span, resource_spans.resource, scope_spans.scope, span.events.add(), span.links.add()):
        owner.attributes.add(key="a", value=value)
    return message


def _wanted(keys: tuple[str, ...]) -> ExportTraceServiceRequest:
    """Two spans with every wanted key, as one type and as another."""
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for texts in (True, False):
        span = spans.add()
        for key in keys:
            span.attributes.add(key=key, value={"string_value": "1"} if texts else {"int_value": 1})
    return message


def payloads(keys: tuple[str, ...]) -> list[bytes]:
    """Payloads for the decoder, with the wanted keys."""
    messages = [*map(_with, values()), _wanted(keys), small()]
    usual = [message.SerializeToString() for message in messages]
    first, unknown = usual[1], samples()[2].removeprefix(samples()[0])
    second = ExportTraceServiceRequest.FromString(first).resource_spans[0].SerializeToString()
    merged = bytes([0x0A, 0xFF & 2 * len(second) | 0x80, 2 * len(second) >> 7]) + second + second
    return [*usual, first + unknown, merged]


def bodies() -> list[bytes]:
    """Bodies for the JSON door."""
    odd = [_with(value) for value in values()[-2:]]
    texts = [ODD, to_json(small()), *(to_json(message, snake_case=True, indent=1) for message in odd)]
    return [text.encode() for text in texts]
