"""Tells texts that may hold something to mask from the many that hold nothing, by one look at each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spanhouse.batch import ValueType
from spanhouse.otlp.wire import Ints, entry, inlined, int64, kernel
from spanhouse.views import MEMO, Stack, address_of, is_null, peek8, peek32, peek64, place, slot

# Bits of the ValueTypes whose values are or hold text: strings, arrays, maps.
_TEXT_KINDS: Final = 1 << ValueType.STRING | 1 << ValueType.ARRAY | 1 << ValueType.KVLIST
# What a pair of bytes may be: the first or the last two of a literal's three, or enough in itself.
_FIRST, _LAST, _ALONE = 1, 2, 4
# Of the hash table of literals' three bytes, of which there are fewer by far.
_SLOTS: Final = 1024


@inlined
def _lower(byte: int) -> int:
    return byte | 32 if 65 <= byte <= 90 else byte


@kernel
def _has_trigram(p: int, trigrams: int) -> bool:
    word = _lower(peek8(p)) | _lower(peek8(p + 1)) << 8 | _lower(peek8(p + 2)) << 16
    at = (word * int64(0x9E3779B1) >> 15) & (_SLOTS - 1)
    while True:
        found = peek32(trigrams + 4 * at)
        if found == word:
            return True
        if found == 0:
            return False
        at = (at + 1) & (_SLOTS - 1)


@kernel
def _is_hit(p: int, n: int, at: int, pair: int, pairs: int, trigrams: int) -> bool:
    # Whether a literal's three bytes begin at `at` or just before it.
    sort = peek8(pairs + (pair & 0xFFFF))
    if sort & _FIRST and at + 2 < n and _has_trigram(p + at, trigrams):
        return True
    return sort & _ALONE != 0 or (sort & _LAST != 0 and at > 0 and _has_trigram(p + at - 1, trigrams))


@kernel
def _has_literal(p: int, n: int, pairs: int, trigrams: int) -> bool:
    # Every three bytes have a pair at an even place, and every byte is in one.
    if n < 8:
        word = peek64(p) & ((int64(1) << (8 * n)) - 1)
        for at in range(0, n, 2):
            if peek8(pairs + ((word >> (8 * at)) & 0xFFFF)) and _is_hit(
                p, n, at, word >> (8 * at), pairs, trigrams
            ):
                return True
        return False
    begin = 0
    while begin < n:
        # The last eight bytes overlap those before, and then pairs begin at the other places.
        begin = min(begin, n - 8)
        word = peek64(p + begin)
        one, two = peek8(pairs + (word & 0xFFFF)), peek8(pairs + ((word >> 16) & 0xFFFF))
        three, four = peek8(pairs + ((word >> 32) & 0xFFFF)), peek8(pairs + ((word >> 48) & 0xFFFF))
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
    byte = peek8(p + s)
    if not (48 <= byte <= 57 or 45 <= byte <= 47 or 65 <= byte <= 90 or byte == 95 or 97 <= byte <= 122):
        return True
    if s >= 1 and peek8(p + s - 1) == 92:  # \n and the like
        return byte == 98 or byte == 102 or byte == 110 or byte == 114 or byte == 116
    return s >= 5 and peek8(p + s - 4) == 117 and peek8(p + s - 5) == 92  # \u003c


@kernel
def _is_number(p: int, first: int, last: int) -> bool:
    # Whether the bytes `first` to `last`, all of them numeric, have something like `scrub_rules.DIGITS`.
    for s in range(first, last - 7):
        byte = peek8(p + s)
        if (48 <= byte <= 57 or byte == 40) and (s == 0 or _may_begin(p, s - 1)):
            return True
        if byte == 43:
            return True
        if 45 <= byte <= 47 and s + 13 <= last and 50 <= peek8(p + s + 1) <= 54:
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
        word = peek64(p + i) if n - i >= 8 else peek64(p + n - 8) >> (8 * (8 - n + i))
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
                while first > 0 and _is_numeric(peek8(p + first - 1)):
                    first -= 1
                while last + 1 < n and _is_numeric(peek8(p + last + 1)):
                    last += 1
                if last - first >= 8 and _is_number(p, first, last):
                    return True
                if last >= i + 7:  # on behind this run, or each of its words would look at all of it
                    i, before = (last + 1) & ~7, int64(0)
                    continue
        before = bits
        i += 8
    return False


@entry
def _flag(
    at: Ints, kinds: Ints, pairs: int, trigrams: int, numbers: bool, memo: Ints, flags: NDArray[Any],
    found: Ints,
) -> None:  # fmt: skip
    begin = 0
    for c in range(len(at)):
        views, n, validity, bit, data = at[c, 0], at[c, 1], at[c, 2], at[c, 3], at[c, 4]
        memo[:] = 0
        hits = 0
        last_low, last_high = int64(0), int64(0)
        for i in range(n):
            flags[begin + i] = 0
            view = views + 16 * i
            low, high = peek64(view), peek64(view + 8)
            if low & 0xFFFFFFFF == 0 or (low == last_low and high == last_high):
                continue
            if is_null(validity, bit, i) or (kinds[c] != 0 and (_TEXT_KINDS >> peek8(kinds[c] + i)) & 1 == 0):
                continue
            seen = 2 * slot(low, high)
            if memo[seen] == low and memo[seen + 1] == high:
                continue
            p, size = place(view, data)
            if _has_literal(p, size, pairs, trigrams) or (numbers and _has_number(p, size)):
                flags[begin + i] = 1
                hits += 1
            else:
                memo[seen], memo[seen + 1] = low, high
                last_low, last_high = low, high
        found[c] = hits
        begin += n


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

    def flag(
        self, columns: Stack, kinds: Sequence[NDArray[np.uint8] | None] | None = None
    ) -> list[NDArray[np.int64]]:
        """The rows of each column whose text may have something.

        Args:
            columns: the texts.
            kinds: for each column None, or the ValueType of each text, if they are attributes' values:
                numbers and bytes have nothing.
        """
        lengths = columns.at[:, 1]
        of_kind = np.zeros(len(lengths), np.int64)
        for i, kind in enumerate(kinds or ()):
            if kind is not None:
                of_kind[i] = address_of(kind)
        flags, found = np.empty(int(lengths.sum()), np.uint8), np.empty(len(lengths), np.int64)
        memo = np.empty(2 * MEMO, np.int64)
        pairs, trigrams = address_of(self._pairs), address_of(self._trigrams)
        _flag(columns.at, of_kind, pairs, trigrams, self._numbers, memo, flags, found)
        ends = np.cumsum(lengths).tolist()
        return [
            flags[end - length : end].nonzero()[0] if hits else NO_ROWS
            for end, length, hits in zip(ends, lengths.tolist(), found.tolist(), strict=True)
        ]


NO_ROWS: Final = np.empty(0, np.int64)

# English's most frequent pairs of letters, one after the other, the most frequent first.
_FREQUENT: Final = (
    "thinheeroranreonliensecoitistiarriesicatteofedntndceionsdestletodialutmaopoumeilravengsohaigforowafit"
    "rhtibsitauswiotnopyneomhighllasgeprlachsspebuhoiaecplrsyrncctimpaftunmiietwuraietclrmeeambibe"
)
_RANKS: Final = {_FREQUENT[i : i + 2]: len(_FREQUENT) - i for i in reversed(range(0, len(_FREQUENT) - 1, 2))}


# Words of nearly every span.
_USUAL: Final = "invoke_agent execute_tool"


def _rarest(literal: str) -> bytes:
    """The three bytes of a literal that ordinary text, and spans above all, have least often."""

    def weight(word: str) -> int:
        usual = 1000 * (word in _USUAL)
        return usual + sum(_RANKS.get(pair, 10 * pair.isalpha()) for pair in (word[:2], word[1:]))

    return min((literal[i : i + 3] for i in range(len(literal) - 2)), key=weight).encode()
