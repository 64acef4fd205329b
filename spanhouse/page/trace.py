"""One trace: its spans as a waterfall, and as OTLP/JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any, Final

import polars as pl
from google.protobuf.json_format import MessageToDict

from spanhouse.otlp.encode import rows_to_otlp
from spanhouse.page.ask import Result

MAX_SPANS: Final = 10_000

Span = dict[str, Any]

# Columns of sql/queries/trace.sql that go to the browser as they are.
_PLAIN: Final = (
    "span_id", "parent_span_id", "name", "kind", "service", "agent", "model", "tool_name", "status",
    "error_type", "error_message", "ttft_ms", "tokens_prompt", "tokens_completion", "tokens_cache_read",
    "tokens_cache_write", "tokens_reasoning", "cost_usd", "cost_source",
)  # fmt: skip


def waterfall(trace_id: str, result: Result) -> dict[str, Any]:
    """The trace for a browser.

    Args:
        trace_id: its id.
        result: rows of `sql/queries/trace.sql`, at least one.

    Returns:
        Its start (Unix nanoseconds, as text), its duration, and its spans: each after its parent, children by
        their start. A span whose parent is not there is at the top, and so is the first of a circle.
    """
    names = [name for name, _ in result.columns]
    rows = [dict(zip(names, row, strict=True)) for row in result.rows]
    start = min(int(row["start_ns"]) for row in rows)
    spans = [_span(row, start) for row in rows]
    end = max(span["start_ms"] + span["duration_ms"] for span in spans)
    ordered = []
    for span, depth in _by_parent(spans):
        span["depth"] = depth
        ordered.append(span)
    return {
        "trace_id": trace_id,
        "start": str(start),
        "duration_ms": end,
        "spans": ordered,
        "truncated": result.truncated,
    }


def _span(row: dict[str, Any], start: int) -> Span:
    return {name: row[name] for name in _PLAIN} | {
        "start_ms": (int(row["start_ns"]) - start) / 1e6,
        "duration_ms": row["latency_ms"],
        "attrs": _attributes(row, "span:") | row["attrs"],
        "resource": _attributes(row, "resource:") | row["resource"],
        "events": [
            {"name": name, "ms": (int(ns) - start) / 1e6, "attrs": attributes}
            for ns, name, attributes in zip(
                row["event_ns"], row["event_names"], row["event_attrs"], strict=True
            )
        ],
    }


def _attributes(row: dict[str, Any], owner: str) -> dict[str, str]:
    """Those that stand in columns of their own, by their own names."""
    promoted: dict[str, str] = json.loads(row["promoted"] or "{}")
    return {
        name.removeprefix(owner): str(row[column])
        for name, column in promoted.items()
        if name.startswith(owner)
    }


def _by_parent(spans: list[Span]) -> Iterator[tuple[Span, int]]:
    """Each span once with its depth, children right after their parents; see `waterfall`."""
    spans = sorted(spans, key=lambda span: (span["start_ms"], -span["duration_ms"]))
    children: dict[str, list[int]] = {}
    for number, span in enumerate(spans):
        children.setdefault(span["parent_span_id"], []).append(number)
    ids = {span["span_id"] for span in spans}
    tops = [number for number, span in enumerate(spans) if span["parent_span_id"] not in ids]
    seen: set[int] = set()
    # Whatever no top leads to is in a circle, or below one: its first span is the next top.
    for top in (*tops, *range(len(spans))):
        stack = [(top, 0)]
        while stack:
            number, depth = stack.pop()
            if number in seen:
                continue
            seen.add(number)
            span = spans[number]
            yield span, depth
            stack += [(child, depth + 1) for child in reversed(children.get(span["span_id"], ()))]


def otlp_json(parquet: bytes) -> tuple[bytes, int]:
    """Rows of `agent_events` as OTLP/JSON: ids in hexadecimal, enums as numbers, 64-bit integers as text.

    Source: OTLP 1.x, "JSON Protobuf Encoding".

    Returns:
        The first MAX_SPANS spans, and how many rows there were.
    """
    rows = pl.read_parquet(io.BytesIO(parquet))
    message = MessageToDict(rows_to_otlp(rows.head(MAX_SPANS)), use_integers_for_enums=True)
    for resource in message.get("resourceSpans", ()):
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                _in_hexadecimal(span, "traceId", "spanId", "parentSpanId")
                for link in span.get("links", ()):
                    _in_hexadecimal(link, "traceId", "spanId")
    return json.dumps(message, ensure_ascii=False).encode(errors="replace"), rows.height


def _in_hexadecimal(owner: dict[str, Any], *names: str) -> None:
    for name in names:
        if name in owner:
            owner[name] = base64.b64decode(owner[name]).hex()
