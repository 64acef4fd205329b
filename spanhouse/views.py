"""Columns of text as compiled kernels read them: Arrow string views, by the address of their buffers.

polars and the decoder keep text as views: 16 bytes that hold a short text itself, or the length, the first
four bytes and the place of a longer one. Nothing here copies or decodes a text to look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from spanhouse.batch import ValueType
from spanhouse.otlp.wire import Ints, entry, inlined, int64, kernel

# Longest text that its view holds itself.
_INLINE: Final = 12
# An empty text and an absent one have the same view.
_NO_VALIDITY: Final = 0
# How many views are remembered, to look at equal ones once.
_MEMO: Final = 512
# Bits of the ValueTypes whose values are or hold text: strings, arrays, maps.
_TEXT_KINDS: Final = 1 << ValueType.STRING | 1 << ValueType.ARRAY | 1 << ValueType.KVLIST
# What a pair of bytes may be: the first or the last two of a literal's three, or enough in itself.
_FIRST, _LAST, _ALONE = 1, 2, 4
# Of the hash table of literals' three bytes, of which there are fewer by far.
_SLOTS: Final = 1024


def _make_peek(bits: int) -> Any:
    def peek(_context: Any, address: Any) -> Any:
        def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            place = builder.inttoptr(args[0], ir.IntType(bits).as_pointer())
            value = builder.load(place, align=1)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(address), codegen

    return intrinsic(peek)


# The little-endian number at an address.
_peek8, _peek32, _peek64 = (_make_peek(bits) for bits in (8, 32, 64))


def _make_poke(_context: Any, address: Any, _value: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store(args[1], place, align=1)

    return types.void(address, types.int64), codegen


# Puts eight bytes at an address.
_poke64: Any = intrinsic(_make_poke)


# Of arrays that keep text as views.
VIEWS: Final = pl.CompatLevel.newest()


class Texts(NamedTuple):
    """A column of text: where its parts lie. The addresses hold as long as this does.

    Attributes:
        views: address of the first view.
        length: number of texts.
        validity: address of the bits that say which are not null, 0 where all are not.
        bit: number of the first text's bit.
        data: address of the addresses of the buffers that views point into.
        owners: what all this belongs to.
    """

    views: int
    length: int
    validity: int
    bit: int
    data: int
    owners: tuple[Any, ...]


def texts(column: pl.Series | pa.Array) -> Texts:
    """Look at a column of type String, or an array of string views."""
    array = column if isinstance(column, pa.Array) else _arrow(column)
    validity, views, *data = array.buffers()
    addresses = np.array([buffer.address for buffer in data] or [0], np.int64)
    at = array.offset
    valid = 0 if validity is None or not array.null_count else validity.address
    first = views.address + 16 * at if views else 0
    return Texts(first, len(array), valid, at, addresses.ctypes.data, (array, addresses))


def _arrow(series: pl.Series) -> pa.Array:
    array = series.to_arrow(compat_level=VIEWS)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def taken(column: pl.Series | pa.Array, rows: NDArray[np.int64]) -> pl.Series:
    """The values of these rows."""
    series = column if isinstance(column, pl.Series) else pl.Series(column)
    return series[pl.Series(rows)]


@inlined
def _is_null(validity: int, bit: int, i: int) -> bool:
    if validity == 0:
        return False
    at = bit + i
    return (_peek8(validity + (at >> 3)) >> (at & 7)) & 1 == 0


@inlined
def _place(view: int, data: int) -> tuple[int, int]:
    # (address of the text, its length).
    n = _peek32(view)
    if n <= _INLINE:
        return view + 4, n
    return _peek64(data + 8 * _peek32(view + 8)) + _peek32(view + 12), n


@inlined
def _lower(byte: int) -> int:
    return byte | 32 if 65 <= byte <= 90 else byte


@kernel
def _has_trigram(p: int, trigrams: int) -> bool:
    word = _lower(_peek8(p)) | _lower(_peek8(p + 1)) << 8 | _lower(_peek8(p + 2)) << 16
    at = (word * int64(0x9E3779B1) >> 15) & (_SLOTS - 1)
    while True:
        found = _peek32(trigrams + 4 * at)
        if found == word:
            return True
        if found == 0:
            return False
        at = (at + 1) & (_SLOTS - 1)


@kernel
def _is_hit(p: int, n: int, at: int, pair: int, pairs: int, trigrams: int) -> bool:
    # Whether a literal's three bytes begin at `at` or just before it.
    sort = _peek8(pairs + (pair & 0xFFFF))
    if sort & _FIRST and at + 2 < n and _has_trigram(p + at, trigrams):
        return True
    return sort & _ALONE != 0 or (sort & _LAST != 0 and at > 0 and _has_trigram(p + at - 1, trigrams))


@kernel
def _has_literal(p: int, n: int, pairs: int, trigrams: int) -> bool:
    # Every three bytes have a pair at an even place, and every byte is in one.
    if n < 8:
        word = _peek64(p) & ((int64(1) << (8 * n)) - 1)
        for at in range(0, n, 2):
            if _peek8(pairs + ((word >> (8 * at)) & 0xFFFF)) and _is_hit(
                p, n, at, word >> (8 * at), pairs, trigrams
            ):
                return True
        return False
    begin = 0
    while begin < n:
        # The last eight bytes overlap those before, and then pairs begin at the other places.
        begin = min(begin, n - 8)
        word = _peek64(p + begin)
        one, two = _peek8(pairs + (word & 0xFFFF)), _peek8(pairs + ((word >> 16) & 0xFFFF))
        three, four = _peek8(pairs + ((word >> 32) & 0xFFFF)), _peek8(pairs + ((word >> 48) & 0xFFFF))
        if one | two | three | four:
            if one and _is_hit(p, n, begin, word, pairs, trigrams):
                return True
            if two and _is_hit(p, n, begin + 2, word >> 16, pairs, trigrams):
                return True
            if three and _is_hit(p, n, begin + 4, word >> 32, pairs, trigrams):
                return True
            if four and _is_hit(p, n, begin + 6, word >> 48, pairs, trigrams):
                return True
        begin += 8
    return False


@inlined
def _is_numeric(byte: int) -> bool:
    # One of `0-9 ./()+-`.
    return 48 <= byte <= 57 or byte == 32 or (40 <= byte <= 47 and byte != 42 and byte != 44)


@kernel
def _may_begin(p: int, s: int) -> bool:
    # Whether a number may begin after the byte at `s`.
    byte = _peek8(p + s)
    if not (48 <= byte <= 57 or 45 <= byte <= 47 or 65 <= byte <= 90 or byte == 95 or 97 <= byte <= 122):
        return True
    if s >= 1 and _peek8(p + s - 1) == 92:  # \n and the like
        return byte == 98 or byte == 102 or byte == 110 or byte == 114 or byte == 116
    return s >= 5 and _peek8(p + s - 4) == 117 and _peek8(p + s - 5) == 92  # \u003c


@kernel
def _is_number(p: int, first: int, last: int) -> bool:
    # Whether the bytes `first` to `last`, all of them numeric, have something like `scrub_rules.DIGITS`.
    for s in range(first, last - 7):
        byte = _peek8(p + s)
        if (48 <= byte <= 57 or byte == 40) and (s == 0 or _may_begin(p, s - 1)):
            return True
        if byte == 43:
            return True
        if 45 <= byte <= 47 and s + 13 <= last and 50 <= _peek8(p + s + 1) <= 54:
            return True
    return False


@inlined
def _numeric_bits(word: int) -> int:
    # A bit for each of the eight bytes: whether it is a space or one of `()*+,-./0-9`.
    low = word & int64(0x7F7F7F7F7F7F7F7F)
    from_28 = low + int64(0x5858585858585858)
    from_3a = low + int64(0x4646464646464646)
    other = word ^ int64(0x2020202020202020)
    not_space = ((other & int64(0x7F7F7F7F7F7F7F7F)) + int64(0x7F7F7F7F7F7F7F7F)) | other
    bits = ((from_28 & ~from_3a & ~word) | ~not_space) >> 7
    return (((bits & int64(0x0101010101010101)) * int64(0x0102040810204080)) >> 56) & 0xFF


@kernel
def _has_number(p: int, n: int) -> bool:
    i, before = 0, int64(0)
    while n >= 9 and i < n:
        # The last bytes are read together with those before them.
        word = _peek64(p + i) if n - i >= 8 else _peek64(p + n - 8) >> (8 * (8 - n + i))
        bits = _numeric_bits(word)
        if n - i < 8:
            bits &= (1 << (n - i)) - 1
        if bits != 0 and before != 0:
            both = before | bits << 8
            runs = both & (both >> 1)
            runs &= runs >> 2
            runs &= runs >> 4
            if runs & (both >> 8):
                first, last = i - 1, i
                while first > 0 and _is_numeric(_peek8(p + first - 1)):
                    first -= 1
                while last + 1 < n and _is_numeric(_peek8(p + last + 1)):
                    last += 1
                if last - first >= 8 and _is_number(p, first, last):
                    return True
                if last >= i + 7:  # on behind this run, or each of its words would look at all of it
                    i, before = (last + 1) & ~7, int64(0)
                    continue
        before = bits
        i += 8
    return False


@inlined
def _slot(low: int, high: int) -> int:
    # Place of a view among those that were looked at lately.
    return (((low ^ (high * int64(0x2545F4914F6CDD1D))) * int64(0x9E3779B97F4A7C1)) >> 44) & (_MEMO - 1)


@entry
def _flag(
    views: int, n: int, validity: int, bit: int, data: int, kinds: int, pairs: int, trigrams: int,
    numbers: bool, memo: Ints, flags: NDArray[Any],
) -> int:  # fmt: skip
    found = 0
    for i in range(n):
        flags[i] = 0
        if _is_null(validity, bit, i) or (kinds != 0 and (_TEXT_KINDS >> _peek8(kinds + i)) & 1 == 0):
            continue
        view = views + 16 * i
        low, high = _peek64(view), _peek64(view + 8)
        if low & 0xFFFFFFFF == 0:
            continue
        slot = 2 * _slot(low, high)
        if memo[slot] == low and memo[slot + 1] == high:
            continue
        p, size = _place(view, data)
        if _has_literal(p, size, pairs, trigrams) or (numbers and _has_number(p, size)):
            flags[i] = 1
            found += 1
        else:
            memo[slot], memo[slot + 1] = low, high
    return found


@inlined
def _hash(view: int, low: int, high: int, data: int) -> int:
    # Of a text's length and of its first, middle and last bytes.
    n = low & 0xFFFFFFFF
    h = low * int64(0x9E3779B97F4A7C1)
    if n <= _INLINE:
        h ^= high * int64(0x2545F4914F6CDD1D)
    else:
        p, n = _place(view, data)
        h ^= _peek64(p + n - 8) * int64(0x2545F4914F6CDD1D)
        h ^= _peek64(p + 4) * int64(0x369DEA0F31A53F85)
        h ^= _peek64(p + ((n - 8) >> 1)) * int64(0x5851F42D4C957F2D)
    h ^= h >> 29
    h *= int64(0x2127599BF4325C37)
    return h ^ (h >> 32)


@inlined
def _same(one: int, data: int, other: int, other_data: int) -> bool:
    # Whether two views are of the same text.
    low = _peek64(one)
    if low != _peek64(other):
        return False
    n = low & 0xFFFFFFFF
    if n <= _INLINE:
        return _peek64(one + 8) == _peek64(other + 8)
    if data == other_data and _peek64(one + 8) == _peek64(other + 8):
        return True
    p, q = _place(one, data)[0], _place(other, other_data)[0]
    for at in range(0, n - 8, 8):
        if _peek64(p + at) != _peek64(q + at):
            return False
    return _peek64(p + n - 8) == _peek64(q + n - 8)


@entry
def _encode(
    views: int, n: int, validity: int, bit: int, data: int, codes: NDArray[Any], firsts: Ints, table: Ints,
    memo: Ints,
) -> int:  # fmt: skip
    # Numbers the distinct texts; returns how many there are, -1 where `firsts` has no room for more.
    count, mask = 0, len(table) - 1
    for i in range(n):
        if _is_null(validity, bit, i):
            codes[i] = -1
            continue
        view = views + 16 * i
        low, high = _peek64(view), _peek64(view + 8)
        slot = 3 * _slot(low, high)
        if memo[slot + 2] > 0 and memo[slot] == low and memo[slot + 1] == high:
            codes[i] = memo[slot + 2] - 1
            continue
        at = _hash(view, low, high, data) & mask
        while True:
            code = table[at]
            if code < 0:
                if count == len(firsts):
                    return -1
                code = table[at] = count
                firsts[count] = i
                count += 1
                break
            if _same(view, data, views + 16 * firsts[code], data):
                break
            at = (at + 1) & mask
        codes[i] = code
        memo[slot], memo[slot + 1], memo[slot + 2] = low, high, code + 1
    return count


@entry
def _lengths(views: int, n: int, validity: int, bit: int, sizes: NDArray[Any]) -> None:
    for i in range(n):
        sizes[i] = 0 if _is_null(validity, bit, i) else _peek32(views + 16 * i)


@entry
def _longest(views: int, n: int, validity: int, bit: int) -> int:
    result = 0
    for i in range(n):
        if not _is_null(validity, bit, i):
            result = max(result, _peek32(views + 16 * i))
    return result


@entry
def _equal(
    views: int, n: int, validity: int, bit: int, data: int, other: int, other_validity: int, other_bit: int,
    other_data: int, result: NDArray[Any],
) -> None:  # fmt: skip
    for i in range(n):
        result[i] = (
            not _is_null(validity, bit, i)
            and not _is_null(other_validity, other_bit, i)
            and _same(views + 16 * i, data, other + 16 * i, other_data)
        )


@entry
def _room(views: int, n: int, validity: int, bit: int) -> int:
    # How much `_prefixed` writes at the most.
    result = 8
    for i in range(n):
        result += 5 if _is_null(validity, bit, i) else 5 + _peek32(views + 16 * i)
    return result


@entry
def _prefixed(views: int, n: int, validity: int, bit: int, data: int, out: int) -> int:
    # Writes each text behind its length; up to seven bytes more than that are overwritten.
    o = out
    for i in range(n):
        p, size = (int64(0), int64(0)) if _is_null(validity, bit, i) else _place(views + 16 * i, data)
        left = size
        while left >= 0x80:
            _poke64(o, (left & 0x7F) | 0x80)
            left >>= 7
            o += 1
        _poke64(o, left)
        o += 1
        for at in range(0, size - 7, 8):
            _poke64(o + at, _peek64(p + at))
        left = size & 7
        if left:
            last = _peek64(p) if size < 8 else _peek64(p + size - 8) >> (8 * (8 - left))
            _poke64(o + size - left, last)
        o += size
    return o - out


def encode(column: Texts, limit: int) -> tuple[NDArray[np.int32], NDArray[np.int64]] | None:
    """Number a column's distinct texts in the order of their first row.

    Returns:
        (number of each row's text, -1 for null; the first row of each number), None where there are more
        than `limit`.
    """
    codes = np.empty(column.length, np.int32)
    firsts = np.empty(min(limit, column.length), np.int64)
    size = 16
    while size < 2 * len(firsts):
        size *= 2
    memo = np.zeros(3 * _MEMO, np.int64)
    count = _encode(*column[:5], codes, firsts, np.full(size, -1, np.int64), memo)
    return None if count < 0 else (codes, firsts[:count])


def lengths(column: Texts) -> NDArray[np.int32]:
    """Bytes of each text, 0 for null."""
    sizes = np.empty(column.length, np.int32)
    _lengths(*column[:4], sizes)
    return sizes


def longest(column: Texts) -> int:
    """Bytes of the longest text."""
    result: int = _longest(*column[:4])
    return result


def equal(one: Texts, other: Texts) -> NDArray[np.bool_]:
    """In which rows both columns have the same text; null is none."""
    result = np.empty(one.length, np.bool_)
    _equal(*one[:5], other.views, *other[2:5], result)
    return result


def prefixed(column: Texts) -> NDArray[np.uint8]:
    """The texts one after the other, each behind its length as a varint; '' for null."""
    data = np.empty(_room(*column[:4]), np.uint8)
    return data[: _prefixed(*column[:5], data.ctypes.data)]


class Sieve:
    """Tells texts that may have some literal, or a number like `scrub_rules.DIGITS`, from the many without.

    Every text that has one is told; of those without, some are as well.

    Args:
        literals: ASCII in lower case, of three or more bytes, or single bytes.
        numbers: whether numbers are looked for as well.
    """

    def __init__(self, literals: Sequence[str], *, numbers: bool = True) -> None:
        self._numbers = numbers
        self._pairs = np.zeros(1 << 16, np.uint8)
        # What (?i) takes for a `k` and an `s`: the Kelvin sign and the long s.
        words = {_rarest(literal) for literal in literals if len(literal) > 2} | {b"\xe2\x84\xaa"}
        self._any_with(0xC5)
        for literal in literals:
            if len(literal) < 3:
                (byte,) = literal.encode()
                self._any_with(byte)
        self._trigrams = np.zeros(_SLOTS, np.uint32)
        for word in sorted(words):
            number = int.from_bytes(word, "little")
            at = (number * 0x9E3779B1 >> 15) & (_SLOTS - 1)
            while self._trigrams[at]:
                at = (at + 1) & (_SLOTS - 1)
            self._trigrams[at] = number
            for two, part in ((word[:2], _FIRST), (word[1:], _LAST)):
                for first in {two[:1], two[:1].upper()}:
                    for second in {two[1:], two[1:].upper()}:
                        self._pairs[int.from_bytes(first + second, "little")] |= part

    def _any_with(self, byte: int) -> None:
        self._pairs[byte::256] = _ALONE
        self._pairs[byte << 8 : (byte + 1) << 8] = _ALONE

    def flag(self, column: Texts, kinds: NDArray[np.uint8] | None = None) -> NDArray[np.bool_] | None:
        """Which texts may have something; None where none has.

        Args:
            column: the texts.
            kinds: ValueType of each, if they are attributes' values: numbers and bytes have nothing.
        """
        flags = np.empty(column.length, np.uint8)
        memo = np.zeros(2 * _MEMO, np.int64)
        of_kind = 0 if kinds is None else kinds.ctypes.data
        if not _flag(
            *column[:5],
            of_kind,
            self._pairs.ctypes.data,
            self._trigrams.ctypes.data,
            self._numbers,
            memo,
            flags,
        ):
            return None
        return flags.view(np.bool_)


# English's most frequent pairs of letters, one after the other, the most frequent first.
_FREQUENT: Final = (
    "thinheeroranreonliensecoitistiarriesicatteofedntndceionsdestletodialutmaopoumeilravengsohaigforowafit"
    "rhtibsitauswiotnopyneomhighllasgeprlachsspebuhoiaecplrsyrncctimpaftunmiietwuraietclrmeeambibe"
)
_RANKS: Final = {_FREQUENT[i : i + 2]: len(_FREQUENT) - i for i in reversed(range(0, len(_FREQUENT) - 1, 2))}


def _rarest(literal: str) -> bytes:
    """The three bytes of a literal that ordinary text has least often."""

    def weight(word: str) -> int:
        return sum(_RANKS.get(pair, 10 * pair.isalpha()) for pair in (word[:2], word[1:]))

    return min((literal[i : i + 3] for i in range(len(literal) - 2)), key=weight).encode()
