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
    inlined,
    int64,
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


@inlined
def key_value(a: Bytes, p: int, end: int, depth: int) -> tuple[int, int, int, int, int]:
    """Read a `KeyValue`: (error or 0, key start, key end, value start or -1 if it has none, value end)."""
    key, key_end, value, value_end = p, p, int64(-1), int64(-1)
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
            if value >= 0:
                return UNUSUAL, key, key_end, value, value_end
            value, p = length(a, p, end)
            if value < 0:
                return value, key, key_end, value, value_end
            value_end = p
        else:
            p = skip(a, p, end, t, depth)
            if p < 0:
                return p, key, key_end, value, value_end
    return 0, key, key_end, value, value_end


@inlined
def any_value(a: Bytes, p: int, end: int, depth: int) -> tuple[int, int, int, int]:
    """Read an `AnyValue`: (error or 0, type, number or start, end).

    Booleans, integers and doubles (their bits) come as the number, the other types as a range.
    """
    kind, x, y = int64(EMPTY), p, p
    members = 0
    if p < 0:  # absent
        return 0, kind, x, y
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
                x = int64(x != 0)
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
    stack = np.empty((MAX_DEPTH + 1, 3), np.int64)  # position, end, depth * 2 + is it a map
    stack[0, 0], stack[0, 1], stack[0, 2] = p, end, depth * 2 + is_map
    level, good = 0, True
    while level >= 0:
        p, end = stack[level, 0], stack[level, 1]
        if p >= end:
            level -= 1
            continue
        depth, is_map = stack[level, 2] >> 1, stack[level, 2] & 1 != 0
        t, p = tag(a, p, end)
        if p < 0:
            return p, n, good
        if t != 10:
            p = skip(a, p, end, t, depth)
            if p < 0:
                return p, n, good
            stack[level, 0] = p
            continue
        value, p = length(a, p, end)
        if value < 0:
            return value, n, good
        stack[level, 0] = p
        value_end = p
        depth += 1
        if is_map:
            if depth > MAX_DEPTH:
                return DEPTH, n, good
            error, key, key_end, value, value_end = key_value(a, value, value_end, depth)
            if error != 0:
                return error, n, good
            good = good and is_utf8(a, key, key_end)
            depth += 1
        if value >= 0 and depth > MAX_DEPTH:
            return DEPTH, n, good
        error, kind, x, y = any_value(a, value, value_end, depth)
        if error != 0:
            return error, n, good
        if kind == STRING:
            good = good and is_utf8(a, x, y)
        elif kind == DOUBLE:
            doubles[n] = x
            n += 1
        elif kind in (ARRAY, KVLIST):
            if depth + 1 > MAX_DEPTH:
                return DEPTH, n, good
            level += 1
            stack[level, 0], stack[level, 1] = x, y
            stack[level, 2] = (depth + 1) * 2 + (kind == KVLIST)
    return 0, n, good


@kernel
def _is_marker(a: Bytes, p: int, end: int) -> bool:
    # Whether a map's key is one or more `$` and then `bytes` or `double`.
    if p == end or load8(a, p) != ord("$"):
        return False
    while p < end and load8(a, p) == ord("$"):
        p += 1
    bits = load64(a, p)
    if end - p == 5:
        return bits & 0xFFFFFFFFFF == 0x7365747962
    return end - p == 6 and bits & 0xFFFFFFFFFFFF == 0x656C62756F64


@kernel
def put_double(out: Bytes, o: int, text: Bytes, p: int, end: int) -> int:
    """Write a double's text as polars casts it, `inf` spelled `Infinity`."""
    if load8(text, end - 1) == ord("f"):
        if end - p == 4:
            o = put_ascii(out, o, b"-")
        return put_ascii(out, o, b"Infinity")
    return put_bytes(out, o, text, p, end)


@kernel
def _put_number(out: Bytes, o: int, text: Bytes, p: int, end: int) -> int:
    if load8(text, end - 1) <= ord("9"):
        return put_bytes(out, o, text, p, end)
    o = put_double(out, put_ascii(out, o, b'{"$double":"'), text, p, end)
    return put_ascii(out, o, b'"}')


@kernel
def put_nested(
    out: Bytes, o: int, a: Bytes, p: int, end: int, is_map: bool, texts: Bytes, offsets: Ints, n: int
) -> int:
    """Write the JSON text of an array or a map that `check_nested` has checked; its doubles begin at `n`."""
    stack = np.empty((MAX_DEPTH + 1, 3), np.int64)  # position, end, is it a map
    stack[0, 0], stack[0, 1], stack[0, 2] = p, end, int64(is_map)
    level = 0
    out[o] = ord("{") if is_map else ord("[")
    o += 1
    first = True
    while level >= 0:
        p, end, is_map = stack[level, 0], stack[level, 1], stack[level, 2] != 0
        if p >= end:
            out[o] = ord("}") if is_map else ord("]")
            o += 1
            first = False
            level -= 1
            continue
        t, p = tag(a, p, end)
        if t != 10:
            stack[level, 0] = skip(a, p, end, t, 0)
            continue
        value, value_end = length(a, p, end)
        stack[level, 0] = value_end
        if not first:
            o = put_ascii(out, o, b",")
        first = False
        if is_map:
            _, key, key_end, value, value_end = key_value(a, value, value_end, 0)
            # A map that looks like the form of bytes or of a double is told apart by one more `$`.
            o = put_json_string(out, o, a, key, key_end)
            if _is_marker(a, key, key_end):
                o = put_ascii(out, o - (key_end - key) - 1, b"$")
                o = put_ascii(out, put_bytes(out, o, a, key, key_end), b'"')
            o = put_ascii(out, o, b":")
        _, kind, x, y = any_value(a, value, value_end, 0)
        if kind == STRING:
            o = put_json_string(out, o, a, x, y)
        elif kind == BOOL:
            o = put_ascii(out, o, b"true") if x else put_ascii(out, o, b"false")
        elif kind == INT:
            o = put_int(out, o, x)
        elif kind == DOUBLE:
            o = _put_number(out, o, texts, offsets[n], offsets[n + 1])
            n += 1
        elif kind == BYTES:
            o = put_base64(out, put_ascii(out, o, b'{"$bytes":"'), a, x, y)
            o = put_ascii(out, o, b'"}')
        elif kind == EMPTY:
            o = put_ascii(out, o, b"null")
        else:
            level += 1
            stack[level, 0], stack[level, 1], stack[level, 2] = x, y, int64(kind == KVLIST)
            out[o] = ord("{") if kind == KVLIST else ord("[")
            o += 1
            first = True
    return o
