"""Rows of the tables beside `agent_events`, made of what spans' rows bring along (`rows.BESIDE`)."""

from __future__ import annotations

from typing import Final

import polars as pl

from spanhouse.rows import BESIDE

# Columns that such a row has from its span's.
_OF_SPAN: Final = {"content": ("ts", "trace_id", "span_id", "tenant_id")}
_RENAMED: Final = {"content": {"value": "text"}}
_LEFT_OUT: Final = {"content": ("type",)}


def split(rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """The rows of `agent_events` alone, and those of each table beside it that gets any.

    All rows that a span has in such a table have its time, and so come into one part: they are stored
    together or not at all.
    """
    beside: dict[str, pl.DataFrame] = {}
    for name in BESIDE:
        if name not in rows.columns:
            continue
        found = rows.filter(pl.col(name).list.len() > 0)
        if found.height:
            number = pl.int_ranges(pl.col(name).list.len(), dtype=pl.UInt32).alias("number")
            exploded = found.select(*_OF_SPAN[name], number, name).explode("number", name)
            beside[name] = exploded.unnest(name).drop(_LEFT_OUT[name]).rename(_RENAMED[name])
    alone = rows.drop(list(BESIDE), strict=False) if not BESIDE.keys().isdisjoint(rows.columns) else rows
    return alone, beside
