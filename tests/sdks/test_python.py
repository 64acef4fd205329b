from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from tests.sdks.expected import EVENT, LINK, LINKED, RESOURCE, SCOPE, SPAN, Sent, check


def send(exporter: SpanExporter, sent: Sent) -> dict[str, str]:
    provider = TracerProvider(resource=Resource({"service.name": sent.service, **RESOURCE}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("known-spans", "1.2.3", attributes=SCOPE)
    parent = tracer.start_span("parent ✓", kind=SpanKind.SERVER, start_time=sent.start_ns)
    linked = SpanContext(int(LINKED[0], 16), int(LINKED[1], 16), is_remote=True)
    child = tracer.start_span(
        "child",
        context=trace.set_span_in_context(parent),
        kind=SpanKind.CLIENT,
        attributes=SPAN,
        links=[Link(linked, LINK)],
        start_time=sent.start_ns + 1_000_000,
    )
    child.add_event("event ✓", EVENT, sent.start_ns + 2_000_000)
    child.set_status(Status(StatusCode.ERROR, "it broke ✗"))
    child.end(sent.start_ns + 250_000_000)
    parent.set_status(Status(StatusCode.OK))
    parent.end(sent.start_ns + 1_000_000_000)
    provider.shutdown()
    context = child.get_span_context()
    return {
        "trace": f"{context.trace_id:032x}",
        "parent": f"{parent.get_span_context().span_id:016x}",
        "child": f"{context.span_id:016x}",
    }


def test_grpc(spanhouse_up, sent):
    ids = send(GrpcExporter(endpoint=spanhouse_up.url("otlp-grpc")), sent)
    check(spanhouse_up, sent, ids)


def test_http_protobuf(spanhouse_up, sent):
    exporter = HttpExporter(
        endpoint=spanhouse_up.url("otlp-http", "/v1/traces"), compression=Compression.Gzip
    )
    check(spanhouse_up, sent, send(exporter, sent))
