"""What `rows` does for every attribute of every span, compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from spanhouse.otlp.wire import Ints, entry, int64
from spanhouse.views import INLINE, address_of, array, numbers, numeric, peek32, peek64, poke64, stack

# What is to become of an attribute: there is none; it goes back to its list; the row's column stands for it.
ABSENT, LEFT, PROMOTED = 0, 1, 2

_BITS: Final = 62  # of a mask that says which attributes are promoted; several masks if there are more


@entry
def _patterns(states: NDArray[Any], which: Ints, masks: Ints, codes: Ints, firsts: Ints, table: Ints) -> int:
    # Numbers the distinct sets of promoted attributes.
    n, groups = masks.shape
    masks[:] = 0
    for k in range(len(which)):
        group, bit = k // _BITS, k % _BITS
        for i in range(n):
            masks[i, group] |= int64(states[which[k], i] == PROMOTED) << bit
    count, in_table, last = 0, len(table) - 1, int64(-1)
    for i in range(n):
        same = last >= 0
        for g in range(groups):
            same = same and masks[i, g] == masks[i - 1, g]
        if not same:
            h = int64(0)
            for g in range(groups):
                h = (h ^ masks[i, g]) * int64(0x9E3779B97F4A7C1)
                h ^= h >> 31
            at = h & in_table
            while True:
                last = table[at]
                if last < 0:
                    last = table[at] = count
                    firsts[count] = i
                    count += 1
                    break
                same = True
                for g in range(groups):
                    same = same and masks[i, g] == masks[firsts[last], g]
                if same:
                    break
                at = (at + 1) & in_table
        codes[i] = last
    return count


@entry
def _count(states: NDArray[Any], left: Ints) -> None:
    for k in range(len(states)):
        count = 0
        for i in range(states.shape[1]):
            count += states[k, i] == LEFT
        left[k] = count


@entry
def _merge(
    ends: Ints, keys: int, values: int, kinds: NDArray[Any], states: NDArray[Any], parts: Ints,
    new_ends: Ints, new_keys: int, new_values: int, new_kinds: NDArray[Any],
) -> None:  # fmt: skip
    # `parts` has for each attribute: its row of `states`, the view of its key (two numbers), address of the
    # views of its values, how many buffers come before theirs, its type.
    o = 0
    for i in range(len(ends) - 1):
        for at in range(ends[i], ends[i + 1]):
            poke64(new_keys + 16 * o, peek64(keys + 16 * at))
            poke64(new_keys + 16 * o + 8, peek64(keys + 16 * at + 8))
            poke64(new_values + 16 * o, peek64(values + 16 * at))
            poke64(new_values + 16 * o + 8, peek64(values + 16 * at + 8))
            new_kinds[o] = kinds[at]
            o += 1
        for p in range(len(parts)):
            if states[parts[p, 0], i] == LEFT:
                view = parts[p, 3] + 16 * i
                poke64(new_keys + 16 * o, parts[p, 1])
                poke64(new_keys + 16 * o + 8, parts[p, 2])
                base = parts[p, 4] if peek32(view) > INLINE else int64(0)
                poke64(new_values + 16 * o, peek64(view))
                poke64(new_values + 16 * o + 8, peek64(view + 8) + base)
                new_kinds[o] = parts[p, 5]
                o += 1
        new_ends[i + 1] = o


class Left(NamedTuple):
    """An attribute that goes back to its list in some rows.

    Attributes:
        attribute: its row of the states.
        times: in how many rows.
        key: its key.
        values: of all rows, as text.
        type: their ValueType.
    """

    attribute: int
    times: int
    key: str
    values: pa.Array
    type: int


def patterns(states: NDArray[np.uint8], which: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the distinct sets of promoted attributes.

    Args:
        states: shape (attributes, rows): what is to become of each attribute of each row.
        which: attributes that may be promoted, one at least.

    Returns:
        (number of each row's set, the first row of each number).
    """
    rows = states.shape[1]
    masks = np.empty((rows, -(-len(which) // _BITS)), np.int64)
    codes, firsts = np.empty(rows, np.int64), np.empty(rows, np.int64)
    table = np.full(1 << (2 * rows).bit_length(), -1, np.int64)
    count = _patterns(states, np.array(which, np.int64), masks, codes, firsts, table)
    return codes, firsts[:count]


def left(states: NDArray[np.uint8]) -> list[int]:
    """How many of each attribute go back to their list."""
    counts = np.empty(len(states), np.int64)
    _count(states, counts)
    return counts.tolist()


def merged(
    ends: NDArray[np.int64],
    fields: dict[str, pa.Array],
    states: NDArray[np.uint8],
    more: Sequence[Left],
) -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
    """Attribute lists with those that go back to them behind the others, in their order.

    Args:
        ends: where the elements of each list end among those of all, behind a 0.
        fields: key, value and type of the elements.
        states: shape (attributes, rows).
        more: what goes back.

    Returns:
        The new ends and fields.
    """
    names = array(pl.Series([one.key for one in more], dtype=pl.String))
    keys, values = [fields["key"], names], [fields["value"], *(one.values for one in more)]
    of_keys, of_values = stack(keys), stack(values)
    parts, key_buffers = np.empty((len(more), 6), np.int64), len(keys[0].buffers()) - 2
    buffers = [buffer for array in values for buffer in array.buffers()[2:]]
    total, base = int(ends[-1]) + sum(one.times for one in more), len(values[0].buffers()) - 2
    views = np.frombuffer(names.buffers()[1], np.int64).reshape(-1, 2)
    for p, one in enumerate(more):
        low, high = views[p].tolist()
        high += key_buffers if len(one.key.encode()) > INLINE else 0
        parts[p] = (one.attribute, low, high, of_values.at[p + 1, 0], base, one.type)
        base += len(one.values.buffers()) - 2
    new_ends, new_kinds = np.zeros(len(ends), np.int64), np.empty(total, np.uint8)
    new_keys, new_values = np.empty((total, 2), np.int64), np.empty((total, 2), np.int64)
    kinds = numbers(fields["type"])
    old = (ends, int(of_keys.at[0, 0]), int(of_values.at[0, 0]), kinds)
    _merge(*old, states, parts, new_ends, address_of(new_keys), address_of(new_values), new_kinds)
    return new_ends, {
        "key": _texts(new_keys, [buffer for array in keys for buffer in array.buffers()[2:]]),
        "value": _texts(new_values, buffers),
        "type": numeric(new_kinds),
    }


def _texts(views: NDArray[np.int64], buffers: list[Any]) -> pa.Array:
    return pa.Array.from_buffers(pa.string_view(), len(views), [None, pa.py_buffer(views), *buffers])
