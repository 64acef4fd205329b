"""OTLP/JSON to protobuf, byte to byte: what the specification calls JSON Protobuf encoding.

Ids are hex, bytes base64, 64-bit integers numbers or strings, enums numbers or names, keys lowerCamelCase
or as in the .proto file; unknown keys are ignored and null means unset.
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

from typing import Final, cast

import numpy as np
import polars as pl
import pyarrow as pa

from spanhouse.errors import Malformed
from spanhouse.otlp.json_scan import (
    AT,
    BACKSLASH,
    BRACE,
    BRACKET,
    COMMA,
    DEPTH,
    END_BRACE,
    END_BRACKET,
    LOWER_T,
    NAME,
    QUOTE,
    REASONS,
    SCRATCH,
    SYNTAX,
    TRAILING,
    TYPE,
    boolean,
    fail,
    is_null,
    key,
    skip_value,
    space,
    string,
)
from spanhouse.otlp.json_schema import (
    BASE64,
    BOOLEAN,
    BOUNDS,
    ENTRIES,
    HEX,
    KIND,
    MESSAGE,
    NAMES,
    REPEATED,
    SUB,
    TAG,
    TEXT,
)
from spanhouse.otlp.json_values import (
    DOUBLE_WIDTH,
    DOUBLES,
    OUT,
    find,
    put_length,
    put_number,
    put_text,
    put_varint,
    unescape,
)
from spanhouse.otlp.wire import PADDING, Bytes, Ints, entry, int64, kernel, load8, pointer, put_view, uint8

# The open messages: type, place of its length in the output, entry of the list that is open in it or
# -1, whether nothing was read yet in the message or the list.
_TYPE, _LENGTH, _LIST, _FIRST = range(4)
_FRAME: Final = 4
_MAX_MESSAGES: Final = 128
_STACK: Final = SCRATCH


@kernel
def _open(kind: int, tag: int, level: int, out: Bytes, w: Ints) -> None:
    # Opens a message inside another, or the outermost where the tag is 0.
    if tag > 0:
        w[OUT] = put_varint(out, w[OUT], tag) + 5
    f = _STACK + level * _FRAME
    w[f + _TYPE], w[f + _LENGTH], w[f + _LIST], w[f + _FIRST] = kind, w[OUT] - 5, -1, 1


@kernel
def _element(
    a: Bytes, p: int, end: int, f: int, entries: Ints, level: int, out: Bytes, w: Ints
) -> tuple[int, int]:
    # The next element of the open list, or its end: (position or error, new level).
    byte = load8(a, p) if p < end else int64(0)
    if byte == END_BRACKET:
        w[f + _LIST], w[f + _FIRST] = -1, 0
        return p + 1, level
    if w[f + _FIRST] == 0:
        if byte != COMMA:
            return fail(SYNTAX, p, end, w), level
        p = space(a, p + 1, end)
    w[f + _FIRST] = 0
    entry = w[f + _LIST]
    level += 1
    if level == _MAX_MESSAGES:
        return fail(DEPTH, p, end, w), level
    _open(entries[entry + SUB], entries[entry + TAG], level, out, w)
    if p < end and load8(a, p) == BRACE:
        return p + 1, level
    if is_null(a, p, end):
        put_length(out, w[OUT] - 5, 0)
        return p + 4, level - 1
    return fail(TYPE, p, end, w), level


@kernel
def _put_scalar(
    a: Bytes,
    p: int,
    end: int,
    entry: int,
    types: Ints,
    entries: Ints,
    names: Bytes,
    out: Bytes,
    w: Ints,
    doubles: Ints,
) -> int:
    kind = entries[entry + KIND]
    w[OUT] = put_varint(out, w[OUT], entries[entry + TAG])
    if kind == BOOLEAN:
        out[w[OUT]] = p < end and load8(a, p) == LOWER_T
        w[OUT] += 1
        return boolean(a, p, end, w)
    if kind in (TEXT, BASE64, HEX):
        return put_text(out, kind, a, p, end, w)
    if entries[entry + SUB] >= 0 and p < end and load8(a, p) == QUOTE:
        stop = string(a, p, end, w)
        if stop < 0:
            return stop
        o = w[OUT]
        name_end = unescape(out, o, a, p + 1, stop - 1)
        value = find(types, entries, names, entries[entry + SUB], out, o, name_end)
        if value >= 0:
            w[OUT] = put_varint(out, o, entries[value + TAG])
            return stop
        if not (o < name_end and load8(out, o) <= 57):
            return fail(NAME, p, end, w)
    return put_number(out, kind, a, p, end, w, doubles)


@kernel
def _field(
    a: Bytes, start: int, stop: int, kind: int, types: Ints, entries: Ints, names: Bytes, out: Bytes, w: Ints
) -> int:
    # Entry of the field whose name is the string at `start`.
    for i in range(start, stop):
        if load8(a, i) == BACKSLASH:
            o = w[OUT]
            return find(types, entries, names, kind, out, o, unescape(out, o, a, start, stop))
    return find(types, entries, names, kind, a, start, stop)


@kernel
def _member(
    a: Bytes,
    p: int,
    end: int,
    f: int,
    types: Ints,
    entries: Ints,
    names: Bytes,
    level: int,
    out: Bytes,
    w: Ints,
    doubles: Ints,
) -> tuple[int, int]:
    # The next member of the open message, or its end: (position or error, new level).
    byte = load8(a, p) if p < end else int64(0)
    if byte == END_BRACE:
        if level > 0:
            put_length(out, w[f + _LENGTH], w[OUT] - w[f + _LENGTH] - 5)
        return p + 1, level - 1
    if w[f + _FIRST] == 0:
        if byte != COMMA:
            return fail(SYNTAX, p, end, w), level
        p = space(a, p + 1, end)
    w[f + _FIRST] = 0
    start = p + 1
    p = key(a, p, end, w)
    if p < 0:
        return p, level
    stop = start
    while load8(a, stop) != QUOTE:
        stop += 2 if load8(a, stop) == BACKSLASH else 1
    entry = _field(a, start, stop, w[f + _TYPE], types, entries, names, out, w)
    if entry < 0 or is_null(a, p, end):
        return skip_value(a, p, end, w), level
    if entries[entry + KIND] != MESSAGE:
        return _put_scalar(a, p, end, entry, types, entries, names, out, w, doubles), level
    byte = load8(a, p) if p < end else int64(0)
    if entries[entry + REPEATED] != 0:
        w[f + _LIST], w[f + _FIRST] = entry, 1
        return (p + 1 if byte == BRACKET else fail(TYPE, p, end, w)), level
    if byte != BRACE:
        return fail(TYPE, p, end, w), level
    level += 1
    if level == _MAX_MESSAGES:
        return fail(DEPTH, p, end, w), level
    _open(entries[entry + SUB], entries[entry + TAG], level, out, w)
    return p + 1, level


@entry
def _transcode(
    body: Bytes,
    end: int,
    types: Ints,
    entries_array: Ints,
    names_array: Bytes,
    output: Bytes,
    scratch: Ints,
    found: Ints,
) -> int:
    a, entries, names = pointer(body), pointer(entries_array), pointer(names_array)
    out, w, doubles = pointer(output), pointer(scratch), pointer(found)
    w[OUT], w[DOUBLES], w[AT] = 0, 0, 0
    p = space(a, int64(0), end)
    if p >= end or load8(a, p) != BRACE:
        return fail(TYPE, p, end, w)
    p += 1
    level = 0
    _open(int64(0), 0, level, out, w)
    while level >= 0:
        p = space(a, p, end)
        f = _STACK + level * _FRAME
        if w[f + _LIST] >= 0:
            p, level = _element(a, p, end, f, entries, level, out, w)
        else:
            p, level = _member(a, p, end, f, pointer(types), entries, names, level, out, w, doubles)
        if p < 0:
            return p
    p = space(a, p, end)
    return 0 if p == end else fail(TRAILING, p, end + 1, w)


@entry
def _put_doubles(body: Bytes, found: Ints, n: int, bits: Ints, output: Bytes, views: Ints) -> None:
    # Called twice: with no bits to make views of the doubles' texts, then to write what they say.
    a, doubles, out, v = pointer(body), pointer(found), pointer(output), pointer(views)
    for i in range(n):
        start, stop, o = (
            doubles[DOUBLE_WIDTH * i],
            doubles[DOUBLE_WIDTH * i + 1],
            doubles[DOUBLE_WIDTH * i + 2],
        )
        if len(bits) == 0:
            put_view(v, 2 * i, a, start, stop - start, 0)
        else:
            for j in range(8):
                out[o + j] = uint8(bits[i] >> (8 * j) & 255)


def json_to_protobuf(body: bytes) -> bytes:
    """Return the wire form of an ExportTraceServiceRequest given as OTLP/JSON.

    Text is not looked at: what is not UTF-8 is found by the decoder, span by span.

    Raises:
        Malformed: the body is not JSON or not OTLP; says where and why.
    """
    size = len(body)
    arena = np.frombuffer(bytearray(body) + bytes(PADDING), np.uint8)
    out = np.empty(2 * size + 64, np.uint8)  # a message of 3 characters, `{},`, takes 6 bytes
    scratch = np.empty(SCRATCH + _FRAME * _MAX_MESSAGES, np.int64)
    doubles = np.empty((size // 14 + 1) * DOUBLE_WIDTH, np.int64)
    error = _transcode(arena, size, BOUNDS, ENTRIES, NAMES, out, scratch, doubles)
    if error < 0:
        raise Malformed(f"JSON: {REASONS[error]} at byte {scratch[AT]}")
    n = int(scratch[DOUBLES])
    if n:
        views = np.empty(2 * n, np.int64)
        _put_doubles(arena, doubles, n, scratch[:0], out, views)
        texts = pa.Array.from_buffers(pa.string_view(), n, [None, pa.py_buffer(views), pa.py_buffer(arena)])
        numbers = cast(pl.Series, pl.from_arrow(texts)).cast(pl.Float64)
        _put_doubles(arena, doubles, n, numbers.to_numpy().view(np.int64), out, views)
    return out[: scratch[OUT]].tobytes()
