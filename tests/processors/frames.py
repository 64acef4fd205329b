"""Batches for processor tests, as decoding would give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from spanhouse.batch import DECODED, ValueType

START_NS = 1_790_000_000_000_000_000  # 2026-09-21
_SOURCES = ("span:", "resource:", "scope:")
_TYPES = {str: ValueType.STRING, bool: ValueType.BOOL, int: ValueType.INT, float: ValueType.DOUBLE}
_RAW = {str: pl.String, bool: pl.Boolean, int: pl.Int64, float: pl.Float64}


def make_batch(spans: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A batch with one row per dict: DECODED columns by name, anything left out has a plain default.

    `span:<key>`, `resource:<key>` and `scope:<key>` (with `~` appended for a converted value) become raw
    columns, typed by their values. Attribute lists (`attrs`, `resource`, `scope_attrs`, an event's or
    link's `attrs`) may be given as {key: value}.
    """
    rows = [_row(i, span) for i, span in enumerate(spans)]
    batch = pl.DataFrame([{name: row[name] for name in DECODED} for row in rows], schema=DECODED)
    raws = dict.fromkeys(name for row in rows for name in row if name.startswith(_SOURCES))
    return batch.with_columns(
        pl.Series(name, [r.get(name) for r in rows], _raw_type(rows, name)) for name in raws
    )


def _row(i: int, span: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [name for name in span if name not in DECODED and not name.startswith(_SOURCES)]
    assert not unknown, f"no such columns: {unknown}"
    row: dict[str, Any] = {
        name: "" if dtype == pl.String else [] if isinstance(dtype, pl.List) else 0
        for name, dtype in DECODED.items()
    }
    row |= {
        "reject": None,
        "trace_id": f"{i + 1:032x}",
        "span_id": f"{i + 1:016x}",
        "name": "span",
        "span_kind_code": 1,
        "start_ns": START_NS,
        "end_ns": START_NS + 1_000_000,
    }
    row |= span
    for name in ("attrs", "resource", "scope_attrs"):
        row[name] = attributes(row[name])
    for name in ("events", "links"):
        row[name] = [_fill(name, item) for item in row[name]]
    return row


def _fill(name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"dropped": 0, "name": "", "ts": START_NS}
    if name == "links":
        defaults = {"dropped": 0, "trace_id": "", "span_id": "", "trace_state": "", "flags": 0}
    return {**defaults, **item, "attrs": attributes(item.get("attrs", []))}


def attributes(value: Any) -> list[dict[str, Any]]:
    """An attribute list from {key: value}; a list is taken as it is."""
    if isinstance(value, list):
        return value
    return [{"key": k, "value": _text(v), "type": _TYPES[type(v)]} for k, v in value.items()]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _raw_type(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    return _RAW[next((type(row[name]) for row in rows if row.get(name) is not None), str)]
