"""Snappy as OTLP senders use it: one block, or a stream in frames.

The Collector sends a block under `Content-Encoding: snappy` and frames under `x-snappy-framed`; its older
versions sent frames under `snappy`, so a body's first bytes tell which it is.
https://github.com/google/snappy/blob/main/framing_format.txt
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from spanhouse.errors import Malformed

_STREAM_START: Final = b"\xff\x06\x00\x00sNaPpY"
_COMPRESSED, _UNCOMPRESSED = 0x00, 0x01
_MAY_BE_SKIPPED: Final = 0x80  # this chunk type and all above, padding and further stream starts among them
_CHECKSUM_BYTES: Final = 4
_CODEC: Final[Any] = pa.Codec("snappy")


class TooLongError(Exception):
    """More comes out than is allowed."""


def decompress(data: bytes, limit: int) -> bytes:
    """Decompress a block or a stream; the frames' checksums are not compared.

    Raises:
        TooLongError: more than `limit` bytes would come out; memory for them is not taken.
        Malformed: the data is damaged or ends early.
    """
    if not data.startswith(_STREAM_START):
        return _block(memoryview(data), limit)
    view, at = memoryview(data), 0
    out = bytearray()  # not a list of parts: a chunk may be of one byte
    while at < len(view):
        kind, start = view[at], at + 4
        at = start + int.from_bytes(view[at + 1 : start], "little")
        if at > len(view) or start > len(view):
            raise Malformed("the body is not valid snappy: it ends early")
        if kind >= _MAY_BE_SKIPPED:
            continue
        chunk = view[start + _CHECKSUM_BYTES : at]
        if kind == _COMPRESSED:
            out += _block(chunk, limit - len(out))
        elif kind == _UNCOMPRESSED:
            out += chunk
        else:
            raise Malformed("the body is not valid snappy: it has a chunk of an unknown type")
        if len(out) > limit:
            raise TooLongError
    return bytes(out)


def _block(data: memoryview, limit: int) -> bytes:
    """A block begins with its length decompressed, as a varint."""
    size = shift = 0
    for byte in data[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise Malformed("the body is not valid snappy: it has no length")
    if size > limit:
        raise TooLongError
    try:
        return bytes(_CODEC.decompress(pa.py_buffer(data), size, asbytes=True))
    except OSError as error:
        raise Malformed(f"the body is not valid snappy: {error}") from None
