"""Work on the elements of list columns (ATTRIBUTES, EVENTS, LINKS) all at once, in their flat form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from spanhouse.views import array as arrow
from spanhouse.views import is_text, numbers, numeric

KEEP: Final = "keep"


def elements(lists: pl.Series) -> pl.DataFrame:
    """The elements of a list-of-structs column, one row each, in order."""
    return lists.explode(empty_as_null=False, keep_nulls=False).struct.unnest()


def element_rows(lists: pl.Series) -> pl.Series:
    """For each of these elements the row of its list."""
    rows = np.arange(len(lists), dtype=np.uint32)
    return pl.Series("row", np.repeat(rows, lists.list.len().fill_null(0).to_numpy()))


class Flat(NamedTuple):
    """The elements of a list-of-structs column, not copied; list i has ends[i] to ends[i + 1] of them."""

    ends: NDArray[np.int64]
    fields: dict[str, pa.Array]


def flat(lists: pl.Series | pa.Array) -> Flat:
    """The elements' fields, text as string views; `ends` begins with 0."""
    array = lists if isinstance(lists, pa.Array) else arrow(lists)
    return Flat(ends(array), children(array))


def ends(lists: pa.Array) -> NDArray[np.int64]:
    """Where the elements of each list end among those of all, after a 0."""
    result = numbers(lists.offsets)
    return result - result[0] if result[0] else result


def as_lists(
    name: str, list_ends: NDArray[np.int64], fields: Mapping[str, pl.Series | pa.Array]
) -> pl.Series:
    """A column of lists of structs from the fields of all their elements; `list_ends` begins with 0."""
    whole = [arrow(one) if isinstance(one, pl.Series) else one for one in fields.values()]
    structs = pa.StructArray.from_arrays(whole, list(fields))
    return pl.Series(name, pa.LargeListArray.from_arrays(numeric(list_ends), structs))


def by_row(name: str, elements: pl.DataFrame, rows: NDArray[np.int64], height: int) -> pl.Series:
    """A column of lists of structs from their elements, given the row of each; rows do not decrease."""
    list_ends = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=height))))
    return as_lists(name, list_ends, {column.name: column for column in elements.get_columns()})


def inner_texts(fields: Mapping[str, pa.Array]) -> Iterator[pa.Array]:
    """All text among the fields of a list's elements, in lists within as well."""
    for array in fields.values():
        if is_text(array):
            yield array
        elif isinstance(array, pa.LargeListArray):
            yield from inner_texts(children(array))


def children(lists: pa.Array) -> dict[str, pa.Array]:
    """The fields of the elements of an array of lists of structs."""
    structs = lists.flatten()
    names = [structs.type.field(i).name for i in range(structs.type.num_fields)]
    return dict(zip(names, structs.flatten(), strict=True))


def cut(texts: pl.Series, limit: int, shortened: Callable[[bytes], str]) -> tuple[pl.Series, pl.Series]:
    """Texts with those of more than `limit` bytes shortened, and which these are; null is not long."""
    where = (texts.str.len_bytes() > limit).fill_null(False).arg_true()
    # One by one: they are few, or so large that this is the smallest cost of them.
    shorter = [shortened(text.encode()) for text in texts.gather(where)]
    return texts.clone().scatter(where, pl.Series(shorter, dtype=pl.String)), where


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
    missing = numeric(lists.is_null().to_numpy()) if lists.null_count() else None
    array = pa.LargeListArray.from_arrays(
        numeric(offsets), values.to_arrow(compat_level=pl.CompatLevel.newest()), mask=missing
    )
    return pl.Series(lists.name, array)
