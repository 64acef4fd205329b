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
    SIZES,
    Schema,
    ValueType,
    reject,
)
from spanhouse.processors.lists import element_rows, elements, flat
from spanhouse.views import equal, taken, texts

_RAW_TYPES: Final = {
    pl.String: ValueType.STRING,
    pl.Int64: ValueType.INT,
    pl.Float64: ValueType.DOUBLE,
    pl.Boolean: ValueType.BOOL,
}
# The last nanosecond of DateTime64(9), in the year 2262.
_MAX_NS: Final = 2**63 - 1
# Bits of the mask that says which attributes of a span were promoted; several masks if there are more.
_MASK_BITS: Final = 62

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
    rejected = batch.select("payload", "span", "reject")
    if batch["reject"].null_count() == batch.height:
        rejected = rejected.clear()
    else:
        rejected = rejected.filter(pl.col("reject").is_not_null())
        batch = batch.filter(pl.col("reject").is_null())
    schema = batch.schema
    made = NORMALIZED | SIZES
    others = {name: dtype for name, dtype in made.items() if schema.get(name) != dtype}
    if others:
        batch = batch.with_columns(
            pl.col(name).cast(dtype) if name in schema else _default(name, dtype)
            for name, dtype in others.items()
        )
    raws = [c for c in batch.columns if c not in DECODED and c not in NORMALIZED and _is_raw(c)]
    masks, left = _compare(batch, raws, targets)
    promotable = [raw for raw in raws if raw in targets]
    columns = {name: batch[name] for name in ROW if name in batch.columns}
    columns["ts"] = batch["start_ns"].cast(pl.Int64).cast(ROW["ts"])
    columns["promoted"] = _promoted(masks, promotable, targets, batch.height)
    for name, parts in left.items():
        columns[name] = _merge(batch[name], parts)
    rows = pl.DataFrame([columns[name].alias(name) for name in ROW])
    for name, dtype in BESIDE.items():
        if schema.get(name) == dtype and flat(batch[name]).ends[-1]:
            rows = rows.with_columns(batch[name])
    return Finished(rows, batch["payload"].to_numpy(), rejected)


def _reject_times(batch: pl.DataFrame) -> pl.DataFrame:
    """Reject spans with a time that the table cannot hold; one of them would fail the batch."""
    late = batch["start_ns"].to_numpy() > _MAX_NS
    of_events = flat(batch["events"]).fields["ts"].to_numpy(zero_copy_only=False)
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


@dataclass(frozen=True, slots=True)
class _Left:
    """Attributes of one key that go back to their list: one value for each of `rows`."""

    key: str
    type: ValueType
    rows: npt.NDArray[np.int64]
    values: pl.Series


def _compare(
    batch: pl.DataFrame, raws: list[str], targets: Mapping[str, str]
) -> tuple[list[npt.NDArray[np.int64]], dict[str, list[_Left]]]:
    """Per span a bit for each raw column with a target: whether the row's column has exactly its value.

    Also, by attribute list, the values that no column stands for.
    """
    masks: list[npt.NDArray[np.int64]] = []
    left: dict[str, list[_Left]] = {}
    promotable = 0
    for raw in raws:
        series = batch[raw]
        rest = series.is_not_null().to_numpy() if series.null_count() else None
        if raw in targets:
            same = _same(series, batch[targets[raw]])
            group, bit = divmod(promotable, _MASK_BITS)
            promotable += 1
            if group == len(masks):
                masks.append(np.zeros(batch.height, np.int64))
            masks[group] |= same.astype(np.int64) << bit
            rest = ~same if rest is None else rest & ~same
        rows = np.arange(batch.height) if rest is None else rest.nonzero()[0]
        if len(rows):
            source, _, key = raw.partition(":")
            values = taken(series, rows).cast(pl.String)
            part = _Left(key, _RAW_TYPES[type(series.dtype)], rows, values)
            left.setdefault(ATTRIBUTE_LISTS[source], []).append(part)
    return masks, left


def _same(raw: pl.Series, column: pl.Series) -> npt.NDArray[np.bool_]:
    """Where the attribute is there and the column has its value."""
    if raw.dtype == pl.String and column.dtype == pl.String:
        return equal(texts(raw), texts(column))
    compared = (raw == column.cast(raw.dtype, strict=False)).fill_null(False)
    return compared.to_numpy()


def _is_raw(column: str) -> bool:
    return column.partition(":")[0] in ATTRIBUTE_LISTS and not column.endswith("~")


def _promoted(
    masks: list[npt.NDArray[np.int64]], raws: list[str], targets: Mapping[str, str], height: int
) -> pl.Series:
    """JSON text per span; made once per distinct set of attributes, of which a batch has few."""
    if not masks or not height:
        return pl.Series([""]).new_from_index(0, height)
    if all((mask == mask[0]).all() for mask in masks):
        return pl.Series([_pairs([int(mask[0]) for mask in masks], raws, targets)]).new_from_index(0, height)
    distinct, numbers = np.unique(np.stack(masks, axis=1), axis=0, return_inverse=True)
    names = [_pairs(row, raws, targets) for row in distinct.tolist()]
    return pl.Series(names, dtype=pl.String)[pl.Series(numbers.ravel())]


def _pairs(masks: list[int], raws: list[str], targets: Mapping[str, str]) -> str:
    pairs = {raw: targets[raw] for i, raw in enumerate(raws) if masks[i // _MASK_BITS] >> i % _MASK_BITS & 1}
    return json.dumps(pairs, separators=(",", ":")) if pairs else ""


def _merge(attributes: pl.Series, left: list[_Left]) -> pl.Series:
    """The lists with what is left appended to them, in its order."""
    lists = flat(attributes)
    key, value = (pl.Series(lists.fields[name]) for name in ("key", "value"))
    kind = lists.fields["type"].to_numpy(zero_copy_only=False)
    counts = np.diff(lists.ends)
    more = np.zeros(len(counts), np.int64)
    for part in left:
        more[part.rows] += 1
    ends = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts + more, out=ends[1:])
    # Where each element comes from, among those of the lists and then of each part.
    sources = np.empty(int(ends[-1]), np.int64)
    sources[np.arange(len(kind)) + np.repeat(ends[:-1] - lists.ends[:-1], counts)] = np.arange(len(kind))
    free, done = ends[:-1] + counts, len(kind)
    for part in left:
        sources[free[part.rows]] = np.arange(done, done + len(part.rows))
        free[part.rows] += 1
        done += len(part.rows)
    order = pl.Series(sources)
    keys = [key, *(pl.Series([part.key]).new_from_index(0, len(part.rows)) for part in left)]
    kinds = [kind, *(np.full(len(part.rows), part.type, np.uint8) for part in left)]
    fields = {
        "key": pl.concat([series.alias("key") for series in keys]).gather(order),
        "value": pl.concat([series.alias("value") for series in (value, *(p.values for p in left))]).gather(
            order
        ),
        "type": pl.Series(np.concatenate(kinds)[sources]),
    }
    structs = pa.StructArray.from_arrays([_arrow(series) for series in fields.values()], list(fields))
    return pl.Series(attributes.name, pa.LargeListArray.from_arrays(pa.array(ends), structs))


def _arrow(series: pl.Series) -> pa.Array:
    array = series.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
