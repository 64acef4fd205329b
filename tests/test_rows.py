"""From spans to stored rows and back: nothing that a span said is lost, and nothing is stored twice."""

from __future__ import annotations

import json
import time
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData

from spanhouse.exporters.clickhouse import EmbeddedClickHouse
from spanhouse.otlp.decode import Decoder
from spanhouse.otlp.encode import rows_to_otlp
from spanhouse.processors.guard import Guard
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.price import Price
from spanhouse.rows import finish
from spanhouse.store import Store
from tests.harness import attributes, request

NORMALIZE = Normalize()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Store(tmp_path_factory.mktemp("rows")) as store:
        exporter = EmbeddedClickHouse(store)
        yield store, exporter
        exporter.close()


def through_the_store(store: tuple[Store, EmbeddedClickHouse], message: TracesData) -> pl.DataFrame:
    """Rows of the message as ClickHouse gives them back."""
    opened, exporter = store
    opened.rows("TRUNCATE TABLE agent_events")
    decoded = Decoder(NORMALIZE.wanted).decode([message.SerializeToString()])
    assert not decoded.errors
    batch = decoded.batch
    for processor in (NORMALIZE, Price(), Guard()):
        batch = processor(batch)
    finished = finish(batch, NORMALIZE.targets)
    assert finished.rejected.is_empty(), finished.rejected
    exporter.insert(finished.rows)
    client = opened.client()
    try:
        return pl.DataFrame(client.query_arrow("SELECT * FROM agent_events"))
    finally:
        client.close()


def canonical(message: TracesData) -> list[Any]:
    """One entry per span with its resource and scope, whatever the grouping; attributes in no order."""

    def sort(pairs: Any) -> None:
        for pair in pairs:
            pair.value.SetInParent()  # an absent value and one that is not set say the same
        pairs.sort(key=lambda pair: (pair.key, pair.SerializeToString(deterministic=True)))

    entries = []
    for resource_spans in message.resource_spans:
        sort(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            sort(scope_spans.scope.attributes)
            for span in scope_spans.spans:
                for pairs in (span, *span.events, *span.links):
                    sort(pairs.attributes)
                if span.status == Status():
                    span.ClearField("status")  # absent and empty say the same
                parts = (resource_spans.resource, scope_spans.scope, span)
                urls = resource_spans.schema_url, scope_spans.schema_url
                entries.append((*urls, *(str(part) for part in parts)))
    return sorted(entries)


def round_trip(store: tuple[Store, EmbeddedClickHouse], message: TracesData) -> None:
    assert canonical(rows_to_otlp(through_the_store(store, message))) == canonical(message)


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    text,
    st.binary(max_size=20),
)
known_keys = [key.removeprefix("span:") for key in NORMALIZE.wanted if key.startswith("span:")]
keys = st.one_of(st.sampled_from(known_keys), st.text("abc.", min_size=1, max_size=6))


@st.composite
def messages(draw: st.DrawFn) -> TracesData:
    now = time.time_ns()
    message = TracesData()
    for _ in range(draw(st.integers(1, 3))):
        resource_spans = message.resource_spans.add(schema_url=draw(text))
        resource = {"service.name": draw(text), **draw(st.dictionaries(keys, values, max_size=3))}
        resource_spans.resource.attributes.extend(attributes(resource))
        scope_spans = resource_spans.scope_spans.add(schema_url=draw(text))
        scope_spans.scope.name, scope_spans.scope.version = draw(text), draw(text)
        scope_spans.scope.attributes.extend(attributes(draw(st.dictionaries(keys, values, max_size=2))))
        for _ in range(draw(st.integers(0, 4))):
            start = now - draw(st.integers(0, 10**12))
            span = scope_spans.spans.add(
                trace_id=draw(st.binary(min_size=16, max_size=16).filter(any)),
                span_id=draw(st.binary(min_size=8, max_size=8).filter(any)),
                name=draw(text),
                kind=draw(st.sampled_from(range(6))),
                flags=draw(st.integers(0, 2**32 - 1)),
                trace_state=draw(text),
                start_time_unix_nano=start,
                end_time_unix_nano=start + draw(st.integers(0, 86_400 * 10**9)),
                attributes=attributes(draw(st.dictionaries(keys, values, max_size=8))),
                dropped_attributes_count=draw(st.integers(0, 2**32 - 1)),
            )
            if draw(st.booleans()):
                span.status.code = draw(st.sampled_from(range(3)))
                span.status.message = draw(text)
            for _ in range(draw(st.integers(0, 2))):
                span.events.add(
                    name=draw(text),
                    time_unix_nano=now,
                    attributes=attributes(draw(st.dictionaries(keys, values, max_size=3))),
                    dropped_attributes_count=draw(st.integers(0, 9)),
                )
                span.links.add(
                    trace_id=draw(st.binary(min_size=16, max_size=16)),
                    span_id=draw(st.binary(min_size=8, max_size=8)),
                    trace_state=draw(text),
                    flags=draw(st.integers(0, 2**32 - 1)),
                    attributes=attributes(draw(st.dictionaries(keys, values, max_size=3))),
                )
    return message


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(messages())
def test_a_span_can_be_given_back_whole(store: Any, message: TracesData) -> None:
    if any(scope.spans for resource in message.resource_spans for scope in resource.scope_spans):
        for resource in list(message.resource_spans):
            if not resource.scope_spans[0].spans:
                message.resource_spans.remove(resource)
        round_trip(store, message)


def test_nested_values_are_given_back(store: Any) -> None:
    message = TracesData.FromString(request(1).SerializeToString())
    span: Span = message.resource_spans[0].scope_spans[0].spans[0]
    array = span.attributes.add(key="app.list").value.array_value
    array.values.add(int_value=2**60)
    array.values.add(double_value=2.0)
    array.values.add(string_value='quote " and \\ and é')
    array.values.add(bytes_value=b"\0\xff")
    array.values.add()
    array.values.add(bool_value=False)
    pair = array.values.add().kvlist_value.values.add(key="k")
    pair.value.double_value = float("inf")
    span.attributes.add(key="empty")
    round_trip(store, message)


def test_what_stands_in_a_column_is_not_stored_again(store: Any) -> None:
    message = request(
        1,
        gen_ai__request__model="gpt-4o-mini",
        gen_ai__usage__input_tokens=12,
        gen_ai__usage__output_tokens="34",
        app__tier="gold",
    )
    (row,) = through_the_store(store, TracesData.FromString(message.SerializeToString())).to_dicts()
    assert row["model"] == "gpt-4o-mini"
    assert (row["tokens_prompt"], row["tokens_completion"]) == (12, 34)
    # A number sent as a string is counted, and kept as it came.
    assert row["attrs"] == {"app.tier": "gold", "gen_ai.usage.output_tokens": "34"}
    assert json.loads(row["promoted"]) == {
        "span:gen_ai.request.model": "model",
        "span:gen_ai.usage.input_tokens": "tokens_prompt",
        "resource:service.name": "service",
    }


def test_rejected_spans_are_counted_by_payload_and_reason() -> None:
    good, bad = request(3), request(2)
    for span in bad.resource_spans[0].scope_spans[0].spans:
        span.trace_id = b""
    decoded = Decoder(NORMALIZE.wanted).decode([good.SerializeToString(), bad.SerializeToString()])
    finished = finish(Guard()(NORMALIZE(decoded.batch)), NORMALIZE.targets)
    assert finished.rows.height == 3
    assert finished.rejected.select("payload", "span").rows() == [(1, 0), (1, 1)]


@pytest.mark.parametrize("late", [0, 2])
def test_a_time_that_does_not_fit_the_table_costs_its_own_span_only(late: int) -> None:
    message = request(3)
    spans = message.resource_spans[0].scope_spans[0].spans
    for span in spans:
        span.events.add(name="e", time_unix_nano=span.start_time_unix_nano)
    spans[late].events.add(name="e", time_unix_nano=2**63)
    decoded = Decoder(NORMALIZE.wanted).decode([message.SerializeToString()])
    finished = finish(Guard()(NORMALIZE(decoded.batch)), NORMALIZE.targets)
    assert finished.rows["span_id"].to_list() == [s.span_id.hex() for s in spans if s is not spans[late]]
    assert finished.rejected.rows() == [(0, late, "a time after the year 2262 cannot be stored")]
