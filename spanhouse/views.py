"""Columns of text as compiled kernels read them: Arrow string views, by the address of their buffers.

polars and the decoder keep text as views: 16 bytes that hold a short text itself, or the length, the first
four bytes and the place of a longer one. Nothing here copies or decodes a text to look at it.

A batch has many columns, and a call for each costs more than its work where rows are few. So kernels take
many at once, as a `Stack`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from spanhouse.otlp.wire import Ints, entry, inlined, int64, kernel

# Longest text that its view holds itself.
INLINE: Final = 12
# How many views are remembered, to look at equal ones once.
MEMO: Final = 512
# Distinct texts of a column that are told apart quickly.
FEW: Final = 2048


def _make_peek(bits: int) -> Any:
    def peek(_context: Any, address: Any) -> Any:
        def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            place = builder.inttoptr(args[0], ir.IntType(bits).as_pointer())
            value = builder.load(place, align=1)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(address), codegen

    return intrinsic(peek)


# The little-endian number at an address.
peek8, peek32, peek64 = (_make_peek(bits) for bits in (8, 32, 64))


def _make_poke(_context: Any, address: Any, _value: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store(args[1], place, align=1)

    return types.void(address, types.int64), codegen


# Puts eight bytes at an address.
poke64: Any = intrinsic(_make_poke)


# Of arrays that keep text as views.
VIEWS: Final = pl.CompatLevel.newest()


def arrays(frame: pl.DataFrame, names: Iterable[str] | None = None) -> dict[str, pa.Array]:
    """The frame's columns, or those of these names, as Arrow arrays with text as views.

    Nothing is copied where a column is one chunk.
    """
    if names is not None:
        chosen = list(names)
        # Of `frame[[]]` the rows are none, and not the columns.
        frame = frame[chosen] if chosen else pl.DataFrame()
    if not frame.width:
        return {}
    batch = pa.RecordBatchReader.from_stream(frame.rechunk()).read_next_batch()
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def array(series: pl.Series) -> pa.Array:
    """The same of one column."""
    (only,) = arrays(series.to_frame()).values()
    return only


def numeric(values: NDArray[Any], missing: NDArray[np.bool_] | None = None) -> pa.Array:
    """Numbers, or truth values, as an Arrow array, null where `missing`; numbers are not copied.

    `pyarrow.array` imports pandas to see whether it was given something of it, and `to_numpy` for what it may
    give: 0.2 s of a start, and 40 MB.
    """
    validity = None if missing is None else bits(~missing)
    data = bits(values) if values.dtype == np.bool_ else pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [validity, data])


def bits(flags: NDArray[Any]) -> pa.Buffer:
    """Truth values as Arrow keeps them."""
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def is_text(column: pa.Array) -> bool:
    """Whether these are string views."""
    return bool(pa.types.is_string_view(column.type))


class Stack(NamedTuple):
    """Columns of text: where their parts lie. The addresses hold as long as this does.

    Attributes:
        at: shape (columns, 5). Of each: address of the first view, number of texts, address of the bits
            that say which are not null (0 where all are), number of the first text's bit, address of the
            addresses of the buffers that views point into.
        owners: what all this belongs to.
    """

    at: NDArray[np.int64]
    owners: tuple[Any, ...]


def stack(columns: Iterable[pa.Array]) -> Stack:
    """Look at arrays of string views, of any lengths."""
    columns = list(columns)
    rows: list[tuple[int, ...]] = []
    addresses: list[int] = [0]
    for column in columns:
        validity, views, *data = column.buffers()
        offset = column.offset
        rows.append(
            (
                views.address + 16 * offset if views else 0,
                len(column),
                validity.address if validity is not None and column.null_count else 0,
                offset,
                len(addresses),
            )
        )
        addresses += [buffer.address for buffer in data]
    table = np.array(addresses, np.int64)
    at = np.array(rows, np.int64).reshape(-1, 5)
    at[:, 4] = address_of(table) + 8 * at[:, 4]
    return Stack(at, (columns, table))


def numbers(column: pa.Array) -> NDArray[Any]:
    """The bits of numbers of 8, 32 or 64 bits, or of 128 as pairs; anything where there is none."""
    width = column.type.bit_width
    kind: Any = {8: np.uint8, 32: np.int32}.get(width, np.int64)
    data = column.buffers()[1]
    values = np.frombuffer(data, kind) if data is not None else np.empty(0, kind)
    values = values.reshape(-1, 2) if width == 128 else values
    values.flags.writeable = False  # always, as a kernel is compiled for either
    return values[column.offset : column.offset + len(column)]


def truths(column: pa.Array) -> NDArray[np.bool_]:
    """Truth values; anything where there is none."""
    data = column.buffers()[1]
    packed = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    end = column.offset + len(column)
    return np.unpackbits(packed, count=end, bitorder="little")[column.offset :].view(np.bool_)


def address_of(array: NDArray[Any]) -> int:
    """Where an array's first value lies."""
    address: int = array.__array_interface__["data"][0]
    return address


def taken(column: pl.Series | pa.Array, rows: NDArray[np.int64]) -> pl.Series:
    """The values of these rows."""
    series = column if isinstance(column, pl.Series) else pl.Series(column)
    return series[pl.Series(rows)]


@inlined
def is_null(validity: int, bit: int, i: int) -> bool:
    """Whether text `i` is null."""
    if validity == 0:
        return False
    at = bit + i
    return (peek8(validity + (at >> 3)) >> (at & 7)) & 1 == 0


@inlined
def place(view: int, data: int) -> tuple[int, int]:
    """(address of the text, its length)."""
    n = peek32(view)
    if n <= INLINE:
        return view + 4, n
    return peek64(data + 8 * peek32(view + 8)) + peek32(view + 12), n


@inlined
def slot(low: int, high: int) -> int:
    """Place of a view among those that were looked at lately."""
    return (((low ^ (high * int64(0x2545F4914F6CDD1D))) * int64(0x9E3779B97F4A7C1)) >> 44) & (MEMO - 1)


@inlined
def _hash(view: int, low: int, high: int, data: int) -> int:
    # Of a text's length and of its first, middle and last bytes.
    n = low & 0xFFFFFFFF
    h = low * int64(0x9E3779B97F4A7C1)
    if n <= INLINE:
        h ^= high * int64(0x2545F4914F6CDD1D)
    else:
        p, n = place(view, data)
        h ^= peek64(p + n - 8) * int64(0x2545F4914F6CDD1D)
        h ^= peek64(p + 4) * int64(0x369DEA0F31A53F85)
        h ^= peek64(p + ((n - 8) >> 1)) * int64(0x5851F42D4C957F2D)
    h ^= h >> 29
    h *= int64(0x2127599BF4325C37)
    return h ^ (h >> 32)


@inlined
def _same(one: int, data: int, other: int, other_data: int) -> bool:
    # Whether two views are of the same text.
    low = peek64(one)
    if low != peek64(other):
        return False
    n = low & 0xFFFFFFFF
    if n <= INLINE:
        return peek64(one + 8) == peek64(other + 8)
    if data == other_data and peek64(one + 8) == peek64(other + 8):
        return True
    p, q = place(one, data)[0], place(other, other_data)[0]
    for at in range(0, n - 8, 8):
        if peek64(p + at) != peek64(q + at):
            return False
    return peek64(p + n - 8) == peek64(q + n - 8)


@kernel
def number(
    views: int, n: int, validity: int, bit: int, data: int, mask: int, codes: NDArray[Any], firsts: Ints,
    table: Ints, memo: Ints,
) -> int:  # fmt: skip
    """Number the distinct texts of a column in the order of their first row.

    Args:
        mask: address of a byte for each row, 0 where it does not count; 0 where all rows do.
        codes: becomes the number of each row's text, -1 for null and for rows that do not count.
        firsts: becomes the first row of each number.
        table: room for a hash table, of twice as many as `firsts` or more, a power of two.
        memo: room for 3 * MEMO numbers.

    Returns:
        How many there are, -1 where `firsts` has no room for more.
    """
    count, filter_bits = 0, len(table) - 1
    table[:] = -1
    memo[:] = 0
    last_low, last_high, last = int64(0), int64(0), int64(-1)
    for i in range(n):
        if is_null(validity, bit, i) or (mask != 0 and peek8(mask + i) == 0):
            codes[i] = -1
            continue
        view = views + 16 * i
        low, high = peek64(view), peek64(view + 8)
        if last >= 0 and low == last_low and high == last_high:
            codes[i] = last
            continue
        last_low, last_high = low, high
        at = 3 * slot(low, high)
        if memo[at + 2] > 0 and memo[at] == low and memo[at + 1] == high:
            last = memo[at + 2] - 1
            codes[i] = last
            continue
        memo[at], memo[at + 1] = low, high
        place_in_table = _hash(view, low, high, data) & filter_bits
        while True:
            code = table[place_in_table]
            if code < 0:
                if count == len(firsts):
                    return -1
                code = table[place_in_table] = count
                firsts[count] = i
                count += 1
                break
            if _same(view, data, views + 16 * firsts[code], data):
                break
            place_in_table = (place_in_table + 1) & filter_bits
        last = code
        codes[i] = code
        memo[at + 2] = code + 1
    return count


@entry
def _longest(at: Ints, result: Ints) -> None:
    for c in range(len(at)):
        views, n, validity, bit = at[c, 0], at[c, 1], at[c, 2], at[c, 3]
        most = 0
        for i in range(n):
            if not is_null(validity, bit, i):
                most = max(most, peek32(views + 16 * i))
        result[c] = most


@entry
def _lengths(at: Ints, sizes: Ints) -> None:
    views, n, validity, bit = at[0, 0], at[0, 1], at[0, 2], at[0, 3]
    for i in range(n):
        sizes[i] = 0 if is_null(validity, bit, i) else peek32(views + 16 * i)


@entry
def _distinct(
    at: Ints,
    mask: int,
    codes: NDArray[Any],
    table: Ints,
    memo: Ints,
    counts: Ints,
    firsts: Ints,
    places: Ints,
) -> None:
    # The places (address, length) of the distinct texts of each column, column by column.
    done = 0
    for c in range(len(at)):
        views, validity, bit, data = at[c, 0], at[c, 2], at[c, 3], at[c, 4]
        count = number(views, at[c, 1], validity, bit, data, mask, codes, firsts, table, memo)
        counts[c] = count
        for k in range(count):
            places[done, 0], places[done, 1] = place(views + 16 * firsts[k], data)
            done += 1


@entry
def _equal(one: Ints, other: Ints, result: NDArray[Any]) -> None:
    for c in range(len(one)):
        views, n, validity, bit, data = one[c, 0], one[c, 1], one[c, 2], one[c, 3], one[c, 4]
        views_2, validity_2, bit_2, data_2 = other[c, 0], other[c, 2], other[c, 3], other[c, 4]
        for i in range(n):
            if is_null(validity, bit, i):
                result[c, i] = 0
            elif is_null(validity_2, bit_2, i) or not _same(views + 16 * i, data, views_2 + 16 * i, data_2):
                result[c, i] = 1
            else:
                result[c, i] = 2


@entry
def _odd_ids(at: Ints, sizes: Ints, optional: Ints, flags: NDArray[Any]) -> int:
    found = 0
    for c in range(len(at)):
        views, n, validity, bit, data = at[c, 0], at[c, 1], at[c, 2], at[c, 3], at[c, 4]
        for i in range(n):
            p, size = (int64(0), int64(0)) if is_null(validity, bit, i) else place(views + 16 * i, data)
            odd = size != sizes[c] and not (optional[c] and size == 0)
            if not odd and not optional[c]:
                odd = True
                for k in range(0, size, 8):
                    odd = odd and peek64(p + k) == 0x3030303030303030
            flags[c, i] = odd
            found += odd
    return found


def longest(columns: Stack) -> NDArray[np.int64]:
    """Bytes of the longest text of each column, 0 for null."""
    result = np.empty(len(columns.at), np.int64)
    _longest(columns.at, result)
    return result


def lengths(column: pa.Array) -> NDArray[np.int64]:
    """Bytes of each text, 0 for null."""
    result = np.empty(len(column), np.int64)
    _lengths(stack([column]).at, result)
    return result


def distinct(columns: Stack, kept: NDArray[np.uint8] | None = None) -> list[list[str] | None]:
    """Each column's distinct texts in the order of their first row; None where there are more than FEW.

    Args:
        columns: of the same length, if `kept` is given.
        kept: 0 for rows that do not count.
    """
    return _texts_of(columns, kept, FEW)[1]


def numbered(column: pa.Array) -> tuple[NDArray[np.int32], list[str]]:
    """The number of each row's text among the distinct ones, -1 for null; and these."""
    columns = stack([column])
    codes, (found,) = _texts_of(columns, None, FEW)
    if found is None:
        codes, (found,) = _texts_of(columns, None, 1 << len(column).bit_length())
    assert found is not None
    return codes, found


def _texts_of(
    columns: Stack, kept: NDArray[np.uint8] | None, limit: int
) -> tuple[NDArray[np.int32], list[list[str] | None]]:
    """The numbers of the last column, and the distinct texts of all, None where there are more than `limit`.

    Args:
        limit: a power of two.
    """
    at = columns.at
    counts = np.empty(len(at), np.int64)
    lengths = at[:, 1]
    places = np.empty((int(np.minimum(lengths, limit).sum()), 2), np.int64)
    codes = np.empty(lengths.max(initial=0), np.int32)
    table, memo = np.empty(2 * limit, np.int64), np.empty(3 * MEMO, np.int64)
    firsts = np.empty(limit, np.int64)
    _distinct(at, 0 if kept is None else address_of(kept), codes, table, memo, counts, firsts, places)
    result: list[list[str] | None] = []
    done = 0
    for count in counts.tolist():
        if count < 0:
            result.append(None)
            continue
        rows = places[done : done + count].tolist()
        result.append([ctypes.string_at(p, n).decode() for p, n in rows])
        done += count
    return codes, result


def equal(one: Stack, other: Stack) -> NDArray[np.uint8]:
    """Compare columns of one stack with those of the other, row by row.

    Returns:
        Shape (columns, rows): 0 where the first has null, 2 where both have the same text, 1 elsewhere.
    """
    result = np.empty((len(one.at), int(one.at[0, 1]) if len(one.at) else 0), np.uint8)
    _equal(one.at, other.at, result)
    return result


def odd_ids(columns: Stack, sizes: list[int], optional: list[bool]) -> NDArray[np.bool_] | None:
    """Where ids in hex have another length than theirs or are all zero; None if they are nowhere.

    Args:
        columns: of the same length.
        sizes: hex digits of each column's ids, a multiple of 8.
        optional: whether each column's ids may be empty, or all zero.
    """
    flags = np.empty((len(columns.at), int(columns.at[0, 1])), np.bool_)
    found = _odd_ids(columns.at, np.array(sizes, np.int64), np.array(optional, np.int64), flags)
    return flags if found else None
