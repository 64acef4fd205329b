import polars as pl
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from spanhouse.otlp.decode import Decoder
from spanhouse.otlp.encode import rows_to_otlp
from spanhouse.processors.normalize import Normalize
from spanhouse.rows import finish
from tests.otlp.samples import request, values


def rows_of(message, change=lambda batch: batch):
    normalize = Normalize()
    batch = Decoder(normalize.wanted).decode([message.SerializeToString()]).batch
    return pl.DataFrame(finish(change(normalize(batch)), normalize.targets).table)


def in_order(traces):
    """The same with attributes sorted, which are a set."""
    result = TracesData()
    result.CopyFrom(traces)
    for resource_spans in result.resource_spans:
        sort(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            sort(scope_spans.scope.attributes)
            for span in scope_spans.spans:
                for owner in (span, *span.events, *span.links):
                    sort(owner.attributes)
    return result


def sort(attributes):
    found = sorted((without_empty(pair) for pair in attributes), key=lambda pair: pair.key)
    del attributes[:]
    attributes.extend(found)


def without_empty(pair):
    """The pair without values that say nothing, inside it too."""
    if pair.value == AnyValue():
        pair.ClearField("value")
    for inner in (
        *pair.value.kvlist_value.values,
        *[KeyValue(value=v) for v in pair.value.array_value.values],
    ):
        without_empty(inner)
    return pair


def test_spans_come_back_whole():
    original = TracesData.FromString(request().SerializeToString())
    for value in values():
        attributes = original.resource_spans[0].scope_spans[0].spans[0].attributes
        attributes.add(key=f"nested.{len(attributes)}").value.kvlist_value.values.add(
            key="$bytes", value=value
        )
    special = original.resource_spans[1].resource.attributes.add(key="special").value.array_value
    for number in (float("inf"), float("-inf"), -0.0, 1e300, 1.0):
        special.values.add(double_value=number)
    special.values.add().kvlist_value.values.add(key="$double").value.string_value = "NaN"
    rows = rows_of(original)
    assert rows["promoted"].str.contains("gen_ai.request.model").all()
    assert in_order(rows_to_otlp(rows)) == in_order(original)


def test_what_was_masked_stays_masked():
    rows = rows_of(request(), lambda batch: batch.with_columns(model=pl.lit("other")))
    for resource_spans in rows_to_otlp(rows).resource_spans:
        for span in resource_spans.scope_spans[0].spans:
            found = {pair.key: pair.value.string_value for pair in span.attributes}
            assert found["gen_ai.request.model"] == "gpt-4o"
