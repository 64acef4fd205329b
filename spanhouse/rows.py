"""From a processed batch to the rows of `agent_events`, in the table's own column names.

Attributes that stand in a column are not stored a second time. Which attribute that is differs from
library to library, so it is decided value by value: where an attribute's raw column equals the row's
column, the pair is noted in `promoted`; everywhere else (another unit, a masked or corrected value, a
name that lost to a better one) the attribute goes back to `attrs` or `resource` as it came. So a span
can be given back whole from its row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from spanhouse.batch import (
    ATTRIBUTE_LISTS,
    ATTRIBUTES,
    CONTENT,
    DECODED,
    EVALUATIONS,
    EVENTS,
    LINKS,
    NORMALIZED,
    RAW_TYPES,
    SIZES,
    Schema,
    reject,
)
from spanhouse.processors.lists import as_lists, element_rows, elements, flat
from spanhouse.row_kernels import LEFT, PROMOTED, Left, left, merged, patterns
from spanhouse.views import array, arrays, equal, is_text, numbers, stack, truths

# The last nanosecond of DateTime64(9), in the year 2262.
_MAX_NS: Final = 2**63 - 1

# Columns of rows. The table has an attribute list as a map of the values (`attrs`) and one of the types of
# those that are no strings (`attr_types`), and a list of structs as a list for each field (`events.name`).
ROW: Final[Schema] = {
    "ts": pl.Datetime("ns", "UTC"),
    **{name: DECODED[name] for name in ("trace_id", "span_id", "parent_span_id", "name")},
    **NORMALIZED,
    **SIZES,
    **{
        name: DECODED[name]
        for name in (
            "status_message", "trace_state", "flags", "scope", "scope_version", "scope_dropped",
            "scope_schema_url", "resource_dropped", "resource_schema_url", "dropped_attributes",
            "dropped_events", "dropped_links",
        )
    },
    "promoted": pl.String,
    "attrs": ATTRIBUTES,
    "resource": ATTRIBUTES,
    "scope_attrs": ATTRIBUTES,
    "events": EVENTS,
    "links": LINKS,
}  # fmt: skip

# What a row brings along for tables of its own (`exporters.beside`), by the tables' names.
BESIDE: Final[Schema] = {"content": CONTENT, "evaluations": EVALUATIONS}


@dataclass(frozen=True, slots=True)
class Finished:
    """What a processed batch comes to.

    Attributes:
        rows: the columns of ROW, and those of BESIDE that any of these spans has.
        payloads: index of the payload that each row came from.
        rejected: one row per span that is not among them: payload (UInt32), span (UInt32: which of its
            payload's), reject (String: why).
    """

    rows: pl.DataFrame
    payloads: npt.NDArray[np.uint32]
    rejected: pl.DataFrame


def finish(batch: pl.DataFrame, targets: Mapping[str, str]) -> Finished:
    """Split off what was rejected and turn the rest into rows.

    Args:
        batch: DECODED and, as far as processors added them, NORMALIZED columns.
        targets: raw column -> row column that may stand for it (`Normalize.targets`).
    """
    batch = _reject_times(batch)
    rejected = batch[["payload", "span", "reject"]]
    if batch["reject"].null_count() == batch.height:
        rejected = rejected[:0]
    else:
        rejected = rejected.filter(pl.col("reject").is_not_null())
        batch = batch.filter(pl.col("reject").is_null())
    # `schema` takes three times as long.
    schema = dict(zip(batch.columns, batch.dtypes, strict=True))
    made = NORMALIZED | SIZES
    others = {name: dtype for name, dtype in made.items() if schema.get(name) != dtype}
    if others:
        batch = batch.with_columns(
            pl.col(name).cast(dtype) if name in schema else _default(name, dtype)
            for name, dtype in others.items()
        )
    arrow = arrays(batch)
    raws = [c for c in arrow if c not in DECODED and c not in NORMALIZED and _is_raw(c)]
    states = _compare(batch, arrow, raws, targets)
    columns = {series.name: series for series in batch.get_columns() if series.name in ROW}
    columns["ts"] = batch["start_ns"].cast(pl.Int64).cast(ROW["ts"])
    columns["promoted"] = _promoted(states, raws, targets)
    back: dict[str, list[Left]] = {}
    for i, (raw, count) in enumerate(zip(raws, left(states), strict=True)):
        if count:
            source, _, key = raw.partition(":")
            text = arrow[raw] if is_text(arrow[raw]) else array(batch[raw].cast(pl.String))
            part = Left(i, count, key, text, RAW_TYPES[type(batch[raw].dtype)])
            back.setdefault(ATTRIBUTE_LISTS[source], []).append(part)
    for name, parts in back.items():
        columns[name] = as_lists(name, *merged(*flat(arrow[name]), states, parts))
    rows = pl.DataFrame([columns[name].alias(name) for name in ROW])
    for name, dtype in BESIDE.items():
        if schema.get(name) == dtype and flat(arrow[name]).ends[-1]:
            rows = rows.with_columns(batch[name])
    return Finished(rows, batch["payload"].to_numpy(), rejected)


def _reject_times(batch: pl.DataFrame) -> pl.DataFrame:
    """Reject spans with a time that the table cannot hold; one of them would fail the batch."""
    late = batch["start_ns"].to_numpy() > _MAX_NS
    of_events = numbers(flat(batch["events"]).fields["ts"]).view(np.uint64)
    if len(of_events) and of_events.max() > _MAX_NS:
        late_events = elements(batch["events"])["ts"] > _MAX_NS
        late = late.copy()
        late[element_rows(batch["events"]).filter(late_events).unique().to_numpy()] = True
    if not late.any():
        return batch
    return reject(batch, pl.lit(pl.Series(late)), "a time after the year 2262 cannot be stored")


def _default(name: str, dtype: Any) -> pl.Expr:
    if dtype == pl.String:
        return pl.lit("").alias(name)
    value = None if name in ("ttft_ms", "cost_computed_usd") else 0
    return pl.lit(value, dtype=dtype).alias(name)


def _compare(
    batch: pl.DataFrame, arrow: Mapping[str, pa.Array], raws: list[str], targets: Mapping[str, str]
) -> npt.NDArray[np.uint8]:
    """What is to become of each raw column's value: shape (raws, rows).

    A column with a target stands in the row where the row's column has exactly its value.
    """
    states = np.empty((len(raws), batch.height), np.uint8)
    texts = []
    for i, raw in enumerate(raws):
        column = arrow[raw]
        target = arrow[targets[raw]] if raw in targets else None
        if target is not None and is_text(column) and is_text(target):
            texts.append(i)
            continue
        states[i] = truths(column.is_valid()) if column.null_count else LEFT
        if target is None:
            continue
        if column.type == pa.int64() and target.type == pa.uint64():
            values = numbers(column)
            same = (values == numbers(target)) & (values >= 0)
        else:
            same = _same(batch[raw], batch[targets[raw]])
        states[i] += (same & (states[i] == LEFT)).view(np.uint8)
    if texts:
        columns = stack(arrow[raws[i]] for i in texts), stack(arrow[targets[raws[i]]] for i in texts)
        states[texts] = equal(*columns)
    return states


def _same(raw: pl.Series, column: pl.Series) -> npt.NDArray[np.bool_]:
    """Where the attribute is there and the column has its value."""
    return (raw == column.cast(raw.dtype, strict=False)).fill_null(False).to_numpy()


def _is_raw(column: str) -> bool:
    return column.partition(":")[0] in ATTRIBUTE_LISTS and not column.endswith("~")


def _promoted(states: npt.NDArray[np.uint8], raws: list[str], targets: Mapping[str, str]) -> pl.Series:
    """JSON text per span; made once per distinct set of attributes, of which a batch has few."""
    height = states.shape[1]
    which = [i for i, raw in enumerate(raws) if raw in targets]
    if not which or not height:
        return pl.Series([""]).new_from_index(0, height)
    codes, firsts = patterns(states, which)
    texts = []
    for row in firsts.tolist():
        pairs = {raws[i]: targets[raws[i]] for i in which if states[i, row] == PROMOTED}
        texts.append(json.dumps(pairs, separators=(",", ":")) if pairs else "")
    found = pl.Series(texts, dtype=pl.String)
    return found.new_from_index(0, height) if len(texts) == 1 else found[pl.Series(codes)]
