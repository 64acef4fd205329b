"""Writing the text forms of attribute values (see `spanhouse.batch.ATTRIBUTES`) in numba kernels.

Every writer is given an array `out` with room enough and a position, and returns the position after
what it wrote. `ROOM` bytes per wire byte are enough for any value.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from spanhouse.otlp.wire import Bytes, code_point, kernel, load8, uint8, uint64

ROOM: Final = 6

_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
_BASE64: Final = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
_ESCAPES: Final = np.zeros(32, np.uint8)
for _code, _letter in ((8, "b"), (9, "t"), (10, "n"), (12, "f"), (13, "r")):
    _ESCAPES[_code] = ord(_letter)


@kernel
def put_hex(out: Bytes, o: int, a: Bytes, p: int, end: int) -> int:
    """Write bytes as lower-case hex."""
    for i in range(p, end):
        byte = load8(a, i)
        out[o] = _HEX[byte >> 4]
        out[o + 1] = _HEX[byte & 15]
        o += 2
    return o


@kernel
def put_int(out: Bytes, o: int, value: int) -> int:
    """Write an int64 in decimal."""
    rest = uint64(value)
    if value < 0:
        out[o] = ord("-")
        o += 1
        rest = uint64(0) - rest
    n = 1
    bound = rest // uint64(10)
    while bound > uint64(0):
        n += 1
        bound //= uint64(10)
    for i in range(o + n - 1, o - 1, -1):
        out[i] = uint8(rest % uint64(10)) + uint8(48)
        rest //= uint64(10)
    return o + n


@kernel
def put_base64(out: Bytes, o: int, a: Bytes, p: int, end: int) -> int:
    """Write bytes in base64 with padding."""
    while p < end:
        n = end - p
        bits = load8(a, p) << 16
        if n > 1:
            bits |= load8(a, p + 1) << 8
        if n > 2:
            bits |= load8(a, p + 2)
        out[o] = _BASE64[bits >> 18]
        out[o + 1] = _BASE64[(bits >> 12) & 63]
        out[o + 2] = _BASE64[(bits >> 6) & 63] if n > 1 else ord("=")
        out[o + 3] = _BASE64[bits & 63] if n > 2 else ord("=")
        o += 4
        p += 3
    return o


@kernel
def put_ascii(out: Bytes, o: int, text: bytes) -> int:
    """Write a literal."""
    for i in range(len(text)):
        out[o + i] = text[i]
    return o + len(text)


@kernel
def put_bytes(out: Bytes, o: int, a: Bytes, p: int, end: int) -> int:
    """Copy bytes."""
    for i in range(p, end):
        out[o + i - p] = a[i]
    return o + end - p


@kernel
def put_lossy(out: Bytes, o: int, a: Bytes, p: int, end: int) -> int:
    """Write bytes as UTF-8 with U+FFFD for each byte that is not part of a code point."""
    while p < end:
        n = code_point(a, p, end)
        if n == 0:
            o = put_ascii(out, o, b"\xef\xbf\xbd")
            p += 1
        else:
            o = put_bytes(out, o, a, p, p + n)
            p += n
    return o


@kernel
def put_json_string(out: Bytes, o: int, a: Bytes, p: int, end: int) -> int:
    """Write bytes as a JSON string in quotes; what is not UTF-8 becomes U+FFFD."""
    out[o] = ord('"')
    o += 1
    while p < end:
        byte = load8(a, p)
        if byte == ord('"') or byte == ord("\\"):
            out[o] = ord("\\")
            out[o + 1] = byte
            o += 2
        elif byte >= 0x80:
            n = max(code_point(a, p, end), 1)
            o = put_lossy(out, o, a, p, p + n)
            p += n - 1
        elif byte >= 0x20:
            out[o] = byte
            o += 1
        elif _ESCAPES[byte]:
            out[o] = ord("\\")
            out[o + 1] = _ESCAPES[byte]
            o += 2
        else:
            o = put_ascii(out, o, b"\\u00")
            out[o] = _HEX[byte >> 4]
            out[o + 1] = _HEX[byte & 15]
            o += 2
        p += 1
    out[o] = ord('"')
    return o + 1
