"""From a processed batch to the rows of `agent_events`, as Arrow in the table's own column names.

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

from spanhouse.batch import ATTRIBUTE_LISTS, DECODED, NORMALIZED, ValueType, reject
from spanhouse.processors.lists import element_rows, elements

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

_PLAIN: Final = (
    "trace_id", "span_id", "parent_span_id", "name", *NORMALIZED, "status_message", "trace_state", "flags",
    "scope", "scope_version", "scope_dropped", "scope_schema_url", "resource_dropped",
    "resource_schema_url", "promoted", "dropped_attributes", "dropped_events", "dropped_links",
)  # fmt: skip
# Attribute list -> (values, types) columns of the table.
_MAPS: Final = {
    "attrs": ("attrs", "attr_types"),
    "resource": ("resource", "resource_types"),
    "scope_attrs": ("scope_attrs", "scope_attr_types"),
}
_NESTED: Final = {
    "events": ("ts", "name", "dropped"),
    "links": ("trace_id", "span_id", "trace_state", "flags", "dropped"),
}
# All columns that `finish` makes.
COLUMNS: Final = (
    "ts",
    *_PLAIN,
    *(column for pair in _MAPS.values() for column in pair),
    *(f"{name}.{field}" for name, fields in _NESTED.items() for field in (*fields, "attrs", "attr_types")),
)


@dataclass(frozen=True, slots=True)
class Finished:
    """What a processed batch comes to.

    Attributes:
        table: rows in `agent_events`' columns (all but topic, partition, offset and ingested_at).
        payloads: index of the payload that each row came from.
        rejected: one row per span that is not among them: payload (UInt32), span (UInt32: which of its
            payload's), reject (String: why).
    """

    table: pa.Table
    payloads: npt.NDArray[np.uint32]
    rejected: pl.DataFrame


def finish(batch: pl.DataFrame, targets: Mapping[str, str]) -> Finished:
    """Split off what was rejected and turn the rest into rows.

    Args:
        batch: DECODED and, as far as processors added them, NORMALIZED columns.
        targets: raw column -> row column that may stand for it (`Normalize.targets`).
    """
    batch = _reject_times(batch)
    rejected = batch.select("payload", "span", "reject").filter(pl.col("reject").is_not_null())
    if rejected.height:
        batch = batch.filter(pl.col("reject").is_null())
    batch = batch.with_columns(
        pl.col(name).cast(dtype) if name in batch.columns else _default(name, dtype)
        for name, dtype in NORMALIZED.items()
        if batch.schema.get(name) != dtype
    )
    raws = [c for c in batch.columns if c not in DECODED and c not in NORMALIZED and _is_raw(c)]
    same = _same(batch, [raw for raw in raws if raw in targets], targets)
    batch = batch.with_columns(promoted=_promoted(same, targets, batch.height))
    payloads = batch["payload"].to_numpy()
    return Finished(_to_arrow(batch, _left(batch, raws, same)), payloads, rejected)


def _reject_times(batch: pl.DataFrame) -> pl.DataFrame:
    """Reject spans with a time that the table cannot hold; one of them would fail the batch."""
    late = batch["start_ns"] > _MAX_NS
    late_events = elements(batch["events"])["ts"] > _MAX_NS
    if late_events.any():
        late[element_rows(batch["events"]).filter(late_events).unique()] = True
    return reject(batch, pl.lit(late), "a time after the year 2262 cannot be stored") if late.any() else batch


def _default(name: str, dtype: Any) -> pl.Expr:
    if dtype == pl.String:
        return pl.lit("").alias(name)
    value = None if name == "ttft_ms" else 0
    return pl.lit(value, dtype=dtype).alias(name)


def _same(batch: pl.DataFrame, raws: list[str], targets: Mapping[str, str]) -> pl.DataFrame:
    """Per raw column, where the row's column has exactly the attribute's value."""
    return batch.select(
        (pl.col(raw) == pl.col(targets[raw]).cast(batch.schema[raw], strict=False))
        .fill_null(False)
        .alias(raw)
        for raw in raws
    )


@dataclass(frozen=True, slots=True)
class _Left:
    """Attributes of one key that go back to their list: one value for each of `rows`."""

    key: str
    type: ValueType
    rows: npt.NDArray[np.int32]
    values: pa.Array


def _left(batch: pl.DataFrame, raws: list[str], same: pl.DataFrame) -> dict[str, list[_Left]]:
    """Attribute list -> what no column stands for."""
    left: dict[str, list[_Left]] = {column: [] for column in ATTRIBUTE_LISTS.values()}
    for raw in raws:
        series = batch[raw]
        where = series.is_not_null()
        if raw in same.columns:
            where &= ~same[raw]
        rows = where.arg_true().to_numpy().astype(np.int32)
        if len(rows):
            source, _, key = raw.partition(":")
            values = _arrow(series.filter(where).cast(pl.String))
            left[ATTRIBUTE_LISTS[source]].append(_Left(key, _RAW_TYPES[type(series.dtype)], rows, values))
    return left


def _is_raw(column: str) -> bool:
    return column.partition(":")[0] in ATTRIBUTE_LISTS and not column.endswith("~")


def _promoted(same: pl.DataFrame, targets: Mapping[str, str], height: int) -> pl.Series:
    """JSON text per span; made once per distinct set of attributes, of which a batch has few."""
    groups = [same.columns[i : i + _MASK_BITS] for i in range(0, same.width, _MASK_BITS)]
    masks = same.select(
        pl.sum_horizontal(pl.when(raw).then(1 << bit).otherwise(0) for bit, raw in enumerate(group)).alias(
            str(i)
        )
        for i, group in enumerate(groups)
    )
    if not masks.width:
        return pl.Series([""]).new_from_index(0, height)
    distinct = masks.unique(maintain_order=True)
    texts = []
    for row in distinct.iter_rows():
        names = [
            name
            for mask, group in zip(row, groups, strict=True)
            for bit, name in enumerate(group)
            if mask >> bit & 1
        ]
        pairs = {name: targets[name] for name in names}
        texts.append(json.dumps(pairs, separators=(",", ":")) if pairs else "")
    if len(texts) == 1:
        return pl.Series(texts).new_from_index(0, height)
    lookup = distinct.with_columns(promoted=pl.Series(texts))
    return masks.join(lookup, on=masks.columns, how="left", maintain_order="left")["promoted"]


def _to_arrow(batch: pl.DataFrame, left: Mapping[str, list[_Left]]) -> pa.Table:
    start = batch["start_ns"].cast(pl.Int64).cast(pl.Datetime("ns", "UTC"))
    columns: dict[str, pa.Array] = {"ts": _arrow(start)}
    for name in _PLAIN:
        columns[name] = _arrow(batch[name])
    for name, (values, types) in _MAPS.items():
        columns[values], columns[types] = _maps(_merge(_arrow(batch[name]), left[name]))
    for name, fields in _NESTED.items():
        array = _arrow(batch[name])
        offsets, struct = array.offsets, array.values
        for field in fields:
            values_of = struct.field(struct.type.get_field_index(field))
            if name == "events" and field == "ts":
                # Unchecked: `_reject_times` did, and elements of rows filtered out may still be in here.
                values_of = values_of.cast(pa.int64(), safe=False).cast(pa.timestamp("ns", "UTC"))
            columns[f"{name}.{field}"] = pa.LargeListArray.from_arrays(offsets, values_of)
        values_map, types_map = _maps(_flat(struct.field(struct.type.get_field_index("attrs"))))
        columns[f"{name}.attrs"] = pa.LargeListArray.from_arrays(offsets, values_map)
        columns[f"{name}.attr_types"] = pa.LargeListArray.from_arrays(offsets, types_map)
    return pa.table(columns)


def _arrow(series: pl.Series) -> pa.Array:
    array = series.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    # A list array of a slice keeps its whole child and an offset of its own, which from_arrays would lose.
    return pa.concat_arrays([array]) if array.offset else array


@dataclass(frozen=True, slots=True)
class _Flat:
    """Attribute lists as flat arrays: list i has the pairs offsets[i] to offsets[i + 1]."""

    offsets: npt.NDArray[np.int32]
    keys: pa.Array
    values: pa.Array
    types: npt.NDArray[np.uint8]


def _flat(attributes: pa.Array) -> _Flat:
    keys, values, types = (attributes.values.field(i) for i in range(3))
    offsets = attributes.offsets.to_numpy().astype(np.int32)
    return _Flat(offsets, keys, values, types.to_numpy(zero_copy_only=False))


def _merge(attributes: pa.Array, left: list[_Left]) -> _Flat:
    """The lists with what is left appended to them."""
    flat = _flat(attributes)
    if not left:
        return flat
    counts = np.diff(flat.offsets)
    first, last = int(flat.offsets[0]), int(flat.offsets[-1])
    rows = np.concatenate(
        [np.repeat(np.arange(len(counts), dtype=np.int32), counts), *(part.rows for part in left)]
    )
    order = pa.array(np.argsort(rows, kind="stable"))
    keys = [pa.array([part.key], flat.keys.type).take(pa.array(np.zeros_like(part.rows))) for part in left]
    types = [np.full(len(part.rows), part.type, np.uint8) for part in left]
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=len(counts)), out=offsets[1:])
    return _Flat(
        offsets,
        pa.concat_arrays([flat.keys[first:last], *keys]).take(order),
        pa.concat_arrays([flat.values[first:last], *(part.values for part in left)]).take(order),
        np.concatenate([flat.types[first:last], *types])[order.to_numpy()],
    )


def _maps(flat: _Flat) -> tuple[pa.Array, pa.Array]:
    """Attribute lists as Map(key, value), and Map(key, type) of those that are not strings."""
    other = flat.types != ValueType.STRING
    before = np.zeros(len(other) + 1, np.int32)
    np.cumsum(other, out=before[1:])
    return (
        pa.MapArray.from_arrays(pa.array(flat.offsets), flat.keys, flat.values),
        pa.MapArray.from_arrays(
            pa.array(before[flat.offsets]),
            flat.keys.filter(pa.array(other)),
            pa.array(flat.types[other].astype(np.int8)),
        ),
    )
