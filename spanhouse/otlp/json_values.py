"""JSON values to protobuf's wire form, in numba kernels."""

from __future__ import annotations

from typing import Final

from spanhouse.otlp.json_scan import (
    BACKSLASH,
    ENCODING,
    LOWER_F,
    LOWER_N,
    LOWER_T,
    LOWER_U,
    MINUS,
    NINE,
    NUMBER,
    QUOTE,
    RANGE,
    TYPE,
    ZERO,
    fail,
    hex4,
    hex_digit,
    number,
    string,
)
from spanhouse.otlp.json_schema import (
    DOUBLE,
    FIXED32,
    FIXED64,
    HEX,
    INT32,
    INT64,
    NAME_END,
    NAME_START,
    TEXT,
    WIDTH,
)
from spanhouse.otlp.wire import Bytes, Ints, int64, kernel, load8, load64, uint8, uint64

# Indices in the scratch array: where the output ends, how many doubles were met.
OUT: Final = 1
DOUBLES: Final = 2
# A double is noted as start and end of its text and the place of its eight bytes in the output.
DOUBLE_WIDTH: Final = 3

_INFINITY: Final = 0x7974696E69666E49  # as load64 reads it


@kernel
def put_varint(out: Bytes, o: int, value: int) -> int:
    """Write a varint."""
    rest = uint64(value)
    while rest > uint64(127):
        out[o] = uint8(rest & uint64(127)) | uint8(128)
        rest >>= uint64(7)
        o += 1
    out[o] = uint8(rest)
    return o + 1


@kernel
def put_length(out: Bytes, o: int, value: int) -> None:
    """Write a length as a varint of five bytes, which can be done before it is known."""
    for i in range(4):
        out[o + i] = uint8(value >> (7 * i) & 127) | uint8(128)
    out[o + 4] = uint8(value >> 28)


@kernel
def _put_fixed(out: Bytes, o: int, value: int, n: int) -> int:
    for i in range(n):
        out[o + i] = uint8(value >> (8 * i) & 255)
    return o + n


@kernel
def _put_code_point(out: Bytes, o: int, code: int) -> int:
    if code < 0x80:
        out[o] = code
        return o + 1
    if code < 0x800:
        out[o] = 0xC0 | code >> 6
        out[o + 1] = 0x80 | code & 63
        return o + 2
    if code < 0x10000:
        out[o] = 0xE0 | code >> 12
        out[o + 1] = 0x80 | code >> 6 & 63
        out[o + 2] = 0x80 | code & 63
        return o + 3
    out[o] = 0xF0 | code >> 18
    out[o + 1] = 0x80 | code >> 12 & 63
    out[o + 2] = 0x80 | code >> 6 & 63
    out[o + 3] = 0x80 | code & 63
    return o + 4


@kernel
def unescape(out: Bytes, o: int, a: Bytes, p: int, end: int) -> int:
    """Write the text of a string's inside that `string` has read. A lone surrogate becomes U+FFFD."""
    while p < end:
        byte = load8(a, p)
        if byte != BACKSLASH:
            out[o] = byte
            o += 1
            p += 1
            continue
        byte = load8(a, p + 1)
        p += 2
        if byte == LOWER_U:
            code = hex4(a, p, end)
            p += 4
            if 0xD800 <= code < 0xE000:
                low = int64(-1)
                if code < 0xDC00 and end - p >= 6 and load8(a, p) == BACKSLASH and load8(a, p + 1) == LOWER_U:
                    low = hex4(a, p + 2, end)
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                    p += 6
                else:
                    code = 0xFFFD
            o = _put_code_point(out, o, code)
            continue
        if byte == LOWER_N:
            byte = 10
        elif byte == LOWER_T:
            byte = 9
        elif byte == 114:
            byte = 13
        elif byte == 98:
            byte = 8
        elif byte == LOWER_F:
            byte = 12
        out[o] = byte
        o += 1
    return o


@kernel
def _base64_digit(byte: int) -> int:
    if 65 <= byte <= 90:
        return byte - 65
    if 97 <= byte <= 122:
        return byte - 71
    if 48 <= byte <= 57:
        return byte + 4
    if byte == 43 or byte == 45:  # + or, in the form for URLs, -
        return 62
    return 63 if byte == 47 or byte == 95 else -1


@kernel
def _put_base64_bytes(out: Bytes, o: int, a: Bytes, p: int, end: int) -> int:
    # Returns -1 if it is not base64. Padding may be left out.
    while end > p and load8(a, end - 1) == 61:
        end -= 1
    if (end - p) & 3 == 1:
        return -1
    bits, n = 0, 0
    while p < end:
        digit = _base64_digit(load8(a, p))
        if digit < 0:
            return -1
        bits = (bits << 6 | digit) & 0xFFFFFF
        n += 6
        p += 1
        if n >= 8:
            n -= 8
            out[o] = uint8(bits >> n & 255)
            o += 1
    return o


@kernel
def _put_hex_bytes(out: Bytes, o: int, a: Bytes, p: int, end: int) -> int:
    # Returns -1 if it is not hex.
    if (end - p) & 1:
        return -1
    while p < end:
        high, low = hex_digit(load8(a, p)), hex_digit(load8(a, p + 1))
        if high < 0 or low < 0:
            return -1
        out[o] = high << 4 | low
        o += 1
        p += 2
    return o


@kernel
def _integer(a: Bytes, p: int, end: int) -> tuple[int, bool, int]:
    # Value of a JSON number: (0 or an error, whether it is negative, magnitude as the bits of an uint64).
    # 1.0 and 1e3 are integers too.
    negative = load8(a, p) == MINUS
    p += negative
    value, exponent, fraction, exponential = uint64(0), 0, False, False
    while p < end:
        byte = load8(a, p)
        p += 1
        if ZERO <= byte <= NINE:
            if value > uint64(1844674407370955161) or (
                value == uint64(1844674407370955161) and byte > ZERO + 5
            ):
                return RANGE, negative, int64(0)
            value = value * uint64(10) + uint64(byte - ZERO)
            exponent -= fraction
        elif byte == 46:
            fraction = True
        else:
            exponential = True
            break
    if exponential:
        sign = -1 if load8(a, p) == MINUS else 1
        p += load8(a, p) == MINUS or load8(a, p) == 43
        power = 0
        while p < end:
            power = min(power * 10 + load8(a, p) - ZERO, 10_000)
            p += 1
        exponent += sign * power
    if value == uint64(0):
        return 0, negative, int64(0)
    while exponent < 0:
        if value % uint64(10) != uint64(0):
            return NUMBER, negative, int64(0)
        value //= uint64(10)
        exponent += 1
    while exponent > 0:
        if value > uint64(1844674407370955161):
            return RANGE, negative, int64(0)
        value *= uint64(10)
        exponent -= 1
    return 0, negative, int64(value)


@kernel
def _in_range(kind: int, negative: bool, magnitude: int) -> bool:
    if magnitude == 0 or kind == FIXED64:
        return magnitude == 0 or not negative
    if magnitude < 0:  # 2**63 or more
        return kind == INT64 and negative and magnitude << 1 == 0
    if kind == INT64:
        return True
    if kind == INT32:
        return magnitude <= 0x7FFFFFFF + int64(negative)
    return not negative and magnitude <= 0xFFFFFFFF


@kernel
def find(types: Ints, entries: Ints, names: Bytes, kind: int, a: Bytes, p: int, end: int) -> int:
    """Return the position in `entries` of the name of a field or enum's value, -1 if it is unknown."""
    for i in range(types[kind], types[kind + 1]):
        e = i * WIDTH
        start = entries[e + NAME_START]
        if entries[e + NAME_END] - start == end - p:
            same = True
            for j in range(end - p):
                if load8(a, p + j) != load8(names, start + j):
                    same = False
                    break
            if same:
                return e
    return -1


@kernel
def put_text(out: Bytes, kind: int, a: Bytes, p: int, end: int, w: Ints) -> int:
    """Take a string for a field of text or bytes."""
    start = p
    p = string(a, p, end, w)
    if p < 0:
        return p
    at = w[OUT]
    o = at + 5
    stop = unescape(out, o, a, start + 1, p - 1)
    if kind == TEXT:
        o = stop
    elif kind == HEX:
        o = _put_hex_bytes(out, o, out, o, stop)
    else:
        o = _put_base64_bytes(out, o, out, o, stop)
    if o < 0:
        return fail(ENCODING, start, end, w)
    put_length(out, at, o - at - 5)
    w[OUT] = o
    return p


@kernel
def _is_special(a: Bytes, p: int, end: int) -> bool:
    # NaN, Infinity or -Infinity.
    if end - p == 3:
        return load8(a, p) == 78 and load8(a, p + 1) == 97 and load8(a, p + 2) == 78
    p += load8(a, p) == MINUS
    return end - p == 8 and load64(a, p) == _INFINITY


@kernel
def put_number(out: Bytes, kind: int, a: Bytes, p: int, end: int, w: Ints, doubles: Ints) -> int:
    """Take a number, or a string that holds one."""
    start = p
    quoted = p < end and load8(a, p) == QUOTE
    if quoted:
        p = string(a, p, end, w)
        if p < 0:
            return p
        start += 1
        stop = unescape(a, start, a, start, p - 1)  # in place, as a double's text is looked at once more
        special = kind == DOUBLE and _is_special(a, start, stop)
        if not special and number(a, start, stop, w) != stop:
            return fail(NUMBER, start, end, w)
    else:
        byte = load8(a, p) if p < end else int64(0)
        if p < end and byte != MINUS and (byte < ZERO or byte > NINE):
            return fail(TYPE, p, end, w)
        p = number(a, p, end, w)
        if p < 0:
            return p
        stop = p
    if kind == DOUBLE:
        d = w[DOUBLES] * DOUBLE_WIDTH
        doubles[d], doubles[d + 1], doubles[d + 2] = start, stop, w[OUT]
        w[DOUBLES] += 1
        w[OUT] += 8
        return p
    error, negative, value = _integer(a, start, stop)
    if error == 0 and not _in_range(kind, negative, value):
        error = RANGE
    if error != 0:
        return fail(error, start, end, w)
    if negative:
        value = -value
    if kind == FIXED64:
        w[OUT] = _put_fixed(out, w[OUT], value, 8)
    elif kind == FIXED32:
        w[OUT] = _put_fixed(out, w[OUT], value, 4)
    else:
        w[OUT] = put_varint(out, w[OUT], value)
    return p
