"""Rows of `agent_events` back to OTLP: the spans whole, as they came."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import polars as pl
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from spanhouse.batch import ValueType

_SPAN_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES: Final = ("unset", "ok", "error")

_NANOSECONDS: Final = pl.Datetime("ns", "UTC")

Row = dict[str, Any]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, which may have a key twice."""


def rows_to_otlp(rows: pl.DataFrame) -> TracesData:
    """Give spans back whole.

    Args:
        rows: as `SELECT * FROM agent_events` gives them in Arrow or Parquet.

    Returns:
        The spans in their order, those with the same resource and scope together.
    """
    traces = TracesData()
    resources: dict[str, ResourceSpans] = {}
    scopes: dict[str, ScopeSpans] = {}
    for row in _plain(rows).iter_rows(named=True):
        promoted = json.loads(row["promoted"] or "{}")
        resource = _attributes(row, "resource", row["resource"], row["resource_types"], promoted)
        scope = _attributes(row, "scope", row["scope_attrs"], row["scope_attr_types"], promoted)
        resource_key = repr((resource, row["resource_dropped"], row["resource_schema_url"]))
        scope_key = resource_key + repr(
            (row["scope"], row["scope_version"], scope, row["scope_dropped"], row["scope_schema_url"])
        )
        if resource_key not in resources:
            found = resources[resource_key] = traces.resource_spans.add(schema_url=row["resource_schema_url"])
            found.resource.attributes.extend(resource)
            found.resource.dropped_attributes_count = row["resource_dropped"]
        if scope_key not in scopes:
            block = resources[resource_key].scope_spans.add(schema_url=row["scope_schema_url"])
            block.scope.name, block.scope.version = row["scope"], row["scope_version"]
            block.scope.attributes.extend(scope)
            block.scope.dropped_attributes_count = row["scope_dropped"]
            scopes[scope_key] = block
        scopes[scope_key].spans.append(_span(row, promoted))
    return traces


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    # Python's datetime has no nanoseconds, and its dict no key twice.
    return rows.cast({name: _plain_type(dtype, _NANOSECONDS) for name, dtype in rows.schema.items()}).cast(
        {name: _plain_type(dtype, pl.Int64()) for name, dtype in rows.schema.items()}
    )


def _plain_type(dtype: pl.DataType, time: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.Datetime):
        return time
    if isinstance(dtype, pl.Map):
        value = _plain_type(dtype.value, time)  # type: ignore[arg-type]
        return pl.List(pl.Struct({"key": dtype.key, "value": value}))
    if isinstance(dtype, pl.Binary):  # an enum's name in Parquet
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(_plain_type(dtype.inner, time))  # type: ignore[arg-type]
    return dtype


def _span(row: Row, promoted: Mapping[str, str]) -> Span:
    span = Span(
        trace_id=bytes.fromhex(row["trace_id"]),
        span_id=bytes.fromhex(row["span_id"]),
        parent_span_id=bytes.fromhex(row["parent_span_id"]),
        trace_state=row["trace_state"],
        flags=row["flags"],
        name=row["name"],
        kind=_code(row["span_kind"], _SPAN_KINDS),  # type: ignore[arg-type]
        start_time_unix_nano=row["ts"],
        # Exact: a day's nanoseconds are far below 2**53.
        end_time_unix_nano=row["ts"] + round(row["latency_ms"] * 1e6),
        attributes=_attributes(row, "span", row["attrs"], row["attr_types"], promoted),
        dropped_attributes_count=row["dropped_attributes"],
        dropped_events_count=row["dropped_events"],
        dropped_links_count=row["dropped_links"],
    )
    span.status.code = _code(row["status"], _STATUSES)  # type: ignore[assignment]
    span.status.message = row["status_message"]
    for event in _nested(row, "events", ("ts", "name", "attrs", "attr_types", "dropped")):
        span.events.add(
            time_unix_nano=event["ts"],
            name=event["name"],
            attributes=_listed(event["attrs"], event["attr_types"]),
            dropped_attributes_count=event["dropped"],
        )
    fields = ("trace_id", "span_id", "trace_state", "flags", "attrs", "attr_types", "dropped")
    for link in _nested(row, "links", fields):
        span.links.add(
            trace_id=bytes.fromhex(link["trace_id"]),
            span_id=bytes.fromhex(link["span_id"]),
            trace_state=link["trace_state"],
            flags=link["flags"],
            attributes=_listed(link["attrs"], link["attr_types"]),
            dropped_attributes_count=link["dropped"],
        )
    return span


def _code(name: str, names: tuple[str, ...]) -> int:
    # A code without a name was stored as its number.
    return names.index(name) if name in names else int(name)


def _nested(row: Row, name: str, fields: tuple[str, ...]) -> Iterable[Row]:
    columns = [row[f"{name}.{field}"] for field in fields]
    return (dict(zip(fields, values, strict=True)) for values in zip(*columns, strict=True))


def _attributes(
    row: Row, owner: str, values: list[Row], types: list[Row], promoted: Mapping[str, str]
) -> list[KeyValue]:
    """What stands in a column of its own, then what is listed."""
    found = []
    for name, column in promoted.items():
        source, _, key = name.partition(":")
        if source == owner:
            found.append(KeyValue(key=key, value=_column_value(row[column])))
    return found + _listed(values, types)


def _column_value(value: str | int | float | Decimal) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=float(value))


def _listed(values: list[Row], types: list[Row]) -> list[KeyValue]:
    # A key may be there twice; what has a type of its own comes after the strings of the same key.
    left = Counter(pair["key"] for pair in values)
    typed: dict[str, list[ValueType]] = {}
    for pair in types:
        typed.setdefault(pair["key"], []).append(_value_type(pair["value"]))
    found = []
    for pair in values:
        key, kinds = pair["key"], typed.get(pair["key"], [])
        kind = kinds.pop(0) if len(kinds) >= left[key] else ValueType.STRING
        left[key] -= 1
        found.append(_pair(key, _value(pair["value"], kind)))
    return found


def _pair(key: str, value: AnyValue) -> KeyValue:
    # No value and an empty one say the same and are stored alike.
    return KeyValue(key=key, value=value) if value.WhichOneof("value") else KeyValue(key=key)


def _value_type(value: str | int) -> ValueType:
    return ValueType[value.upper()] if isinstance(value, str) else ValueType(value)


def _value(text: str, kind: ValueType) -> AnyValue:
    match kind:
        case ValueType.STRING:
            return AnyValue(string_value=text)
        case ValueType.BOOL:
            return AnyValue(bool_value=text == "true")
        case ValueType.INT:
            return AnyValue(int_value=int(text))
        case ValueType.DOUBLE:
            return AnyValue(double_value=float(text))
        case ValueType.BYTES:
            return AnyValue(bytes_value=base64.b64decode(text))
        case ValueType.ARRAY | ValueType.KVLIST:
            return _from_json(json.loads(text, object_pairs_hook=_Pairs))
        case ValueType.EMPTY:
            return AnyValue()


def _from_json(value: Any) -> AnyValue:
    result = AnyValue()
    if isinstance(value, _Pairs):
        if len(value) == 1 and isinstance(value[0][1], str):
            if value[0][0] == "$bytes":
                return AnyValue(bytes_value=base64.b64decode(value[0][1]))
            if value[0][0] == "$double":
                return AnyValue(double_value=float(value[0][1]))
        result.kvlist_value.SetInParent()
        for key, inner in value:
            if key.startswith("$$") and key.lstrip("$") in ("bytes", "double"):
                key = key[1:]
            result.kvlist_value.values.append(_pair(key, _from_json(inner)))
    elif isinstance(value, list):
        result.array_value.SetInParent()
        result.array_value.values.extend(_from_json(inner) for inner in value)
    elif isinstance(value, str):
        result.string_value = value
    elif isinstance(value, bool):
        result.bool_value = value
    elif isinstance(value, int):
        result.int_value = value
    elif isinstance(value, float):
        result.double_value = value
    return result
