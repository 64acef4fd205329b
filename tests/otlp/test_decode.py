import tracemalloc

import polars as pl
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse.batch import DECODED
from spanhouse.otlp.canonical import request_type
from spanhouse.otlp.decode import Decoder
from tests.otlp.reference import assert_decoded
from tests.otlp.samples import request, samples, small
from tests.otlp.strategies import requests

KEYS = ["a", "b", "gen_ai.request.model", "service.name", "", "true", "é" * 7]
TYPES = [pl.String, pl.Int64, pl.Float64, pl.Boolean]
wanted_keys = st.dictionaries(
    st.builds("{}:{}".format, st.sampled_from(["span", "scope", "resource"]), st.sampled_from(KEYS)),
    st.sampled_from(TYPES),
)
unknown_fields = st.sampled_from(
    [
        b"",
        b"\xf8\x07\x05",
        b"\xf2\x07\x02hi",
        b"\xfd\x07abcd",
        b"\xf9\x07abcdefgh",
        b"\xfb\x07\x08\x01\xfc\x07",
    ]
)
DECODER = Decoder({"span:gen_ai.request.model": pl.String, "resource:service.name": pl.String})


def decode(*messages, wanted=None):
    decoder = DECODER if wanted is None else Decoder(wanted)
    return decoder.decode([m if isinstance(m, bytes) else m.SerializeToString() for m in messages])


def one_span(**fields):
    message = ExportTraceServiceRequest()
    message.resource_spans.add().scope_spans.add().spans.add(**fields)
    return message, message.resource_spans[0].scope_spans[0].spans[0]


@settings(max_examples=100, deadline=None)
@given(st.lists(requests, max_size=3), wanted_keys, unknown_fields)
def test_equals_protobufs_own_parser(messages, wanted, unknown):
    payloads = [message.SerializeToString() + unknown for message in messages]
    decoded = Decoder(wanted).decode(payloads)
    assert decoded.errors == {}
    assert_decoded(decoded.batch, list(enumerate(messages)), wanted)


@settings(max_examples=50, deadline=None)
@given(requests, requests)
def test_messages_that_occur_twice_are_merged(one, other):
    """A payload's bytes followed by another's are the two merged, at every level."""
    for first, second in zip(one.resource_spans, other.resource_spans, strict=False):
        twice = first.SerializeToString() + second.SerializeToString()
        payload = b"\x0a" + varint(len(twice)) + twice
        message = ExportTraceServiceRequest.FromString(payload)
        decoded = decode(payload, one, wanted={"resource:a": pl.String})
        assert decoded.errors == {}
        assert_decoded(decoded.batch, [(0, message), (1, one)], {"resource:a": pl.String})


def varint(value):
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    return bytes([*result, value])


def test_a_payload_without_spans_gives_the_whole_schema():
    for payload in (b"", ExportTraceServiceRequest().SerializeToString(), b"\x0a\x00"):
        assert decode(payload).batch.schema == pl.Schema(DECODED)
    assert decode().batch.height == 0


def test_truncation_at_every_byte_is_seen_as_protobuf_sees_it():
    whole = samples()[0]
    payloads = [whole[:n] for n in range(len(whole) + 1)]
    decoded = decode(*payloads)
    rows = dict(decoded.batch.group_by("payload").len().rows())
    for index, payload in enumerate(payloads):
        try:
            message = request_type().FromString(payload)
        except DecodeError:
            assert decoded.errors[index] == "malformed protobuf: truncated"
            assert index not in rows
        else:
            spans = [s for r in message.resource_spans for c in r.scope_spans for s in c.spans]
            assert index not in decoded.errors
            assert rows.get(index, 0) == len(spans)


BROKEN = [
    (b"\x0a\x7f", "truncated"),
    (b"\x08" + b"\x80" * 10 + b"\x01", "a varint is too long"),
    (b"\x02\x00", "field number 0"),
    (b"\x0e", "unknown wire type"),
    (b"\x0c", "an end-group tag without its start"),
    (b"\x13\x1c", "an end-group tag without its start"),
    (b"\x13" * 101 + b"\x14" * 101, "nested more than 100 levels deep"),
    (b"\x12\xff\xff\xff\xff\x7f", "a length over 2 GiB"),
]


@pytest.mark.parametrize(("broken", "reason"), BROKEN)
def test_a_malformed_payload_does_not_touch_the_others(broken, reason):
    good = request()
    decoded = decode(good, broken, b"", good)
    assert decoded.errors == {1: f"malformed protobuf: {reason}"}
    assert_decoded(
        decoded.batch,
        [(0, good), (3, good)],
        {"span:gen_ai.request.model": pl.String, "resource:service.name": pl.String},
    )


def test_an_error_deep_inside_a_value_does_not_touch_the_others():
    good, bad = request(), small().SerializeToString()
    at = bad.index(b"k0\x12\x00")  # the first of the nested values
    decoded = decode(good, bad[:at] + b"k0\x12\x7f" + bad[at + 4 :], good)
    assert list(decoded.errors) == [1]
    assert decoded.batch["payload"].to_list() == [0] * 4 + [2] * 4


def test_values_may_be_nested_as_deeply_as_protobuf_allows():
    def nested(levels):
        message, span = one_span()
        value = span.attributes.add(key="deep").value
        for _ in range(levels):
            value = value.array_value.values.add()
        value.string_value = "x"
        return message.SerializeToString()

    for levels in (47, 48):
        payload = nested(levels)
        try:
            request_type().FromString(payload)
        except DecodeError:
            assert decode(payload).errors == {0: "malformed protobuf: nested more than 100 levels deep"}
        else:
            assert decode(payload).batch["attrs"][0][0]["value"] == "[" * levels + '"x"' + "]" * levels


def with_bad_text(message, text="bad"):
    return message.SerializeToString().replace(text.encode(), b"b\xffd"[: len(text)])


def test_text_that_is_not_utf8_rejects_its_span_alone():
    cases = {
        "name": lambda span: setattr(span, "name", "bad"),
        "trace_state": lambda span: setattr(span, "trace_state", "bad"),
        "the status message": lambda span: setattr(span.status, "message", "bad"),
        "attributes": lambda span: span.attributes.add(key="bad"),
        "events": lambda span: span.events.add(name="bad"),
        "links": lambda span: span.links.add().attributes.add(key="k", value={"string_value": "bad"}),
    }
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for change in cases.values():
        change(spans.add())
        spans.add(name="good")
    nested = spans.add().attributes.add(key="k").value
    nested.array_value.values.add().kvlist_value.values.add(key="bad")
    exact = spans.add().attributes.add(key="gen_ai.request.model").value
    exact.string_value = "bad" * 5
    batch = decode(with_bad_text(message)).batch
    reasons = [reason for place in cases for reason in (f"invalid UTF-8 in {place}", None)]
    assert batch["reject"].to_list() == [*reasons, *["invalid UTF-8 in attributes"] * 2]
    assert batch["name"][0] == "b\ufffdd"
    assert batch["attrs"][12][0]["value"] == '[{"b\ufffdd":null}]'
    assert batch["span:gen_ai.request.model"][13] == "b\ufffdd" * 5


def test_bad_text_in_a_resource_or_scope_rejects_all_its_spans():
    message = ExportTraceServiceRequest()
    for resource, scope in (("bad", "s"), ("r", "bad"), ("r", "s")):
        resource_spans = message.resource_spans.add()
        resource_spans.resource.attributes.add(key="k").value.string_value = resource
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.name = scope
        scope_spans.spans.extend([one_span()[1]] * 2)
    reasons = ["invalid UTF-8 in resource"] * 2 + ["invalid UTF-8 in scope"] * 2 + [None] * 2
    assert decode(with_bad_text(message)).batch["reject"].to_list() == reasons


def test_more_than_1024_attributes_reject_the_span_and_cost_little():
    message, span = one_span(name="good")
    for i in range(1024):
        span.attributes.add(key=f"k{i}")
    many = message.resource_spans[0].scope_spans[0].spans.add(name="many")
    for i in range(10_000):
        many.attributes.add(key=f"k{i}").value.string_value = "v"
    tracemalloc.start()
    batch = decode(message).batch
    assert tracemalloc.get_traced_memory()[1] < 20 * message.ByteSize()
    tracemalloc.stop()
    assert batch["reject"].to_list() == [None, "more than 1024 attributes"]
    assert batch["attrs"].list.len().to_list() == [1024, 1024]


def test_few_bytes_cannot_make_many_rows():
    spans = b"\x12\x00" * 100_000
    scope = b"\x12" + varint(len(spans)) + spans
    payload = b"\x0a" + varint(len(scope)) + scope
    assert decode(payload).errors == {0: "malformed protobuf: more spans than its bytes could hold"}
    resource = ExportTraceServiceRequest()
    resource.resource_spans.add().resource.attributes.extend(small().resource_spans[0].resource.attributes)
    for i in range(1000):
        resource.resource_spans[0].resource.attributes.add(key=str(i))
    resource.resource_spans[0].scope_spans.add().spans.extend([one_span()[1]] * 1000)
    reason = "too many resource and scope attributes for its number of spans"
    assert decode(resource).errors == {0: f"malformed protobuf: {reason}"}


def test_the_first_of_a_duplicated_wanted_key_wins_and_the_others_stay():
    message, span = one_span()
    for value in ({"int_value": 1}, {"string_value": "2"}, {"int_value": 3}):
        span.attributes.add(key="n", value=value)
    batch = decode(message, wanted={"span:n": pl.Int64}).batch
    assert batch["span:n"].to_list() == [1]
    assert "span:n~" not in batch.columns
    assert [(a["value"], a["type"]) for a in batch["attrs"][0]] == [("2", 1), ("3", 3)]


def test_more_raw_columns_than_expected_find_room():
    message, span = one_span()
    wanted = {f"span:key.{i}": TYPES[i % 4] for i in range(200)}
    for i in range(200):
        span.attributes.add(key=f"key.{i}").value.string_value = str(i)
    decoder = Decoder(wanted)
    for _ in range(2):
        assert_decoded(decoder.decode([message.SerializeToString()]).batch, [(0, message)], wanted)
