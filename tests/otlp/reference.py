"""What decoding must yield, worked out slowly from protobuf's own objects.

Messages may also be of `request_type`, which has bytes where text is: these need not be UTF-8.
"""

import base64
import codecs
import json
import math
import struct
from functools import lru_cache

import polars as pl

from spanhouse.batch import DECODED, ValueType
from spanhouse.otlp.state import MAX_ATTRIBUTES

codecs.register_error("each byte", lambda error: ("\ufffd" * (error.end - error.start), error.end))


def text(value):
    return value if isinstance(value, str) else value.decode("utf-8", "each byte")


def is_utf8(value):
    try:
        return isinstance(value, str) or value.decode() is not None
    except UnicodeDecodeError:
        return False


def double(value):
    return double_of_bits(struct.pack("d", value))


@lru_cache(100_000)
def double_of_bits(bits):
    return pl.Series(struct.unpack("d", bits)).cast(pl.String)[0].replace("inf", "Infinity")


def any_value(value):
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return ValueType.STRING, text(value.string_value)
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
        pairs = [
            f"{quote(marked(text(pair.key)))}:{nested(pair.value)}" for pair in value.kvlist_value.values
        ]
        return "{" + ",".join(pairs) + "}"
    if kind == "string_value":
        return quote(text(value.string_value))
    if kind == "bytes_value":
        return '{"$bytes":"' + base64.b64encode(value.bytes_value).decode() + '"}'
    if kind == "double_value" and not math.isfinite(value.double_value):
        return '{"$double":"' + double(value.double_value) + '"}'
    if kind in (None, "string_value_strindex"):
        return "null"
    return any_value(value)[1]


def marked(key):
    return "$" + key if key.startswith("$") and key.lstrip("$") in ("bytes", "double") else key


quote = json.JSONEncoder(ensure_ascii=False).encode


def attributes(pairs):
    result = []
    for pair in pairs:
        kind, shown = any_value(pair.value)
        result.append({"key": text(pair.key), "value": shown, "type": int(kind)})
    return result


EXACT = {
    pl.String: "string_value",
    pl.Int64: "int_value",
    pl.Float64: "double_value",
    pl.Boolean: "bool_value",
}


def convert(value, target):
    """The converted form of a value of another type."""
    kind, shown = any_value(value)
    if target == pl.String:
        return None if kind in (ValueType.EMPTY, ValueType.BYTES) else shown
    if target == pl.Boolean:
        return {"true": True, "false": False}.get(shown) if kind == ValueType.STRING else None
    if target == pl.Float64:
        if kind == ValueType.INT:
            return float(value.int_value)
        return pl.Series([shown]).cast(pl.Float64, strict=False)[0] if kind == ValueType.STRING else None
    if kind == ValueType.STRING:
        digits = shown[1:] if shown[:1] in ("+", "-") else shown
        good = digits.isascii() and digits.isdigit() and len(digits) < 20 and -(2**63) <= int(shown) < 2**63
        return int(shown) if good else None
    if kind == ValueType.DOUBLE and value.double_value.is_integer() and abs(value.double_value) < 2**63:
        return int(value.double_value)
    return None


def split(owner, pairs, wanted):
    """(attributes that stay in the list, values of the raw columns)."""
    rest, raw = [], {}
    for pair in pairs[:MAX_ATTRIBUTES]:
        name = f"{owner}:{text(pair.key)}"
        if is_utf8(pair.key) and name in wanted and name not in raw:
            raw[name] = None
            if pair.value.WhichOneof("value") == EXACT[wanted[name]]:
                exact = getattr(pair.value, EXACT[wanted[name]])
                raw[name] = text(exact) if wanted[name] == pl.String else exact
                continue
            raw[name + "~"] = convert(pair.value, wanted[name])
        rest.append(pair)
    return attributes(rest), raw


def good_value(value):
    """Whether all text in a value is UTF-8."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return is_utf8(value.string_value)
    if kind == "array_value":
        return all(good_value(item) for item in value.array_value.values)
    return kind != "kvlist_value" or good_pairs(value.kvlist_value.values)


def good_pairs(pairs):
    return all(is_utf8(pair.key) and good_value(pair.value) for pair in pairs)


def gathered_reason(owner, pairs, *texts):
    """Why all spans of a resource or a scope are rejected."""
    if all(is_utf8(string) for string in texts):
        if len(pairs) > MAX_ATTRIBUTES:
            return f"more than {MAX_ATTRIBUTES} {owner} attributes"
        if good_pairs(pairs):
            return None
    return f"invalid UTF-8 in {owner}"


def reasons(span, gathered):
    """What may be given as the reason to reject a span: of several of its parts the first on the wire is."""
    if len(span.attributes) > MAX_ATTRIBUTES:
        return {f"more than {MAX_ATTRIBUTES} attributes"}
    parts = {
        "attributes": good_pairs(span.attributes),
        "the status message": is_utf8(span.status.message),
        "events": all(is_utf8(event.name) and good_pairs(event.attributes) for event in span.events),
        "links": all(is_utf8(link.trace_state) and good_pairs(link.attributes) for link in span.links),
    }
    bad = {f"invalid UTF-8 in {part}" for part, good in parts.items() if not good}
    for part, string in (("trace_state", span.trace_state), ("name", span.name)):
        if not bad and not is_utf8(string):
            bad = {f"invalid UTF-8 in {part}"}
    return bad or {gathered}


def rows(requests, wanted):
    result = []
    for index, request in requests:
        begin = len(result)
        for resource_spans in request.resource_spans:
            of_resource = resource_spans.resource.attributes
            resource, resource_raw = split("resource", of_resource, wanted)
            resource_reason = gathered_reason("resource", of_resource, resource_spans.schema_url)
            for scope_spans in resource_spans.scope_spans:
                found = scope_spans.scope
                scope, scope_raw = split("scope", found.attributes, wanted)
                texts = found.name, found.version, scope_spans.schema_url
                reason = gathered_reason("scope", found.attributes, *texts) or resource_reason
                for span in scope_spans.spans:
                    attrs, raw = split("span", span.attributes, wanted)
                    result.append(
                        row(index, span)
                        | {
                            "span": len(result) - begin,
                            "reject": reasons(span, reason),
                            "attrs": attrs,
                            "scope": text(found.name),
                            "scope_version": text(found.version),
                            "scope_attrs": scope,
                            "scope_dropped": found.dropped_attributes_count,
                            "scope_schema_url": text(scope_spans.schema_url),
                            "resource": resource,
                            "resource_dropped": resource_spans.resource.dropped_attributes_count,
                            "resource_schema_url": text(resource_spans.schema_url),
                        }
                        | raw
                        | scope_raw
                        | resource_raw
                    )
    return result


def row(index, span):
    return {
        "payload": index,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex(),
        "trace_state": text(span.trace_state),
        "flags": span.flags,
        "name": text(span.name),
        "span_kind_code": span.kind,
        "start_ns": span.start_time_unix_nano,
        "end_ns": span.end_time_unix_nano,
        "status_code": span.status.code,
        "status_message": text(span.status.message),
        "dropped_attributes": span.dropped_attributes_count,
        "events": [
            {
                "ts": event.time_unix_nano,
                "name": text(event.name),
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
                "trace_state": text(link.trace_state),
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
    schema = batch.schema
    assert dict(list(schema.items())[: len(DECODED)]) == dict(DECODED)
    raw = list(batch.columns[len(DECODED) :])
    assert set(raw) >= {name for row in expected for name in row} - set(DECODED)
    for name in raw:  # some may be null throughout: those of a resource without spans
        assert schema[name] == wanted[name.removesuffix("~")]
    got = batch.to_dicts()
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one["reject"] in other["reject"]
        other["reject"] = one["reject"]
        assert normal(one) == normal(dict.fromkeys(raw) | other)


def normal(row):
    return {
        key: "NaN" if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()
    }
