"""Work on the elements of list columns (ATTRIBUTES, EVENTS, LINKS) all at once, in their flat form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

KEEP: Final = "keep"


def elements(lists: pl.Series) -> pl.DataFrame:
    """The elements of a list-of-structs column, one row each, in order."""
    return lists.explode(empty_as_null=False, keep_nulls=False).struct.unnest()


def element_rows(lists: pl.Series) -> pl.Series:
    """For each of these elements the row of its list."""
    rows = np.arange(len(lists), dtype=np.uint32)
    return pl.Series("row", np.repeat(rows, lists.list.len().fill_null(0).to_numpy()))


def map_elements(lists: pl.Series, function: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.Series:
    """Apply `function` to all elements.

    Args:
        lists: a list-of-structs column.
        function: gets `elements(lists)` and returns the same rows with other values. It may add a Boolean
            column `KEEP`; elements where that is false are taken out.

    Returns:
        The column; the very same object if `function` returned its argument.
    """
    before = elements(lists)
    after = function(before)
    if after is before:
        return lists
    lengths = lists.list.len().fill_null(0).to_numpy()
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    if KEEP in after.columns:
        kept_before = np.concatenate(([0], np.cumsum(after[KEEP].to_numpy(), dtype=np.int64)))
        offsets = kept_before[offsets]
        after = after.filter(KEEP)
    values = after.select(before.columns).to_struct().rechunk()
    missing = pa.array(lists.is_null().to_numpy()) if lists.null_count() else None
    array = pa.LargeListArray.from_arrays(
        pa.array(offsets), values.to_arrow(compat_level=pl.CompatLevel.newest()), mask=missing
    )
    return pl.Series(lists.name, array)
