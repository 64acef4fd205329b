"""Attributes' values: reading `KeyValue` and `AnyValue`, and the JSON text of nested ones."""

from __future__ import annotations

import numpy as np

from spanhouse.otlp.text import put_ascii, put_base64, put_bytes, put_int, put_json_string
from spanhouse.otlp.wire import (
    DEPTH,
    MAX_DEPTH,
    UNUSUAL,
    Bytes,
    Ints,
    is_utf8,
    kernel,
    length,
    load8,
    load64,
    skip,
    tag,
    varint,
)

# ValueType as plain constants, for the kernels.
EMPTY, STRING, BOOL, INT, DOUBLE, ARRAY, KVLIST, BYTES = range(8)


@kernel
def key_value(a: Bytes, p: int, end: int, depth: int) -> tuple[int, int, int, int, int]:
    """Read a `KeyValue`: (error or 0, key start, key end, value start, value end)."""
    key, key_end, value, value_end = p, p, p, p
    seen = False
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p, key, key_end, value, value_end
        if t == 10:
            key, p = length(a, p, end)
            if key < 0:
                return key, key, key_end, value, value_end
            key_end = p
        elif t == 18:
            if seen:
                return UNUSUAL, key, key_end, value, value_end
            seen = True
            value, p = length(a, p, end)
            if value < 0:
                return value, key, key_end, value, value_end
            value_end = p
        else:
            p = skip(a, p, end, t, depth)
            if p < 0:
                return p, key, key_end, value, value_end
    return 0, key, key_end, value, value_end


@kernel
def any_value(a: Bytes, p: int, end: int, depth: int) -> tuple[int, int, int, int]:
    """Read an `AnyValue`: (error or 0, type, number or start, end).

    Booleans, integers and doubles (their bits) come as the number, the other types as a range.
    """
    kind, x, y = EMPTY, p, p
    members = 0
    while p < end:
        t, p = tag(a, p, end)
        if p < 0:
            return p, kind, x, y
        field = t >> 3
        if t == 10 or t == 42 or t == 50 or t == 58:
            x, p = length(a, p, end)
            if x < 0:
                return x, kind, x, y
            y = p
        elif t == 16 or t == 24 or t == 64:
            x, p = varint(a, p, end)
            if p < 0:
                return p, kind, x, y
            if t == 16:
                x = np.int64(x != 0)
        elif t == 33:
            if end - p < 8:
                return skip(a, p, end, t, depth), kind, x, y
            x = load64(a, p)
            p += 8
        else:
            p = skip(a, p, end, t, depth)
            if p < 0:
                return p, kind, x, y
            continue
        members += 1
        kind = EMPTY if field == 8 else field  # 8 is a profile's string index, meaningless here
    return (UNUSUAL if members > 1 else 0), kind, x, y


@kernel
def check_nested(
    a: Bytes, p: int, end: int, is_map: bool, depth: int, doubles: Ints, n: int
) -> tuple[int, int, bool]:
    """Check the bytes of an `ArrayValue` or `KeyValueList` at `depth` and collect its doubles' bits.

    Returns (error or 0, number of doubles collected so far, whether all text is UTF-8).
    """
    ends = np.empty(MAX_DEPTH + 1, np.int64)
    maps = np.empty(MAX_DEPTH + 1, np.bool_)
    ends[0], maps[0] = end, is_map
    level, good = 0, True
    depths = np.empty(MAX_DEPTH + 1, np.int64)
    depths[0] = depth
    while level >= 0:
        if p >= ends[level]:
            level -= 1
            continue
        t, p = tag(a, p, ends[level])
        if p < 0:
            return p, n, good
        if t != 10:
            p = skip(a, p, ends[level], t, depths[level])
            if p < 0:
                return p, n, good
            continue
        start, stop = length(a, p, ends[level])
        if start < 0:
            return start, n, good
        p = stop
        inner = depths[level] + 1  # of the element
        value, value_end = start, stop
        if maps[level]:
            if inner > MAX_DEPTH:
                return DEPTH, n, good
            error, key, key_end, value, value_end = key_value(a, start, stop, inner)
            if error != 0:
                return error, n, good
            good = good and is_utf8(a, key, key_end)
            if value == value_end:
                continue
            inner += 1
        if inner > MAX_DEPTH:
            return DEPTH, n, good
        error, kind, x, y = any_value(a, value, value_end, inner)
        if error != 0:
            return error, n, good
        if kind == STRING:
            good = good and is_utf8(a, x, y)
        elif kind == DOUBLE:
            doubles[n] = x
            n += 1
        elif kind == ARRAY or kind == KVLIST:
            if inner + 1 > MAX_DEPTH:
                return DEPTH, n, good
            # Go on inside; what follows the value in this element was checked by `any_value`.
            level, n_error, n, good = _descend(a, x, y, kind == KVLIST, inner + 1, doubles, n, good, level)
            if n_error != 0:
                return n_error, n, good
            return 0, n, good
    return 0, n, good
