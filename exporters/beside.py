"""Rows of the tables beside `agent_events`, made of what spans' rows bring along (`rows.BESIDE`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import polars as pl

from spanhouse.batch import without
from spanhouse.rows import BESIDE

_ID: Final = ("ts", "trace_id", "span_id", "tenant_id")
_DIMENSIONS: Final = (
    "service", "env", "agent", "provider", "model", "route", "prompt_name", "prompt_version", "experiment",
    "variant",
)  # fmt: skip


def _content(rows: pl.DataFrame) -> pl.DataFrame:
    exploded = _exploded(rows, "content", _ID)
    return exploded.drop("type").rename({"value": "text"})


def _evaluations(rows: pl.DataFrame) -> pl.DataFrame:
    exploded = _exploded(rows, "evaluations", (*_ID, *_DIMENSIONS, "parent_span_id"))
    evaluated = pl.when("of_parent").then("parent_span_id").otherwise("span_id").alias("evaluated_span_id")
    return exploded.with_columns(evaluated).drop("of_parent", "parent_span_id")


def _exploded(rows: pl.DataFrame, name: str, of_span: tuple[str, ...]) -> pl.DataFrame:
    """A row for each element of the list column, with its number and columns of its span's row."""
    number = pl.int_ranges(pl.col(name).list.len(), dtype=pl.UInt32).alias("number")
    return rows.select(*of_span, number, name).explode("number", name).unnest(name)


_TABLES: Final[dict[str, Callable[[pl.DataFrame], pl.DataFrame]]] = {
    "content": _content,
    "evaluations": _evaluations,
}


def split(rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """The rows of `agent_events` alone, and those of each table beside it that gets any.

    All rows that a span has in such a table have its time, and so come into one part: they are stored
    together or not at all.
    """
    beside = {}
    for name, make in _TABLES.items():
        if name in rows.columns:
            found = rows.filter(pl.col(name).list.len() > 0)
            if found.height:
                beside[name] = make(found)
    return without(rows, BESIDE) if not BESIDE.keys().isdisjoint(rows.columns) else rows, beside
