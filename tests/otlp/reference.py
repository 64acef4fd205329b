"""What decoding must yield, worked out slowly from protobuf's own objects."""

import base64
import json
import math

import polars as pl

from spanhouse.batch import DECODED, ValueType


def double(value):
    return pl.Series([value]).cast(pl.String)[0].replace("inf", "Infinity")


def any_value(value):
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return ValueType.STRING, value.string_value
    if kind == "bool_value":
        return ValueType.BOOL, "true" if value.bool_value else "false"
    if kind == "int_value":
        return ValueType.INT, str(value.int_value)
    if kind == "double_value":
        return ValueType.DOUBLE, double(value.double_value)
    if kind == "bytes_value":
        return ValueType.BYTES, base64.b64encode(value.bytes_value).decode()
    if kind == "array_value":
        return ValueType.ARRAY, nested(value)
    if kind == "kvlist_value":
        return ValueType.KVLIST, nested(value)
    return ValueType.EMPTY, ""


def nested(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return "[" + ",".join(nested(item) for item in value.array_value.values) + "]"
    if kind == "kvlist_value":
        pairs = [f"{quote(marked(pair.key))}:{nested(pair.value)}" for pair in value.kvlist_value.values]
        return "{" + ",".join(pairs) + "}"
    if kind == "string_value":
        return quote(value.string_value)
    if kind == "bytes_value":
        return '{"$bytes":"' + base64.b64encode(value.bytes_value).decode() + '"}'
    if kind == "double_value" and not math.isfinite(value.double_value):
        return '{"$double":"' + double(value.double_value) + '"}'
    if kind in (None, "string_value_strindex"):
        return "null"
    return any_value(value)[1]


def marked(key):
    return "$" + key if key.startswith("$") and key.lstrip("$") in ("bytes", "double") else key


def quote(text):
    return json.dumps(text, ensure_ascii=False)


def attributes(pairs):
    result = []
    for pair in pairs:
        kind, text = any_value(pair.value)
        result.append({"key": pair.key, "value": text, "type": int(kind)})
    return result


EXACT = {
    pl.String: "string_value",
    pl.Int64: "int_value",
    pl.Float64: "double_value",
    pl.Boolean: "bool_value",
}


def convert(value, target):
    """The converted form of a value of another type."""
    kind, text = any_value(value)
    if target == pl.String:
        return None if kind in (ValueType.EMPTY, ValueType.BYTES) else text
    if target == pl.Boolean:
        return {"true": True, "false": False}.get(text) if kind == ValueType.STRING else None
    if target == pl.Float64:
        if kind == ValueType.INT:
            return float(value.int_value)
        return pl.Series([text]).cast(pl.Float64, strict=False)[0] if kind == ValueType.STRING else None
    if kind == ValueType.STRING:
        digits = text[1:] if text[:1] in ("+", "-") else text
        good = digits.isascii() and digits.isdigit() and len(digits) < 20 and -(2**63) <= int(text) < 2**63
        return int(text) if good else None
    if kind == ValueType.DOUBLE and value.double_value.is_integer() and abs(value.double_value) < 2**63:
        return int(value.double_value)
    return None


def split(owner, pairs, wanted):
    """(attributes that stay in the list, values of the raw columns)."""
    rest, raw = [], {}
    for pair in pairs:
        name = f"{owner}:{pair.key}"
        if name in wanted and name not in raw:
            raw[name] = None
            if pair.value.WhichOneof("value") == EXACT[wanted[name]]:
                raw[name] = getattr(pair.value, EXACT[wanted[name]])
                continue
            raw[name + "~"] = convert(pair.value, wanted[name])
        rest.append(pair)
    return attributes(rest), raw


def rows(requests, wanted):
    result = []
    for index, request in requests:
        begin = len(result)
        for resource_spans in request.resource_spans:
            resource, resource_raw = split("resource", resource_spans.resource.attributes, wanted)
            for scope_spans in resource_spans.scope_spans:
                scope, scope_raw = split("scope", scope_spans.scope.attributes, wanted)
                for span in scope_spans.spans:
                    attrs, raw = split("span", span.attributes, wanted)
                    result.append(
                        row(index, span)
                        | {
                            "span": len(result) - begin,
                            "attrs": attrs,
                            "scope": scope_spans.scope.name,
                            "scope_version": scope_spans.scope.version,
                            "scope_attrs": scope,
                            "scope_dropped": scope_spans.scope.dropped_attributes_count,
                            "scope_schema_url": scope_spans.schema_url,
                            "resource": resource,
                            "resource_dropped": resource_spans.resource.dropped_attributes_count,
                            "resource_schema_url": resource_spans.schema_url,
                        }
                        | raw
                        | scope_raw
                        | resource_raw
                    )
    return result


def row(index, span):
    return {
        "payload": index,
        "reject": None,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex(),
        "trace_state": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "span_kind_code": span.kind,
        "start_ns": span.start_time_unix_nano,
        "end_ns": span.end_time_unix_nano,
        "status_code": span.status.code,
        "status_message": span.status.message,
        "dropped_attributes": span.dropped_attributes_count,
        "events": [
            {
                "ts": event.time_unix_nano,
                "name": event.name,
                "attrs": attributes(event.attributes),
                "dropped": event.dropped_attributes_count,
            }
            for event in span.events
        ],
        "dropped_events": span.dropped_events_count,
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "trace_state": link.trace_state,
                "flags": link.flags,
                "attrs": attributes(link.attributes),
                "dropped": link.dropped_attributes_count,
            }
            for link in span.links
        ],
        "dropped_links": span.dropped_links_count,
    }


def assert_decoded(batch, requests, wanted):
    """Compare a batch with the requests, given as (payload index, message)."""
    expected = rows(requests, wanted)
    assert dict(list(batch.schema.items())[: len(DECODED)]) == dict(DECODED)
    raw = list(batch.columns[len(DECODED) :])
    assert set(raw) >= {name for row in expected for name in row} - set(DECODED)
    for name in raw:  # some may be null throughout: those of a resource without spans
        assert batch.schema[name] == wanted[name.removesuffix("~")]
    got = batch.to_dicts()
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert normal(one) == normal(dict.fromkeys(raw) | other)


def normal(row):
    return {
        key: "NaN" if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()
    }
