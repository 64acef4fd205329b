"""Reading protobuf's wire format and Arrow string views in numba kernels.

All positions are int64 indices into one arena of bytes that ends with `PADDING` zero bytes, so that
`load64` may read past a value but never past the array. A reader is given the end of what it may
read and returns the position after what it read, or one of the negative codes in `ERRORS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, InTreeCacheLocator
from numba.extending import intrinsic
from numpy.typing import NDArray

# Numbers in kernels are int64 where they are not said to be something else. For mypy they are Any where
# numpy's own types would tell Python's integers from numpy's.
Bytes = NDArray[Any]  # of uint8
Ints = NDArray[Any]  # of int64
int64: Any = np.int64
uint64: Any = np.uint64
uint8: Any = np.uint8

PADDING: Final = 32

TRUNCATED: Final = -1
VARINT: Final = -2
FIELD_ZERO: Final = -3
WIRE_TYPE: Final = -4
END_GROUP: Final = -5
DEPTH: Final = -6
LENGTH: Final = -7
TOO_MANY_SPANS: Final = -8
TOO_MANY_GATHERED: Final = -9
UNUSUAL: Final = -10  # not an error: a repeated singular message, see `canonical`

ERRORS: Final = {
    TRUNCATED: "truncated",
    VARINT: "a varint is too long",
    FIELD_ZERO: "field number 0",
    WIRE_TYPE: "unknown wire type",
    END_GROUP: "an end-group tag without its start",
    DEPTH: "nested more than 100 levels deep",
    LENGTH: "a length over 2 GiB",
    TOO_MANY_SPANS: "more spans than its bytes could hold",
    TOO_MANY_GATHERED: "too many resource and scope attributes for its number of spans",
}

MAX_DEPTH: Final = 100
_HIGH_BITS: Final = -0x7F7F7F7F7F7F7F80  # 0x8080808080808080

_F = TypeVar("_F", bound=Callable[..., Any])
_A = TypeVar("_A", bound=NDArray[Any])


# numba's cache looks at the time of the file that a function stands in, but not at the files of what it
# calls and compiles in; all kernels are compiled anew when one of their files has changed.
_SOURCES: Final = hashlib.sha256(
    b"".join(
        file.read_bytes()
        for file in (
            *sorted(Path(__file__).parent.glob("*.py")),
            *(
                Path(__file__).parents[1] / name
                for name in (
                    "hash_set.py",
                    "row_kernels.py",
                    "exporters/native_texts.py",
                    "sieve.py",
                    "views.py",
                )
            ),
        )
    )
).hexdigest()


def _compile(function: _F, **options: bool) -> _F:
    compiled: Any = njit(function, nogil=True, error_model="numpy", **options)  # type: ignore[call-overload]
    return cast(_F, compiled)


def kernel(function: _F) -> _F:
    """Compile `function` with numba, for other kernels to call."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: _F) -> _F:
    """Compile a small kernel into those that call it; a call costs several ns, a span makes a hundred."""
    return _compile(function, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def entry(function: _F) -> _F:
    """Compile a kernel that Python calls: without the GIL, kept in the cache on disk with all it calls."""
    try:
        compiled: Any = _compile(function, cache=True)
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written (NUMBA_CACHE_DIR names another).
        # What was compiled when an image was made is used; without it this compiles at each start.
        compiled = _compile(function)
        compiled._cache = _ReadOnlyCache(function)  # type: ignore[no-untyped-call]
    compiled._cache._cache_file._source_stamp = _SOURCES
    return cast(_F, compiled)


class _ReadOnlyLocator(InTreeCacheLocator):
    """The cache beside the source, whether it can be written or not."""

    def ensure_cache_path(self) -> None:
        """Numba tries to write here; this cache is only read."""


class _ReadOnlyCacheImpl(CompileResultCacheImpl):
    _locator_classes = [_ReadOnlyLocator]  # noqa: RUF012 as numba has it


class _ReadOnlyCache(FunctionCache):
    _impl_class = _ReadOnlyCacheImpl

    def save_overload(self, _signature: Any, _compiled: Any) -> None:
        """Keep nothing: it cannot be written."""


def _make_pointer(_context: Any, array: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    pointer_type: Any = types.CPointer
    return pointer_type(array.dtype)(array), codegen


def _make_load64(_context: Any, pointer: Any, index: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        place = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(64).as_pointer())
        return builder.load(place, align=1)

    return types.int64(pointer, index), codegen


_pointer: Any = intrinsic(_make_pointer)
_load64: Any = intrinsic(_make_load64)
_config: Any = config

# Kernels called from Python take arrays and hand plain pointers on, which is several times as fast.
# With NUMBA_BOUNDSCHECK=1, as the fuzz test runs, they hand the arrays on and every index is checked.
if _config.BOUNDSCHECK:

    @kernel
    def pointer(array: _A) -> _A:
        """Return what inner kernels index: here the array itself."""
        return array

    @inlined
    def load8(a: Bytes, p: int) -> int:
        """Return the byte at `p`."""
        if p < 0:
            raise IndexError
        return int64(a[p])

    @inlined
    def load64(a: Bytes, p: int) -> int:
        """Return the 8 bytes at `p` as a little-endian int64."""
        value = int64(0)
        for i in range(8):
            value |= load8(a, p + i) << (8 * i)
        return value

else:

    @kernel
    def pointer(array: _A) -> _A:
        """Return what inner kernels index: a pointer to the array's data."""
        result: _A = _pointer(array)
        return result

    @inlined
    def load64(a: Bytes, p: int) -> int:
        """Return the 8 bytes at `p` as a little-endian int64."""
        value: int = _load64(a, p)
        return value

    @inlined
    def load8(a: Bytes, p: int) -> int:
        """Return the byte at `p`."""
        return int64(a[p])


@inlined
def load_short(a: Bytes, p: int, n: int) -> int:
    """Return the first `n` bytes at `p` as int64, 8 at most."""
    if n >= 8:
        return load64(a, p)
    return load64(a, p) & ((int64(1) << (8 * n)) - 1)


@inlined
def varint(a: Bytes, p: int, end: int) -> tuple[int, int]:
    """Read a varint of up to 10 bytes: (value, next position or error)."""
    value = int64(0)
    shift = 0
    while shift < 70:
        if p >= end:
            return int64(0), TRUNCATED
        byte = load8(a, p)
        p += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, p
        shift += 7
    return int64(0), VARINT


@inlined
def _any_tag(a: Bytes, p: int, end: int) -> tuple[int, int]:
    # As `tag`, with field number 0 as good as others: protobuf's parser does not look at it inside groups.
    value = int64(0)
    for i in range(5):
        if p >= end:
            return int64(0), TRUNCATED
        byte = load8(a, p)
        p += 1
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return (value, p) if value <= 0xFFFFFFFF else (int64(0), VARINT)
    return int64(0), VARINT


@inlined
def tag(a: Bytes, p: int, end: int) -> tuple[int, int]:
    """Read a tag: (field number << 3 | wire type, next position or error)."""
    if p < end:
        byte = load8(a, p)
        if 8 <= byte < 0x80:
            return byte, p + 1
    value, p = _any_tag(a, p, end)
    if p >= 0 and value < 8:
        return int64(0), FIELD_ZERO
    return value, p


@inlined
def length(a: Bytes, p: int, end: int) -> tuple[int, int]:
    """Read a length prefix: (position where the field's bytes begin or error, position where they end)."""
    if p < end:
        byte = load8(a, p)
        if byte < 0x80:
            p += 1
            if byte > end - p:
                return TRUNCATED, int64(0)
            return p, p + byte
    value = int64(0)
    for i in range(5):
        if p >= end:
            return TRUNCATED, int64(0)
        byte = load8(a, p)
        p += 1
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if value > 0x7FFFFFFF:
                return LENGTH, int64(0)
            if value > end - p:
                return TRUNCATED, int64(0)
            return p, p + value
    return VARINT, int64(0)


@inlined
def _skip_scalar(a: Bytes, p: int, end: int, wire_type: int) -> int:
    if wire_type == 0:
        _, p = varint(a, p, end)
        return p
    if wire_type == 2:
        start, p = length(a, p, end)
        return start if start < 0 else p
    if wire_type == 1 or wire_type == 5:
        p += 8 if wire_type == 1 else 4
        return p if p <= end else TRUNCATED
    return END_GROUP if wire_type == 4 else WIRE_TYPE


@kernel
def _skip_group(a: Bytes, p: int, end: int, field: int, depth: int) -> int:
    open_groups = np.empty(MAX_DEPTH + 1, np.int64)
    open_groups[0] = field
    level = 1
    while level > 0:
        if depth + level > MAX_DEPTH:
            return DEPTH
        t, p = _any_tag(a, p, end)
        if p < 0:
            return p
        if t & 7 == 3:
            open_groups[level] = t >> 3
            level += 1
        elif t & 7 == 4:
            level -= 1
            if open_groups[level] != t >> 3:
                return END_GROUP
        else:
            p = _skip_scalar(a, p, end, t & 7)
            if p < 0:
                return p
    return p


@inlined
def skip(a: Bytes, p: int, end: int, t: int, depth: int) -> int:
    """Skip the field whose tag `t` was read, in a message at `depth` (0 is the payload itself)."""
    if t & 7 == 3:
        return _skip_group(a, p, end, t >> 3, int64(depth))
    return _skip_scalar(a, p, end, t & 7)


@kernel
def code_point(a: Bytes, p: int, end: int) -> int:
    """Return the length of the well-formed UTF-8 sequence at `p`, 0 where it is not one."""
    first = load8(a, p)
    if first < 0x80:
        return 1
    if first < 0xC2 or first > 0xF4:
        return 0
    n = 2 if first < 0xE0 else (3 if first < 0xF0 else 4)
    if n > end - p:
        return 0
    second = load8(a, p + 1)
    low, high = 0x80, 0xBF
    if first == 0xE0:
        low = 0xA0
    elif first == 0xED:
        high = 0x9F
    elif first == 0xF0:
        low = 0x90
    elif first == 0xF4:
        high = 0x8F
    if second < low or second > high:
        return 0
    for i in range(2, n):
        if load8(a, p + i) & 0xC0 != 0x80:
            return 0
    return n


@inlined
def is_utf8(a: Bytes, p: int, end: int) -> bool:
    """Say whether the bytes are well-formed UTF-8."""
    while p < end:
        if load64(a, p) & _HIGH_BITS == 0:
            p += 8
            continue
        n = code_point(a, p, end)
        if n == 0:
            return False
        p += n
    return True


@inlined
def put_view(views: Ints, at: int, a: Bytes, p: int, n: int, buffer: int) -> None:
    """Write the Arrow string view of the `n` bytes at `p` of data buffer `buffer` to views[at:at+2]."""
    if n > 12:
        views[at] = n | (load64(a, p) << 32)
        views[at + 1] = buffer | (p << 32)
        return
    low = load_short(a, p, n)
    high = load_short(a, p + 8, n - 8) if n > 8 else int64(0)
    views[at] = n | (low << 32)
    views[at + 1] = ((low >> 32) & 0xFFFFFFFF) | (high << 32)
