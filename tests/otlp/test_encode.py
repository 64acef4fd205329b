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
    return selected(finish(change(normalize(batch)), normalize.targets).rows)


def selected(rows):
    """Rows as a SELECT of the table gives them."""
    plain = [name for name, dtype in rows.schema.items() if not isinstance(dtype, pl.List)]
    lists = {"attrs": "attr_types", "resource": "resource_types", "scope_attrs": "scope_attr_types"}
    columns = [pl.col(plain)]
    for name, types in lists.items():
        columns += [values_of(pl.col(name)).alias(name), types_of(pl.col(name)).alias(types)]
    for name in ("events", "links"):
        fields = [field.name for field in rows.schema[name].inner.fields]
        columns += [each(name, field).alias(f"{name}.{field}") for field in fields if field != "attrs"]
        columns.append(pl.col(name).list.eval(values_of(pl.element().struct["attrs"])).alias(f"{name}.attrs"))
        types = types_of(pl.element().struct["attrs"])
        columns.append(pl.col(name).list.eval(types).alias(f"{name}.attr_types"))
    return rows.select(columns)


def each(name, field):
    return pl.col(name).list.eval(pl.element().struct[field])


def values_of(attributes):
    element = pl.element()
    return attributes.list.eval(pl.struct(key=element.struct["key"], value=element.struct["value"]))


def types_of(attributes):
    element = pl.element()
    pairs = pl.struct(key=element.struct["key"], value=element.struct["type"].cast(pl.Int8))
    return attributes.list.eval(pairs.filter(element.struct["type"] != 1))


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
