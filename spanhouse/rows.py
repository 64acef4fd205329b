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
import polars as pl
import pyarrow as pa

from spanhouse.batch import DECODED, NORMALIZED, ValueType

_SOURCES: Final = {"span": "attrs", "resource": "resource", "scope": "scope_attrs"}
_RAW_TYPES: Final = {
    pl.String: ValueType.STRING,
    pl.Int64: ValueType.INT,
    pl.Float64: ValueType.DOUBLE,
    pl.Boolean: ValueType.BOOL,
}
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


@dataclass(frozen=True, slots=True)
class Finished:
    """What a processed batch comes to.

    Attributes:
        table: rows in `agent_events`' columns (all but topic, partition, offset and ingested_at).
        rejected: one row per payload and reason: payload (UInt32), reject (String), len (UInt32).
    """

    table: pa.Table
    rejected: pl.DataFrame


def finish(batch: pl.DataFrame, targets: Mapping[str, str]) -> Finished:
    """Split off what was rejected and turn the rest into rows.

    Args:
        batch: DECODED and, as far as processors added them, NORMALIZED columns.
        targets: raw column -> row column that may stand for it (`Normalize.targets`).
    """
    rejected = batch.filter(pl.col("reject").is_not_null()).group_by("payload", "reject").len()
    if rejected.height:
        batch = batch.filter(pl.col("reject").is_null())
    batch = batch.with_columns(
        _default(name, dtype) for name, dtype in NORMALIZED.items() if name not in batch.columns
    )
    return Finished(_to_arrow(_fold(batch, targets)), rejected)


def _default(name: str, dtype: Any) -> pl.Expr:
    if dtype == pl.String:
        return pl.lit("").alias(name)
    value = None if name == "ttft_ms" else 0
    return pl.lit(value, dtype=dtype).alias(name)


def _fold(batch: pl.DataFrame, targets: Mapping[str, str]) -> pl.DataFrame:
    """Add `promoted` and put attributes that no column stands for back into their list."""
    raws = [c for c in batch.columns if c not in DECODED and c not in NORMALIZED and _is_raw(c)]
    same = {
        raw: pl.col(raw) == pl.col(targets[raw]).cast(batch.schema[raw], strict=False)
        for raw in raws
        if raw in targets
    }
    masks = batch.select(
        pl.sum_horizontal(
            pl.when(same[raw]).then(1 << bit).otherwise(0).cast(pl.Int64) for bit, raw in enumerate(group)
        ).alias(f"mask{i}")
        for i, group in enumerate(_groups(list(same)))
    )
    batch = batch.with_columns(promoted=_promoted(masks, list(same), targets, batch.height))
    left = batch.select(
        (pl.col(raw).is_not_null() & ~same.get(raw, pl.lit(False)).fill_null(False)).alias(raw)
        for raw in raws
    )
    kept = [raw for raw in raws if left[raw].any()]
    for source, column in _SOURCES.items():
        pairs = [_pair(raw, left[raw], batch.schema[raw]) for raw in kept if raw.startswith(f"{source}:")]
        if pairs:
            batch = batch.with_columns(
                pl.concat_list(pl.col(column), pl.concat_list(pairs).list.drop_nulls()).alias(column)
            )
    return batch


def _is_raw(column: str) -> bool:
    return column.partition(":")[0] in _SOURCES and not column.endswith("~")


def _groups(names: list[str]) -> list[list[str]]:
    return [names[i : i + _MASK_BITS] for i in range(0, len(names), _MASK_BITS)]


def _promoted(masks: pl.DataFrame, names: list[str], targets: Mapping[str, str], height: int) -> pl.Series:
    """JSON text per span; made once per distinct set of attributes, of which a batch has few."""
    if not masks.width:
        return pl.Series("promoted", [""]).new_from_index(0, height)
    distinct = masks.unique(maintain_order=True)
    groups = _groups(names)
    texts = [
        json.dumps(
            {
                name: targets[name]
                for mask, group in zip(row, groups, strict=True)
                for bit, name in enumerate(group)
                if mask >> bit & 1
            },
            separators=(",", ":"),
        )
        if any(row)
        else ""
        for row in distinct.iter_rows()
    ]
    if len(texts) == 1:
        return pl.Series("promoted", texts).new_from_index(0, height)
    lookup = distinct.with_columns(promoted=pl.Series(texts))
    return masks.join(lookup, on=masks.columns, how="left", maintain_order="left")["promoted"]


def _pair(raw: str, left: pl.Series, dtype: pl.DataType) -> pl.Expr:
    key = raw.partition(":")[2]
    attribute = pl.struct(
        key=pl.lit(key),
        value=pl.col(raw).cast(pl.String),
        type=pl.lit(int(_RAW_TYPES[type(dtype)]), dtype=pl.UInt8),
    )
    return pl.when(left).then(attribute)


def _to_arrow(batch: pl.DataFrame) -> pa.Table:
    columns: dict[str, pa.Array] = {"ts": batch["start_ns"].cast(pl.Int64).cast(pl.Datetime("ns", "UTC"))}
    columns = {name: _arrow(series) for name, series in columns.items()}
    for name in _PLAIN:
        columns[name] = _arrow(batch[name])
    for name, (values, types) in _MAPS.items():
        columns[values], columns[types] = _maps(_arrow(batch[name]))
    for name, fields in _NESTED.items():
        array = _arrow(batch[name])
        offsets, struct = array.offsets, array.values
        for field in fields:
            values_of = struct.field(struct.type.get_field_index(field))
            if name == "events" and field == "ts":
                values_of = values_of.cast(pa.int64()).cast(pa.timestamp("ns", "UTC"))
            columns[f"{name}.{field}"] = pa.LargeListArray.from_arrays(offsets, values_of)
        values_map, types_map = _maps(struct.field(struct.type.get_field_index("attrs")))
        columns[f"{name}.attrs"] = pa.LargeListArray.from_arrays(offsets, values_map)
        columns[f"{name}.attr_types"] = pa.LargeListArray.from_arrays(offsets, types_map)
    return pa.table(columns)


def _arrow(series: pl.Series) -> pa.Array:
    array = series.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    # A list array of a slice keeps its whole child and an offset of its own, which from_arrays would lose.
    return pa.concat_arrays([array]) if array.offset else array


def _maps(attributes: pa.Array) -> tuple[pa.Array, pa.Array]:
    """An ATTRIBUTES list as Map(key, value), and Map(key, type) of those that are not strings."""
    offsets = attributes.offsets.to_numpy().astype(np.int32)
    keys, values, types = (attributes.values.field(i) for i in range(3))
    type_codes = types.to_numpy(zero_copy_only=False)
    other = type_codes != ValueType.STRING
    before = np.zeros(len(type_codes) + 1, np.int32)
    np.cumsum(other, out=before[1:])
    mask = pa.array(other)
    return (
        pa.MapArray.from_arrays(pa.array(offsets), keys, values),
        pa.MapArray.from_arrays(
            pa.array(before[offsets]), keys.filter(mask), types.filter(mask).cast(pa.int8())
        ),
    )
