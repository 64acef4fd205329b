import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse.errors import Malformed
from spanhouse.otlp.decode import Decoder
from spanhouse.otlp.json import json_to_protobuf
from tests.otlp.json_text import to_json
from tests.otlp.samples import request, small
from tests.otlp.strategies import requests


def parse(body):
    payload = json_to_protobuf(body if isinstance(body, bytes) else json.dumps(body).encode())
    return ExportTraceServiceRequest.FromString(payload)


def span(**fields):
    """One span from its JSON fields."""
    return (
        parse({"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]})
        .resource_spans[0]
        .scope_spans[0]
        .spans[0]
    )


def value(json_value):
    return span(attributes=[{"key": "k", "value": json_value}]).attributes[0].value


@settings(max_examples=150, deadline=None)
@given(
    requests,
    st.fixed_dictionaries(
        {
            "snake_case": st.booleans(),
            "enum_names": st.booleans(),
            "ensure_ascii": st.booleans(),
            "indent": st.sampled_from([None, 1, "\t"]),
        }
    ),
)
def test_protobufs_own_json_comes_back_equal(message, options):
    assert parse(to_json(message, **options).encode()).SerializeToString(
        deterministic=True
    ) == message.SerializeToString(deterministic=True)


def test_the_shape_that_nodes_exporter_sends():
    body = {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        {"key": "service.name", "value": {"stringValue": "node"}},
                        {"key": "process.pid", "value": {"intValue": 4711}},
                        {
                            "key": "process.command_args",
                            "value": {"arrayValue": {"values": [{"stringValue": "a"}]}},
                        },
                    ],
                    "droppedAttributesCount": 0,
                },
                "scopeSpans": [
                    {
                        "scope": {"name": "lib", "version": ""},
                        "spans": [
                            {
                                "traceId": "5B8EFFF798038103D269B633813FC60C",
                                "spanId": "eee19b7ec3c1b174",
                                "parentSpanId": "eee19b7ec3c1b173",
                                "name": "chat",
                                "kind": 3,
                                "startTimeUnixNano": "1763700000000000001",
                                "endTimeUnixNano": 1763700001000000000,
                                "attributes": [{"key": "ratio", "value": {"doubleValue": 0.5}}],
                                "droppedAttributesCount": 0,
                                "events": [],
                                "droppedEventsCount": 0,
                                "status": {"code": 2, "message": "no"},
                                "links": [],
                                "droppedLinksCount": 0,
                                "flags": 257,
                            }
                        ],
                    }
                ],
            }
        ]
    }
    message = parse(body)
    resource = message.resource_spans[0].resource
    assert [a.value.WhichOneof("value") for a in resource.attributes] == [
        "string_value",
        "int_value",
        "array_value",
    ]
    (found,) = message.resource_spans[0].scope_spans[0].spans
    assert found.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (
        1763700000000000001,
        1763700001000000000,
    )
    assert (found.kind, found.status.code, found.flags) == (3, 2, 257)
    assert found.attributes[0].value.double_value == 0.5


def test_numbers_in_all_their_forms():
    assert (
        span(startTimeUnixNano=2**64 - 1, endTimeUnixNano="18446744073709551615").end_time_unix_nano
        == 2**64 - 1
    )
    assert [value({"intValue": v}).int_value for v in ("-9223372036854775808", 1e3, "12", 5.0, 0, "0e9")] == [
        -(2**63), 1000, 12, 5, 0, 0
    ]  # fmt: skip
    doubles = [
        value({"doubleValue": v}).double_value for v in ("Infinity", "-Infinity", 1, "1.5", 5e-324, -0.0)
    ]
    assert str(doubles) == str([math.inf, -math.inf, 1.0, 1.5, 5e-324, -0.0])
    assert math.isnan(value({"doubleValue": "NaN"}).double_value)
    assert span(kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_ERROR"}).status.code == 2
    assert span(kind="3").kind == 3


def test_set_members_of_a_value_are_told_from_unset_ones():
    assert value({"intValue": 0}).WhichOneof("value") == "int_value"
    assert value({"boolValue": False}).WhichOneof("value") == "bool_value"
    assert value({"kvlistValue": {}}).WhichOneof("value") == "kvlist_value"
    assert value({"intValue": None, "stringValue": ""}).WhichOneof("value") == "string_value"
    assert value({}).WhichOneof("value") is None
    assert not span(attributes=[{"key": "k", "value": None}]).attributes[0].HasField("value")


def test_unknown_fields_and_nulls_are_ignored():
    found = span(
        name="n", later={"a": [1, {"b": None}, "x\\", -0.5e-3, True]}, status=None, links=None, kind=None
    )
    assert found.name == "n"
    assert not found.HasField("status")


def test_escapes():
    assert span(name='\U0001d11e\n"\\/\b\f\r\té').name == '\U0001d11e\n"\\/\b\f\r\té'
    assert (
        parse(b'{"resourceSpans":[{"schema\\u0055rl":"\\ud834\\udd1e \\ud834 \\udd1e"}]}')
        .resource_spans[0]
        .schema_url
        == "\U0001d11e \ufffd \ufffd"
    )


def test_escapes_are_read_in_strings_of_all_kinds():
    """PHP writes the slashes in base64 as `\\/`."""
    fields = r"""{"traceId":"\u0035b","kind":"SPAN\u005fKIND_CLIENT","flags":"\u0033",
        "status":{"code":"\u0032"},
        "attributes":[{"key":"a","value":{"bytesValue":"-\/8="}},
        {"key":"b","value":{"doubleValue":"1.\u0035"}},
        {"key":"c","value":{"doubleValue":"\u002dInfinity"}},{"key":"d","value":{"intValue":"\u002d12"}}]}"""
    (found,) = parse(SPANS % fields.encode()).resource_spans[0].scope_spans[0].spans
    assert (found.trace_id, found.kind, found.flags, found.status.code) == (b"\x5b", 3, 3, 2)
    a, b, c, d = (attribute.value for attribute in found.attributes)
    assert (a.bytes_value, b.double_value, c.double_value, d.int_value) == (b"\xfb\xff", 1.5, -math.inf, -12)


def test_base64_standard_or_for_urls_with_or_without_padding():
    for text in ("+/8=", "-_8=", "+/8", "-_8"):
        assert value({"bytesValue": text}).bytes_value == b"\xfb\xff"


def test_bytes_that_are_not_utf8_reject_the_span_alone():
    body = to_json(request()).encode().replace(b"chat gpt-4o", b"chat \xff", 1)
    batch = Decoder({}).decode([json_to_protobuf(body)]).batch
    assert batch["reject"].to_list() == ["invalid UTF-8 in name", None, None, None]


def test_an_empty_object_is_an_empty_request():
    assert json_to_protobuf(b"{}") == json_to_protobuf(b' {"resourceSpans": []}\n') == b""


SPANS = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it ends in the middle at byte 0"),
        (b"[]", "value of the wrong type at byte 0"),
        (b"{} {}", "something follows the end at byte 3"),
        (b'{"a":1,}', "unexpected character at byte 7"),
        (b"{'a':1}", "unexpected character at byte 1"),
        (b'{"a":01}', "bad number at byte 5"),
        (b'{"a":1.}', "bad number at byte 7"),
        (b'{"a":+1}', "unexpected character at byte 5"),
        (b'{"a":nul}', "unexpected character at byte 5"),
        (b'{"a":"\\x"}', "bad escape in a string at byte 7"),
        (b'{"a":"\\u12g4"}', "bad escape in a string at byte 7"),
        (b'{"a":"\n"}', "control character in a string at byte 6"),
        (b'{"a" 1}', "unexpected character at byte 5"),
        (b'{"a":[1}', "unexpected character at byte 7"),
        (b'{"a":' + b"[" * 300, "nested too deeply at byte 261"),
        (b'{"resourceSpans":{}}', "value of the wrong type at byte 17"),
        (b'{"resourceSpans":[1]}', "value of the wrong type at byte 18"),
        (b'{"resourceSpans":[{},]}', "value of the wrong type at byte 21"),
        (SPANS % b'{"name":1}', "value of the wrong type at byte 51"),
        (SPANS % b'{"traceId":"abc"}', "bad hex or base64 at byte 54"),
        (SPANS % b'{"traceId":"zz"}', "bad hex or base64 at byte 54"),
        (SPANS % b'{"kind":"SPAN_KIND_X"}', "unknown name of an enum's value at byte 51"),
        (SPANS % b'{"startTimeUnixNano":-1}', "number out of range at byte 64"),
        (SPANS % b'{"startTimeUnixNano":"1e20"}', "number out of range at byte 65"),
        (SPANS % b'{"startTimeUnixNano":1.5}', "bad number at byte 64"),
        (SPANS % b'{"flags":4294967296}', "number out of range at byte 52"),
        (SPANS % b'{"startTimeUnixNano":"1 "}', "bad number at byte 65"),
        (SPANS % rb'{"startTimeUnixNano":"1\n"}', "bad number at byte 65"),
        (SPANS % rb'{"kind":"\u0053PAN_KIND_X"}', "unknown name of an enum's value at byte 51"),
        (SPANS % rb'{"traceId":"\n"}', "bad hex or base64 at byte 54"),
    ],
)
def test_what_is_malformed_is_named_with_its_place(body, reason):
    with pytest.raises(Malformed) as caught:
        json_to_protobuf(body)
    assert str(caught.value) == f"JSON: {reason}"


def test_every_truncation_is_malformed():
    body = to_json(small()).encode()
    for n in range(len(body)):
        with pytest.raises(Malformed):
            json_to_protobuf(body[:n])
