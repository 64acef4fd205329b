"""The batch: a polars DataFrame with one row per span, and the one place where its columns are written down.

A batch passes three stages, always with the spans of all its payloads in wire order:

1. `DECODED`: what decoding yields, plus one *raw column* for each wanted attribute that occurs in
   the batch, named ``span:<key>``, ``resource:<key>`` or ``scope:<key>``. A raw column is null where
   the span has no such attribute. A value whose wire type is not the wanted type is left in the
   attribute list as it came, and its converted form (null if it cannot be converted) is put in a
   column with a ``~`` appended: ``span:gen_ai.usage.input_tokens~``.
   Content (prompts, completions) is taken out of the lists before anything else looks at the batch;
   where it is kept it is in the column `content` (CONTENT), which a batch without any has not. Evaluations
   are in `evaluations` (EVALUATIONS) likewise, and in the lists.
2. `NORMALIZED`: what the processors add. Processors may add columns of their own; they are dropped
   before storing unless they are named in `ROW`.
3. `ROW`: what is stored, in `agent_events`' own names (`spanhouse.rows` makes it).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import IntEnum
from typing import Final

import polars as pl


class ValueType(IntEnum):
    """Type of an attribute's value: the field numbers of OTLP's `AnyValue`, 0 where it is not set."""

    EMPTY = 0
    STRING = 1
    BOOL = 2
    INT = 3
    DOUBLE = 4
    ARRAY = 5
    KVLIST = 6
    BYTES = 7


# Of the values of raw columns.
RAW_TYPES: Final = {
    pl.String: ValueType.STRING,
    pl.Int64: ValueType.INT,
    pl.Float64: ValueType.DOUBLE,
    pl.Boolean: ValueType.BOOL,
}

# One attribute. `value` is text: strings as they are, `true`/`false`, decimal integers, doubles in the
# shortest form that reads back the same (`NaN`, `Infinity`, `-Infinity`), bytes in base64, arrays and
# maps as JSON (doubles always with `.` or an exponent; bytes as {"$bytes": "<base64>"}, non-finite
# doubles as {"$double": "NaN"}, unset as null), '' for EMPTY. With `type` nothing is lost.
ATTRIBUTES: Final = pl.List(pl.Struct({"key": pl.String, "value": pl.String, "type": pl.UInt8}))
EVENTS: Final = pl.List(
    pl.Struct({"ts": pl.UInt64, "name": pl.String, "attrs": ATTRIBUTES, "dropped": pl.UInt32})
)
LINKS: Final = pl.List(
    pl.Struct(
        {
            "trace_id": pl.String,
            "span_id": pl.String,
            "trace_state": pl.String,
            "flags": pl.UInt32,
            "attrs": ATTRIBUTES,
            "dropped": pl.UInt32,
        }
    )
)

# Prompts, completions and the like that were taken out of a span: the kind (`content_rules.CONTENT_KINDS`),
# the attribute (of the span, or of the event that is named), how many bytes it had when it came, and whether
# it was cut.
CONTENT: Final = pl.List(
    pl.Struct(
        {
            "kind": pl.String,
            "event": pl.String,
            "key": pl.String,
            "value": pl.String,
            "type": pl.UInt8,
            "bytes": pl.UInt32,
            "truncated": pl.Boolean,
        }
    )
)

# What a span says of how good something was: an evaluator's score, a user's feedback, a guardrail's verdict
# (`type`); of its parent rather than of itself where `of_parent` is true.
EVALUATIONS: Final = pl.List(
    pl.Struct(
        {
            "type": pl.String,
            "name": pl.String,
            "score": pl.Float64,
            "label": pl.String,
            "explanation": pl.String,
            "evaluator": pl.String,
            "of_parent": pl.Boolean,
        }
    )
)

# Prefix of the raw columns -> the list of the other attributes of the same source, what tells most first.
ATTRIBUTE_LISTS: Final = {"span": "attrs", "resource": "resource", "scope": "scope_attrs"}

Schema = dict[str, pl.DataType | type[pl.DataType]]
Processor = Callable[[pl.DataFrame], pl.DataFrame]

DECODED: Final[Schema] = {
    "payload": pl.UInt32,  # index of the payload (request, Kafka message) that brought the span
    "span": pl.UInt32,  # which of that payload's spans it is, in wire order
    "reject": pl.String,  # why the span cannot be stored; null while it can
    "trace_id": pl.String,  # lower-case hex, '' if absent; any length, guard checks it
    "span_id": pl.String,
    "parent_span_id": pl.String,
    "trace_state": pl.String,
    "flags": pl.UInt32,
    "name": pl.String,
    "span_kind_code": pl.Int32,  # OTLP SpanKind
    "start_ns": pl.UInt64,  # unix nanoseconds, as sent
    "end_ns": pl.UInt64,
    "status_code": pl.Int32,  # OTLP StatusCode: 0 unset, 1 ok, 2 error
    "status_message": pl.String,
    "attrs": ATTRIBUTES,  # span attributes that have no exact raw column
    "dropped_attributes": pl.UInt32,
    "events": EVENTS,
    "dropped_events": pl.UInt32,
    "links": LINKS,
    "dropped_links": pl.UInt32,
    "scope": pl.String,
    "scope_version": pl.String,
    "scope_attrs": ATTRIBUTES,
    "scope_dropped": pl.UInt32,
    "scope_schema_url": pl.String,
    "resource": ATTRIBUTES,  # resource attributes that have no exact raw column
    "resource_dropped": pl.UInt32,
    "resource_schema_url": pl.String,
}

# Columns whose values come from attributes through the mapping tables; text is '' and counts are 0
# where nothing says otherwise.
NORMALIZED: Final[Schema] = {
    "kind": pl.String,
    "service": pl.String,
    "service_version": pl.String,
    "env": pl.String,
    "tenant_id": pl.String,
    "agent": pl.String,
    "workflow": pl.String,
    "session_id": pl.String,
    "user_id_hash": pl.String,
    "provider": pl.String,
    "model": pl.String,
    "operation": pl.String,
    "route": pl.String,
    "tool_name": pl.String,
    "prompt_name": pl.String,
    "prompt_version": pl.String,
    "experiment": pl.String,
    "variant": pl.String,
    "finish_reason": pl.String,  # why a model stopped
    "retries": pl.UInt64,  # attempts after the first
    "status": pl.String,  # unset, ok, error
    "error_type": pl.String,
    "error_message": pl.String,
    "latency_ms": pl.Float64,
    "ttft_ms": pl.Float64,  # time to first token; null where unknown
    "tokens_prompt": pl.UInt64,  # all input, cached included
    "tokens_completion": pl.UInt64,  # all output, reasoning included
    "tokens_cache_read": pl.UInt64,
    "tokens_cache_write": pl.UInt64,
    "tokens_reasoning": pl.UInt64,
    "cost_usd": pl.Decimal(18, 10),
    "cost_source": pl.String,  # reported, computed, unpriced, none
    "cost_computed_usd": pl.Decimal(18, 10),  # from the price, whatever was reported; null where unknown
    "span_kind": pl.String,
}

# What is added where content is taken out of a batch; 0 for all that is no tool's call.
SIZES: Final[Schema] = {
    "tool_input_bytes": pl.UInt64,  # of the arguments, as they came
    "tool_output_bytes": pl.UInt64,  # of the result
}

TOKENS: Final = tuple(name for name in NORMALIZED if name.startswith("tokens_"))

# Low-cardinality columns that the rollups group by; guard limits how many values each may have.
DIMENSIONS: Final = (
    "tenant_id", "env", "service", "agent", "workflow", "kind", "operation", "provider", "model",
    "route", "tool_name", "prompt_name", "prompt_version", "experiment", "variant",
)  # fmt: skip

KINDS: Final = (
    "llm", "agent", "tool", "retrieval", "embedding", "rerank", "workflow", "guardrail", "evaluation",
    "mcp", "http", "db", "other",
)  # fmt: skip


def without(batch: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """The batch without these columns; `drop` takes three times as long."""
    return batch[[name for name in batch.columns if name not in names]]


def reject(batch: pl.DataFrame, where: pl.Expr, reason: str | pl.Expr) -> pl.DataFrame:
    """Mark the spans for which `where` holds as not storable; the first reason given stays.

    `reason` is shown to the sender, so it names the limit or the field and never quotes a value.
    """
    reason_expr = pl.lit(reason) if isinstance(reason, str) else reason
    return batch.with_columns(
        reject=pl.when(pl.col("reject").is_null() & where).then(reason_expr).otherwise(pl.col("reject"))
    )


def attribute(key: str, column: str = "attrs") -> pl.Expr:
    """Text of the attribute `key` in `attrs`, `resource` or `scope_attrs`; null where there is none."""
    element = pl.element()
    return (
        pl.col(column)
        .list.eval(element.struct.field("value").filter(element.struct.field("key") == key))
        .list.first()
    )
