"""The Collector's scrub rules and `processors/scrub.py` do the same to the same spans."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanhouse.processors.scrub_rules import EMAIL_KEYS, USER_ID_HASH, USER_ID_KEYS
from tests.harness import eventually
from tests.otel_collector.agreement import collected, decoded, differences, scrubbed
from tests.parts.collector import Collector
from tests.parts.fixtures import need
from tests.parts.kafka import Kafka
from tests.processors.test_scrub import CLEAN, FOUND, NAMED, secret

# A wrong check digit in an attribute's key; see the known differences.
TEXTS = [text for text in (*FOUND, *CLEAN, *NAMED) if text != "order 4111111111111112"]

HASH = "0123456789abcdef0123456789abcdef"


class Door:
    """A Collector as shipped, which makes a batch of every request, and the topic behind it."""

    def __init__(self, collector: Collector, kafka: Kafka, topic: str) -> None:
        self._collector, self._kafka, self._topic = collector, kafka, topic

    def through(self, message: ExportTraceServiceRequest) -> list[bytes]:
        """The messages that the request becomes."""
        spans = sum(len(s.spans) for r in message.resource_spans for s in r.scope_spans)
        return self.send(message.SerializeToString(), spans)

    def send(self, body: bytes, spans: int) -> list[bytes]:
        """The messages that a request of so many spans becomes, each of a trace of its own."""
        before = self._kafka.end_offsets(self._topic)[0]
        url = f"{self._collector.url}/v1/traces"
        headers = {"Content-Type": "application/x-protobuf"}
        answer = requests.post(url, data=body, headers=headers, timeout=60)
        assert answer.status_code == 200, f"{answer.text}\n{self._collector.process.tail()}"
        eventually(lambda: self._kafka.end_offsets(self._topic)[0] == before + spans)
        records = [record for record in self._kafka.messages(self._topic) if record.offset >= before]
        return [record.value or b"" for record in records]

    def check(self, message: ExportTraceServiceRequest) -> None:
        """Both do the same, and scrub finds nothing more in what the Collector has made."""
        got = decoded(self.through(message))
        found = differences(scrubbed(decoded([message.SerializeToString()])), collected(got))
        assert not found, "\n".join(found[:5])
        again = differences(collected(got), scrubbed(got))
        assert not again, "\n".join(again[:5])


@pytest.fixture(scope="module")
def door(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    need("collector")
    topic = f"agreement-{os.urandom(4).hex()}"
    kafka.create_topic(topic)
    soon = {"exporters": {"kafka": {"sending_queue": {"batch": {"flush_timeout": "50ms"}}}}}
    with Collector(tmp_path_factory.mktemp("collector"), kafka.brokers, topic, soon) as collector:
        yield Door(collector, kafka, topic)


def any_value(value: Any) -> AnyValue:
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=pairs(value)))
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    if value is None:
        return AnyValue()
    names = {bool: "bool", int: "int", float: "double", str: "string", bytes: "bytes"}
    return AnyValue(**{f"{names[type(value)]}_value": value})


def pairs(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def add(
    message: ExportTraceServiceRequest,
    attributes: Mapping[str, Any],
    *,
    resource: Mapping[str, Any] | None = None,
    scope: Mapping[str, Any] | None = None,
    events: Sequence[tuple[str, Mapping[str, Any]]] = (),
    scope_name: str = "tests",
    status: str = "",
    **fields: Any,
) -> Span:
    """A span of a trace, resource and scope of its own."""
    resource_spans = message.resource_spans.add()
    resource_spans.resource.attributes.extend(pairs(resource or {}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = scope_name
    scope_spans.scope.attributes.extend(pairs(scope or {}))
    span = scope_spans.spans.add(
        trace_id=os.urandom(16),
        span_id=os.urandom(8),
        start_time_unix_nano=1_790_000_000_000_000_000,
        end_time_unix_nano=1_790_000_000_250_000_000,
        attributes=pairs(attributes),
        **fields,
    )
    span.status.message = status
    for name, values in events:
        span.events.add(name=name, attributes=pairs(values), time_unix_nano=17)
    return span


def add_everywhere(message: ExportTraceServiceRequest, text: str) -> None:
    inner = {"a": text, "l": [text, 1, 2.5, True, None, {"k": text}], text: "key"}
    twice = json.dumps({"x": json.dumps(inner, ensure_ascii=False)}, ensure_ascii=False)
    attributes = {
        "plain": text, "list": [text, "x"], "mixed": [text, 1], "map": inner, "json": json.dumps(inner),
        "pretty": json.dumps(inner, ensure_ascii=False, indent=1), "twice": twice,
        f"key {text}": "v", f"number {text}": 3, "n": 4111111111111111, "d": 0.5, "b": True, "bytes": b"a@b",
        "clean": {"ids": [4111111111111111, 2], "x": ["y", None, 1.0]},
    }  # fmt: skip
    span = add(
        message, attributes, resource={"r": text, "m": inner}, scope={"s": text}, scope_name=text, name=text,
        status=text, events=[(text, {"e": text, "j": json.dumps([text])}), ("e", {"n": 1})],
    )  # fmt: skip
    span.links.add(trace_id=b"1" * 16, span_id=b"2" * 8, attributes=pairs({"l": text}))


def test_texts(door: Door) -> None:
    message = ExportTraceServiceRequest()
    for text in TEXTS:
        add_everywhere(message, text)
    door.check(message)


def test_what_is_known_by_its_key(door: Door) -> None:
    message = ExportTraceServiceRequest()
    for key in (*USER_ID_KEYS, *EMAIL_KEYS, USER_ID_HASH, "db.password", "x-api-key", "a.header.set_cookie"):
        for value in ("ann", "4711", 42, -7, True, 0.5, 42.0, b"ann", "", HASH):
            add(message, {key: value, "n": 1}, resource={"x": 1})
        add(message, {"n": 1}, resource={key: "ann"})
        add(message, {"n": 1}, scope={key: "ann"}, events=[("e", {key: "ann"})])
        add(message, {"in": {key: "ann", "l": [{key: 42}]}, "json": json.dumps({key: "ann", "n": 1})})
    door.check(message)


def test_which_user_it_is(door: Door) -> None:
    message = ExportTraceServiceRequest()
    add(message, {"enduser.id": "second", "user.id": "first"}, resource={"user.id": "third"})
    add(message, {"user.id": "", "enduser.id": "second"}, resource={"user.id": "third"})
    add(message, {"user.id": None, "usr.id": "last"}, resource={"user.id": "third"})
    add(message, {"user.id": ""}, resource={"user.id": ""}, scope={"user_id": "fourth", "user.id": ""})
    add(message, {USER_ID_HASH: HASH}, resource={"user.id": "third"})
    add(message, {USER_ID_HASH: "not a hash"}, scope={"user.id": "fourth"})
    add(message, {USER_ID_HASH: "not a hash"}, resource={USER_ID_HASH: "nor this"})
    add(message, {USER_ID_HASH: 42})
    door.check(message)


def test_trace_state(door: Door) -> None:
    message = ExportTraceServiceRequest()
    for state in (
        "a=joe@x.com,b=1",
        "a=joe%40x.com",
        "fw529a3039@dt=FfP3",
        "a=+14155550123",
        "congo=t61rcWkgMzE",
    ):
        add(message, {"n": 1}, trace_state=state)
    door.check(message)


def test_values_of_all_types(door: Door) -> None:
    message = ExportTraceServiceRequest()
    values = {
        "empty": "", "large": 2**63 - 1, "small": -(2**63), "double": 1e300, "zero": -0.0, "json": "[1, 2.0]",
        "no list": [], "no map": {}, "deep": [[[{"a": [{"b": {}}]}]]], "quotes": '"\\"', "bytes": bytes(256),
        "lists": [[1, 2], [True], ["x"], [0.5], [None]], "control": ["\x01", "\x02"], "\x01": "\x00\x01\x02",
    }  # fmt: skip
    infinite = {"nan": math.nan, "inf": -math.inf, "numbers": [math.nan, 1, math.inf]}
    add(message, {**values, **infinite, "unset": None})
    add(message, {**values, "unset": None, "note": "joe@x.com"})
    add(message, {**values, "nan": math.nan, "inf": -math.inf, "note": "joe@x.com"})
    door.check(message)


def test_bytes_that_are_no_text(door: Door) -> None:
    """Senders may be wrong; masked it is all the same."""
    message = ExportTraceServiceRequest()
    text = "QZ joe@x.com QZ"
    add_everywhere(message, text)
    add(message, {"QZ": [text, 1], "xQZ": {"QZ": {"QZ": text}}, "user.id": "QZ", "db.QZ.password": "QZ"})
    bad = message.SerializeToString().replace(b"QZ", b"\xff\xfe")
    emitted = b"\0".join(door.send(bad, len(message.resource_spans)))
    assert emitted.count(b"[email]") > 20
    assert b"joe@x.com" not in emitted


# Pieces that do not touch; numbers that do are among the known differences.
pieces = st.lists(
    st.one_of(
        secret,
        st.sampled_from(TEXTS),
        st.text(st.characters(codec="utf-8", exclude_categories=("N",)), max_size=20),
        st.sampled_from(["\\", '"', "'", "<b>", "&", "é", "😀", "\u2028", "[key]"]),
    ),
    min_size=1,
    max_size=4,
).map(" | ".join)


@given(st.lists(pieces, min_size=40, max_size=40))
@settings(max_examples=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_texts_of_many_pieces(door: Door, texts: list[str]) -> None:
    message = ExportTraceServiceRequest()
    for text in texts:
        add_everywhere(message, text)
    door.check(message)


keys = st.text(min_size=1, max_size=10) | st.sampled_from(
    ["a", "b", "user_id", "enduser.id", "email", "user.email", "db.password", "k joe@x.com"]
)
# Shorter than a card's: in a list that has become a text a number may be one.
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**11), 10**11), st.text(max_size=20), secret,
    st.floats(-1e11, 1e11),
)  # fmt: skip
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
# Ids are texts, numbers or truth values.
attributes = st.dictionaries(keys, nested | st.binary(max_size=10), max_size=5).map(
    lambda values: {
        k: str(v) if k in USER_ID_KEYS and isinstance(v, (list, dict, bytes)) else v
        for k, v in values.items()
    }
)


@given(st.lists(attributes, min_size=48, max_size=48))
@settings(max_examples=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_values_of_any_shape(door: Door, shapes: list[dict[str, Any]]) -> None:
    message = ExportTraceServiceRequest()
    for i in range(0, len(shapes), 4):
        span, resource, scope, event = shapes[i : i + 4]
        add(message, span, resource=resource, scope=scope, events=[("e", event)])
    door.check(message)


# Attributes, what scrub makes of them and what the Collector does. docs/collector.md explains each.
KNOWN: list[tuple[dict[str, Any], list[tuple[str, int, str]], list[tuple[str, int, str]]]] = [
    # Of a list or map with something in it nothing but the text is left.
    (
        {"l": ["joe@x.com", 1, b"ab"]},
        [("l", 5, '["[email]",1,{"$bytes":"YWI="}]')],
        [("l", 1, '["[email]",1,"YWI="]')],
    ),
    # One with NaN or infinity in it cannot be looked into, and EMPTY beside it cannot be told from it.
    (
        {"l": [math.nan, "joe@x.com"], "e": None, "n": 1},
        [("l", 5, '[{"$double":"NaN"},"[email]"]'), ("e", 0, ""), ("n", 3, "1")],
        [("l", 1, '["[key]"]'), ("e", 1, '["[key]"]'), ("n", 3, "1")],
    ),
    # Cards in groups, and the fourth and later ones in one piece, are masked whatever their check digit is.
    (
        {"c": "4111 1111 1111 1112"},
        [("c", 1, "4111 1111 1111 1112")],
        [("c", 1, "[card]")],
    ),
    (
        {"c": "4111111111111112 4111111111111113 4111111111111114 4111111111111115"},
        [("c", 1, "4111111111111112 4111111111111113 4111111111111114 4111111111111115")],
        [("c", 1, "4111111111111112 4111111111111113 4111111111111114 [card]")],
    ),
    ({"k 4111111111111112": "v"}, [("k 4111111111111112", 1, "v")], [("k [card]", 1, "v")]),
    # Between commas it might be a number of a list in JSON, which becomes a text.
    ({"c": "a,4111111111111111,b"}, [("c", 1, "a,[card],b")], [("c", 1, 'a,"[card]",b')]),
    # In a text in a list it might be a number of the list, which stays.
    ({"l": ["a,4111111111111111,b"]}, [("l", 5, '["a,[card],b"]')], [("l", 5, '["a,4111111111111111,b"]')]),
    # Two keys that become the same are one.
    ({"joe@x.com": 1, "ann@x.com": 2}, [("[email]", 3, "1"), ("[email]", 3, "2")], [("[email]", 3, "2")]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "by_scrub", "by_collector"), KNOWN)
def test_known_differences(
    door: Door, values: dict[str, Any], by_scrub: list[Any], by_collector: list[Any]
) -> None:
    message = ExportTraceServiceRequest()
    add(message, values)

    def of(rows: dict[str, dict[str, Any]]) -> list[tuple[str, int, str]]:
        (row,) = rows.values()
        return [(a["key"], a["type"], a["value"]) for a in row["attrs"]]

    assert of(scrubbed(decoded([message.SerializeToString()]))) == by_scrub
    assert of(collected(decoded(door.through(message)))) == by_collector


def test_ids_that_are_lists_have_other_hashes(door: Door) -> None:
    """Those of lists, maps and very large or small doubles: OTTL writes them otherwise."""
    message = ExportTraceServiceRequest()
    for value in ([1.0], {"b": 1, "a": 2}, 1e16):
        add(message, {"user.id": value})
    expected = scrubbed(decoded([message.SerializeToString()]))
    got = collected(decoded(door.through(message)))
    for span, row in got.items():
        (attribute,) = row["attrs"]
        assert attribute["key"] == USER_ID_HASH
        assert attribute != expected[span]["attrs"][0]


PLANTED = (
    "joe.doe@example.com", "user-4711-raw", "+14155550123", "4111111111111111", "4111 1111 1111 1111",
    "sk-ant-api03-AbCdEf123_456-789", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
)  # fmt: skip


def test_nothing_planted_comes_out(door: Door) -> None:
    """Whatever bytes lie in Kafka, there is no secret among them."""
    message = ExportTraceServiceRequest()
    email, user, *others = PLANTED
    named = {"user_id": user, "email": email}
    for text in (email, f"mail to {email}!", *others, json.dumps(named)):
        add_everywhere(message, text)
        span = message.resource_spans[-1].scope_spans[0].spans[0]
        span.trace_state = f"a={email}"
        span.links[0].trace_state = f"a={email}"
        span.attributes.extend(
            pairs({"user.id": user, "user.email": email, "nested": [[named]], "nan": [math.nan, text]})
        )
        message.resource_spans[-1].resource.attributes.extend(pairs({"enduser.id": user, "map": named}))
        message.resource_spans[-1].scope_spans[0].scope.attributes.extend(pairs({"userId": user}))
        span.events[0].attributes.extend(pairs({"user.id": user, "j": json.dumps([named])}))
        span.links[0].attributes.extend(pairs({"user.id": user}))
    emitted = b"\0".join(door.through(message))
    assert emitted.count(b"[email]") > 100
    for planted in PLANTED:
        assert planted.encode() not in emitted, planted
