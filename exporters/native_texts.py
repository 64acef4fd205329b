"""Columns of text in ClickHouse's Native format, written by one compiled kernel."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spanhouse.otlp.wire import Ints, entry, inlined, int64, kernel
from spanhouse.views import FEW, MEMO, Stack, address_of, is_null, number, peek8, peek64, place, poke64

# How a column is written: each text behind its length, or the distinct ones with a number for each row.
TEXT: Final = 0
WORD: Final = 1

# Serialization of LowCardinality: that all distinct texts are given with the numbers, of one, two or four
# bytes.
_WITH_KEYS: Final = 1 << 9 | 1 << 10
_MOST_KEPT: Final = 16 << 20
_kept: Final = threading.local()
# More than a store may write past the end of what it is for.
_SLACK: Final = 16


@inlined
def _put(o: int, p: int, size: int) -> int:
    # Writes a text behind its length; up to seven bytes more are overwritten.
    left = size
    while left >= 0x80:
        poke64(o, (left & 0x7F) | 0x80)
        left >>= 7
        o += 1
    poke64(o, left)
    o += 1
    for at in range(0, size - 7, 8):
        poke64(o + at, peek64(p + at))
    left = size & 7
    if left:
        last = peek64(p) if size < 8 else peek64(p + size - 8) >> (8 * (8 - left))
        poke64(o + size - left, last)
    return o + size


@kernel
def _put_texts(views: int, n: int, validity: int, bit: int, data: int, o: int, end: int) -> int:
    # Each text behind its length; returns where they end, -1 where there is no room.
    for i in range(n):
        p, size = (int64(0), int64(0)) if is_null(validity, bit, i) else place(views + 16 * i, data)
        if end - o < size + _SLACK:
            return int64(-1)
        o = _put(o, p, size)
    return o


@kernel
def _put_words(
    views: int, n: int, data: int, mask: int, count: int, codes: NDArray[Any], firsts: Ints, o: int, end: int
) -> int:  # fmt: skip
    # The distinct texts, then the number of each row that counts. Null is an empty text behind the others.
    rows, nulls = 0, 0
    for i in range(n):
        if mask == 0 or peek8(mask + i) != 0:
            rows += 1
            nulls += codes[i] < 0
    if rows == 0:
        return o
    keys = count + (nulls > 0)
    size = 1 if keys <= 0xFF else 2 if keys <= 0xFFFF else 4
    if end - o < 24 + _SLACK:
        return int64(-1)
    poke64(o, _WITH_KEYS | (size >> 1))
    poke64(o + 8, keys)
    o += 16
    for k in range(count):
        p, length = place(views + 16 * firsts[k], data)
        if end - o < length + _SLACK:
            return int64(-1)
        o = _put(o, p, length)
    if end - o < rows * size + 9 + _SLACK:
        return int64(-1)
    if nulls:
        o = _put(o, int64(0), int64(0))
    poke64(o, rows)
    o += 8
    for i in range(n):
        if mask == 0 or peek8(mask + i) != 0:
            poke64(o, count if codes[i] < 0 else codes[i])
            o += size
    return o


@entry
def _write(
    at: Ints, kinds: Ints, masks: Ints, first: int, out: int, end: int, begins: Ints, codes: NDArray[Any],
    firsts: Ints, table: Ints, memo: Ints,
) -> int:  # fmt: skip
    # Writes columns from `first` on. Returns how many are written in all, where there was no room for the
    # next; -1 less that where `firsts` had none.
    for c in range(first, len(at)):
        views, n, validity, bit, data = at[c, 0], at[c, 1], at[c, 2], at[c, 3], at[c, 4]
        o = out + begins[c]
        if kinds[c] == TEXT:
            o = _put_texts(views, n, validity, bit, data, o, end)
        else:
            count = number(views, n, validity, bit, data, masks[c], codes, firsts, table, memo)
            if count < 0:
                return -1 - c
            o = _put_words(views, n, data, masks[c], count, codes, firsts, o, end)
        if o < 0:
            return c
        begins[c + 1] = o - out
    return len(at)


def written(
    columns: Stack, kinds: Sequence[int], masks: Sequence[NDArray[np.uint8] | None], room: int
) -> list[NDArray[np.uint8]]:
    """Each column in Native, without its name, its type and a LowCardinality's version.

    They lie in memory that the thread's next call takes again: fresh pages would cost more than the writing.

    Args:
        columns: the texts.
        kinds: TEXT or WORD for each.
        masks: for each WORD None, or 0 for rows that are left out.
        room: how many bytes they will take, about.
    """
    at = columns.at
    which = np.array([0 if mask is None else address_of(mask) for mask in masks], np.int64)
    of_kinds = np.array(kinds, np.int64)
    begins = np.zeros(len(at) + 1, np.int64)
    codes = np.empty(int(at[:, 1].max(initial=0)), np.int32)
    memo, few = np.empty(3 * MEMO, np.int64), FEW
    out: NDArray[np.uint8] = getattr(_kept, "out", np.empty(0, np.uint8))
    if len(out) < room + _SLACK:
        out = np.empty(room + _SLACK, np.uint8)
    done = 0
    while done < len(at):
        firsts, table = np.empty(few, np.int64), np.empty(2 * few, np.int64)
        begin = address_of(out)
        done = _write(at, of_kinds, which, done, begin, begin + len(out), begins, codes, firsts, table, memo)
        if done < 0:
            done, few = -1 - done, few * 16
        elif done < len(at):
            larger = np.empty(2 * len(out), np.uint8)
            larger[: begins[done]] = out[: begins[done]]
            out = larger
    _kept.out = out if len(out) <= _MOST_KEPT else np.empty(0, np.uint8)
    return [out[begin:end] for begin, end in zip(begins.tolist(), begins[1:].tolist(), strict=False)]
