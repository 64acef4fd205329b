"""Hypothesis strategies: arbitrary OTLP trace requests as protobuf messages."""

from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(max_size=20) | st.sampled_from(
    [
        "",
        "true",
        "false",
        "12",
        "-7",
        "+3",
        "1.5",
        "nan",
        "9223372036854775808",
        '"\\\n\x00\x1f',
        "é" * 7,
        "𝄞x",
    ]
)
keys = text | st.sampled_from(
    ["$bytes", "$double", "$$bytes", "a", "b", "gen_ai.request.model", "service.name"]
)
doubles = st.floats() | st.sampled_from([0.0, -0.0, 1e16, 5e-324, 2.0**63, -(2.0**63), 7.0, 1e22])

scalars = st.one_of(
    st.just(AnyValue()),
    text.map(lambda v: AnyValue(string_value=v)),
    st.booleans().map(lambda v: AnyValue(bool_value=v)),
    i64.map(lambda v: AnyValue(int_value=v)),
    doubles.map(lambda v: AnyValue(double_value=v)),
    st.binary(max_size=10).map(lambda v: AnyValue(bytes_value=v)),
)


def pairs(values):
    return st.builds(KeyValue, key=keys, value=st.none() | values)


values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: AnyValue(array_value=ArrayValue(values=v))),
        st.lists(pairs(inner), max_size=3).map(lambda v: AnyValue(kvlist_value=KeyValueList(values=v))),
    ),
    max_leaves=6,
)
attributes = st.lists(pairs(values), max_size=4)
ids = st.binary(min_size=16, max_size=16) | st.binary(max_size=20)
events = st.builds(
    Span.Event, time_unix_nano=u64, name=text, attributes=attributes, dropped_attributes_count=u32
)
links = st.builds(
    Span.Link,
    trace_id=ids,
    span_id=ids,
    trace_state=text,
    flags=u32,
    attributes=attributes,
    dropped_attributes_count=u32,
)
spans = st.builds(
    Span,
    trace_id=ids,
    span_id=ids,
    parent_span_id=ids,
    trace_state=text,
    flags=u32,
    name=text,
    kind=st.integers(0, 5) | st.integers(-(2**31), 2**31 - 1),
    start_time_unix_nano=u64,
    end_time_unix_nano=u64,
    attributes=attributes,
    dropped_attributes_count=u32,
    events=st.lists(events, max_size=2),
    dropped_events_count=u32,
    links=st.lists(links, max_size=2),
    dropped_links_count=u32,
    status=st.none() | st.builds(Status, message=text, code=st.integers(0, 3)),
)
scopes = st.builds(
    InstrumentationScope, name=text, version=text, attributes=attributes, dropped_attributes_count=u32
)
scope_spans = st.builds(
    ScopeSpans, scope=st.none() | scopes, spans=st.lists(spans, max_size=3), schema_url=text
)
resources = st.builds(Resource, attributes=attributes, dropped_attributes_count=u32)
resource_spans = st.builds(
    ResourceSpans,
    resource=st.none() | resources,
    scope_spans=st.lists(scope_spans, max_size=2),
    schema_url=text,
)
requests = st.builds(ExportTraceServiceRequest, resource_spans=st.lists(resource_spans, max_size=2))
