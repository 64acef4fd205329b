"""ClickHouse's binary block format, as far as the endpoint must write or read it itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# From this protocol revision on a client reads the answer to its first query with BlockInfo before the
# block and a serialization byte after each column's type.
FRAMED_SINCE: Final = 54454
# BlockInfo: field 1 is_overflows = 0, field 2 bucket_num = -1, end.
_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"


def varint(number: int) -> bytes:
    """LEB128, as ClickHouse writes lengths."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def string(text: str) -> bytes:
    """Text behind its length."""
    raw = text.encode()
    return varint(len(raw)) + raw


def empty_block(columns: Sequence[tuple[str, str]]) -> bytes:
    """A block without rows: what a client needs to learn the columns (name, type) of an empty result."""
    return varint(len(columns)) + varint(0) + b"".join(string(n) + string(t) for n, t in columns)


def hello_block(display_name: str, version: str, timezone: str, protocol: int) -> bytes:
    """The answer to clickhouse-go's first query, `SELECT displayName(), version(), revision(), timezone()`.

    The client reads this one with its own newest revision and all later answers with the revision told
    here. Those come from chDB as plain `FORMAT Native`, which is revision 0.
    """
    framed = protocol >= FRAMED_SINCE
    out = (_BLOCK_INFO if framed else b"") + varint(4) + varint(1)
    for name, kind, value in (
        ("displayName()", "String", string(display_name)),
        ("version()", "String", string(version)),
        ("revision()", "UInt32", bytes(4)),
        ("timezone()", "String", string(timezone)),
    ):
        out += string(name) + string(kind) + (b"\x00" if framed else b"") + value
    return out


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def skip_row_binary_header(data: bytes, *, with_types: bool) -> int:
    """Length of the header of RowBinaryWithNames(AndTypes): a count, the names, and maybe the types."""
    columns, at = _read_varint(data, 0)
    for _ in range(columns * (2 if with_types else 1)):
        length, at = _read_varint(data, at)
        at += length
    return at
