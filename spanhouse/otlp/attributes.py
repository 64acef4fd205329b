"""Attributes: into their raw column if they are wanted, else into their owner's list."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spanhouse.otlp.state import (
    CAPACITY,
    DEPTHS,
    DOUBLE_BITS,
    DOUBLES,
    INTERNED,
    INTERNED_SLOTS,
    KEY_END,
    KEY_START,
    KEY_TYPE,
    KEYS,
    MASK,
    MORE,
    N_END,
    N_KEY,
    N_OWNER,
    N_ROW,
    N_START,
    NUMERIC,
    NUMERIC_ENTRIES,
    NUMERIC_WIDTH,
    P_DOUBLE,
    P_END,
    P_RAW,
    P_START,
    P_TYPE,
    P_VIEW,
    PENDING,
    PENDING_ENTRIES,
    PENDING_WIDTH,
    RAW,
    RAW_CONVERTED,
    RESERVED,
    RESOURCE,
    SEEN,
    TABLE,
    TEXT,
    TEXT_END,
    TYPES,
    VALUES,
    VIEWS,
    VIEWS_END,
)
from spanhouse.otlp.text import ROOM, put_base64, put_hex, put_int, put_lossy
from spanhouse.otlp.values import (
    ARRAY,
    BOOL,
    BYTES,
    DOUBLE,
    INT,
    KVLIST,
    STRING,
    any_value,
    check_nested,
    key_value,
    put_double,
    put_nested,
)
from spanhouse.otlp.wire import (
    PADDING,
    Bytes,
    Ints,
    entry,
    inlined,
    int64,
    is_utf8,
    kernel,
    load8,
    load64,
    load_short,
    pointer,
    put_view,
    uint64,
)

# A view holds shorter strings itself; longer ones than these are seldom the same.
_INLINE = 12
_INTERN_BYTES = 64

# String views of the texts of booleans.
_TRUE = 4 | (0x65757274 << 32)
_FALSE = (5 | (0x736C6166 << 32), 0x65)


@inlined
def _hash(a: Bytes, p: int, end: int) -> int:
    # Of a key's length and its first, middle and last eight bytes.
    n = end - p
    h = n * int64(0x9E3779B97F4A7C1)
    if n <= 8:
        h ^= load_short(a, p, n) * int64(0x2545F4914F6CDD1D)
    else:
        h ^= load64(a, end - 8) * int64(0x2545F4914F6CDD1D)
        h ^= load64(a, p) * int64(0x369DEA0F31A53F85)
        h ^= load64(a, p + ((n - 8) >> 1)) * int64(0x5851F42D4C957F2D)
    h ^= h >> 29
    h *= int64(0x2127599BF4325C37)
    return h ^ (h >> 32)


@entry
def key_hash(array: Bytes, p: int, end: int) -> int:
    """Hash a wanted key for the lookup table."""
    return _hash(pointer(array), p, end)


@inlined
def _same(a: Bytes, p: int, q: int, n: int) -> bool:
    if n < 8:
        return load_short(a, p, n) == load_short(a, q, n)
    for i in range(0, n - 8, 8):
        if load64(a, p + i) != load64(a, q + i):
            return False
    return load64(a, p + n - 8) == load64(a, q + n - 8)


@inlined
def _find(a: Bytes, p: int, end: int, owner: int, w: Ints) -> int:
    # Index of the wanted key, -1 if it is not wanted.
    table = w[TABLE] + owner * (w[MASK] + 1)
    at = _hash(a, p, end) & w[MASK]
    while True:
        k = w[table + at]
        if k < 0:
            return -1
        start = w[w[KEY_START] + k]
        if w[w[KEY_END] + k] - start == end - p and _same(a, p, start, end - p):
            return k
        at = (at + 1) & w[MASK]


@inlined
def _raw_column(k: int, converted: int, owner: int, w: Ints) -> int:
    # Position of a raw column in views, made (all null) at its first use; -1 if there is no room.
    at = w[w[RAW + converted] + k]
    if at >= 0:
        return at
    rows = w[CAPACITY + owner]
    width = (2 if w[w[KEY_TYPE] + k] == STRING else 1) * rows
    size = width + ((rows + 63) >> 6)
    at = w[VIEWS]
    if at + size + 1 > w[VIEWS_END]:
        w[MORE] = 1
        return -1
    w[VIEWS] = (at + size + 1) & ~1
    for i in range(at, at + size):
        w[i] = 0
    w[w[RAW + converted] + k] = at
    return at


@inlined
def _set_valid(at: int, width: int, owner: int, row: int, w: Ints) -> None:
    w[at + width * w[CAPACITY + owner] + (row >> 6)] |= int64(1) << (row & 63)


@inlined
def _has_room(n: int, w: Ints) -> bool:
    # Whether the text of n more wire bytes fits.
    if w[TEXT] + w[RESERVED] + ROOM * n + 2 * PADDING <= w[TEXT_END]:
        return True
    w[MORE] = 1
    return False


@inlined
def _put_text_view(at: int, end: int, w: Ints, text: Bytes) -> None:
    # View of what was written to the text after used[TEXT]; short text needs no place there.
    start = w[TEXT]
    put_view(w, at, text, start, end - start, 1)
    if end - start > 12:
        w[TEXT] = end


@inlined
def put_string(at: int, a: Bytes, p: int, end: int, w: Ints, text: Bytes) -> bool:
    """Put the view of a string of the payload; returns False, with a mended copy, if it is not UTF-8.

    A string that came before mostly gets the view that it had then, so that who comes after can tell by
    the view alone that it is the same.
    """
    n = end - p
    slot = int64(-1)
    if _INLINE < n <= _INTERN_BYTES:
        h = load64(a, end - 8) * int64(0x2545F4914F6CDD1D) ^ load64(a, p + (n >> 1) - 4) ^ n
        slot = w[INTERNED] + 2 * ((h * int64(0x9E3779B97F4A7C1) >> 40) & (INTERNED_SLOTS - 1))
        if w[slot] == n | (load64(a, p) << 32):
            view = w[slot + 1]
            if _same(a, p, (view >> 32) & 0xFFFFFFFF, n):
                w[at], w[at + 1] = w[slot], view
                return True
    if is_utf8(a, p, end):
        put_view(w, at, a, p, n, 0)
        if slot >= 0:
            w[slot], w[slot + 1] = w[at], w[at + 1]
        return True
    w[at] = w[at + 1] = 0
    if _has_room(end - p, w):
        _put_text_view(at, put_lossy(text, w[TEXT], a, p, end), w, text)
    return False


@inlined
def put_id(at: int, a: Bytes, p: int, end: int, w: Ints, text: Bytes) -> None:
    """Put the view of an id in hex."""
    w[at] = w[at + 1] = 0
    if _has_room(end - p, w):
        _put_text_view(at, put_hex(text, w[TEXT], a, p, end), w, text)


@kernel
def _decimal(a: Bytes, p: int, end: int) -> tuple[bool, int]:
    # Parses a decimal int64: (whether it is one, value).
    negative = p < end and load8(a, p) == ord("-")
    if p < end and (negative or load8(a, p) == ord("+")):
        p += 1
    if p == end or end - p > 19:
        return False, int64(0)
    value = uint64(0)
    for i in range(p, end):
        digit = load8(a, i) - ord("0")
        if digit < 0 or digit > 9:
            return False, int64(0)
        value = value * uint64(10) + uint64(digit)
    if value > uint64(0x7FFFFFFFFFFFFFFF) + uint64(negative):
        return False, int64(0)
    return True, int64(-value) if negative else int64(value)


@kernel
def _convert(k: int, kind: int, a: Bytes, x: int, y: int, owner: int, row: int, w: Ints) -> int:
    # Fills the converted raw column for all but text from other types. Returns its position.
    at = _raw_column(k, 1, owner, w)
    if at < 0:
        return at
    target = w[w[KEY_TYPE] + k]
    good, value = False, int64(0)
    if target == INT:
        if kind == STRING:
            good, value = _decimal(a, x, y)
        elif kind == DOUBLE:
            number = int64(x).view(np.float64)
            good = -9223372036854775808.0 <= number < 9223372036854775808.0 and number == np.floor(number)
            if good:
                value = int64(number)
    elif target == DOUBLE:
        if kind == INT:
            good, value = True, np.float64(x).view(np.int64)
        elif kind == STRING:
            e = w[NUMERIC_ENTRIES] + NUMERIC_WIDTH * w[NUMERIC]
            w[e + N_KEY], w[e + N_ROW], w[e + N_OWNER] = k, row, owner
            w[e + N_START], w[e + N_END] = x, y
            w[NUMERIC] += 1
    elif target == BOOL and kind == STRING:
        bits = load_short(a, x, min(y - x, 8))
        value = int64(y - x == 4 and bits == 0x65757274)
        good = value == 1 or (y - x == 5 and bits == 0x65736C6166)
    if good:
        w[at + row] = value
        _set_valid(at, 1, owner, row, w)
    return at


@inlined
def _put_exact(
    k: int, kind: int, a: Bytes, x: int, y: int, owner: int, row: int, w: Ints, text: Bytes
) -> int:
    # Puts a value that has the wanted type into its raw column. Returns 1 if it is not UTF-8.
    at = _raw_column(k, 0, owner, w)
    if at < 0:
        return 0
    if kind != STRING:
        w[at + row] = x
        _set_valid(at, 1, owner, row, w)
        return 0
    _set_valid(at, 2, owner, row, w)
    return 0 if put_string(at + 2 * row, a, x, y, w, text) else 1


@kernel
def _put_value(
    at: int, raw: int, kind: int, a: Bytes, x: int, y: int, depth: int, w: Ints, text: Bytes
) -> int:
    # Puts a value's text at views[at], and at views[raw] too if raw >= 0.
    # Returns 1 if it is not UTF-8, an error, or 0.
    if kind == STRING:
        return 0 if put_string(at, a, x, y, w, text) else 1
    w[at] = w[at + 1] = 0
    result = 0
    if kind == BOOL:
        w[at] = _TRUE if x else _FALSE[0]
        w[at + 1] = 0 if x else _FALSE[1]
    elif kind == INT and _has_room(8, w):
        _put_text_view(at, put_int(text, w[TEXT], x), w, text)
    elif kind == BYTES and _has_room(y - x, w):
        _put_text_view(at, put_base64(text, w[TEXT], a, x, y), w, text)
    elif kind in (DOUBLE, ARRAY, KVLIST):
        e = w[PENDING_ENTRIES] + PENDING_WIDTH * w[PENDING]
        w[e + P_TYPE], w[e + P_START], w[e + P_END] = kind, x, y
        w[e + P_DOUBLE], w[e + P_VIEW], w[e + P_RAW] = w[DOUBLES], at, raw
        w[PENDING] += 1
        size = 9
        if kind == DOUBLE:
            w[w[DOUBLE_BITS] + w[DOUBLES]] = x
            w[DOUBLES] += 1
        else:
            size = y - x + 2
            n = w[DOUBLE_BITS] + w[DOUBLES]
            error, n, good = check_nested(a, x, y, kind == KVLIST, depth, w, n)
            w[DOUBLES] = n - w[DOUBLE_BITS]
            if error != 0:
                return error
            result = 0 if good else 1
        if _has_room(size, w):
            w[RESERVED] += ROOM * size
    if raw >= 0:
        w[raw], w[raw + 1] = w[at], w[at + 1]
    return result


@kernel
def attribute(a: Bytes, p: int, end: int, owner: int, row: int, w: Ints, text: Bytes) -> int:
    """Take one KeyValue of the owner in `row`. Returns 1 if it is not UTF-8, an error, or 0."""
    depth = DEPTHS[owner]
    error, key, key_end, value, value_end = key_value(a, p, end, depth)
    if error != 0:
        return error
    error, kind, x, y = any_value(a, value, value_end, depth + 1)
    if error != 0:
        return error
    raw = int64(-1)
    if owner <= RESOURCE:
        k = _find(a, key, key_end, owner, w)
        if k >= 0 and w[w[SEEN] + k] != row:
            w[w[SEEN] + k] = row
            if w[w[KEY_TYPE] + k] == kind:
                return _put_exact(k, kind, a, x, y, owner, row, w, text)
            at = _convert(k, kind, a, x, y, owner, row, w)
            if w[w[KEY_TYPE] + k] == STRING and at >= 0 and kind != BYTES and kind != 0:
                raw = at + 2 * row
                _set_valid(at, 2, owner, row, w)
    n = w[owner]
    w[owner] = n + 1
    good = put_string(w[KEYS + owner] + 2 * n, a, key, key_end, w, text)
    w[w[TYPES + owner] + n] = kind
    result = _put_value(w[VALUES + owner] + 2 * n, raw, kind, a, x, y, depth + 2, w, text)
    return 1 if result == 0 and not good else result


@entry
def put_pending(
    arena: Bytes, state: Ints, text_array: Bytes, texts_array: Bytes, offsets_array: Ints
) -> None:
    """Write the text of doubles, arrays and maps, given the doubles as text."""
    a, w, text = pointer(arena), pointer(state), pointer(text_array)
    texts, offsets = pointer(texts_array), pointer(offsets_array)
    for i in range(w[PENDING]):
        e = w[PENDING_ENTRIES] + PENDING_WIDTH * i
        n, at, raw, o = w[e + P_DOUBLE], w[e + P_VIEW], w[e + P_RAW], w[TEXT]
        if w[e + P_TYPE] == DOUBLE:
            o = put_double(text, o, texts, offsets[n], offsets[n + 1])
        else:
            start, end, is_map = w[e + P_START], w[e + P_END], w[e + P_TYPE] == KVLIST
            o = put_nested(text, o, a, start, end, is_map, texts, offsets, n)
        _put_text_view(at, o, w, text)
        if raw >= 0:
            w[raw], w[raw + 1] = w[at], w[at + 1]


@entry
def put_numeric(arena: Bytes, state: Ints, views_array: Ints) -> None:
    """Write the views of the strings that are wanted as Float64."""
    a, w, views = pointer(arena), pointer(state), pointer(views_array)
    for i in range(w[NUMERIC]):
        e = w[NUMERIC_ENTRIES] + NUMERIC_WIDTH * i
        put_view(views, 2 * i, a, w[e + N_START], w[e + N_END] - w[e + N_START], 0)


@entry
def set_numeric(state: Ints, bits: Ints, valid: NDArray[np.bool_]) -> None:
    """Put what these strings are as doubles into their raw columns."""
    w = pointer(state)
    for i in range(w[NUMERIC]):
        e = w[NUMERIC_ENTRIES] + NUMERIC_WIDTH * i
        if valid[i]:
            at = w[w[RAW_CONVERTED] + w[e + N_KEY]]
            w[at + w[e + N_ROW]] = bits[i]
            _set_valid(at, 1, w[e + N_OWNER], w[e + N_ROW], w)
