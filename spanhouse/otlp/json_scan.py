"""Reading JSON in numba kernels: strict grammar, positions instead of objects.

A reader returns the position after what it read, or one of the negative codes in `REASONS` after
putting the position of the fault into `w[AT]`.
"""

from __future__ import annotations

from typing import Final

from spanhouse.otlp.wire import Bytes, Ints, int64, kernel, load8, load64

# Index in the scratch array `w`, and where the stack for skipped values begins in it.
AT: Final = 0
SKIPPED: Final = 8
MAX_SKIPPED: Final = 256
SCRATCH: Final = SKIPPED + MAX_SKIPPED

TRUNCATED, SYNTAX, ESCAPE, CONTROL, NUMBER, RANGE, TYPE, DEPTH, TRAILING, ENCODING, NAME = range(-1, -12, -1)
REASONS: Final = {
    TRUNCATED: "it ends in the middle",
    SYNTAX: "unexpected character",
    ESCAPE: "bad escape in a string",
    CONTROL: "control character in a string",
    NUMBER: "bad number",
    RANGE: "number out of range",
    TYPE: "value of the wrong type",
    DEPTH: "nested too deeply",
    TRAILING: "something follows the end",
    ENCODING: "bad hex or base64",
    NAME: "unknown name of an enum's value",
}

QUOTE, BACKSLASH, COMMA, COLON, MINUS, PLUS, DOT, ZERO, NINE = b'"\\,:-+.09'
BRACE, END_BRACE, BRACKET, END_BRACKET = b"{}[]"
LOWER_E, LOWER_F, LOWER_N, LOWER_T, LOWER_U = b"efntu"
_TRUE: Final = 0x65757274  # "true", as load64 reads it
_NULL: Final = 0x6C6C756E
_FALS: Final = 0x736C6166


@kernel
def fail(code: int, p: int, end: int, w: Ints) -> int:
    """Record where it failed."""
    w[AT] = min(p, end)
    return int64(TRUNCATED if p >= end else code)


@kernel
def space(a: Bytes, p: int, end: int) -> int:
    """Skip white space."""
    while p < end:
        byte = load8(a, p)
        if byte > 32 or not (byte == 32 or byte == 10 or byte == 13 or byte == 9):
            break
        p += 1
    return p


@kernel
def hex_digit(byte: int) -> int:
    """Return the value of a hex digit, -1 if it is none."""
    if 48 <= byte <= 57:
        return byte - 48
    byte |= 32
    return byte - 87 if 97 <= byte <= 102 else -1


@kernel
def hex4(a: Bytes, p: int, end: int) -> int:
    """Return the value of four hex digits, -1 if they are not that."""
    if end - p < 4:
        return -1
    value = 0
    for i in range(4):
        digit = hex_digit(load8(a, p + i))
        if digit < 0:
            return -1
        value = value << 4 | digit
    return value


@kernel
def string(a: Bytes, p: int, end: int, w: Ints) -> int:
    """Read a string, from quote to quote."""
    if p >= end or load8(a, p) != QUOTE:
        return fail(TYPE, p, end, w)
    p += 1
    while p < end:
        byte = load8(a, p)
        if byte == QUOTE:
            return p + 1
        if byte < 32:
            return fail(CONTROL, p, end, w)
        p += 1
        if byte == BACKSLASH:
            escape = load8(a, p) if p < end else int64(0)
            if escape == LOWER_U:
                if hex4(a, p + 1, end) < 0:
                    return fail(ESCAPE, p if end - p > 4 else end, end, w)
                p += 5
            elif escape in (QUOTE, BACKSLASH, 47, 98, LOWER_F, LOWER_N, 114, LOWER_T):
                p += 1
            else:
                return fail(ESCAPE, p, end, w)
    return fail(SYNTAX, end, end, w)


@kernel
def digits(a: Bytes, p: int, end: int) -> int:
    """Skip decimal digits."""
    while p < end and ZERO <= load8(a, p) <= NINE:
        p += 1
    return p


@kernel
def number(a: Bytes, p: int, end: int, w: Ints) -> int:
    """Read a number."""
    if p < end and load8(a, p) == MINUS:
        p += 1
    start = p
    p = digits(a, p, end)
    if p == start or (load8(a, start) == ZERO and p > start + 1):
        return fail(NUMBER, p if p == start else start, end, w)
    if p < end and load8(a, p) == DOT:
        start = p + 1
        p = digits(a, start, end)
        if p == start:
            return fail(NUMBER, p, end, w)
    if p < end and load8(a, p) | 32 == LOWER_E:
        p += 1
        if p < end and (load8(a, p) == PLUS or load8(a, p) == MINUS):
            p += 1
        start = p
        p = digits(a, start, end)
        if p == start:
            return fail(NUMBER, p, end, w)
    return p


@kernel
def is_word(a: Bytes, p: int, end: int, bits: int) -> bool:
    """Say whether the four letters `bits` stand at `p`."""
    return end - p >= 4 and load64(a, p) & 0xFFFFFFFF == bits


@kernel
def is_null(a: Bytes, p: int, end: int) -> bool:
    """Say whether `null` stands at `p`."""
    return is_word(a, p, end, int64(_NULL))


@kernel
def boolean(a: Bytes, p: int, end: int, w: Ints) -> int:
    """Read `true` or `false`."""
    if is_word(a, p, end, int64(_TRUE)):
        return p + 4
    if is_word(a, p, end, int64(_FALS)) and p + 4 < end and load8(a, p + 4) == LOWER_E:
        return p + 5
    return fail(TYPE, p, end, w)


@kernel
def _scalar(a: Bytes, p: int, end: int, w: Ints) -> int:
    byte = load8(a, p) if p < end else int64(0)
    if byte == QUOTE:
        return string(a, p, end, w)
    if byte == MINUS or ZERO <= byte <= NINE:
        return number(a, p, end, w)
    if is_null(a, p, end):
        return p + 4
    if byte in (LOWER_T, LOWER_F):
        return boolean(a, p, end, w)
    return fail(SYNTAX, p, end, w)


@kernel
def key(a: Bytes, p: int, end: int, w: Ints) -> int:
    """Read an object's key, the colon and the space behind it."""
    if p < end and load8(a, p) != QUOTE:
        return fail(SYNTAX, p, end, w)
    p = string(a, p, end, w)
    if p < 0:
        return p
    p = space(a, p, end)
    if p >= end or load8(a, p) != COLON:
        return fail(SYNTAX, p, end, w)
    return space(a, p + 1, end)


@kernel
def skip_value(a: Bytes, p: int, end: int, w: Ints) -> int:
    """Read any value, checking its grammar."""
    level = 0
    while True:
        byte = load8(a, p) if p < end else int64(0)
        if byte in (BRACE, BRACKET):
            if level == MAX_SKIPPED:
                return fail(DEPTH, p, end, w)
            closing = byte + 2
            w[SKIPPED + level] = closing
            level += 1
            p = space(a, p + 1, end)
            if p < end and load8(a, p) == closing:
                level -= 1
                p += 1
            else:
                if byte == BRACE:
                    p = key(a, p, end, w)
                    if p < 0:
                        return p
                continue
        else:
            p = _scalar(a, p, end, w)
            if p < 0:
                return p
        # After a value: close what ends here, then go on to the next value.
        while level > 0:
            p = space(a, p, end)
            byte = load8(a, p) if p < end else int64(0)
            if byte == w[SKIPPED + level - 1]:
                level -= 1
                p += 1
                continue
            if byte != COMMA:
                return fail(SYNTAX, p, end, w)
            p = space(a, p + 1, end)
            if w[SKIPPED + level - 1] == END_BRACE:
                p = key(a, p, end, w)
                if p < 0:
                    return p
            break
        if level == 0:
            return p
